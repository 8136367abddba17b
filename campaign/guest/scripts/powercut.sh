# The second act of `make demo`, the guest's half: with PHASE=write it fills two namespaces with old data and then writes new data over it,
# 16 KiB at a time, until the drive is gone; with PHASE=look another boot says what is there.
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

# Sixty-four writes of four blocks of 4 KiB, all of it lines of one word.
BYTES=1048576

are_there() {
    FIRST=$(disk 1 /sys/block/nvme*n*) && SECOND=$(disk 2 /sys/block/nvme*n*) && [ -b "$FIRST" ] && [ -b "$SECOND" ]
}
soon 600 are_there || fail "the drive did not appear within 60 s"
dmesg -n 1

# pattern NSID DEVICE : each write as what its four blocks hold, and how many writes look like that.
pattern() {
    head -c $BYTES "$2" | awk '
        (NR - 1) % 1024 == 0 { first = $0 }
        $0 != first { print "BROKEN: within block " int((NR - 1) / 1024) " there is " first " and " $0; broken = 1; exit }
        NR % 1024 == 0 {
            words = words (words == "" ? "" : "/") first
            if (++blocks == 4) { count[words]++; words = ""; blocks = 0 }
        }
        END { if (!broken) for (words in count) printf "PATTERN %s %d %s\n", nsid, count[words], words }
    ' nsid="$1" -
}

if [ "${PHASE:-}" = look ]; then
    pattern 1 "$FIRST"
    pattern 2 "$SECOND"
    exit 0
fi

for word in old new; do
    yes $word | head -c $BYTES >/tmp/$word
done
for device in "$FIRST" "$SECOND"; do
    dd if=/tmp/old of="$device" bs=1M oflag=direct conv=fsync 2>/dev/null || fail "cannot write to $device"
done
echo "READY TO WRITE"
read -r _
# Side by side; neither comes to its end.
dd if=/tmp/new of="$FIRST" bs=16k oflag=direct 2>/dev/null &
dd if=/tmp/new of="$SECOND" bs=16k oflag=direct 2>/dev/null
wait
fail "power was to go before the end"
