#!/bin/sh
# The first process of a guest of `brownout qemu --exec`, in whatever initramfs the user has. Owns: the mounts that any script expects,
# drivers that are modules, running /brownout-script, and telling its exit code on the second serial port. What is there already, or
# cannot be had in this initramfs, is passed over: the script will say what it misses.

export PATH="${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" HOME=/root TERM="${TERM:-dumb}"

exec 3>&2 2> /dev/null
mkdir -p /proc /sys /dev /tmp /run /root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
for alias in /sys/bus/pci/devices/*/modalias; do
    [ -r "$alias" ] && modprobe "$(cat "$alias")"
done
[ -c /dev/ttyS1 ] || mknod /dev/ttyS1 c 4 65
# Lines of the script end as they do in a pipe.
stty -opost < /dev/console
exec 2>&3
/brownout-script 3>&-
code=$?
exec 2> /dev/null
echo "$code" > /dev/ttyS1
sync
# With -no-reboot both of them end QEMU.
poweroff -f || reboot -f || echo o > /proc/sysrq-trigger
sleep 1000
