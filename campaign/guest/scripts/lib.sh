# Functions shared by the guest's test scripts; the harness puts this file into every guest as /lib.sh.
# Owns: how a script fails (at the first surprise, with one line that says which), how it waits for the device, and how
# it runs fio. What is in device.sh is before it. Reads variables that the harness may set:
#   DEVICE      block device (default /dev/nvme0n1)       CONTROLLER  its controller (default /dev/nvme0)
# shellcheck shell=sh

DEVICE=${DEVICE:-/dev/nvme0n1}
CONTROLLER=${CONTROLLER:-/dev/nvme0}
QUEUE=/sys/block/${DEVICE#/dev/}/queue

# Busybox prefers its own versions of these, which lack options; the real ones are meant everywhere. (The initramfs of a user's own has
# what it has.)
[ ! -x /usr/sbin/blkdiscard ] || blkdiscard() { /usr/sbin/blkdiscard "$@"; }
[ ! -x /usr/sbin/blockdev ] || blockdev() { /usr/sbin/blockdev "$@"; }
[ ! -x /usr/sbin/fstrim ] || fstrim() { /usr/sbin/fstrim "$@"; }

say() { echo "$*"; }
heading() { printf '\n== %s\n' "$*"; }
fail() {
    echo "FAILED: $*"
    exit 1
}

# check DESCRIPTION COMMAND... : the command must succeed; its output is shown only when it does not.
check() {
    check_description=$1
    shift
    if ! "$@" >/tmp/check.out 2>&1; then
        cat /tmp/check.out
        fail "$check_description: $*"
    fi
    say "ok: $check_description"
}

# check_fails DESCRIPTION COMMAND... : the command must fail, in an ordinary way (not by a signal, not for want of a program).
check_fails() {
    check_description=$1
    shift
    "$@" >/tmp/check.out 2>&1
    check_status=$?
    if [ $check_status -eq 0 ] || [ $check_status -ge 126 ]; then
        cat /tmp/check.out
        fail "$check_description: expected a failure, got exit code $check_status: $*"
    fi
    say "ok: $check_description"
}

# expect_output TEXT : the output of the last check must contain the text (a basic regular expression).
expect_output() {
    if ! grep -q "$1" /tmp/check.out; then
        cat /tmp/check.out
        fail "$check_description: its output has no '$1'"
    fi
}

# The kernel finds controllers and namespaces in the background.
wait_for_device() { soon 600 [ -b "$DEVICE" ] || fail "$DEVICE did not appear within 60 s"; }

block_size() { cat "$QUEUE/logical_block_size"; }

# fio on the disk. A disk that is gone does not come back as a file.
disk_fio() { fio --filename="$DEVICE" --allow_file_create=0 --direct=1 --eta=never "$@"; }

# fio_job NAME OPTION... : runs one fio job on the device; every error that fio counts, and every verification that it
# did not do, is a failure. Leaves the result in /tmp/NAME.fio (terse version 3).
fio_job() {
    fio_name=$1
    shift
    if ! disk_fio --name="$fio_name" --output-format=normal "$@" >"/tmp/$fio_name.fio" 2>&1; then
        cat "/tmp/$fio_name.fio"
        fail "fio $fio_name"
    fi
    if ! grep -q 'err= 0' "/tmp/$fio_name.fio" || grep -q -E 'err= *[1-9]|verify: bad|crc32: verify failed' "/tmp/$fio_name.fio"; then
        cat "/tmp/$fio_name.fio"
        fail "fio $fio_name reported errors"
    fi
}

# begin_rounds FIO_OPTION... : rounds of random writes that are verified, in the background, each complete, until end_rounds. A round that
# fails says so in a file, because a background job has no other way to.
begin_rounds() {
    rm -f /tmp/stop /tmp/load.failed /tmp/load.rounds
    write_rounds "$@" &
    load_pid=$!
}

write_rounds() {
    load_round=0
    until [ -e /tmp/stop ]; do
        load_round=$((load_round + 1))
        if ! disk_fio --name=load --rw=randwrite --bs=4k --size=8M --randrepeat=0 --verify=crc32 --do_verify=1 --verify_fatal=1 "$@" \
            </dev/null >/tmp/load.out 2>&1 ||
            ! grep -q 'err= 0' /tmp/load.out; then
            echo "round $load_round" >/tmp/load.failed
            return
        fi
        echo "$load_round" >/tmp/load.rounds
    done
}

# end_rounds WHEN : no round has failed, which would have been at WHEN, and one was finished.
end_rounds() {
    touch /tmp/stop
    wait "$load_pid"
    if [ -e /tmp/load.failed ]; then
        cat /tmp/load.out
        fail "the load failed in $(cat /tmp/load.failed), at $1"
    fi
    [ -s /tmp/load.rounds ] || fail "the load did not finish a single round"
}

# What a test of several paths in one guest needs.
need_multipath() { [ "$(cat /sys/module/nvme_core/parameters/multipath)" = Y ] || fail "this kernel has no multipath"; }
# path_of CNTLID : the controller's folder in /sys
path_of() { grep -lx "$1" /sys/class/nvme/nvme*/cntlid 2>/dev/null | sed 's|/cntlid||'; }
# find_one_disk : the paths have one disk, which has the number of the controller that came up first.
find_one_disk() {
    soon 600 disk_appeared || fail "there is no disk: $(ls /sys/block)"
    set -- /sys/block/nvme[0-9]n[0-9]
    [ "$#" = 1 ] && [ "$(cat "$1/nsid")" = 1 ] || fail "not one disk: $*"
    DEVICE=/dev/${1##*/}
}
disk_appeared() { set -- /sys/block/nvme[0-9]n1 && [ -b "/dev/${1##*/}" ]; }

# fio_iops NAME read|write : the IOPS line of a finished job.
fio_iops() { sed -n "s/^ *$2: IOPS=\([^,]*\),.*/\1/p" "/tmp/$1.fio" | head -n 1; }

drop_caches() {
    sync
    echo 3 >/proc/sys/vm/drop_caches
}

# make_tree : files to copy to a file system, in /tmp/tree, with their checksums in /tmp/tree.sums: the guest's own programs
# and libraries, some 30 MiB in many sizes (the largest stay out for the emulator's sake), and a hundred tiny files.
make_tree() {
    mkdir -p /tmp/tree/large /tmp/tree/many/deep/down
    find /usr /etc -type f -size -2000k | while read -r tree_file; do
        cp "$tree_file" "/tmp/tree/large/$(echo "$tree_file" | tr / _)"
    done
    tree_number=0
    while [ $tree_number -lt 100 ]; do
        echo "file $tree_number of many" >"/tmp/tree/many/deep/down/$tree_number"
        tree_number=$((tree_number + 1))
    done
    : >/tmp/tree/empty
    (cd /tmp/tree && find . -type f | sort | xargs md5sum >/tmp/tree.sums) || fail "cannot make the tree of files"
}
# compare_tree : the copy in /mnt/tree is equal
compare_tree() { (cd /mnt/tree && md5sum -c /tmp/tree.sums); }
