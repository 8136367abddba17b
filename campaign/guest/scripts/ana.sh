# One drive with two controllers in one guest: a verified load runs on the one disk while the test on the other side changes the state of
# either path's access. Each line that comes names the states that the kernel is to show, of path 0 and of path 1; "done" is the last.
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

[ "$(cat /sys/module/nvme_core/parameters/multipath)" = Y ] || fail "this kernel has no multipath"
# path_of CNTLID : the controller's folder in /sys
path_of() { grep -lx "$1" /sys/class/nvme/nvme*/cntlid 2>/dev/null | sed 's|/cntlid||'; }
# state_of CNTLID : the state of its path as the kernel has it
state_of() { cat "$(path_of "$1")"/nvme*c*n1/ana_state 2>/dev/null; }
states_are() { [ "$(state_of 0) $(state_of 1)" = "$1" ]; }
appeared() { set -- /sys/block/nvme[0-9]n1 && [ -b "/dev/${1##*/}" ]; }
soon 600 states_are "optimized optimized" || fail "the states are $(state_of 0) $(state_of 1)"
soon 600 appeared || fail "there is no disk: $(ls /sys/block)"
set -- /sys/block/nvme[0-9]n[0-9]
[ "$#" = 1 ] || fail "not one disk: $*"
DEVICE=/dev/${1##*/}

load() {
    round=0
    until [ -e /tmp/stop ]; do
        round=$((round + 1))
        if ! disk_fio --name=load --ioengine=libaio --rw=randwrite --bs=4k --iodepth=8 --size=8M --randrepeat=0 --verify=crc32 \
            --do_verify=1 --verify_fatal=1 </dev/null >/tmp/load.out 2>&1 ||
            ! grep -q 'err= 0' /tmp/load.out; then
            echo "round $round" >/tmp/load.failed
            return
        fi
        echo "$round" >/tmp/load.rounds
    done
}
load &
load_pid=$!
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
touch /tmp/stop
wait "$load_pid"
if [ -e /tmp/load.failed ]; then
    cat /tmp/load.out
    fail "the load failed in $(cat /tmp/load.failed), at state $number"
fi
[ -s /tmp/load.rounds ] || fail "the load did not finish a single round"
say "ok: $number states of two paths, $(cat /tmp/load.rounds) rounds of load written and verified"
