#!/bin/sh
# A load for MariaDB, for `brownout qemu --exec --kernel stacks`: a server whose data is on a file system of the first namespace, in InnoDB.
# Each transaction inserts a row and changes every seventh of those that are there; what has committed is acknowledged to the second
# namespace, the witness. `check-mariadb.sh` wants each transaction to be there, whole, and none that was not tried.
#
# DOUBLEWRITE (ON, OFF), FS (ext4, xfs), MKFS (options of mkfs), LIMIT (KiB, of which the kernel makes a command at most) and ROUNDS come
# from the kernel's command line: --append 'DOUBLEWRITE=OFF ROUNDS=30'.
#
# As a set-up and a load (crash --guest, --setup and --load with this script) it runs in two parts: PART is setup, or load.

DOUBLEWRITE=${DOUBLEWRITE:-ON}
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
sql() { mariadb --no-defaults --batch --socket=/tmp/socket "$@"; }
# Small, and dirty pages are written at once: within a minute, most pages are written several times. Nobody's password is needed.
serve() {
    mariadbd --no-defaults --user=root --datadir="$1" --socket=/tmp/socket --skip-networking --skip-grant-tables \
        --innodb-doublewrite="$DOUBLEWRITE" --innodb-log-file-size=4M --innodb-buffer-pool-size=8M --innodb-undo-tablespaces=0 \
        --innodb-max-dirty-pages-pct=0 --innodb-max-dirty-pages-pct-lwm=0 --aria-log-file-size=8388608 >/tmp/server.log 2>&1 </dev/null &
    server=$!
    tried=0
    until sql -e "SELECT 1" >/dev/null 2>&1; do
        tried=$((tried + 1))
        [ $tried -lt 600 ] && kill -0 $server 2>/dev/null || fail "the server does not start"
        sleep 0.2
    done
}

# In memory: what is being tested begins later. Under power cuts (crash --guest --load) this script runs again and again.
if [ "$PART" != load ] && [ ! -e /tmp/db.made ]; then
    rm -rf /tmp/db
    mkdir /tmp/db
    serve /tmp/db
    {
        echo "CREATE DATABASE d; USE d; CREATE TABLE t (n INT PRIMARY KEY, v INT NOT NULL, text VARCHAR(400) NOT NULL) ENGINE=InnoDB;"
        echo "INSERT INTO t SELECT seq, 0, REPEAT('a', 400) FROM seq_1_to_100;"
    } | sql || fail "no database"
    sql -e SHUTDOWN
    wait $server || fail "the server does not stop"
    : >/tmp/db.made
fi

[ -z "$LIMIT" ] || echo "$LIMIT" >"/sys/block/${IMAGE##*/}/queue/max_sectors_kb" || fail "LIMIT=$LIMIT"
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
serve /mnt/db
sync
/tmp/say "made $FS"
{
    round=0
    echo "USE d;"
    while [ $round -lt "$ROUNDS" ]; do
        round=$((round + 1))
        echo "BEGIN; INSERT INTO t VALUES (100 + $round, $round, REPEAT(CHAR(97 + $round % 26), 400));"
        echo "UPDATE t SET v = $round, text = REPEAT(CHAR(97 + $round % 26), 400) WHERE n % 7 = $round % 7;"
        echo "\\! /tmp/say try $round"
        echo "COMMIT;"
        echo "\\! /tmp/say did $round"
        # The page cleaner comes once a second.
        [ $((round % 4)) != 0 ] || echo "DO SLEEP(1.5);"
    done
} | sql || fail mariadb
echo "$ROUNDS transactions, innodb_doublewrite=$DOUBLEWRITE, on $FS"
