# The guest's half of `brownout crash --guest --load`: it does what the campaign types on the console, one order in a line, and says what
# came of it in lines that begin with "guest:". Owns: that a load runs until power goes, that nothing of it is left afterwards, that the
# drive is found again, and what the load said that it had done. It judges nothing.
#
#   load     start /user-load, and say when it has written to the witness that its set-up is done
#   cut      power is gone: end everything, until nothing knows the drive any more
#   check    find the drive again, and run /user-check over it
#   off      switch the machine off
#
# What the load writes to the second namespace is there only until the next write; it appends the same line to the file $ACKS, but after
# the drive has said that it has it, and so never after power is gone.
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

load() {
    rm -f "$ACKS"
    (cd /tmp && exec setsid /user-load) >/tmp/load.log 2>&1 </dev/null &
    started=$!
    waited=0
    # The set-up's own line comes first, then what is tried.
    until [ -s "$ACKS" ] && [ "$(wc -l <"$ACKS")" -ge 2 ]; do
        waited=$((waited + 1))
        if [ $waited -gt 2400 ] || ! kill -0 $started 2>/dev/null; then
            [ ! -e "$ACKS" ] || cat "$ACKS"
            tail -n 20 /tmp/load.log
            dmesg | tail -n 20
            echo "guest: loaded"
            return
        fi
        sleep 0.1
    done
    echo "guest: running"
    echo "guest: loaded"
}

# A reset finds that registers read as all ones: the driver then fails what is under way, instead of waiting until it is overdue.
cut() {
    for controller in "/sys/bus/pci/devices/$FUNCTION"/nvme/nvme*; do
        nvme reset "/dev/${controller##*/}" >/dev/null 2>&1
    done
    # The load, and servers that it has started; a thread of the kernel does not mind.
    for process in /proc/[0-9]*; do
        process=${process##*/}
        [ "$process" = 1 ] || [ "$process" = $$ ] || kill -KILL "$process" 2>/dev/null
    done
    wait
    [ ! -e "$ACKS" ] || sed 's/^/guest: ack /' "$ACKS"
    release "$IMAGE" || { umount -l /mnt; dmesg | tail -n 20; }
    echo 1 >"/sys/bus/pci/devices/$FUNCTION/remove"
    echo "guest: gone"
}

# release DISK : what is mounted of it goes, the last first.
release() {
    while point=$(awk -v disk="$1" '$1 == disk { point = $2 } END { print point }' /proc/mounts) && [ -n "$point" ]; do
        umount "$point" 2>/dev/null || soon 50 umount "$point" 2>/dev/null || return 1
    done
}

judge() {
    [ -e "/sys/bus/pci/devices/$FUNCTION" ] || echo 1 >/sys/bus/pci/rescan
    soon 600 find_disks || fail "the drive did not come back"
    touch "$ACKS"
    dmesg -c >/dev/null
    (cd /tmp && exec /user-check "$IMAGE" "$ACKS") >/tmp/check.log 2>&1 </dev/null
    code=$?
    if [ $code != 0 ]; then
        tail -n 60 /tmp/check.log
        dmesg -c | tail -n 40
    fi
    release "$IMAGE" || fail "the check keeps the drive busy"
    echo "guest: code $code"
    echo "guest: checked"
}

# The kernel tells of every loss; the console is for the campaign.
dmesg -n 1
stty -echo
# The general kernel has the driver as a module.
modprobe nvme 2>/dev/null
soon 600 find_disks || fail "the drive did not appear"
echo "guest: ready"
while read -r order; do
    case $order in
    load) load ;;
    cut) cut ;;
    check) judge ;;
    off) exit 0 ;;
    esac
done
