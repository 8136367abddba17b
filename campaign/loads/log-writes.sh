#!/bin/sh
# Puts the kernel's dm-log-writes under a load, to compare: it logs writes and flushes in the order in which the kernel sees them complete.
# In front of a load it makes one script with it, for `brownout qemu --exec --kernel stacks`; what the load tells its witness with dd has to
# go through here:
#
#   sed 's|dd of=|/tmp/marking-dd of=|' campaign/loads/sqlite.sh | cat campaign/loads/log-writes.sh - > logged.sh
#
# The log is on the third namespace; what the load writes to its witness is a mark in it. `cargo run --release -p brownout-tape --example
# log_writes` goes along the log, and has each of its states judged.

modprobe -a dm_mod dm_log_writes || exit 2
of() {
    for place in /sys/block/nvme*n*; do
        [ "$(cat "$place/nsid" 2>/dev/null)" = "$1" ] && echo "/dev/${place##*/}" && return
    done
    return 1
}
tried=0
until disk=$(of 1) && log=$(of 3) && [ -b "$disk" ] && [ -b "$log" ]; do
    tried=$((tried + 1))
    [ $tried -lt 300 ] || { echo "there are no three namespaces"; exit 2; }
    sleep 0.1
done
export DM_DISABLE_UDEV=1
mknod /dev/mapper/control c 10 236 2>/dev/null
echo "0 $(blockdev --getsz "$disk") log-writes $disk $log" | dmsetup create log || exit 2
# A load takes this disk.
IMAGE=/dev/mapper/log
trap 'umount /mnt 2>/dev/null; dmsetup remove log' EXIT

# A mark is one word.
cat >/tmp/marking-dd <<'DD'
#!/bin/sh
text=$(cat)
printf '%s\n' "$text" | dd "$@" || exit 1
dmsetup message log 0 mark "$(echo "$text" | tr ' ' _)"
DD
chmod 755 /tmp/marking-dd
