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
