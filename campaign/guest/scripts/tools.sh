# nvme-cli against the device, as an administrator would use it. Each command is checked for its result, not only for its
# exit code; the first surprise ends the script. Needs `iomem=relaxed` on the kernel's command line: Debian's kernels keep
# the registers of a device with a driver to themselves, and nvme-cli maps them for show-regs and effects-log.
#
# What the device says of itself decides what is expected where versions differ, so that the script also holds on QEMU's own
# controller (version 1.4: no Supported Log Pages; its firmware log does not match its firmware revision).
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

wait_for_device
grep -q 'iomem=relaxed' /proc/cmdline || fail "boot with iomem=relaxed, or nvme-cli cannot map the registers"

# field NAME : the value behind "NAME :" in the last check's output
field() { sed -n "s/^$1[[:space:]]*: *\([^ ]*\).*/\1/p" /tmp/check.out | head -n 1; }
number() { echo $(($1)); }

heading "identify"
check "list" nvme list
expect_output "$DEVICE"
check "id-ctrl" nvme id-ctrl "$CONTROLLER"
version=$(number "$(field ver)")
model=$(sed -n 's/^mn *: *//p' /tmp/check.out | sed 's/ *$//')
firmware=$(field fr)
oncs=$(number "$(field oncs)")
vwc=$(number "$(field vwc)")
[ "$version" -ge $((0x10400)) ] || fail "id-ctrl says version $(field ver)"
[ "$(field sqes)" = 0x66 ] || fail "sqes is $(field sqes)"
[ "$(field cqes)" = 0x44 ] || fail "cqes is $(field cqes)"
say "model '$model', firmware $firmware, version $(field ver)"
check "id-ctrl in words" nvme id-ctrl "$CONTROLLER" -H
check "id-ns" nvme id-ns "$DEVICE"
blocks=$(number "$(field nsze)")
deallocated_reads=$(($(field dlfeat) & 7))
block=$(block_size)
[ $((blocks * block / 512)) -eq "$(cat "${QUEUE%/queue}/size")" ] ||
    fail "id-ns says $blocks blocks of $block bytes, the kernel $(cat "${QUEUE%/queue}/size") sectors"
expect_output '(in use)'
check "id-ns in words" nvme id-ns "$DEVICE" -H
check "list of namespaces" nvme list-ns "$CONTROLLER"
expect_output '0x1'
check "namespace descriptors" nvme ns-descs "$DEVICE"

heading "log pages"
check "error-log" nvme error-log "$CONTROLLER"
expect_output 'error_count'
check "smart-log" nvme smart-log "$CONTROLLER"
expect_output 'critical_warning.*: 0'
writes_before=$(field host_write_commands)
reads_before=$(field host_read_commands)
check "fw-log" nvme fw-log "$CONTROLLER"
expect_output 'afi *: 0x'
expect_output 'frs1'
if [ "$model" != "QEMU NVMe Ctrl" ]; then
    # The revision in the active slot is what Identify reports.
    expect_output "$firmware"
fi
check "effects-log" nvme effects-log "$CONTROLLER"
check "effects-log of the NVM command set" nvme effects-log "$CONTROLLER" --csi=0
# One line for each supported command: ACS for admin, IOCS for I/O, with the opcode in decimal.
for command in ACS0 ACS1 ACS2 ACS4 ACS5 ACS6 ACS8 ACS9 ACS10 ACS12 IOCS0 IOCS1 IOCS2; do
    expect_output "^$command  *\[.*[13579bdf]\$"
done
say "ok: the effects log lists every mandatory command"
if [ "$version" -ge $((0x20000)) ]; then
    check "supported-log-pages" nvme supported-log-pages "$CONTROLLER"
    # The numbers are printed in hexadecimal, zero without its 0x.
    for page in 0 1 2 3 5 12; do
        expect_output "LID \(0x\)\{0,1\}${page} "
    done
else
    # The page came with version 2.0; before, the right answer is a refusal.
    check_fails "supported-log-pages refused, as before version 2.0" nvme supported-log-pages "$CONTROLLER"
fi
check_fails "a log page that nobody has is refused" nvme get-log "$CONTROLLER" --log-id=0x7e --log-len=512

heading "features"
# Volatile Write Cache exists where Identify says that there is one, and is refused elsewhere.
cache=6
if [ $((vwc & 1)) -eq 0 ]; then
    cache=
    check_fails "get-feature 6 without a volatile cache is refused" nvme get-feature "$CONTROLLER" -f 6
fi
for feature in 1 2 4 5 $cache 7 8 9 0xa 0xb; do
    # Error Recovery belongs to a namespace; the others to the controller.
    namespace=0
    [ "$feature" = 5 ] && namespace=1
    check "get-feature $feature" nvme get-feature "$CONTROLLER" -f "$feature" -n "$namespace"
    expect_output 'Current value'
    check "get-feature $feature in words" nvme get-feature "$CONTROLLER" -f "$feature" -n "$namespace" -H
    if [ $((oncs & 0x10)) -ne 0 ]; then
        check "get-feature $feature, its default" nvme get-feature "$CONTROLLER" -f "$feature" -n "$namespace" -s 1
        check "get-feature $feature, what can be done with it" nvme get-feature "$CONTROLLER" -f "$feature" -n "$namespace" -s 3
    fi
