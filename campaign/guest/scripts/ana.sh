# One drive with two controllers in one guest: a verified load runs on the one disk while the test on the other side changes the state of
# either path's access. Each line that comes names the states that the kernel is to show, of path 0 and of path 1; "done" is the last.
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

need_multipath
# state_of CNTLID : the state of its path as the kernel has it
state_of() { cat "$(path_of "$1")"/nvme*c*n1/ana_state 2>/dev/null; }
states_are() { [ "$(state_of 0) $(state_of 1)" = "$1" ]; }
soon 600 states_are "optimized optimized" || fail "the states are $(state_of 0) $(state_of 1)"
find_one_disk

begin_rounds --ioengine=libaio --iodepth=8
echo "ana: ready"
number=0
while read -r wanted && [ "$wanted" != "done" ]; do
    number=$((number + 1))
    soon 300 states_are "$wanted" || fail "state $number: $(state_of 0) $(state_of 1), not $wanted"
    [ ! -e /tmp/load.failed ] || break
    sleep 0.2
    echo "ana: shown $number"
done
# What nvme-cli reads is what the kernel shows.
for path in 0 1; do
    nvme ana-log "/dev/$(basename "$(path_of "$path")")" >/tmp/ana || fail "nvme ana-log of path $path"
    cat /tmp/ana
    grep -qi "$(state_of "$path")" /tmp/ana || fail "nvme ana-log of path $path does not say $(state_of "$path")"
done
end_rounds "state $number"
say "ok: $number states of two paths, $(cat /tmp/load.rounds) rounds of load written and verified"
