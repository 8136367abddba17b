# One fault of the device, named by ACT, and what the driver says of it. The test on the other side adds the fault when it is told to, and
# types a line when that is done.
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

# block : reads block 100 from the drive
block() { dd if="$DEVICE" of=/tmp/back bs=4k skip=100 count=1 iflag=direct; }
intact() { cmp /tmp/data /tmp/back; }

# said PATTERN : the kernel's log has such a line, soon
said() {
    waited=0
    until dmesg | grep -q "$1"; do
        waited=$((waited + 1))
        [ "$waited" -lt 300 ] || { dmesg | tail -n 20; fail "the kernel does not say '$1'"; }
        sleep 0.1
    done
    say "ok: the kernel says '$1'"
}

wait_for_device
dd if=/dev/urandom of=/tmp/data bs=4k count=1 2>/dev/null
check "a block is written" dd if=/tmp/data of="$DEVICE" bs=4k seek=100 count=1 oflag=direct
echo "faults: ready"
read -r _
case $ACT in
status)
    check_fails "reading it" block
    said 'nvme0n1: .* LBA 100, 1 blocks, .*(sct 0x2 / sc 0x81) MORE DNR'
    said 'critical medium error, dev nvme0n1, sector 800'
    check "reading it again" block
    ;;
drop)
    check "reading it" block
    said 'timeout, aborting'
    said 'timeout, reset controller'
    ;;
duplicate)
    check "reading it" block
    said 'genctr mismatch\|could not locate request\|invalid id [0-9]* completed'
    check "reading it again" block
    ;;
fatal)
    check "reading it" block
    said 'controller is down; will reset: CSTS=0x3'
    ;;
gone)
    check_fails "reading it" block
    said 'controller is down; will reset: CSTS=0xffffffff'
    said 'Disabling device after reset failure'
    exit 0
    ;;
interrupt)
    check "reading it" block
    said 'timeout, completion polled'
    check "reading it again" block
    ;;
*) fail "there is no act $ACT" ;;
esac
check "it is what was written" intact
