#!/bin/sh
# A load for PostgreSQL, for `brownout qemu --exec --kernel stacks`: a server whose data is on a file system of the first namespace. Each
# transaction inserts a row and changes every seventh of those that are there; what has committed is acknowledged to the second namespace,
# the witness. `check-postgresql.sh` wants each transaction to be there, whole, and none that was not tried.
#
# FULL_PAGE_WRITES (on, off), FS (ext4, xfs), MKFS (options of mkfs) and ROUNDS come from the kernel's command line:
# --append 'FULL_PAGE_WRITES=off ROUNDS=30'.
#
# As a set-up and a load (crash --guest, --setup and --load with this script) it runs in two parts: PART is setup, or load.

FULL_PAGE_WRITES=${FULL_PAGE_WRITES:-on}
FS=${FS:-ext4}
ROUNDS=${ROUNDS:-30}

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

fail() { echo "$*"; [ ! -s /tmp/server.log ] || tail -n 20 /tmp/server.log; exit 1; }
cat >/tmp/say <<SAY
#!/bin/sh
printf '%s\n' "\$*" | dd of="$WITNESS" bs=4096 count=1 conv=sync oflag=direct 2>/dev/null || exit 1
[ -z "$ACKS" ] || echo "\$*" >>"$ACKS"
SAY
chmod 755 /tmp/say
# PostgreSQL refuses to run as root.
as_database() { su database -c "$1"; }

mkdir -p /dev/shm
mountpoint -q /dev/shm || mount -t tmpfs tmpfs /dev/shm
# In memory, and without databases that nobody uses: what is being tested begins later. Under power cuts (crash --guest --load) this script
# runs again and again.
make_database() {
    rm -rf /tmp/db
    as_database "initdb -D /tmp/db -U postgres -A trust --no-locale -E UTF8 --wal-segsize=1 --no-sync --no-instructions" \
        >/tmp/initdb.log 2>&1 || { cat /tmp/initdb.log; fail initdb; }
    cat >>/tmp/db/postgresql.conf <<CONFIGURATION
full_page_writes = $FULL_PAGE_WRITES
shared_buffers = 4MB
max_connections = 5
min_wal_size = 2MB
max_wal_size = 4MB
listen_addresses = ''
unix_socket_directories = '/tmp'
CONFIGURATION
    as_database "postgres --single -D /tmp/db template1" >/tmp/made.log 2>&1 <<SQL || { cat /tmp/made.log; fail "no database"; }
UPDATE pg_database SET datistemplate = false WHERE datname = 'template0'
DROP DATABASE template0
DROP DATABASE postgres
CREATE TABLE t (n integer PRIMARY KEY, v integer NOT NULL, text text NOT NULL) WITH (fillfactor = 45)
INSERT INTO t SELECT n, 0, repeat('a', 400) FROM generate_series(1, 100) n
SQL
    : >/tmp/db.made
}
[ "$PART" = load ] || [ -e /tmp/db.made ] || make_database
rm -f /tmp/.s.PGSQL.* /dev/shm/PostgreSQL.*

mkdir -p /mnt
if [ "$PART" != load ]; then
    # shellcheck disable=SC2086
    case $FS in
    ext4) mkfs.ext4 -q -F $MKFS "$IMAGE" ;;
    xfs) mkfs.xfs -q -f $MKFS "$IMAGE" ;;
    *) fail "there is no load for FS=$FS: give ext4 or xfs" ;;
    esac || fail "mkfs.$FS"
    mount -t "$FS" "$IMAGE" /mnt && cp -a /tmp/db /mnt/db && sync && umount /mnt || fail copy
fi
[ "$PART" != setup ] || exit 0
mount -t "$FS" "$IMAGE" /mnt || fail mount
as_database "pg_ctl -D /mnt/db -l /tmp/server.log -w -t 300 start" >/dev/null || fail "the server does not start"
sync
/tmp/say "made $FS"
{
    round=0
    while [ $round -lt "$ROUNDS" ]; do
        round=$((round + 1))
        echo "BEGIN; INSERT INTO t VALUES (100 + $round, $round, repeat(chr(97 + $round % 26), 400));"
        echo "UPDATE t SET v = $round, text = repeat(chr(97 + $round % 26), 400) WHERE n % 7 = $round % 7;"
        echo "\\! /tmp/say try $round"
        echo "COMMIT;"
        echo "\\! /tmp/say did $round"
        [ $((round % 4)) != 0 ] || echo "CHECKPOINT;"
    done
} | psql -q -v ON_ERROR_STOP=1 -h /tmp -U postgres template1 || fail psql
echo "$ROUNDS transactions, full_page_writes=$FULL_PAGE_WRITES, on $FS"