done
check_fails "a feature that nobody has is refused" nvme get-feature "$CONTROLLER" -f 0xbf
# A feature that is set is then read as it was set. (Over temperature, composite sensor: 350 K.)
check "temperature threshold set" nvme set-feature "$CONTROLLER" -f 4 -V 0x15e
check "temperature threshold read" nvme get-feature "$CONTROLLER" -f 4
expect_output '0*x*0*15e'

heading "registers"
check "show-regs" nvme show-regs "$CONTROLLER"
expect_output 'cap *:'
[ $(($(field csts) & 3)) -eq 1 ] || fail "csts is $(field csts): not ready, or fatal"
[ $(($(field cc) & 1)) -eq 1 ] || fail "cc is $(field cc): not enabled"
[ $(($(field version))) -eq "$version" ] || fail "register VS is $(field version), id-ctrl says $version"
check "show-regs in words" nvme show-regs "$CONTROLLER" -H

heading "I/O commands"
count=8
start=$((count * 1024))
bytes=$((block * count))
dd if=/dev/urandom of=/tmp/data bs="$block" count="$count" 2>/dev/null
dd if=/dev/urandom of=/tmp/other bs="$block" count="$count" 2>/dev/null
dd if=/dev/zero of=/tmp/zeroes bs="$block" count="$count" 2>/dev/null
put() { nvme write "$DEVICE" -s "$start" -c $((count - 1)) -z "$bytes" -d "$1"; }
get() { nvme read "$DEVICE" -s "$start" -c $((count - 1)) -z "$bytes" -d /tmp/back; }
compare() { nvme compare "$DEVICE" -s "$start" -c $((count - 1)) -z "$bytes" -d "$1"; }
same() { cmp /tmp/back "$1"; }

check "write" put /tmp/data
check "read" get
check "read gives what was written" same /tmp/data
check "compare with equal data" compare /tmp/data
check_fails "compare with different data" compare /tmp/other
expect_output 'Compare Failure'
# One different byte, and that at the very end.
cp /tmp/data /tmp/nearly
printf '\377' | dd of=/tmp/nearly bs=1 seek=$((bytes - 1)) conv=notrunc 2>/dev/null
cmp -s /tmp/data /tmp/nearly && printf '\0' | dd of=/tmp/nearly bs=1 seek=$((bytes - 1)) conv=notrunc 2>/dev/null
check_fails "compare with one different byte" compare /tmp/nearly
check "compare changed nothing" compare /tmp/data
check "write with FUA" nvme write "$DEVICE" -s "$start" -c $((count - 1)) -z "$bytes" -d /tmp/other --force-unit-access
check "it was written" compare /tmp/other
check "flush" nvme flush "$DEVICE"
check "write-zeroes" nvme write-zeroes "$DEVICE" -s "$start" -c $((count - 1))
check "read" get
check "zeroes read back" same /tmp/zeroes
check "write" put /tmp/data
check "deallocate" nvme dsm "$DEVICE" -d -s "$start" -b "$count"
check "deallocated blocks can be read" get
# A controller may keep the data or give it up; if it gives it up, blocks read as it promised.
if ! cmp -s /tmp/back /tmp/data; then
    case $deallocated_reads in
    1) check "deallocated blocks read as zeroes" same /tmp/zeroes ;;
    2) [ "$(tr -d '\377' </tmp/back | wc -c)" -eq 0 ] || fail "deallocated blocks do not read as FFh" ;;
    esac
fi
check "a write heals deallocated blocks" put /tmp/other
check "and it reads back" compare /tmp/other
if [ $((oncs & 0x2)) -ne 0 ]; then
    check "write-uncor" nvme write-uncor "$DEVICE" -s "$start" -c $((count - 1))
    check_fails "uncorrectable blocks cannot be read" get
    expect_output 'Unrecovered Read Error'
    check "a write makes them readable" put /tmp/data
    check "and it reads back" compare /tmp/data
fi
if [ $((oncs & 0x100)) -ne 0 ]; then
    check "write" put /tmp/data
    check "copy" nvme copy "$DEVICE" --sdlba=$((start + 4 * count)) --slbs="$start,$start" --blocks=$((count - 1)),0
    start=$((start + 4 * count))
    check "the copy is what was copied" compare /tmp/data
fi
check_fails "a read beyond the end is refused" nvme read "$DEVICE" -s "$blocks" -c 0 -z "$block" -d /tmp/back
expect_output 'LBA'

heading "counters"
check "smart-log" nvme smart-log "$CONTROLLER"
[ "$(field host_write_commands)" -gt "$writes_before" ] || fail "the write counter did not move from $writes_before"
[ "$(field host_read_commands)" -gt "$reads_before" ] || fail "the read counter did not move from $reads_before"
say "ok: the counters moved: reads $reads_before to $(field host_read_commands), writes $writes_before to $(field host_write_commands)"
