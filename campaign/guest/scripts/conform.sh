# The guest's half of `brownout conform`: it does what is typed on the console, one order in a line, and says what came of it in a line
# that begins with "guest:". It judges nothing: what is right the drive can tell.
#
#   attach            wait for the disk, say how large the kernel takes it to be, and read its first block
#   copy BYTES BLOCK  copy the first BYTES of the disk to the BYTES behind them, BLOCK at a time, four copies at once
#   write COUNT       write and flush so many numbered records, and say how many were acknowledged
#   load SECONDS      read and write at random with verification
#   trim              deallocate the second half of the disk, and read it
#   resets COUNT      so many controller resets during a load
#   nvme ARGUMENTS    nvme-cli
#   rescan            remove the function, look for it again, and attach
#   heard EVENT TIMES the kernel has told user space of this event (completion dword 0), so many times by now
#   logs              read the logs that events are about
#   kexec             start another kernel, which shuts devices down first
#   crash             fail under load, so that the crash kernel starts
#   state             what the kernel makes of the controller
#   off               switch the machine off
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

done_with() { echo "guest: done $1 $2"; }

# The namespace that is judged; others may be found before it.
find_disk() {
    for place in /sys/block/nvme*n*; do
        [ "$(cat "$place/nsid" 2>/dev/null)" = "$NSID" ] || continue
        DEVICE=/dev/${place##*/}
        CONTROLLER=${DEVICE%n*}
        return 0
    done
    return 1
}

is_there() { find_disk && [ -b "$DEVICE" ] && [ "$(blockdev --getsize64 "$DEVICE")" != 0 ]; }
attach() {
    if ! soon "${ATTACH_TENTHS:-600}" is_there; then
        echo "guest: there are $(ls -ld /dev/nvme* /sys/block/nvme* 2>&1)"
        return 1
    fi
    for place in /sys/block/nvme*n*; do
        [ -r "$place/nsid" ] || continue
        echo "guest: disk $(cat "$place/nsid") blocks $(cat "$place/size") of 512, logical $(cat "$place/queue/logical_block_size")"
    done
    QUEUE=/sys/block/${DEVICE#/dev/}/queue
    dd if="$DEVICE" of=/dev/null bs=64k count=1 iflag=direct 2>/dev/null
}

# copy_part BLOCK FROM TO BYTES
copy_part() {
    dd if="$DEVICE" of="$DEVICE" bs="$1" skip="$2" seek="$3" count="$4" conv=notrunc,fsync \
        iflag=direct,skip_bytes,count_bytes oflag=direct,seek_bytes 2>"/tmp/dd.$2"
}

# copy BYTES BLOCK
copy() {
    # A disk that is gone does not come back as a file.
    [ -b "$DEVICE" ] || { echo "guest: $DEVICE is no disk: $(ls -ld /dev/nvme* 2>&1)"; return 1; }
    part=$(($1 / 4))
    pids=
    for number in 0 1 2 3; do
        copy_part "$2" $((number * part)) $(($1 + number * part)) $part &
        pids="$pids $!"
    done
    failed=0
    for pid in $pids; do wait "$pid" || failed=1; done
    [ $failed = 0 ] || cat /tmp/dd.*
    sync
    blockdev --flushbufs "$DEVICE"
    return $failed
}

# write COUNT
write() {
    disk_fio --name=write --ioengine=pvsync2 --rw=write --bs=4k --offset=24M --size=$(($1 * 4096)) \
        --fdatasync=1 >/tmp/write.out 2>&1 && grep -q 'err= 0' /tmp/write.out && return 0
    cat /tmp/write.out
    return 1
}

# load SECONDS
load() {
    disk_fio --name=load --ioengine=io_uring --rw=randrw --bs=4k --iodepth=16 --offset=16M --size=8M \
        --randrepeat=0 --time_based --runtime="$1" --verify=crc32 --verify_fatal=1 >/tmp/load.out 2>&1 &&
        grep -q 'err= 0' /tmp/load.out && return 0
    cat /tmp/load.out
    return 1
}

trim() {
    size=$(blockdev --getsize64 "$DEVICE")
    blkdiscard -o $((size / 2)) -l $((size / 2)) "$DEVICE" && dd if="$DEVICE" of=/tmp/trimmed bs=64k count=1 \
        skip=$((size / 2)) iflag=direct,skip_bytes 2>/dev/null
}

# A load in the background, which has begun. An fio that comes up as the disk goes takes it for a file to be, and removes the next disk of
# that name to make it.
requests() { awk '{ print $1 + $5 }' "/sys/block/${DEVICE#/dev/}/stat"; }
has_begun() { [ "$(requests)" -gt "$requests_before" ]; }
begin_load() {
    requests_before=$(requests)
    load 600 &
    load_pid=$!
    soon 600 has_begun
}

no_fio() { ! pgrep fio >/dev/null; }
end_load() {
    kill "$load_pid" 2>/dev/null
    pkill fio 2>/dev/null
    wait "$load_pid" 2>/dev/null
    soon 600 no_fio
}

resets() {
    begin_load || return 1
    number=0
    while [ "$number" -lt "$1" ]; do
        number=$((number + 1))
        nvme reset "$CONTROLLER" >/dev/null 2>&1
        sleep 0.0"$((number % 10))"
    done
    end_load
}

rescan() {
    for function in /sys/bus/pci/devices/*; do
        [ "$(cat "$function/class")" = 0x010802 ] && echo 1 >"$function/remove"
    done
    echo 1 >/sys/bus/pci/rescan
    attach
}

# heard EVENT TIMES
was_heard() { [ "$(grep -c "^$1$" /tmp/events)" = "$2" ]; }
heard() {
    soon 100 was_heard "$1" "$2" && return 0
    cat /tmp/events
    return 1
}

logs() {
    nvme error-log "$CONTROLLER" -e 4 >/dev/null && nvme smart-log "$CONTROLLER" >/dev/null &&
        nvme changed-ns-list-log "$CONTROLLER" >/dev/null && nvme fw-log "$CONTROLLER" >/dev/null
}

# successor OPTION... : another kernel and this initramfs, for kexec
successor() {
    cat /sys/firmware/initrd >/tmp/initrd &&
        kexec -s "$@" /vmlinuz --initrd=/tmp/initrd --append="$(sed 's/crashkernel=[^ ]*//' /proc/cmdline) $SUCCESSOR_WORDS"
}

# Neither comes back if it succeeds.
hand_over() {
    case $1 in
    kexec) SUCCESSOR_WORDS= && successor -l && rm /tmp/initrd && kexec -e ;;
    crash)
        SUCCESSOR_WORDS="maxcpus=1 reset_devices" && successor -p && rm /tmp/initrd || return 1
        begin_load >/dev/null 2>&1 || return 1
        echo "guest: failing on purpose"
        echo c >/proc/sysrq-trigger
        ;;
    esac
}

state() {
    for controller in /sys/class/nvme/nvme*; do
        [ -r "$controller/state" ] && echo "guest: state $(cat "$controller/state")"
    done
    return 0
}

# What the kernel tells user space of.
: >/tmp/events
# shellcheck disable=SC2016
printf '#!/bin/sh\n[ -z "$NVME_AEN" ] || echo "$NVME_AEN" >>/tmp/events\n' >/tmp/told
chmod 755 /tmp/told
uevent /tmp/told >/dev/null 2>&1 </dev/null &
echo "guest: ready"
while read -r order arguments; do
    # shellcheck disable=SC2086
    case $order in
    attach | copy | write | load | trim | resets | rescan | heard | logs | state | nvme) $order $arguments >/tmp/order.out 2>&1 ;;
    kexec | crash) hand_over $order ;;
    off) break ;;
    *) echo "guest: unknown $order" && continue ;;
    esac
    status=$?
    cat /tmp/order.out
    done_with "$order" $status
done
exit 0
