# The disk gets another size under a mounted file system with a load on it: larger, smaller again to where the file system ends, and larger
# once more. The test on the other side resizes when it is told to, and types a line when that is done; nobody rescans anything here.
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

# In sectors of 512 bytes.
SMALL=$((64 << 11))
LARGE=$((192 << 11))

# resized WORD SECTORS : asks for the resize and waits until the block device has the new size by itself
has_size() { [ "$(cat "/sys/block/${DEVICE#/dev/}/size")" = "$1" ]; }
resized() {
    echo "resize: $1"
    read -r _
    soon 300 has_size "$2" || { dmesg | tail -n 20; fail "$1: the size is $(cat "/sys/block/${DEVICE#/dev/}/size"), not $2"; }
    [ "$(blockdev --getsz "$DEVICE")" = "$2" ] || fail "$1: blockdev says $(blockdev --getsz "$DEVICE")"
    say "ok: $1"
}

# at_end COMMAND... : xfs_io at the last 64 KiB of the large disk
at_end() { xfs_io -d -c "$1 $((LARGE * 512 - 65536)) 64k" "$DEVICE"; }
kept() { (cd /mnt && md5sum -c /tmp/sums); }

wait_for_device
[ "$(cat "/sys/block/${DEVICE#/dev/}/size")" = "$SMALL" ] || fail "it does not begin with 64 MiB"
check "ext4" mkfs.ext4 -q -F "$DEVICE"
mkdir -p /mnt
check "mounted" mount -t ext4 "$DEVICE" /mnt
check "a file" dd if=/dev/urandom of=/mnt/file bs=1M count=8
(cd /mnt && md5sum file) >/tmp/sums
sync
fio --name=load --filename=/mnt/load --direct=1 --ioengine=libaio --iodepth=4 --rw=randwrite --bs=4k --size=8M --verify=crc32 \
    --do_verify=1 --verify_fatal=1 --loops=3 --eta=never </dev/null >/tmp/load.out 2>&1 &
load=$!
resized "grow" "$LARGE"
at_end "pwrite -q -S 0x5a" || fail "a write at the new end"
at_end "pread -v" | grep -c "5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a" >/tmp/lines
[ "$(cat /tmp/lines)" = 4096 ] || fail "$(cat /tmp/lines) of 4096 lines are at the new end"
resized "shrink" "$SMALL"
wait $load || { cat /tmp/load.out; fail "the load met an error"; }
check "the file is kept" kept
at_end "pread -q" >/tmp/beyond 2>&1 && grep -q "^read 65536" /tmp/beyond && fail "something is read beyond the end"
resized "grow again" "$LARGE"
at_end "pread -v" | grep -c "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00" >/tmp/lines
[ "$(cat /tmp/lines)" = 4096 ] || fail "what a shrink dropped came back"
check "unmounted" umount /mnt
check "the file system is whole" e2fsck -fn "$DEVICE"
check "ext4 on all of it" mkfs.ext4 -q -F "$DEVICE"
[ "$(dumpe2fs -h "$DEVICE" 2>/dev/null | sed -n 's/^Block count: *//p')" -ge $((190 << 20 >> 12)) ] || fail "ext4 does not use the disk"
