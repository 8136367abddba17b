# What a coarse indirection unit costs, read from inside: random 4-KiB writes, then SMART's data units written beside the bytes that the
# drive's own page (OCP, C0h) says were programmed. Prints KEY=VALUE lines; the test judges.
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

wait_for_device

# The first sixteen bytes of the page are a little-endian number; eight of them are enough here.
programmed_bytes() {
    nvme get-log "$CONTROLLER" --log-id=0xc0 --log-len=512 --raw-binary >/tmp/ocp || fail "the OCP page cannot be read"
    od -A n -t u8 -N 8 /tmp/ocp | tr -d ' '
}
data_units_written() {
    nvme smart-log "$CONTROLLER" >/tmp/smart || fail "nvme smart-log"
    sed -n 's/^[Dd]ata [Uu]nits [Ww]ritten[^:]*: *\([0-9,]*\).*/\1/p' /tmp/smart | tr -d ,
}

programmed_before=$(programmed_bytes)
units_before=$(data_units_written)
# Each block of 4 KiB once, in random order: neighbours in a unit come far apart.
fio_job scattered --ioengine=libaio --iodepth=16 --rw=randwrite --bs=4k --size=32M --end_fsync=1
echo "programmed_bytes=$(($(programmed_bytes) - programmed_before))"
echo "data_units_written=$(($(data_units_written) - units_before))"
echo "written_bytes=$((32 * 1024 * 1024))"
