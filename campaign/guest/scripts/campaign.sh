# The guest's half of `brownout crash --guest`: it does what the campaign types on the console, one order in a line, and says what came
# of it in lines that begin with "guest:". It judges nothing.
#
#   make              a file system on each of namespaces 1 (XFS) and 3 (ext4 with bigalloc), with a file of whole records
#   load FS PASS      write: fio with RWF_ATOMIC into the file system's file, two writers into the slots of namespace 2
#   cut               power is gone: end everything, until nothing knows the drive any more
#   check FS          find the drive again, and say what it holds
#   repair            let the file systems' own tools look
#   off               switch the machine off
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

# One write at a time in each of the load's threads: fio's asynchronous engines mark a sync as atomic too, which the kernel refuses.
RECORDS="--filename=/mnt/records --size=4M --bs=16k --direct=1 --ioengine=pvsync2 --thread --eta=never --randrepeat=0
    --verify=crc64 --verify_header_seed=0 --verify_write_sequence=0"

# Where the function is; its controller and its namespaces may be called otherwise each time they are found.
find_function() {
    for controller in /sys/class/nvme/nvme*; do
        [ -r "$controller/address" ] && FUNCTION=$(cat "$controller/address") && return
    done
    return 1
}

find_disks() {
    find_function || return 1
    namespaces=/sys/bus/pci/devices/$FUNCTION/nvme
    XFS=$(disk 1 "$namespaces"/nvme*/nvme*n*) && RAW=$(disk 2 "$namespaces"/nvme*/nvme*n*) && EXT4=$(disk 3 "$namespaces"/nvme*/nvme*n*)
}

wait_for_disks() {
    waited=0
    until find_disks && [ -b "$XFS" ] && [ -b "$RAW" ] && [ -b "$EXT4" ]; do
        waited=$((waited + 1))
        [ "$waited" -lt 1200 ] || fail "the drive did not appear"
        sleep 0.05
    done
}

mount_records() {
    case $1 in
    xfs) mount -t xfs "$XFS" /mnt ;;
    ext4) mount -t ext4 "$EXT4" /mnt ;;
    esac || { echo "guest: broken $1 cannot be mounted"; return 1; }
}

make_all() {
    check "XFS with blocks of 16 KiB" mkfs.xfs -q -f -b size=16384 "$XFS"
    check "ext4 with clusters of 16 KiB" mkfs.ext4 -q -F -O bigalloc -C 16384 "$EXT4"
    for fs in xfs ext4; do
        mount_records $fs || fail "mount $fs"
        # shellcheck disable=SC2086
        check "records on $fs" fio --name=make --rw=write $RECORDS --do_verify=0 --atomic=1 --end_fsync=1
        check "unmounted" umount /mnt
    done
    yes "p000000 w000000" | head -c 131072 >/tmp/zero
    check "slots" xfs_io -d -s -c "pwrite -q -i /tmp/zero -b 16k 0 128k" "$RAW"
}

# Writes stamped slots until something fails: writer 1 so that they must be there, writer 2 with a flush now and then. "try" is said
# before, "did" after; what is on the console was said. (xfs_io takes -A and -D, RWF_ATOMIC and RWF_DSYNC, with -V only.)
slots() {
    number=$1
    while [ ! -e /tmp/stop ]; do
        number=$((number + 2))
        slot=$((number * 5 / 2 % 8))
        printf 'p%06d w%06d\n' "$PASS" "$number" >"/tmp/stamp$1"
        yes "$(cat "/tmp/stamp$1")" | head -c 16384 >"/tmp/data$1"
        if [ "$1" = 1 ]; then
            echo "guest: force $number $slot" >/dev/console
            xfs_io -d -c "pwrite -q -V 1 -A -D -i /tmp/data1 -b 16k $((slot * 16384)) 16384" "$RAW" >/dev/null 2>&1 || break
        else
            echo "guest: try $number $slot" >/dev/console
            xfs_io -d -c "pwrite -q -V 1 -A -i /tmp/data2 -b 16k $((slot * 16384)) 16384" "$RAW" >/dev/null 2>&1 || break
        fi
        echo "guest: did $number" >/dev/console
        if [ "$1" = 2 ] && [ $((number % 3)) = 0 ]; then
            echo "guest: flush $((number + 500000))" >/dev/console
            nvme flush "$RAW" >/dev/null 2>&1 || break
            echo "guest: did $((number + 500000))" >/dev/console
        fi
    done
}

load() {
    PASS=$2
    rm -f /tmp/stop
    mount_records "$1" || { echo "guest: loaded"; return; }
    # shellcheck disable=SC2086
    fio --name=load --rw=randwrite $RECORDS --do_verify=0 --atomic=1 --numjobs=4 --fdatasync=24 --time_based --runtime=3600 \
        </dev/null >/tmp/load.fio 2>&1 &
    slots 1 </dev/null &
    slots 2 </dev/null &
    echo "guest: loaded"
}

# A reset finds that registers read as all ones: the driver then fails what is under way, instead of waiting until it is overdue.
cut() {
    touch /tmp/stop
    for controller in "/sys/bus/pci/devices/$FUNCTION"/nvme/nvme*; do
        nvme reset "/dev/${controller##*/}" >/dev/null 2>&1
    done
    killall -q -KILL fio
    wait
    umount /mnt 2>/dev/null || umount -l /mnt
    echo 1 >"/sys/bus/pci/devices/$FUNCTION/remove"
    echo "guest: gone"
}

check_all() {
    [ -e "/sys/bus/pci/devices/$FUNCTION" ] || echo 1 >/sys/bus/pci/rescan
    wait_for_disks
    dd if="$RAW" bs=128k count=1 iflag=direct 2>/dev/null | uniq -c | while read -r count words; do
        echo "guest: slots $count $words"
    done
    if mount_records "$1"; then
        # shellcheck disable=SC2086
        fio --name=check --rw=read $RECORDS --continue_on_error=verify >/tmp/check.fio 2>&1
        sed -n 's/^.*verify failed at file .* offset \([0-9]*\).*$/guest: torn \1/p' /tmp/check.fio
        grep -q 'issued rwts: total=256,' /tmp/check.fio || { cat /tmp/check.fio; echo "guest: broken not every record was read"; }
        umount /mnt
    fi
    echo "guest: checked"
}

repair() {
    xfs_repair -n "$XFS" >/tmp/repair.out 2>&1 || { cat /tmp/repair.out; echo "guest: broken xfs_repair finds damage"; }
    e2fsck -fn "$EXT4" >/tmp/repair.out 2>&1 || { cat /tmp/repair.out; echo "guest: broken e2fsck finds damage"; }
    echo "guest: repaired"
}

# The kernel tells of every loss; the console is for the campaign.
dmesg -n 1
wait_for_disks
echo "guest: ready"
while read -r order first second; do
    case $order in
    make) make_all && echo "guest: made" ;;
    load) load "$first" "$second" ;;
    cut) cut ;;
    check) check_all "$first" ;;
    repair) repair ;;
    off) exit 0 ;;
    esac
done
