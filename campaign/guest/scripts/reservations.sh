# One drive with two controllers in one guest that takes them for two disks (nvme_core.multipath=N): two hosts, each with a name, reserve
# its namespace by nvme-cli, and the kernel's reads and writes find out.
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

[ "$(cat /sys/module/nvme_core/parameters/multipath)" = N ] || fail "this kernel has multipath, and one disk"

# device_of CNTLID : the controller with this identifier, nvme0 or nvme1
device_of() { grep -lx "$1" /sys/class/nvme/nvme*/cntlid 2>/dev/null | sed 's|/cntlid||; s|.*/||'; }
both() { one=$(device_of 0) two=$(device_of 1) && [ -b "/dev/${one}n1" ] && [ -b "/dev/${two}n1" ]; }
soon 600 both || fail "there are no two disks: $(ls /sys/block /sys/class/nvme)"
A=/dev/${one}n1
B=/dev/${two}n1

check "identify the namespace" nvme id-ns "$A" -H
expect_output 'rescap *: 0xfe'

# host CONTROLLER BYTE : the host's name, 128 bits
host() {
    printf "\\$2AAAAAAAAAAAAAAA" >/tmp/hostid
    check "a name for the host of $1" nvme set-feature "$1" --feature-id=0x81 --value=1 --data-len=16 --data=/tmp/hostid
}
host "/dev/$one" 101
host "/dev/$two" 102
check "its name again" nvme get-feature "/dev/$one" --feature-id=0x81 --cdw11=1 --data-len=16
printf 'XAAAAAAAAAAAAAAA' >/tmp/hostid
check_fails "another name" nvme set-feature "/dev/$one" --feature-id=0x81 --value=1 --data-len=16 --data=/tmp/hostid
expect_output "[Ss]equence"

register() { nvme resv-register "$1" --namespace-id=1 --crkey="$2" --nrkey="$3" --rrega="$4" --cptpl=0; }
acquire() { nvme resv-acquire "$1" --namespace-id=1 --crkey="$2" --prkey="$3" --rtype="$4" --racqa="$5"; }
release() { nvme resv-release "$1" --namespace-id=1 --crkey="$2" --rtype="$3" --rrela="$4"; }
report() { nvme resv-report "$1" --namespace-id=1 --eds; }
reads() { dd if="$1" of=/dev/null bs=4096 count=1 iflag=direct; }
writes() { dd if=/dev/zero of="$1" bs=4096 count=1 oflag=direct conv=fsync; }

check_fails "acquire without a key" acquire "$A" 0xa 0 2 0
check "register the first host" register "$A" 0 0xa 0
check "register the second host" register "$B" 0 0xb 0
check_fails "persistence is not offered" nvme resv-register "$A" --namespace-id=1 --crkey=0xa --nrkey=0xa --rrega=0 --cptpl=3
check "exclusive access" acquire "$A" 0xa 0 2 0
check_fails "only one holds it" acquire "$B" 0xb 0 2 0
check "report" report "$B"
expect_output 'rtype *: 2'
expect_output 'regctl *: 2'
expect_output 'rkey *: a$'
expect_output 'rkey *: b$'
expect_output 'hostid *: 41414141414141414141414141414141'
check "the holder reads" reads "$A"
check "the holder writes" writes "$A"
check_fails "the other reads" reads "$B"
check_fails "the other writes" writes "$B"

check "release" release "$A" 0xa 2 0
check "the other reads when it is released" reads "$B"
check "write exclusive, registrants only" acquire "$A" 0xa 0 3 0
check "a registrant writes" writes "$B"
check "preempt and abort" acquire "$B" 0xb 0xa 1 2
check "report after it" report "$A"
expect_output 'rtype *: 1'
expect_output 'regctl *: 1'
check "who was preempted hears of it" nvme resv-notif-log "/dev/$one"
expect_output '1 (Registration Preempted)'
check "and reads" reads "$A"
check_fails "but does not write" writes "$A"

# A reset of the holder's controller takes its name, not what it holds.
check "a reset" nvme reset "/dev/$two"
soon 300 both || fail "the controller does not come back"
check_fails "the first host still does not write" writes "$A"
host "/dev/$two" 102
check "the holder is itself again" writes "$B"
check "clear" release "$B" 0xb 0 1
check "all write" writes "$A"
say "ok: reservations"
