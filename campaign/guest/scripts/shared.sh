# One of two guests that share a namespace: each writes its HALF (0 or 1) and reads the other's. The test on the other side says when.
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

wait_for_device
half_bytes=$((16 << 20))
own=$((HALF * half_bytes))
other=$((half_bytes - own))
job() {
    job_half=$1 job_offset=$2
    shift 2
    disk_fio --name="half$job_half" --ioengine=libaio --bs=16k --iodepth=8 --offset="$job_offset" --size=16M --verify=pattern \
        --verify_pattern="0xb$job_half" "$@" </dev/null
}
check "own half written" job "$HALF" "$own" --rw=write --do_verify=0
echo "shared: written"
read -r _
check "the other's half read" job "$((1 - HALF))" "$other" --rw=read --verify_fatal=1
echo "shared: read"
read -r _
# Until the other one is killed, and some time after: this guest notices nothing of it.
number=0
until [ -e /tmp/enough ]; do
    number=$((number + 1))
    check "round $number of writing" disk_fio --name=load --ioengine=libaio --rw=randwrite --bs=4k --iodepth=8 --offset="$own" --size=4M \
        --randrepeat=0 --verify=crc32 --do_verify=1 --verify_fatal=1
    [ "$number" -lt 5 ] || touch /tmp/enough
    echo "shared: round $number"
done
