# The guest's half of `brownout crash --tape --check-guest`: it runs /user-check over one image after the other. Owns: that nothing of the
# image before is remembered, and that the image is not in use when the next one is put up. It judges nothing.
#
#   check NUMBER BYTES   judge the image, of which so many bytes of text on the second namespace were acknowledged
#   off                  switch the machine off
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

find_disks() { IMAGE=$(disk 1 /sys/block/nvme*n*) && TEXT=$(disk 2 /sys/block/nvme*n*) && [ -b "$IMAGE" ] && [ -b "$TEXT" ]; }

# Who has it open, mounted or not, has what it held.
forget() {
    blockdev --flushbufs "$IMAGE" && blockdev --flushbufs "$TEXT" && echo 3 >/proc/sys/vm/drop_caches
}

# A number of bytes that the campaign keeps; a console is slow.
tell() {
    echo "guest: said"
    head -c "$1" /tmp/log
    echo
    echo "guest: all"
}

check() {
    forget
    head -c "$2" "$TEXT" >/tmp/acks
    dmesg -c >/dev/null
    (cd /tmp && exec /user-check "$IMAGE" /tmp/acks) >/tmp/log 2>&1 </dev/null
    code=$?
    if [ $code = 0 ]; then
        tell 4096
    else
        dmesg -c | tail -n 40 >>/tmp/log
        tell 65536
    fi
    # A checker that left something behind has judged; but what comes next would be an image of both.
    state=free
    release "$IMAGE" 20 && forget || state=busy
    echo "guest: judged $code $state, image $1;"
}

# The kernel's own lines would be among ours; what it said is told with a verdict.
dmesg -n 1
stty -echo
# The general kernel has the driver as a module.
modprobe nvme 2>/dev/null
soon 600 find_disks || fail "the drive did not appear"
echo "guest: ready"
while read -r order first second; do
    case $order in
    check) check "$first" "$second" ;;
    off) exit 0 ;;
    esac
done
