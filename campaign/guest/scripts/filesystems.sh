# ext4 and XFS on the device: made, filled with a tree of files, compared after the caches are dropped and after a new
# mount, unmounted, and checked by their own checkers.
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

wait_for_device
# round NAME MAKE-COMMAND CHECK-COMMAND
round() {
    heading "$1"
    # shellcheck disable=SC2086  # the commands are meant to be split
    check "$1 made" $2 "$DEVICE"
    check "$1 mounted" mount -t "$1" "$DEVICE" /mnt
    check "files copied" cp -r /tmp/tree /mnt/tree
    drop_caches
    check "files equal after the caches were dropped" compare_tree
    check "trimmed" fstrim -v /mnt
    check "unmounted" umount /mnt
    check "mounted again" mount -t "$1" "$DEVICE" /mnt
    check "files equal after a new mount" compare_tree
    check "half of the files deleted" rm -r /mnt/tree/many
    check "unmounted" umount /mnt
    # shellcheck disable=SC2086
    check "$1 is clean" $3 "$DEVICE"
}

make_tree
say "a tree of $(wc -l </tmp/tree.sums) files, $(du -sm /tmp/tree | cut -f1) MiB"
round ext4 "mkfs.ext4 -q -F" "e2fsck -fn"
round xfs "mkfs.xfs -q -f" "xfs_repair -n"
