# Fifty controller resets while fio writes and verifies; then nothing may be lost. RESETS may set another number.
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

wait_for_device
resets=${RESETS:-50}

# Data that is not touched any more: it must survive all of them.
fio_job before --ioengine=io_uring --rw=write --bs=64k --iodepth=8 --size=4M --offset=0 --verify=crc32 --do_verify=0

# The load: rounds of writing and verifying, each complete, until told to stop. A round that fails says so in a file,
# because a background job has no other way to.
load() {
    round=0
    until [ -e /tmp/stop ]; do
        round=$((round + 1))
        # Fewer blocks in a round would let the load spend its time in starting fio.
        if ! disk_fio --name=load --ioengine=io_uring --rw=randwrite --bs=4k --iodepth=16 \
            --offset=8M --size=8M --randrepeat=0 --verify=crc32 --do_verify=1 --verify_fatal=1 >/tmp/load.out 2>&1 ||
            ! grep -q 'err= 0' /tmp/load.out; then
            echo "round $round" >/tmp/load.failed
            return
        fi
        echo "$round" >/tmp/load.rounds
    done
}
rm -f /tmp/stop /tmp/load.failed
load &
load_pid=$!

number=0
while [ "$number" -lt "$resets" ]; do
    number=$((number + 1))
    # EBUSY: the controller is still coming back from the one before. That is the kernel's answer, not a failure.
    attempt=0
    until nvme reset "$CONTROLLER" >/tmp/reset.out 2>&1; do
        attempt=$((attempt + 1))
        [ "$attempt" -lt 100 ] || { cat /tmp/reset.out; fail "reset $number"; }
        sleep 0.1
    done
    [ -e /tmp/load.failed ] && break
    # Some I/O in between, of a different length each time.
    sleep "0.$((number % 4))"
done
touch /tmp/stop
wait "$load_pid"
if [ -e /tmp/load.failed ]; then
    cat /tmp/load.out
    fail "the load failed in $(cat /tmp/load.failed), at reset $number"
fi
[ -s /tmp/load.rounds ] || fail "the load did not finish a single round"
say "ok: $number resets, $(cat /tmp/load.rounds) rounds of load written and verified"

state=$(cat "/sys/class/nvme/${CONTROLLER#/dev/}/state")
[ "$state" = live ] || fail "the controller is $state"
drop_caches
fio_job after --ioengine=io_uring --rw=read --bs=64k --iodepth=8 --size=4M --offset=0 --verify=crc32 --verify_fatal=1
grep -q 'issued rwts: total=64,0,' /tmp/after.fio || { cat /tmp/after.fio; fail "not every block was read"; }
say "ok: the data from before the resets is whole"
