# What a virtio disk says of itself and does: driver, serial number, queues, discard, write-zeroes, write cache. At each line
# that begins with AT, the test looks at the drive from outside and lets the script go on. Reads variables:
#   QUEUES  how many queues the driver must have      SERIAL  the drive's serial number
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

wait_for_device
DISK=/sys/block/${DEVICE#/dev/}
pause() {
    echo "AT $1"
    read -r _
}

driver=$(basename "$(readlink "$DISK/device/driver")")
[ "$driver" = virtio_blk ] || fail "the driver is $driver"
# What /dev/disk/by-id is made of.
[ "$(cat "$DISK/serial")" = "$SERIAL" ] || fail "the serial number is $(cat "$DISK/serial")"
found=$(find "$DISK/mq" -mindepth 1 -maxdepth 1 | wc -l)
[ "$found" = "$QUEUES" ] || fail "$found queues, not $QUEUES"

dd if=/dev/urandom of=/tmp/random bs=1M count=16 2>/dev/null || fail "random bytes"
check "written" dd if=/tmp/random of="$DEVICE" bs=1M oflag=direct
pause written
check "discarded" blkdiscard --offset 0 --length 4M "$DEVICE"
check "zeroed" blkdiscard --zeroout --offset 4M --length 4M "$DEVICE"
pause freed
dd if="$DEVICE" of=/tmp/found bs=1M count=16 iflag=direct 2>/dev/null || fail "read"
dd if=/dev/zero of=/tmp/random bs=1M count=8 conv=notrunc 2>/dev/null || fail "zeroes"
check "what was discarded and zeroed reads as zeroes, the rest as written" cmp /tmp/random /tmp/found

[ "$(cat "$DISK/cache_type")" = "write back" ] || fail "the write cache is off"
echo "write through" >"$DISK/cache_type" || fail "the write cache cannot be switched off"
pause through
[ "$(cat "$DISK/cache_type")" = "write through" ] || fail "the write cache is still on"
echo "write back" >"$DISK/cache_type" || fail "the write cache cannot be switched on"
pause back
