#!/bin/sh
# brownout's agent: the guest's half of `brownout crash --guest --load`, in a machine that brownout starts, and in one that it does not. It
# takes orders from a port, one in a line, and answers on it. Owns: that a load runs until power goes, that nothing of it is left afterwards,
# that the drive is found again, and what load and check said. It judges nothing.
#
# usage: agent.sh [PORT]     as root; PORT is a character device: /dev/ttyS1, /dev/vport1p1.
# Without PORT it is the virtio-serial port of the name brownout.agent.
#
# It takes sh, cat, chmod, cut, dmesg, grep, head, ls, mktemp, rm, sed, sleep, sort, tail, tr, umount, uniq and wc, of busybox or of others;
# and modprobe, setsid and stty where they are needed. Its files are in TMPDIR, or in /tmp: scripts must be executable there.
#
#   file NAME        a file of this name begins: load, check, setup, acks
#   data TEXT        and goes on, as printf's %b has it
#   set NAME TEXT    a variable for the scripts; or for the agent: LOAD_SECONDS, after which a load that has not begun is stuck
#   setup            run the set-up, and let the drive go
#   load             find the drive, start the load, and say when it has written to the witness that its set-up is done
#   acks             power is gone: say what was acknowledged
#   cut              the same, and end everything of the load, until nothing knows the drive any more
#   check            find the drive again, and run the check over it
#   leave            let the drive go: it will hold something else
#   stop             let the drive go, and end
#
# Each is answered: "done", at last. Before that, "said TEXT" for people, "code N" for what a script ended with, "running" where a load has
# begun, "ack TEXT" for each line that was acknowledged, and those lines of the check that begin with found, illegal and mark. "failed TEXT"
# is the end of the agent; "ready" is its beginning.
#
# What the load writes to the second namespace is there only until the next write; it appends the same line to the file $ACKS, but after
# the drive has said that it has it.
# shellcheck shell=sh

SERIAL=brownout-crash

say() { printf '%s\n' "$*" >&3; }
# Lines of what is read, each behind a word.
said() { sed "s/^/${1:-said} /" >&3; }
fail() {
    say "failed $*"
    exit 1
}

# The port that QEMU has by this name.
find_port() {
    for port in /sys/class/virtio-ports/*; do
        [ "$(cat "$port/name" 2>/dev/null)" = brownout.agent ] && PORT=/dev/${port##*/} && return
    done
    return 1
}

# Where the function is; its controller and its namespaces may be called otherwise each time they are found. The machine may have drives of
# its own.
find_disks() {
    FUNCTION=
    for controller in /sys/class/nvme/nvme*; do
        [ -r "$controller/address" ] && read -r serial <"$controller/serial" && [ "$serial" = "$SERIAL" ] || continue
        FUNCTION=$(cat "$controller/address")
    done
    [ -n "$FUNCTION" ] || return 1
    namespaces=/sys/bus/pci/devices/$FUNCTION/nvme
    IMAGE=$(disk 1 "$namespaces"/nvme*/nvme*n*) && WITNESS=$(disk 2 "$namespaces"/nvme*/nvme*n*) && [ -b "$IMAGE" ] && [ -b "$WITNESS" ]
}

attach() {
    find_disks && return
    echo 1 >/sys/bus/pci/rescan
    soon 600 find_disks || fail "there is no drive with the serial number $SERIAL, or not its two namespaces"
}

# detach WHO : nothing knows the drive any more.
detach() {
    [ -n "$FUNCTION" ] && [ -e "/sys/bus/pci/devices/$FUNCTION" ] || return 0
    release "$IMAGE" 50 || fail "$1 keeps the drive busy"
    echo 1 >"/sys/bus/pci/devices/$FUNCTION/remove"
}

# run SCRIPT LOG WORD... : in the folder, with the drive in its environment; then its code, and what it said if that is not 0.
run() {
    run_script=$1
    run_log=$2
    shift 2
    run_before=$(dmesg 2>/dev/null | wc -l)
    (export IMAGE WITNESS && cd "$FOLDER" && exec "./$run_script" "$@") >"$run_log" 2>&1 </dev/null 3>&-
    code=$?
    if [ $code != 0 ]; then
        tail -n 60 "$run_log" | said
        dmesg 2>/dev/null | sed "1,${run_before}d" | tail -n 40 | said
    fi
}

setup() {
    attach
    (unset ACKS && export PART=setup && run setup "$FOLDER/setup.log" "$IMAGE" && say "code $code")
    detach "the set-up"
}

# Seconds since the machine was started. On a busy host, a tenth of a second of sleep may take several.
seconds() {
    read -r seconds_up _ </proc/uptime
    echo "${seconds_up%.*}"
}

