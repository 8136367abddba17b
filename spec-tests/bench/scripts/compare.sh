# fio on each device of the machine in turn, round after round, so that whatever else the host does hits all of them alike.
# Variables: COMPARE_ROUNDS, COMPARE_SECONDS. Says "RESULT round serial pattern depth IOPS" for each run.
# shellcheck shell=sh
# shellcheck disable=SC1091
. /lib.sh

# Namespaces of all controllers that will come.
waited=0
until [ "$(ls -d /sys/block/nvme*n1 2>/dev/null | wc -l)" -ge "$COMPARE_DEVICES" ]; do
    waited=$((waited + 1))
    [ "$waited" -lt 600 ] || fail "not all devices appeared within 60 s"
    sleep 0.1
done

# A drive that was never written answers reads from nothing.
for block in /sys/block/nvme*n1; do
    DEVICE=/dev/${block##*/}
    serial=$(sed 's/ *$//' "$block/device/serial")
    [ "$serial" = null ] || fio_job "fill-$serial" --ioengine=libaio --rw=write --bs=256k --iodepth=4
    say "filled $serial"
done

round=0
while [ $round -lt "$COMPARE_ROUNDS" ]; do
    for pattern in randread randwrite; do
        for depth in 1 32; do
            for block in /sys/block/nvme*n1; do
                serial=$(sed 's/ *$//' "$block/device/serial")
                line=$(fio --name=compare --filename="/dev/${block##*/}" --direct=1 --ioengine=io_uring --rw=$pattern --bs=4k \
                    --iodepth=$depth --time_based --runtime="$COMPARE_SECONDS" --norandommap --randrepeat=0 --gtod_reduce=1 \
                    --output-format=terse --terse-version=3 2>/tmp/compare.err) || fail "fio on $serial: $(cat /tmp/compare.err)"
                # Of the terse form: field 5 is the error, 8 the reads a second, 49 the writes.
                [ "$(echo "$line" | cut -d';' -f5)" = 0 ] || fail "fio on $serial: $line"
                field=8
                [ $pattern = randwrite ] && field=49
                say "RESULT $round $serial $pattern $depth $(echo "$line" | cut -d';' -f$field)"
            done
        done
    done
    round=$((round + 1))
done
