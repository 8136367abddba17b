# A block that cannot be read, from when the test on the other side says so until it is written.
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

# block NUMBER : reads it from the drive
block() { dd if="$DEVICE" of=/dev/null bs=4k skip="$1" count=1 iflag=direct; }

wait_for_device
check "a block is written" dd if=/dev/zero of="$DEVICE" bs=4k seek=100 count=1 oflag=direct
echo "medium: fault"
read -r _
check_fails "reading it" block 100
check "reading its neighbour" block 101
check "the kernel calls it an error of the medium" eval "dmesg | grep 'critical medium error, dev ${DEVICE##*/}, sector 800'"
check "the drive counts it" eval "nvme smart-log $CONTROLLER | grep '^media_errors[[:space:]]*: [1-9]'"
check "the error log names it" eval "nvme error-log $CONTROLLER -e 1 | grep '^lba[[:space:]]*: 0x64'"
check "writing it" dd if=/dev/zero of="$DEVICE" bs=4k seek=100 count=1 oflag=direct
check "reading it again" block 100
