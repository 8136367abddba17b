# Namespaces are made, attached, used, formatted, detached and deleted by nvme-cli, ROUNDS of them at random, while a load with verify goes
# on over another one. Nothing fails that should not, space is accounted for after each, and the kernel follows by itself.
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

CONTROLLER=/dev/nvme0
ROUNDS=${ROUNDS:-12}
SEED=${SEED:-1}
echo "ROUNDS=$ROUNDS SEED=$SEED"

# below N : the next random number below N, in $drawn
state=$SEED
below() {
    state=$(((state * 1103515245 + 12345) % 2147483648))
    drawn=$((state / 65536 % $1))
}

field() { sed -n "s/^$1 *: *\([0-9a-fx]*\).*/\1/p" | head -n 1; }
allocated() { nvme list-ns "$CONTROLLER" --all | sed -n 's/.*:\(0x[0-9a-f]*\)$/\1/p'; }

# accounted : TNVMCAP is what the namespaces have and what none has
accounted() {
    nvme id-ctrl "$CONTROLLER" >/tmp/controller || return 1
    sum=$(field unvmcap </tmp/controller)
    for each in $(allocated); do
        taken=$(nvme id-ns "$CONTROLLER" --namespace-id="$each" --force | field nvmcap) || return 1
        sum=$((sum + taken))
    done
    [ "$sum" = "$(field tnvmcap </tmp/controller)" ] || { echo "$sum of $(field tnvmcap </tmp/controller) bytes"; return 1; }
}

# disk_of NSID : the kernel's disk of a namespace, in $disk
disk_of() {
    for block in /sys/block/nvme0n*; do
        [ "$(cat "$block/nsid" 2>/dev/null)" = "$1" ] && disk=/dev/${block##*/} && [ -b "$disk" ] && return 0
    done
    return 1
}
no_disk_of() { ! disk_of "$1"; }
blocks_are() { disk_of "$1" && [ "$(cat "/sys/block/${disk#/dev/}/queue/logical_block_size")" = "$2" ]; }

load() {
    while [ ! -e /tmp/enough ]; do
        disk_fio --name=load --ioengine=libaio --iodepth=8 --rw=randwrite --bs=4k --size=4M --verify=crc32 --do_verify=1 \
            --verify_fatal=1 >/tmp/load.out 2>&1 </dev/null || return 1
    done
}

used() {
    dd if=/dev/urandom of=/tmp/data bs=65536 count=1 2>/dev/null &&
        dd if=/tmp/data of="$disk" bs=65536 oflag=direct conv=fsync 2>/dev/null &&
        dd if="$disk" of=/tmp/back bs=65536 count=1 iflag=direct 2>/dev/null && cmp /tmp/data /tmp/back
}
empty() { [ "$(head -c 65536 "$disk" | tr -d '\000' | wc -c)" = 0 ]; }

wait_for_device
check "the controller list" nvme list-ctrl "$CONTROLLER"
check "the granularity of namespaces" nvme id-ns-granularity "$CONTROLLER"
check "all is accounted for" accounted
formats=$(nvme id-ns "$DEVICE" | field nlbaf)
[ "$formats" -ge 3 ] || fail "there are $formats formats and one"
load &
load=$!

round=0
while [ "$round" -lt "$ROUNDS" ]; do
    round=$((round + 1))
    heading "round $round"
    below $((formats + 1))
    format=$drawn
    below 40
    bytes=$(((drawn + 1) * 262144))
    shift=$(nvme id-ns "$DEVICE" | sed -n "s/^lbaf *$format *:.*lbads:\([0-9]*\).*/\1/p")
    blocks=$((bytes >> shift))
    nvme create-ns "$CONTROLLER" --nsze=$blocks --ncap=$blocks --flbas="$format" >/tmp/made 2>&1 || { cat /tmp/made; fail "create-ns"; }
    nsid=$(sed -n 's/.*created nsid: *\([0-9]*\).*/\1/p' /tmp/made)
    check "namespace $nsid of $bytes bytes, format $format" accounted
    check "not attached yet" no_disk_of "$nsid"
    check "attach" nvme attach-ns "$CONTROLLER" --namespace-id="$nsid" --controllers=0
    check_fails "attach again" nvme attach-ns "$CONTROLLER" --namespace-id="$nsid" --controllers=0
    # Formats with metadata are another test's: the kernel makes of some no disk that can be used.
    for plain in 0 2; do
        erase=$((plain / 2))
        check "format $plain, erase $erase" nvme format "$CONTROLLER" --namespace-id="$nsid" --lbaf=$plain --ses=$erase --force
        size=$((1 << $(nvme id-ns "$DEVICE" | sed -n "s/^lbaf *$plain *:.*lbads:\([0-9]*\).*/\1/p")))
        soon 300 blocks_are "$nsid" "$size" || {
            cd /sys/block && grep . nvme*/nsid nvme*/queue/logical_block_size
            fail "no disk of namespace $nsid has blocks of $size"
        }
        check "empty" empty
        check "used" used
    done
    check "format $format" nvme format "$CONTROLLER" --namespace-id="$nsid" --lbaf="$format" --force
    check "accounted for" accounted
    check "detach" nvme detach-ns "$CONTROLLER" --namespace-id="$nsid" --controllers=0
    soon 300 no_disk_of "$nsid" || fail "the disk of namespace $nsid stays"
    # Now and then two are there, and the one made first goes first.
    below 3
    if [ "$drawn" != 0 ] || [ "$(allocated | wc -l)" -ge 6 ]; then
        check "delete" nvme delete-ns "$CONTROLLER" --namespace-id="$nsid"
    fi
    check "accounted for afterwards" accounted
done
touch /tmp/enough
wait $load || { cat /tmp/load.out; fail "the load met an error"; }
check_fails "more than there is" nvme create-ns "$CONTROLLER" --nsze=0x1000000 --ncap=0x1000000 --flbas=0
echo "namespaces: $ROUNDS rounds"
