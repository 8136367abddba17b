//! `brownout media` from outside: what is made, what is found, what is refused, and that nothing refused is touched.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Output};

use media::ssd::{Ssd, SsdConfig, VolumeConfig};
use media::store::{FileOptions, FileStore, inspect};
use media::volume::{Fault, Media as _, Request, Source, Token, VolumeId};
use media::{Lba, LbaRange, Nanoseconds};
use serde_json::{Value, json};

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

/// Each line as JSON.
fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn what_is_said_of_a_file_is_also_there_as_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = path(folder.path());
    succeeds(&["create", &disk, "--media", "iu=16KiB,op=9%", "--namespace", "size=64MiB,lba=4KiB"]);
    let json = |verb: &str| serde_json::from_str::<Value>(&succeeds(&[verb, &disk, "--json"])).expect("JSON");
    let info = json("info");
    assert_eq!(info["format"], 4);
    assert_eq!(info["iu"], 16 << 10);
    let size = 64 << 20;
    assert_eq!(info["namespaces"], json!([{ "nsid": 1, "size": size, "size-max": size, "lba": 4096 }]));
    assert_eq!((&info["clean"], &info["host-writes"]), (&json!(true), &json!(0)));
    let check = json("check");
    assert_eq!(check["data"], json!({ "mapped": 0, "damaged": [], "sound": true }));
    assert_eq!((&check["ledger"]["balances"], &check["recovery"]["clean"]), (&json!(true), &json!(true)));
    assert_eq!(json("scrub"), json!({ "data": check["data"] }));
    let listed = lines(&succeeds(&["dump", &disk, "--json"]));
    assert_eq!(listed.len() as u64, check["lines"]["all"].as_u64().expect("a number"));
    assert_eq!(listed.iter().filter(|line| line["state"] == "free").count() as u64, check["lines"]["free"]);
    assert_eq!(succeeds(&["dump", &disk, "--json", "--map", "--journal"]), "");
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

/// Data that is found again in the file.
struct Marked;

const MARK: &[u8; 16] = b"lost and found: ";

impl Source for Marked {
    fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        for (n, block) in (offset as u64 / 4096..).zip(into.chunks_mut(4096)) {
            block.fill(7);
            block[..16].copy_from_slice(MARK);
            block[16..24].copy_from_slice(&n.to_le_bytes());
        }
        Ok(())
    }
}

/// Writes the first blocks of a file's namespace, each with its number in it.
fn write_blocks(path: &str, blocks: u64) {
    let there = inspect(Path::new(path)).expect("a media file");
    let volume = there.root.volumes[0];
    let volumes = vec![VolumeConfig::new(volume.block_bytes, volume.metadata_bytes, volume.capacity_blocks)];
    let config = SsdConfig { geometry: there.geometry, volumes, ..SsdConfig::default() };
    let geometry = config.checked().expect("its own geometry");
    let store = FileStore::open_file(Path::new(path), &geometry, FileOptions::default()).expect("opened");
    let mut drive = Ssd::open(config, store).expect("recovered");
    let range = LbaRange::new(Lba(0), blocks);
    drive.submit(Nanoseconds(0), Token(0), VolumeId(0), Request::Write { range, from: &mut Marked, force: false });
    let ticket = drive.shutdown();
    while !drive.synced(ticket).expect("the disk works") {
        std::thread::yield_now();
    }
}

#[test]
fn scrub_and_check_name_the_blocks_that_are_not_what_was_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = path(folder.path());
    succeeds(&["create", &disk, "--media", "iu=8KiB", "--namespace", "size=16MiB,lba=4KiB"]);
    write_blocks(&disk, 64);
    let sound = succeeds(&["scrub", &disk]);
    assert_eq!(sound, "units: 32 mapped, 0 damaged\nsound\n");
    let mut bytes = fs::read(&disk).expect("the file");
    for block in [10_u64, 41] {
        let mark = [MARK.as_slice(), &block.to_le_bytes()].concat();
        let at = bytes.windows(mark.len()).position(|window| window == mark).expect("it was written");
        bytes[at + 1000] ^= 0x10;
    }
    fs::write(&disk, &bytes).expect("written");
    for verb in ["scrub", "check"] {
        let output = media(&[verb, &disk]);
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for blocks in ["10 to 11", "40 to 41"] {
            assert!(said.contains(&format!("damaged: namespace 1 blocks {blocks} (unit ")), "{verb}: {said}");
        }
        assert!(said.contains("units: 32 mapped, 2 damaged\n") && said.ends_with("damaged\n"), "{verb}: {said}");
    }
    assert!(fs::read(&disk).expect("the file") == bytes, "looking changes nothing");
}

/// What a power-up would recover, with holes where nothing is; nothing that is there is overwritten unless that is asked for.
#[test]
fn a_namespace_is_exported_as_a_sparse_image() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = path(folder.path());
    succeeds(&["create", &disk, "--media", "iu=8KiB", "--namespace", "size=16MiB,lba=4KiB"]);
    write_blocks(&disk, 64);
    let before = fs::read(&disk).expect("the file");
    let out = folder.path().join("out.raw");
    let raw = out.display().to_string();
    let said = succeeds(&["export", &disk, "--namespace", "1", &raw]);
    assert!(said.ends_with("out.raw: namespace 1, 16MiB, 256KiB of it data\n"), "{said}");
    let image = fs::read(&out).expect("an image");
    assert_eq!(image.len(), 16 << 20);
    for (number, block) in (0_u64..).zip(image.chunks(4096)) {
        let expected = if number < 64 { [MARK.as_slice(), &number.to_le_bytes(), &[7]].concat() } else { vec![0; 25] };
        assert_eq!(block[..25], expected[..], "block {number}");
    }
    assert!(fs::metadata(&out).expect("an image").blocks() * 512 < 1 << 20, "it is sparse");

    fs::write(&out, "mine").expect("written");
    let (code, said) = refusal(&["export", &disk, &raw]);
    assert!(code == Some(2) && said.contains("it exists: give another path, or --force"), "{said}");
    assert_eq!(fs::read(&out).expect("still there"), b"mine");
    succeeds(&["export", "--force", &disk, &raw]);
    assert!(fs::read(&out).expect("an image") == image);
    let (code, said) = refusal(&["export", &disk, &raw, "--namespace", "2"]);
    assert!(code == Some(2) && said.contains("--namespace 2: the namespaces of the file are: 1"), "{said}");
    let (code, said) = refusal(&["export", "--force", &disk, &disk]);
    assert!(code == Some(2) && said.contains("it is the media file itself"), "{said}");
    assert!(fs::read(&disk).expect("the file") == before, "the media file stays as it is");

    // A block that is lost is no zeroes: there is no image then.
    let mut bytes = before;
    let mark = [MARK.as_slice(), &10_u64.to_le_bytes()].concat();
    let at = bytes.windows(mark.len()).position(|window| window == mark).expect("it was written");
    bytes[at + 1000] ^= 0x10;
    fs::write(&disk, &bytes).expect("written");
    let (code, said) = refusal(&["export", "--force", &disk, &raw]);
    assert!(code == Some(1) && said.contains("`media scrub` names what is lost"), "{said}");
    assert!(!out.exists());
}
