#!/bin/sh
# A load for SQLite, for `brownout qemu --exec`: a database on ext4 on the first namespace; each transaction that has committed is
# acknowledged to the second namespace, the witness. `check-sqlite.sh` wants each of them to be there.
#
# MODE (delete, truncate, persist, wal), SYNC (normal, full, extra) and ROUNDS come from the kernel's command line:
# --append 'MODE=wal SYNC=full'.
#
# As a set-up and a load (crash --guest, --setup and --load with this script) it runs in two parts: PART is setup, or load.

MODE=${MODE:-delete}
SYNC=${SYNC:-full}
ROUNDS=${ROUNDS:-50}

disk() {
    for place in /sys/block/nvme*n*; do
        [ "$(cat "$place/nsid" 2>/dev/null)" = "$1" ] && echo "/dev/${place##*/}" && return
    done
    return 1
}

tried=0
until IMAGE=${IMAGE:-$(disk 1)} && WITNESS=${WITNESS:-$(disk 2)} && [ -b "$IMAGE" ] && [ -b "$WITNESS" ]; do
    tried=$((tried + 1))
    [ $tried -lt 300 ] || { echo "there are no two namespaces"; exit 2; }
    sleep 0.1
done

fail() { echo "$*"; exit 1; }
cat >/tmp/say <<SAY
#!/bin/sh
printf '%s\n' "\$*" | dd of="$WITNESS" bs=4096 count=1 conv=sync oflag=direct 2>/dev/null || exit 1
[ -z "$ACKS" ] || echo "\$*" >>"$ACKS"
SAY
chmod 755 /tmp/say

mkdir -p /mnt
[ "$PART" = load ] || mkfs.ext4 -q -F "$IMAGE" || fail mkfs.ext4
mount -t ext4 "$IMAGE" /mnt || fail mount
[ "$PART" = load ] || sqlite3 /mnt/db "PRAGMA journal_mode=$MODE; CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT);" || fail "no database"
sync
[ "$PART" != setup ] || exit 0
/tmp/say "made $MODE $SYNC"
{
    echo "PRAGMA journal_mode=$MODE;"
    echo "PRAGMA synchronous=$SYNC;"
    round=0
    while [ $round -lt "$ROUNDS" ]; do
        round=$((round + 1))
        # Rows of a page's half: a transaction touches several pages.
        echo "BEGIN; INSERT INTO t VALUES ($round, printf('%.*c', 2000, 'x')); UPDATE t SET text = text WHERE n % 7 = $round % 7;"
        echo ".shell /tmp/say try $round"
        echo "COMMIT;"
        echo ".shell /tmp/say did $round"
    done
} | sqlite3 -bail /mnt/db || fail "SQLite"
echo "$ROUNDS transactions, journal_mode=$MODE, synchronous=$SYNC"
