#!/bin/sh
# Judges an image that `mariadb.sh` has left: InnoDB recovers it, and every row is as the last of the transactions that are there has left
# it: each that was acknowledged is, and none that was not tried.
#
# usage: check-mariadb.sh IMAGE ACKS
# IMAGE is a device, which is mounted (brownout crash --tape --check-guest --kernel stacks), or a file with ext4, from which e2fsck and
# debugfs take the database (brownout crash --tape --check): that needs no guest, and is faster. MariaDB is the one of the stacks' guest.

fs=$(sed -n 's/^made //p' "$2")
[ -n "$fs" ] || exit 0 # there was no database yet

fail() { echo "$2"; exit "$1"; }

scratch=$(mktemp -d)
if [ -b "$1" ]; then
    mkdir -p /mnt
    mount -t "$fs" "$1" /mnt || fail 2 mount
    trap 'umount /mnt; rm -rf "$scratch"' EXIT
    folder=/mnt/db
else
    [ "$fs" = ext4 ] || fail 7 "$fs cannot be judged without a guest: use --check-guest"
    PATH=${BROWNOUT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/brownout}/stacks/bin:$PATH
    trap 'rm -rf "$scratch"' EXIT
    e2fsck -fy "$1" >/dev/null 2>&1
    [ $? -le 1 ] || fail 2 "more than the journal had to be repaired"
    debugfs -R "rdump /db $scratch" "$1" 2>/dev/null
    folder=$scratch/db
    [ -d "$folder" ] || fail 2 "there is no folder db"
fi

# What a server would do first, without a server: recovery, then what is asked for. Rows by the table.
mariadbd --no-defaults --bootstrap --user=root --datadir="$folder" --skip-grant-tables --secure-file-priv= --innodb-log-file-size=4M \
    --innodb-buffer-pool-size=8M --innodb-undo-tablespaces=0 --aria-log-file-size=8388608 >"$scratch/log" 2>&1 <<SQL
SELECT n, v, text = REPEAT(CHAR(97 + v % 26), 400) INTO OUTFILE '$scratch/said' FIELDS TERMINATED BY ' ' FROM d.t;
SQL
code=$?
[ $code = 0 ] && [ -s "$scratch/said" ] || { grep -E 'ERROR|corrupt' "$scratch/log" | tail -n 20; fail 3 "MariaDB does not recover"; }

awk -v did="$(sed -n 's/^did //p' "$2" | tail -n 1)" -v try="$(sed -n 's/^try //p' "$2" | tail -n 1)" '
    function bad(code, text) { print text; exit failed = code }
    { if ($1 in v) bad(4, "row " $1 " is there twice"); v[$1] = $2; text[$1] = $3; rows++; if ($1 > last) last = $1 }
    END {
        if (failed) exit failed
        found = last - 100
        if (rows != last || rows < 100) bad(4, rows " rows, and the last is " last)
        if (found < did + 0) bad(5, "transaction " did " was acknowledged, and " found " is the last that is there")
        if (found > try + 0) bad(6, "transaction " found " is there, and " try + 0 " is the last that was tried")
        for (n = 1; n <= last; n++) {
            first = n > 100 ? n - 100 : 0
            # The last transaction that has changed this row.
            expected = first
            for (k = found; k > first; k--) if (k % 7 == n % 7) { expected = k; break }
            if (v[n] != expected || text[n] != 1)
                bad(4, "row " n " is of transaction " v[n] ", and transaction " expected " has changed it")
        }
    }' "$scratch/said" || exit $?
