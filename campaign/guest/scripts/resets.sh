# Fifty controller resets while fio writes and verifies; then nothing may be lost. RESETS may set another number.
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

wait_for_device
resets=${RESETS:-50}

# Data that is not touched any more: it must survive all of them.
fio_job before --ioengine=io_uring --rw=write --bs=64k --iodepth=8 --size=4M --offset=0 --verify=crc32 --do_verify=0

# Fewer blocks in a round would let the load spend its time in starting fio.
begin_rounds --ioengine=io_uring --iodepth=16 --offset=8M

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
end_rounds "reset $number"
say "ok: $number resets, $(cat /tmp/load.rounds) rounds of load written and verified"

state=$(cat "/sys/class/nvme/${CONTROLLER#/dev/}/state")
[ "$state" = live ] || fail "the controller is $state"
drop_caches
fio_job after --ioengine=io_uring --rw=read --bs=64k --iodepth=8 --size=4M --offset=0 --verify=crc32 --verify_fatal=1
grep -q 'issued rwts: total=64,0,' /tmp/after.fio || { cat /tmp/after.fio; fail "not every block was read"; }
say "ok: the data from before the resets is whole"
