# The drive loses power under a driver that nobody warns. First it stays away until the driver has given up, and a rescan brings it
# back; then it is back before anybody looks, and the driver has to reset it. The test on the other side cuts and restores when it is
# told to, and types a line when that is done.
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

wait_for_device
function=$(cat "/sys/class/nvme/${CONTROLLER#/dev/}/address")
fio_job before --rw=write --bs=16k --size=1M --verify=crc32 --do_verify=0 --end_fsync=1

state() { cat "/sys/bus/pci/devices/$function"/nvme/nvme*/state 2>/dev/null || echo gone; }

is_live() { [ "$(state)" = live ]; }
given_up() { ! is_live && dmesg | grep -q 'nvme.*\(reset failure\|[Rr]emoving after probe failure\|[Dd]isabling\)'; }
was_reset() { dmesg | grep -q 'nvme.*timeout.*\(reset\|disable\)'; }

# wait_until DESCRIPTION COMMAND...
wait_until() {
    description=$1
    shift
    soon 600 "$@" >/dev/null 2>&1 || { dmesg | tail -n 20; fail "$description did not come, the controller is $(state)"; }
    say "ok: $description"
}

write_until_it_fails() {
    # Writes that nobody reads: what was not flushed may be lost.
    # By itself, not by disk_fio, so that it can be killed.
    fio --name=load --filename="$DEVICE" --allow_file_create=0 --direct=1 --ioengine=libaio --iodepth=8 --rw=randwrite --bs=16k \
        --offset=8M --size=8M --time_based --runtime=3600 --eta=never </dev/null >/tmp/load.out 2>&1 &
    load=$!
    sleep 1
}

write_until_it_fails
echo "power: cut"
read -r _
if wait "$load"; then fail "writes went on without power"; fi
say "ok: writes fail"
wait_until "the end of the controller" given_up
say "the controller is $(state)"
echo "power: restore"
read -r _
echo 1 >"/sys/bus/pci/devices/$function/remove"
echo 1 >/sys/bus/pci/rescan
wait_for_device
drop_caches
fio_job after --rw=read --bs=16k --size=1M --verify=crc32 --verify_fatal=1
say "ok: a rescan brings the drive back, with what was flushed"

dmesg -c >/dev/null
CONTROLLER=/dev/$(basename "/sys/bus/pci/devices/$function"/nvme/nvme*)
write_until_it_fails
echo "power: blink"
read -r _
wait_until "a reset by the driver" was_reset
wait_until "a live controller" is_live
fio_job later --rw=write --bs=16k --size=1M --offset=32M --verify=crc32 --end_fsync=1
kill "$load"
wait "$load"
fio_job kept --rw=read --bs=16k --size=1M --verify=crc32 --verify_fatal=1
say "ok: the driver resets a drive that was without power, and goes on"
