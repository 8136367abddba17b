//! `brownout media` from outside: what is made, what is found, what is refused, and that nothing refused is touched.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const BROWNOUT: &str = env!("CARGO_BIN_EXE_brownout");

fn media(arguments: &[&str]) -> Output {
    Command::new(BROWNOUT).arg("media").args(arguments).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a verb that must succeed; what it printed.
fn succeeds(arguments: &[&str]) -> String {
    let output = media(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn refusal(arguments: &[&str]) -> (Option<i32>, String) {
    let output = media(arguments);
    (output.status.code(), text(&output.stderr))
}

fn path(folder: &Path) -> String {
    folder.join("disk").display().to_string()
}

#[test]
fn what_is_made_is_described_checked_and_listed() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = path(folder.path());
    let made = succeeds(&["create", &disk, "--media", "iu=16KiB,op=9%", "--namespace", "size=64MiB,lba=4KiB"]);
    assert!(made.contains("L2P: 16384 bytes, 4 for each unit of 16KiB"), "{made}");
    let before = fs::read(&disk).expect("the file");
    let info = succeeds(&["info", &disk]);
    assert!(
        info.contains("unit: 16KiB\n") && info.contains("namespace 1: 64MiB of at most 64MiB, in blocks of 4KiB\n"),
        "{info}"
    );
    assert!(info.contains("last end: clean\n"), "{info}");
    let check = succeeds(&["check", &disk]);
    assert!(check.contains("last end: clean") && check.contains(": balances\n"), "{check}");
    assert!(check.ends_with("\nsound\n"), "{check}");
    assert!(succeeds(&["dump", &disk]).starts_with("line 0: "));
    assert_eq!(succeeds(&["dump", &disk, "--map", "--journal"]), "");
    assert!(fs::read(&disk).expect("the file") == before, "looking changes nothing");
    let (code, why) = refusal(&["create", &disk]);
    assert_eq!((code, why.contains("it exists: give another path")), (Some(2), true), "{why}");
}

#[test]
fn a_file_that_is_no_sound_media_is_1_and_stays_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = path(folder.path());
    succeeds(&["create", &disk, "--namespace", "size=16MiB"]);
    let good = fs::read(&disk).expect("the file");
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        fs::write(&disk, &bytes).expect("written");
        let (code, why) = refusal(&["check", &disk]);
        assert_eq!(code, Some(1), "{why}");
        assert!(fs::read(&disk).expect("the file") == bytes, "a damaged file is not touched");
        why
    };
    assert!(with(&|bytes| bytes[0] = b'x').contains("this is not a brownout media file"));
    assert!(with(&|bytes| bytes[8] = 9).contains("format version 9"));
    assert!(with(&|bytes| bytes[20] ^= 1).contains("checksum"));
    assert!(with(&|bytes| bytes.truncate(bytes.len() / 2)).contains("cut off"));
    assert!(with(&|bytes| bytes[4096..4096 + 400_000].fill(0x5a)).contains("neither root"));
    let (code, why) = refusal(&["check", &folder.path().join("absent").display().to_string()]);
    assert_eq!((code, why.contains("cannot open")), (Some(1), true), "{why}");
}

/// What a limit sends does not end the process: the write fails, the message says why, and nothing half made is left.
#[test]
fn a_file_that_may_not_grow_is_refused_in_words_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = path(folder.path());
    for command in
        ["media create \"$1\" --namespace size=64MiB", "serve --socket \"$1.sock\" --media store=file:\"$1\""]
    {
        let script = format!("ulimit -f 8; exec \"$0\" {command}");
        let output = Command::new("sh").args(["-c", &script, BROWNOUT, &disk]).output().expect("a shell");
        let why = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command}: {why}");
        assert!(why.contains("the media file may not grow (ulimit -f?)") && !why.contains("NoSpace"), "{why}");
        assert!(!Path::new(&disk).exists(), "{command} left a file");
    }
}

/// A new file is its owner's alone, whatever the umask grants; a stricter umask is obeyed.
#[test]
fn a_new_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    for (umask, mode) in [("000", 0o600), ("022", 0o600), ("277", 0o400)] {
        let disk = folder.path().join(umask).display().to_string();
        let script = format!("umask {umask}; exec \"$0\" media create \"$1\" --namespace size=16MiB");
        let output = Command::new("sh").args(["-c", &script, BROWNOUT, &disk]).output().expect("a shell");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let permissions = fs::metadata(&disk).expect("the file").permissions();
        assert_eq!(permissions.mode() & 0o777, mode, "umask {umask}");
    }
}
