# XFS with 16-KiB blocks and 16-KiB sectors, on a namespace with 16-KiB logical blocks. Blocks larger than a memory page
# need a recent kernel: the newest one only.
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

wait_for_device
[ "$(block_size)" -eq 16384 ] || fail "the logical block size is $(block_size), not 16384"
say "logical blocks of $(block_size) bytes, physical of $(cat "$QUEUE/physical_block_size")"
check "XFS made with 16-KiB blocks" mkfs.xfs -f -b size=16384 -s size=16384 "$DEVICE"
expect_output 'bsize=16384'
expect_output 'sectsz=16384'
check "mounted" mount -t xfs "$DEVICE" /mnt
make_tree
check "files copied" cp -r /tmp/tree /mnt/tree
[ "$(stat -f -c %S /mnt)" -eq 16384 ] || fail "the file system's blocks have $(stat -f -c %S /mnt) bytes"
check "unmounted" umount /mnt
check "mounted again" mount -t xfs "$DEVICE" /mnt
check "$(wc -l </tmp/tree.sums) files equal after a new mount" compare_tree
check "unmounted" umount /mnt
check "xfs_repair finds it clean" xfs_repair -n "$DEVICE"
