#!/bin/sh
# Judges an image that `postgresql.sh` has left: PostgreSQL recovers it, and every row is as the last of the transactions that are there
# has left it: each that was acknowledged is, and none that was not tried.
#
# usage: check-postgresql.sh IMAGE ACKS
# IMAGE is a device, which is mounted (brownout crash --tape --check-guest --kernel stacks), or a file with ext4, from which e2fsck and
# debugfs take the database (brownout crash --tape --check): that needs no guest, and is faster. PostgreSQL is the one of the stacks' guest.

fs=$(sed -n 's/^made //p' "$2")
[ -n "$fs" ] || exit 0 # there was no database yet

fail() { echo "$2"; exit "$1"; }

scratch=$(mktemp -d)
chmod 755 "$scratch"
if [ -b "$1" ]; then
    mkdir -p /mnt
    mount -t "$fs" "$1" /mnt || fail 2 mount
    trap 'umount /mnt; rm -rf "$scratch"' EXIT
    folder=/mnt/db
    single() { su database -c "postgres --single -j -D $folder -c max_connections=5 template1"; }
else
    [ "$fs" = ext4 ] || fail 7 "$fs cannot be judged without a guest: use --check-guest"
    PATH=${BROWNOUT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/brownout}/stacks/bin:$PATH
    trap 'rm -rf "$scratch"' EXIT
    e2fsck -fy "$1" >/dev/null 2>&1
    [ $? -le 1 ] || fail 2 "more than the journal had to be repaired"
    debugfs -R "rdump /db $scratch" "$1" 2>/dev/null
    folder=$scratch/db
    chown -R "$(id -u):$(id -g)" "$folder" || fail 2 "there is no folder db"
    # PostgreSQL refuses to run as root; nobody can enter root's folders.
    if [ "$(id -u)" = 0 ]; then
        single() { unshare --user --map-user=65534 --map-group=65534 postgres --single -j -D "$folder" template1; }
    else
        single() { postgres --single -j -D "$folder" template1; }
    fi
fi

# Rows by the table and, once more, by its index.
single >"$scratch/said" 2>"$scratch/log" <<'SQL' || { tail -n 20 "$scratch/log"; fail 3 "PostgreSQL does not recover"; }
COPY (SELECT 'row', n, v, text = repeat(chr(97 + v % 26), 400) FROM t) TO STDOUT (DELIMITER ' ');

SET enable_seqscan = off;

COPY (SELECT 'count', count(n) FROM t WHERE n > 0) TO STDOUT (DELIMITER ' ');

SQL
grep -E "ERROR|FATAL|PANIC" "$scratch/log" && fail 3 "PostgreSQL finds damage"

awk -v did="$(sed -n 's/^did //p' "$2" | tail -n 1)" -v try="$(sed -n 's/^try //p' "$2" | tail -n 1)" '
    function bad(code, text) { print text; exit failed = code }
    # Its prompt is in front of what comes first.
    { sub(/^(backend> )+/, "") }
    $1 == "row" { if ($2 in v) bad(4, "row " $2 " is there twice"); v[$2] = $3; text[$2] = $4; rows++; if ($2 > last) last = $2 }
    $1 == "count" { count = $2 }
    END {
        if (failed) exit failed
        found = last - 100
        if (rows != last || rows < 100) bad(4, rows " rows, and the last is " last)
        if (count != rows) bad(4, rows " rows, of which the index has " count)
        if (found < did + 0) bad(5, "transaction " did " was acknowledged, and " found " is the last that is there")
        if (found > try + 0) bad(6, "transaction " found " is there, and " try + 0 " is the last that was tried")
        for (n = 1; n <= last; n++) {
            first = n > 100 ? n - 100 : 0
            # The last transaction that has changed this row.
            expected = first
            for (k = found; k > first; k--) if (k % 7 == n % 7) { expected = k; break }
            if (v[n] != expected || text[n] != "t")
                bad(4, "row " n " is of transaction " v[n] ", and transaction " expected " has changed it")
        }
    }' "$scratch/said" || exit $?
