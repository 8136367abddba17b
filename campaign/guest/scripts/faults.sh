# Faults of the device, one act after another (ACTS), and what the driver says of each. The test on the other side adds the faults of an
# act when it hears "faults: ready ACT", and types a line when that is done; it takes them back when it hears "faults: over ACT".
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

# block : reads block 100 from the drive
block() { dd if="$DEVICE" of=/tmp/back bs=4k skip=100 count=1 iflag=direct; }
intact() { cmp /tmp/data /tmp/back; }
# again : the block can be read, and is what was written
again() {
    check "reading it again" block
    check "it is what was written" intact
}

# said PATTERN : the kernel's log has such a line since the act began, soon
logged() { dmesg | grep -q "$1"; }
said() {
    soon 600 logged "$1" || { dmesg | tail -n 20; fail "the kernel does not say '$1'"; }
    say "ok: the kernel says '$1'"
}

# find_first : the first namespace's disk, whatever it is called now
is_there() { DEVICE=$(disk 1 /sys/block/nvme*) && [ -b "$DEVICE" ]; }
find_first() { soon 600 is_there || fail "the first namespace did not appear within 60 s"; }

function_of() { basename "$(readlink -f "/sys/class/nvme/${CONTROLLER#/dev/}/device")"; }
driver() { echo "$FUNCTION" >/sys/bus/pci/drivers/nvme/"$1"; }
# try_attach : the driver looks at the drive anew, and does what it does
try_attach() {
    driver unbind
    driver bind || true
}
# attach : the same, and it finds the first namespace
attach() {
    try_attach
    find_first
}
gone() {
    soon 300 [ ! -e "$1" ] || fail "$1 is still there"
    say "ok: $1 is gone"
}
# alive : the controller is, or comes back
is_live() { [ "$(cat "/sys/class/nvme/${CONTROLLER#/dev/}/state" 2>/dev/null)" = live ]; }
alive() { soon 600 is_live || fail "the controller does not come back"; }

act() {
    case $1 in
    status)
        check_fails "reading it" block
        said "${DEVICE##*/}: .* LBA 100, 1 blocks, .*(sct 0x2 / sc 0x81) MORE DNR"
        said "critical medium error, dev ${DEVICE##*/}, sector 800"
        ;;
    retried) check "reading it, which is tried again" block ;;
    drop | not-ready | refused-abort)
        check "reading it" block
        said 'timeout, aborting'
        said 'timeout, reset controller'
        ;;
    aborted)
        check "reading it" block
        said 'timeout, aborting'
        said 'Abort status: 0x0'
        ;;
    late) check "reading it" block ;;
    duplicate | wrong-cid | stray)
        check "reading it" block
        said 'genctr mismatch\|could not locate request\|invalid id [0-9]* completed'
        ;;
    old-phase)
        check "reading it" block
        said 'timeout, aborting'
        ;;
    interrupt | wrong-vector)
        check "reading it" block
        said 'timeout, completion polled'
        ;;
    fatal)
        check "reading it" block
        said 'controller is down; will reset: CSTS=0x3'
        ;;
    subsystem-reset)
        check "reading it" block
        said 'controller is down; will reset: CSTS=0x1'
        ;;
    persistent-error)
        said 'resetting controller due to persistent internal error'
        alive
        ;;
    namespace) said 'rescanning namespaces' ;;
    notice) said 'async event result' ;;
    activation)
        said 'Fw activation timeout, reset controller'
        alive
        ;;
    gone)
        check_fails "reading it" block
        said 'controller is down; will reset: CSTS=0xffffffff'
        said 'Disabling device after reset failure'
        ;;
    no-queues)
        try_attach
        said 'Could not set queue count (16390)'
        said 'IO queues not created'
        ;;
    fewer-queues)
        attach
        said '1/0/0 default/read/poll queues'
        ;;
    block-size)
        try_attach
        said 'invalid LBA data size 8, skipping namespace'
        ;;
    same-identifiers)
        # Namespaces are looked at side by side: whichever comes second is refused.
        try_attach
        said 'duplicate IDs'
        ;;
    other-identifiers)
        nvme reset "$CONTROLLER"
        said 'identifiers changed for nsid 1'
        gone "$DEVICE"
        ;;
    firmware-revision)
        check "resetting it" nvme reset "$CONTROLLER"
        alive
        check "it has other firmware" grep OTHER "/sys/class/nvme/${CONTROLLER#/dev/}/firmware_rev"
        ;;
    page-size)
        try_attach
        said 'Minimum device page size 8192 too large for host (4096)'
        ;;
    never-ready)
        try_attach
        said 'Device not ready; aborting initialisation, CSTS=0x0'
        ;;
    slow-shutdown)
        try_attach
        said 'Device not ready; aborting shutdown, CSTS=0x5'
        ;;
    pin)
        said 'nobody cared'
        ;;
    *) fail "there is no act $1" ;;
    esac
}

find_first
FUNCTION=$(function_of)
dd if=/dev/urandom of=/tmp/data bs=4k count=1 2>/dev/null
check "a block is written" dd if=/tmp/data of="$DEVICE" bs=4k seek=100 count=1 oflag=direct
for name in $ACTS; do
    dmesg -c >/dev/null
    echo "faults: ready $name"
    read -r _
    heading "$name"
    act "$name"
    echo "faults: over $name"
    read -r _
    case $name in
    gone | pin) ;;
    no-queues | block-size | other-identifiers | same-identifiers | page-size | never-ready | slow-shutdown) attach && again ;;
    *) again ;;
    esac
done
