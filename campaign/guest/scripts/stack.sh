# The guest's half of `brownout crash --guest --load`: it does what the campaign types on the console, one order in a line, and says what
# came of it in lines that begin with "guest:". Owns: that a load runs until power goes, that nothing of it is left afterwards, that the
# drive is found again, and what the load said that it had done. It judges nothing.
#
#   setup    run /user-setup, and let the drive go
#   load     find the drive, start /user-load, and say when it has written to the witness that its set-up is done
#   cut      power is gone: say what was acknowledged, and end everything, until nothing knows the drive any more
#   acks     power is gone, and the machine will be: say what was acknowledged
#   check    find the drive again, and run /user-check over it
#   leave    let the drive go: it will hold something else
#   off      switch the machine off
#
# What the load writes to the second namespace is there only until the next write; it appends the same line to the file $ACKS, but after
# the drive has said that it has it, and so never after power is gone. A machine that is booted after power was gone gets it as /user-acks.
#
# A load that has not begun after LOAD_SECONDS is stuck.
#
# It may be in an initramfs of the user's own: it takes sh, sed, tail, wc, dmesg, setsid and what any system has.
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh
export ACKS=/tmp/acks

# Where the function is; its controller and its namespaces may be called otherwise each time they are found.
find_disks() {
    for controller in /sys/class/nvme/nvme*; do
        [ -r "$controller/address" ] && FUNCTION=$(cat "$controller/address") && break
    done
    [ -n "$FUNCTION" ] || return 1
    namespaces=/sys/bus/pci/devices/$FUNCTION/nvme
    IMAGE=$(disk 1 "$namespaces"/nvme*/nvme*n*) && WITNESS=$(disk 2 "$namespaces"/nvme*/nvme*n*) && [ -b "$IMAGE" ] && [ -b "$WITNESS" ]
}

attach() {
    [ -e "/sys/bus/pci/devices/$FUNCTION" ] || echo 1 >/sys/bus/pci/rescan
    soon 600 find_disks || fail "the drive did not come back"
}

# detach WHO : nothing knows the drive any more.
detach() {
    release "$IMAGE" 50 || fail "$1 keeps the drive busy"
    echo 1 >"/sys/bus/pci/devices/$FUNCTION/remove"
}

setup() {
    dmesg -c >/dev/null
    (unset ACKS && export PART=setup IMAGE WITNESS && cd /tmp && exec /user-setup "$IMAGE") >/tmp/setup.log 2>&1 </dev/null
    code=$?
    if [ $code != 0 ]; then
        tail -n 60 /tmp/setup.log
        dmesg -c | tail -n 20
    fi
    detach "the set-up"
    echo "guest: code $code"
    echo "guest: set-up"
}

# Seconds since the machine was started. On a busy host, a tenth of a second of sleep may take several.
seconds() {
    read -r seconds_up _ </proc/uptime
    echo "${seconds_up%.*}"
}

# Why a load does not come up: what it said, and where each of its threads is.
tell_why() {
    [ ! -e "$ACKS" ] || cat "$ACKS"
    for process in /proc/[0-9]*; do
        [ -n "$(cat "$process/cmdline" 2>/dev/null)" ] || continue
        echo "process ${process##*/}: $(tr '\0' ' ' <"$process/cmdline" | cut -c -120)"
        for thread in "$process"/task/*; do
            waits=$(head -n 3 "$thread/stack" | tr '\n' ' ')
            echo "  $(sed -n 's/^State:[[:space:]]*//p' "$thread/status") $(cat "$thread/wchan"): $waits"
        done 2>/dev/null | sort | uniq -c
    done
    head -n 3 /proc/meminfo
    tail -n 20 /tmp/*.log
    dmesg | tail -n 20
}

# Whether the load is through with its set-up, whose own line comes first; then what is tried.
has_begun() { [ -s "$ACKS" ] && [ "$(wc -l <"$ACKS")" -ge 2 ]; }

load() {
    attach
    rm -f "$ACKS"
    [ ! -e /user-setup ] || export PART=load
    (export IMAGE WITNESS && cd /tmp && exec setsid /user-load) >/tmp/load.log 2>&1 </dev/null &
    started=$!
    end=$(($(seconds) + ${LOAD_SECONDS:-600}))
    until has_begun; do
        # What has ended has said all that it says.
        if [ "$(seconds)" -gt $end ] || { ! kill -0 $started 2>/dev/null && ! has_begun; }; then
            tell_why
            echo "guest: loaded"
            return
        fi
        sleep 0.1
    done
    echo "guest: running"
    echo "guest: loaded"
}

has_ended() { ! kill -0 "$started" 2>/dev/null; }

# A reset finds that registers read as all ones: the driver then looks for answers that came without an interrupt, and fails whatever else is
# under way, instead of waiting until it is overdue. The load notes what it was told just before power went, and ends as it fails.
acks() {
    for controller in "/sys/bus/pci/devices/$FUNCTION"/nvme/nvme*; do
        echo 1 >"$controller/reset_controller" 2>/dev/null
    done
    soon 20 has_ended
    [ ! -e "$ACKS" ] || sed 's/^/guest: ack /' "$ACKS"
}

cut() {
    acks
    # The load, and servers that it has started; a thread of the kernel does not mind.
    for process in /proc/[0-9]*; do
        process=${process##*/}
        [ "$process" = 1 ] || [ "$process" = $$ ] || [ "$process" = $PPID ] || kill -KILL "$process" 2>/dev/null
    done
    wait
    release "$IMAGE" 50 || { umount -l /mnt; dmesg | tail -n 20; }
    echo 1 >"/sys/bus/pci/devices/$FUNCTION/remove"
    echo "guest: gone"
}

judge() {
    attach
    touch "$ACKS"
    dmesg -c >/dev/null
    (cd /tmp && exec /user-check "$IMAGE" "$ACKS") >/tmp/check.log 2>&1 </dev/null
    code=$?
    if [ $code != 0 ]; then
        tail -n 60 /tmp/check.log
        dmesg -c | tail -n 40
    fi
    release "$IMAGE" 50 || fail "the check keeps the drive busy"
    echo "guest: code $code"
    echo "guest: checked"
}

# The kernel tells of every loss; the console is for the campaign.
dmesg -n 1
stty -echo
# The general kernel has the driver as a module.
modprobe nvme 2>/dev/null
soon 600 find_disks || fail "the drive did not appear"
[ ! -e /user-acks ] || cp /user-acks "$ACKS"
echo "guest: ready"
while read -r order; do
    case $order in
    setup) setup ;;
    load) load ;;
    cut) cut ;;
    acks) acks && echo "guest: told" ;;
    check) judge ;;
    leave) detach "the check" && echo "guest: left" ;;
    off) exit 0 ;;
    esac
done