# The processes of the load: a server that it has started has the same mark in its environment, or something of the drive open.
of_load() {
    grep -l "BROWNOUT_LOAD=$MARK" /proc/[0-9]*/environ 2>/dev/null | cut -d / -f 3
    of_load_point=$(mount_point "$IMAGE") || return 0
    ls -ld /proc/[0-9]*/cwd /proc/[0-9]*/fd/* 2>/dev/null |
        sed -n "s|.* /proc/\([0-9]*\)/[^ ]* -> $of_load_point\(/.*\)\{0,1\}\$|\1|p" | sort -u
}

# A thread of the kernel does not mind.
all_gone() {
    all_gone_left=$(of_load)
    for process in $all_gone_left; do
        kill -KILL "$process" 2>/dev/null
    done
    [ -z "$all_gone_left" ]
}

# Why a load does not come up: what it said, and where each of its threads is.
tell_why() {
    [ ! -e "$ACKS" ] || cat "$ACKS"
    for process in $(of_load); do
        process=/proc/$process
        echo "process ${process##*/}: $(tr '\0' ' ' <"$process/cmdline" | cut -c -120)"
        for thread in "$process"/task/*; do
            waits=$(head -n 3 "$thread/stack" | tr '\n' ' ')
            echo "  $(sed -n 's/^State:[[:space:]]*//p' "$thread/status") $(cat "$thread/wchan"): $waits"
        done 2>/dev/null | sort | uniq -c
    done
    head -n 3 /proc/meminfo
    tail -n 20 "$FOLDER"/*.log
    dmesg | tail -n 20
}

# Whether the load is through with its set-up, whose own line comes first; then what is tried.
has_begun() { [ -s "$ACKS" ] && [ "$(wc -l <"$ACKS")" -ge 2 ]; }
has_ended() { ! kill -0 "$STARTED" 2>/dev/null; }

load() {
    attach
    rm -f "$ACKS"
    # What session it is in does not matter where there is no setsid.
    new_session=$(command -v setsid)
    # shellcheck disable=SC2086  # nothing, or one word
    (
        export IMAGE WITNESS BROWNOUT_LOAD="$MARK"
        [ ! -e "$FOLDER/setup" ] || export PART=load
        cd "$FOLDER" && exec $new_session ./load
    ) >"$FOLDER/load.log" 2>&1 </dev/null 3>&- &
    STARTED=$!
    end=$(($(seconds) + ${LOAD_SECONDS:-600}))
    until has_begun; do
        # What has ended has said all that it says.
        if [ "$(seconds)" -gt $end ] || { has_ended && ! has_begun; }; then
            tell_why 2>&1 | said
            return
        fi
        sleep 0.1
    done
    say running
}

# A reset finds that registers read as all ones: the driver then looks for answers that came without an interrupt, and fails whatever else
# is under way, instead of waiting until it is overdue. The load notes what it was told just before power went, and ends as it fails.
acks() {
    for controller in "/sys/bus/pci/devices/$FUNCTION"/nvme/nvme*; do
        echo 1 >"$controller/reset_controller" 2>/dev/null
    done
    soon 20 has_ended
    [ ! -e "$ACKS" ] || said ack <"$ACKS"
}

lose() {
    acks
    soon 50 all_gone
    wait
    release "$IMAGE" 50 || {
        dmesg | tail -n 20 | said
        while point=$(mount_point "$IMAGE"); do
            umount -l "$point" || break
        done
    }
    echo 1 >"/sys/bus/pci/devices/$FUNCTION/remove"
}

check() {
    attach
    [ -e "$ACKS" ] || : >"$ACKS"
    run check "$FOLDER/check.log" "$IMAGE" "$ACKS"
    sed -n -e '/^found /p' -e '/^illegal /p' -e '/^mark /p' "$FOLDER/check.log" >&3
    release "$IMAGE" 50 || fail "the check keeps the drive busy"
    say "code $code"
}

# file NAME : what comes from the other side.
file() {
    case $1 in
    load | check | setup | acks) ;;
    *) fail "there is no file $1" ;;
    esac
    FILE=$FOLDER/$1
    : >"$FILE" && chmod 700 "$FILE" || fail "cannot write to $FOLDER"
}

# assign NAME TEXT
assign() {
    case $1 in
    '' | [0-9]* | *[!A-Za-z0-9_]*) fail "$1 is no name of a variable" ;;
    esac
    export "$1=$(printf '%b' "$2")"
}

serve() {
    while read -r order word rest <&3; do
        case $order in
        file) file "$word" ;;
        data) printf '%b' "$word" >>"$FILE" || fail "cannot write to $FOLDER" ;;
        set) assign "$word" "$rest" ;;
        setup) setup ;;
        load) load ;;
        acks) acks ;;
        cut) lose ;;
        check) check ;;
        leave) attach && detach "the check" ;;
        stop) break ;;
        *) fail "there is no order $order" ;;
        esac
        say "done"
    done
    detach "somebody"
    say "done"
}

main() {
    PORT=${1:-$PORT}
    modprobe virtio_console 2>/dev/null
    [ -n "$PORT" ] || find_port || { echo "there is no virtio-serial port brownout.agent: give another port" >&2 && exit 2; }
    [ -c "$PORT" ] || { echo "$PORT is no character device" >&2 && exit 2; }
    FOLDER=$(mktemp -d "${TMPDIR:-/tmp}/brownout.XXXXXX") || exit 2
    trap 'rm -rf "$FOLDER"' EXIT
    export ACKS="$FOLDER/acks"
    MARK=$$-$(seconds)
    exec 3<>"$PORT"
    # A terminal would say again what it hears.
    stty raw -echo <&3 2>/dev/null
    # Debian's general kernel has the driver as a module.
    modprobe nvme 2>/dev/null
    attach
    say ready
    serve
}
