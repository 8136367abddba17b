#!/bin/sh
# A load for a file system, for `brownout qemu --exec`: it makes one on the first namespace, and does what programs rely on when they mean
# to keep something: a new file, a file that replaces another by rename, a line appended, a block written in place with O_DSYNC, a file
# removed. Before each change it writes "try WHAT NUMBER" to the second namespace, the witness, and "did WHAT NUMBER" after it has returned
# from fsync. `check-files.sh` knows from that what must be there.
#
# FS and ROUNDS come from the kernel's command line: --append 'FS=xfs ROUNDS=50'.
#
# As a set-up and a load (crash --guest, --setup and --load with this script) it runs in two parts: PART is setup, or load.

FS=${FS:-ext4}
ROUNDS=${ROUNDS:-50}

disk() {
    for place in /sys/block/nvme*n*; do
        [ "$(cat "$place/nsid" 2>/dev/null)" = "$1" ] && echo "/dev/${place##*/}" && return
    done
    return 1
}

tried=0
until IMAGE=${IMAGE:-$(disk 1)} && WITNESS=${WITNESS:-$(disk 2)} && [ -b "$IMAGE" ] && [ -b "$WITNESS" ]; do
    tried=$((tried + 1))
    [ $tried -lt 300 ] || { echo "there are no two namespaces"; exit 2; }
    sleep 0.1
done

fail() { echo "$*"; exit 1; }
# A line for the checker; who is back from this was heard.
say() {
    printf '%s\n' "$*" | dd of="$WITNESS" bs=4096 count=1 conv=sync oflag=direct 2>/dev/null || fail "the witness does not listen"
    # Under power cuts (crash --guest --load) the lines of one witness are needed together.
    [ -z "$ACKS" ] || echo "$*" >>"$ACKS"
}
# As many lines as are asked for, all alike: WORD NUMBER LINES.
lines() { yes "$1 $2" | head -n "$3"; }

mkdir -p /mnt
if [ "$PART" != load ]; then
    case $FS in
    # Whole from the start: nothing is to write beside the load.
    ext4) mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$IMAGE" ;;
    xfs) mkfs.xfs -q -f "$IMAGE" ;;
    btrfs) mkfs.btrfs -q -f "$IMAGE" ;;
    f2fs) mkfs.f2fs -q -f "$IMAGE" ;;
    *) fail "there is no load for FS=$FS: give ext4, xfs, btrfs or f2fs" ;;
    esac || fail "mkfs.$FS"
    mount -t "$FS" "$IMAGE" /mnt || fail "mount -t $FS"
    : >/mnt/appended
    lines in-place 000000 256 >/mnt/inplace
    sync && umount /mnt || fail umount
fi
[ "$PART" != setup ] || exit 0
mount -t "$FS" "$IMAGE" /mnt || fail "mount -t $FS"
say "mounted $FS"

round=0
while [ $round -lt "$ROUNDS" ]; do
    round=$((round + 1))
    number=$(printf %06d $round)

    say "try new $number"
    lines "newfile" "$number" 300 >/mnt/new.$number
    sync /mnt/new.$number /mnt || fail fsync
    say "did new $number"

    say "try renamed $number"
    lines "renamed" "$number" 600 >/mnt/renamed.tmp
    sync /mnt/renamed.tmp && mv /mnt/renamed.tmp /mnt/renamed && sync /mnt || fail rename
    say "did renamed $number"

    say "try appended $number"
    echo "append $number" >>/mnt/appended
    sync /mnt/appended || fail fsync
    say "did appended $number"

    # Lines of 16 bytes: a block of 4096 bytes is written in place, and the drive keeps it whole.
    say "try inplace $number"
    lines in-place "$number" 256 >/tmp/block
    xfs_io -c "pwrite -q -V 1 -D -i /tmp/block -b 4096 0 4096" /mnt/inplace || fail "O_DSYNC"
    say "did inplace $number"

    if [ $round -gt 3 ]; then
        old=$(printf %06d $((round - 3)))
        say "try gone $old"
        rm /mnt/new.$old && sync /mnt || fail unlink
        say "did gone $old"
    fi
done
echo "$ROUNDS rounds on $FS"
