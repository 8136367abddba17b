# Functions of all guests, of those that brownout does not start too: how they wait, find a namespace's device, and let go of it.
# shellcheck shell=sh

# soon TENTHS COMMAND... : whether the command succeeds within so many tenths of a second.
soon() {
    soon_left=$1
    shift
    until "$@"; do
        soon_left=$((soon_left - 1))
        [ "$soon_left" -gt 0 ] || return 1
        sleep 0.1
    done
}

# disk NSID PLACE... : the path of the block device of a namespace, which is at one of these places in /sys. Newer kernels look at
# namespaces side by side, so that the names need not follow the identifiers.
disk() {
    disk_nsid=$1
    shift
    for place in "$@"; do
        [ "$(cat "$place/nsid" 2>/dev/null)" = "$disk_nsid" ] && echo "/dev/${place##*/}" && return
    done
    return 1
}

# mount_point DISK : where it, or a partition of it, is mounted; the last one, if it is in several places. Not everybody has awk.
mount_point() {
    mount_point_found=
    while read -r mount_point_disk mount_point_place _; do
        case $mount_point_disk in
        "$1" | "$1"p[0-9]*) mount_point_found=$mount_point_place ;;
        esac
    done </proc/mounts
    [ -n "$mount_point_found" ] && echo "$mount_point_found"
}

# release DISK TENTHS : what is mounted of it goes, the last first; each within so many tenths of a second.
release() {
    while release_point=$(mount_point "$1"); do
        soon "$2" umount "$release_point" 2>/dev/null || return 1
    done
}
