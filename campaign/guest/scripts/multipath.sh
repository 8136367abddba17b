# One drive with two controllers in one guest: the kernel's own multipath makes one disk of them. A verified load runs on it while a path
# goes and comes back, ROUNDS times (default 10).
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

rounds=${ROUNDS:-10}
need_multipath

# paths : the live controllers, by their identifiers
paths() { for one in /sys/class/nvme/nvme*; do [ "$(cat "$one/state" 2>/dev/null)" = live ] && cat "$one/cntlid"; done | sort; }
both() { [ "$(paths | tr '\n' ' ')" = "0 1 " ]; }
alone() { [ "$(paths | tr '\n' ' ')" = "$1 " ]; }

soon 600 both || fail "the paths are $(paths)"
nvme list-subsys >/tmp/subsys
cat /tmp/subsys
[ "$(grep -c '^nvme-subsys' /tmp/subsys)" = 1 ] || fail "more than one subsystem"
[ "$(grep -c ' live' /tmp/subsys)" = 2 ] || fail "not two live paths"
find_one_disk
say "ok: one subsystem, two paths, one disk"

begin_rounds --ioengine=libaio --iodepth=8
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
end_rounds "round $number"
say "ok: $number times a path went and came back, $(cat /tmp/load.rounds) rounds of load written and verified"

# What one path takes away, the other still has: nothing is reset but the controller that is meant.
check "a reset of one path" nvme reset "/dev/$(basename "$(path_of 0)")"
soon 300 both || fail "the paths are $(paths)"
