#!/bin/sh
# Judges an image that `sqlite.sh` has left: the database is whole, and holds each transaction that was acknowledged and none that was not
# tried.
#
# usage: check-sqlite.sh IMAGE ACKS
# IMAGE is a device, which is mounted (brownout crash --tape --check-guest), or a file, from which e2fsck and debugfs take the database
# (brownout crash --tape --check): that needs no guest, and is faster.

grep -q '^made ' "$2" || exit 0 # there was no database yet

fail() { echo "$2"; exit "$1"; }

if [ -b "$1" ]; then
    folder=/mnt
    mkdir -p /mnt
    mount -t ext4 "$1" /mnt || fail 2 mount
    trap 'umount /mnt' EXIT
else
    e2fsck -fy "$1" >/dev/null 2>&1
    [ $? -le 1 ] || fail 2 "more than the journal had to be repaired"
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    debugfs -R "rdump / $folder" "$1" 2>/dev/null
fi

# What SQLite opens, it recovers: a journal or a write-ahead log that is left over counts.
found=$(sqlite3 -separator ' ' "$folder/db" \
    "PRAGMA integrity_check; SELECT count(*), coalesce(max(n), 0), coalesce(min(length(text)), 2000) FROM t;" 2>&1) ||
    fail 3 "SQLite: $found"
did=$(sed -n 's/^did //p' "$2" | tail -n 1)
try=$(sed -n 's/^try //p' "$2" | tail -n 1)
echo "$found" | {
    read -r whole
    read -r count last length
    [ "$whole" = ok ] || fail 3 "the database is damaged: $whole"
    [ "$count" = "$last" ] && [ "$length" = 2000 ] || fail 4 "$count rows, and the last is $last"
    [ "$last" -ge "${did:-0}" ] || fail 5 "transaction $did was acknowledged, and $last is the last that is there"
    [ "$last" -le "${try:-0}" ] || fail 6 "transaction $last is there, and $try is the last that was tried"
}
