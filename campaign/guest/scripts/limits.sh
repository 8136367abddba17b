# Prints the block queue's limits as KEY=VALUE lines, for the test to compare with what it computed.
# shellcheck shell=sh
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /lib.sh

wait_for_device
for file in "$QUEUE"/*; do
    # The scheduler and some others are lists or switches; a value is printed as it is, in one line.
    [ -f "$file" ] && [ -r "$file" ] && value=$(cat "$file" 2>/dev/null) && echo "${file##*/}=$value"
done
echo "size_in_sectors=$(cat "${QUEUE%/queue}/size")"
exit 0
