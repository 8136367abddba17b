#!/bin/sh
# Judges an image that `files.sh` has left: whatever was acknowledged is there, as it was, and nothing that was not tried.
#
# usage: check-files.sh IMAGE ACKS
# IMAGE is a device, which is mounted (brownout crash --tape --check-guest), or a file with ext4, which e2fsck repairs and debugfs reads
# (brownout crash --tape --check): that needs no guest, and is faster.

fs=$(sed -n 's/^mounted //p' "$2")
[ -n "$fs" ] || exit 0 # there was no file system yet

fail() { echo "$2"; exit "$1"; }

# compare FOLDER ACKS : every promise, by one program: a process costs much in a guest.
compare() {
    awk -v folder="$1" -v acks="$2" '
    function bad(text) { print text; failed = 1 }
    # Reads a file of equal lines "WORD NUMBER": its number, "absent", or "torn".
    function whole(name, word, lines,    line, first, count, code) {
        count = 0
        while ((code = (getline line < (folder "/" name))) > 0) {
            if (++count == 1) first = line
            if (line != first) return "torn"
        }
        if (code < 0) return "absent"
        close(folder "/" name)
        if (count != lines || index(first, word " ") != 1) return "torn"
        return substr(first, length(word) + 2)
    }
    # The version of a file that is replaced lies between what was acknowledged and what was tried.
    function between(what, name, found,    least, most) {
        least = did[what] == "" ? 0 : did[what] + 0
        most = try[what] + 0
        if (found == "absent") { if (did[what] != "") bad(name " is not there, and " did[what] " was acknowledged"); return }
        if (found == "torn") { bad(name " is neither old nor new"); return }
        if (found + 0 < least || found + 0 > most) bad(name " has " found ", and " did[what] " was acknowledged, " try[what] " tried")
    }
    BEGIN {
        while ((getline line < acks) > 0) {
            if (split(line, word, " ") != 3) continue
            if (word[1] == "did") { did[word[2]] = word[3]; made[word[2], word[3]] = 1 }
            if (word[1] == "try") { try[word[2]] = word[3]; tried[word[2], word[3]] = 1 }
        }
        between("renamed", "renamed", whole("renamed", "renamed", 600))
        found = whole("inplace", "in-place", 256)
        if (found == "absent") bad("inplace is not there")
        else between("inplace", "inplace", found)
        for (count = 0; (code = (getline line < (folder "/appended"))) > 0;) {
            if (line != sprintf("append %06d", ++count)) { bad("line " count " of appended is " line); break }
        }
        if (code < 0) bad("appended is not there")
        if (count < did["appended"] + 0 || count > try["appended"] + 0)
            bad("appended has " count " lines, and " did["appended"] " were acknowledged, " try["appended"] " tried")
        for (number = 1; number <= try["new"] + 0; number++) {
            text = sprintf("%06d", number)
            found = whole("new." text, "newfile", 300)
            if (made["gone", text]) { if (found != "absent") bad("new." text " is there, and its removal was acknowledged") }
            else if (tried["gone", text]) { if (found != "absent" && found != text) bad("new." text " is half gone") }
            else if (made["new", text] && found != text) bad("new." text " was acknowledged, and is " found)
        }
        exit failed
    }'
}

if [ -b "$1" ]; then
    [ "$fs" != btrfs ] || btrfs device scan --forget >/dev/null 2>&1
    mkdir -p /mnt
    mount -t "$fs" "$1" /mnt || fail 2 "mount -t $fs"
    compare /mnt "$2" || fail 3 "the file system does not hold what it promised"
    umount /mnt || fail 4 umount
else
    [ "$fs" = ext4 ] || fail 5 "$fs cannot be judged without a guest: use --check-guest"
    e2fsck -fy "$1" >/dev/null 2>&1
    [ $? -le 1 ] || fail 2 "more than the journal had to be repaired"
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    debugfs -R "rdump / $folder" "$1" 2>/dev/null
    compare "$folder" "$2" || fail 3 "the file system does not hold what it promised"
fi
