# What `make demo` shows: an ordinary Linux finds the drive, reads what it is, puts a file system on it, and writes and
# verifies with fio. Written to be read by a person while it runs.
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

wait_for_device
# Kernel messages would fall in between; the harness prints the kernel log at the end.
dmesg -n 1

heading "The guest: Linux $(uname -r), $(nproc) processors, stock NVMe driver"
driver=$(readlink "/sys/class/nvme/${CONTROLLER#/dev/}/device/driver")
say "driver ${driver##*/}, PCI function $(cat "/sys/class/nvme/${CONTROLLER#/dev/}/address")"

heading "nvme list"
nvme list || fail "nvme list"

heading "nvme id-ctrl (highlights)"
nvme id-ctrl "$CONTROLLER" >/tmp/id-ctrl || fail "nvme id-ctrl"
grep -E '^(vid|sn|mn|fr|mdts|cntlid|ver|oacs|oncs|vwc|awun|awupf|sgls|subnqn) ' /tmp/id-ctrl

heading "nvme id-ns (highlights)"
nvme id-ns "$DEVICE" >/tmp/id-ns || fail "nvme id-ns"
grep -E '^(nsze|ncap|nuse|dlfeat|nawun|nawupf|npwg|npwa|npdg|npda|nows|lbaf.*in use)' /tmp/id-ns

heading "Limits that the kernel derived (sysfs queue)"
for name in logical_block_size physical_block_size minimum_io_size optimal_io_size max_hw_sectors_kb max_segments \
    discard_granularity discard_max_hw_bytes write_zeroes_max_bytes write_cache fua nr_requests; do
    [ -r "$QUEUE/$name" ] && printf '%-24s %s\n' "$name" "$(cat "$QUEUE/$name")"
done

heading "ext4: make, mount, copy files, compare"
check "file system made" mkfs.ext4 -q -F "$DEVICE"
check "mounted" mount -t ext4 "$DEVICE" /mnt
make_tree
check "files copied" cp -r /tmp/tree /mnt/tree
drop_caches
check "$(wc -l </tmp/tree.sums) files are equal, read back from the drive" compare_tree
df -h /mnt
check "unmounted" umount /mnt
check "e2fsck finds nothing to repair" e2fsck -fn "$DEVICE"

heading "fio: random writes, each block verified by checksum"
say "fio --name=randomwrite --ioengine=io_uring --iodepth=16 --rw=randwrite --size=80M --verify=crc32"
fio_job randomwrite --ioengine=io_uring --iodepth=16 --rw=randwrite --size=80M --verify=crc32
grep -E 'err= 0|IOPS=|issued rwts' /tmp/randomwrite.fio
write_iops=$(fio_iops randomwrite write)
read_iops=$(fio_iops randomwrite read)
say "0 errors; $write_iops writes per second, $read_iops verifying reads per second (in an emulated processor)"

heading "Done"
model=$(sed -n 's/^mn *: *//p' /tmp/id-ctrl | sed 's/ *$//')
files=$(wc -l </tmp/tree.sums)
say "Shown: an unmodified Linux $(uname -r) used the drive ($model): listed, identified, ext4 with $files files compared equal," \
    "and 80 MiB of fio writes verified with 0 errors at $write_iops IOPS."
