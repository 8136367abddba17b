#!/bin/sh
# What the first process of `qemu --exec` runs in a guest with a kernel and an initramfs of the user's own: the script of a campaign. Owns:
# the root image in which the script runs, if there is one (BROWNOUT_ROOT is its device), and the marked lines by which the harness learns
# the result, as recipe/init has them.

run() { sh /test.sh; }

# The script and what goes with it are put into the image, of which nothing is kept.
enter_root() {
    modprobe -a virtio_pci virtio_blk 2>/dev/null
    tried=0
    until [ -b "$BROWNOUT_ROOT" ]; do
        tried=$((tried + 1))
        [ $tried -lt 600 ] || { echo "FAILED: there is no root image $BROWNOUT_ROOT: does the kernel have virtio_blk?"; return 1; }
        sleep 0.1
    done
    mkdir -p /brownout-root
    mounted=
    for type in ext4 xfs btrfs f2fs; do
        mount -t $type "$BROWNOUT_ROOT" /brownout-root 2>/dev/null && mounted=$type && break
    done
    [ -n "$mounted" ] || { echo "FAILED: $BROWNOUT_ROOT holds no ext4, XFS, btrfs or F2FS that this kernel mounts"; return 1; }
    for place in proc sys dev tmp run; do
        mkdir -p /brownout-root/$place && mount --bind /$place /brownout-root/$place || return 1
    done
    for file in /lib.sh /test.sh /user-*; do
        [ ! -e "$file" ] || cp "$file" /brownout-root/ || return 1
    done
    run() { chroot /brownout-root /bin/sh /test.sh; }
}

mkdir -p /mnt
read -r uptime _ </proc/uptime
echo "BROWNOUT-START: uptime $uptime kernel $(uname -r)"
# Variables for the script, from the harness.
# shellcheck source=/dev/null
[ ! -r /test.env ] || . /test.env
if [ -z "$BROWNOUT_ROOT" ] || enter_root; then
    run
    verdict=$?
else
    verdict=1
fi
# From here the kernel must not write into our lines.
dmesg -n 1
echo
echo "BROWNOUT-DMESG-BEGIN"
dmesg -r
echo "BROWNOUT-DMESG-END"
echo "BROWNOUT-VERDICT: $verdict"
exit $verdict
