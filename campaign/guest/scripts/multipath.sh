# One drive with two controllers in one guest: the kernel's own multipath makes one disk of them. A verified load runs on it while a path
# goes and comes back, ROUNDS times (default 10).
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

rounds=${ROUNDS:-10}
[ "$(cat /sys/module/nvme_core/parameters/multipath)" = Y ] || fail "this kernel has no multipath"

# paths : the live controllers, by their identifiers
paths() { for one in /sys/class/nvme/nvme*; do [ "$(cat "$one/state" 2>/dev/null)" = live ] && cat "$one/cntlid"; done | sort; }
both() { [ "$(paths | tr '\n' ' ')" = "0 1 " ]; }
alone() { [ "$(paths | tr '\n' ' ')" = "$1 " ]; }
# path_of CNTLID : the controller's folder in /sys
path_of() { grep -lx "$1" /sys/class/nvme/nvme*/cntlid 2>/dev/null | sed 's|/cntlid||'; }

# The disk has the number of the controller that came up first.
appeared() { set -- /sys/block/nvme[0-9]n1 && [ -b "/dev/${1##*/}" ]; }
soon 600 both || fail "the paths are $(paths)"
soon 600 appeared || fail "there is no disk: $(ls /sys/block)"
nvme list-subsys >/tmp/subsys
cat /tmp/subsys
[ "$(grep -c '^nvme-subsys' /tmp/subsys)" = 1 ] || fail "more than one subsystem"
[ "$(grep -c ' live' /tmp/subsys)" = 2 ] || fail "not two live paths"
set -- /sys/block/nvme[0-9]n[0-9]
[ "$#" = 1 ] && [ "$(cat "$1/nsid")" = 1 ] || fail "not one disk: $*"
DEVICE=/dev/${1##*/}
say "ok: one subsystem, two paths, one disk"

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
number=0
while [ "$number" -lt "$rounds" ] && [ ! -e /tmp/load.failed ]; do
    gone=$((number % 2))
    kept=$((1 - gone))
    number=$((number + 1))
    device=$(readlink -f "$(path_of "$gone")/device")
    echo 1 >"$device/remove"
    soon 300 alone "$kept" || fail "round $number: the paths are $(paths)"
    sleep 0.5
    echo 1 >/sys/bus/pci/rescan
    soon 600 both || { dmesg | tail -n 30; fail "round $number: path $gone does not come back: $(paths)"; }
done
touch /tmp/stop
wait "$load_pid"
if [ -e /tmp/load.failed ]; then
    cat /tmp/load.out
    fail "the load failed in $(cat /tmp/load.failed), at round $number"
fi
[ -s /tmp/load.rounds ] || fail "the load did not finish a single round"
say "ok: $number times a path went and came back, $(cat /tmp/load.rounds) rounds of load written and verified"

# What one path takes away, the other still has: nothing is reset but the controller that is meant.
check "a reset of one path" nvme reset "/dev/$(basename "$(path_of 0)")"
soon 300 both || fail "the paths are $(paths)"
