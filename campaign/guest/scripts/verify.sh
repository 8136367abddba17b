# fio writes and reads back with checksums, at queue depths 1, 16 and 128, with 512-byte and 4-KiB blocks.
# Sizes are small: an emulated guest does some thousand I/Os per second. VERIFY_BLOCKS may name other block sizes.
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

wait_for_device
for block in ${VERIFY_BLOCKS:-512 4096}; do
    if [ "$block" -lt "$(block_size)" ]; then
        say "skipped: $block-byte blocks, the device's are $(block_size)"
        continue
    fi
    for depth in 1 16 128; do
        size=$((block * 2048))
        [ $depth -eq 1 ] && size=$((block * 512))
        name=verify-$block-$depth
        # One job writes in random order and then reads all of it back. randrepeat=0: each round has new data in new order.
        # verify_fatal ends at the first bad block; do_verify is the default but is what this is all about.
        fio_job "$name" --ioengine=io_uring --rw=randwrite --bs="$block" --iodepth="$depth" --size="$size" \
            --randrepeat=0 --verify=crc32 --do_verify=1 --verify_fatal=1
        # What was written is verified by reading: the same number of blocks, or something was skipped.
        grep -q "issued rwts: total=$((size / block)),$((size / block))," "/tmp/$name.fio" || {
            cat "/tmp/$name.fio"
            fail "$name did not verify every block that it wrote"
        }
        say "ok: $block-byte blocks at depth $depth: $((size / block)) written and verified," \
            "write IOPS $(fio_iops "$name" write), read IOPS $(fio_iops "$name" read)"
    done
done
# The other engine, with reads and writes mixed and transfers that need PRP lists.
fio_job mixed --ioengine=libaio --rw=randrw --bsrange=4k-256k --iodepth=16 --size=16M --randrepeat=0 \
    --verify=crc32 --do_verify=1 --verify_fatal=1
say "ok: mixed reads and writes of 4 to 256 KiB"
