//! Goes along the log of the kernel's dm-log-writes, and has what was logged up to each flush judged, to compare it with a tape: one state
//! for each place, in which everything before it has survived, whole. `campaign/loads/log-writes.sh` makes such a log.
//!
//! usage: log_writes LOG IMAGE-BYTES 'check.sh {image} {acks}'

use std::error::Error;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::process::{Command, Stdio};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// Little-endian words, one after the other.
fn words<const COUNT: usize>(bytes: &[u8]) -> [u64; COUNT] {
    let mut words = [0; COUNT];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    words
}

/// The image that follows the log, and who judges copies of it.
struct Replay {
    image: File,
    folder: tempfile::TempDir,
    check: String,
    acks: String,
    points: u64,
    bad: u64,
}

impl Replay {
    /// Judges a copy: a check may write.
    fn judge(&mut self, entry: u64) -> Result<(), Box<dyn Error>> {
        let path = |name: &str| self.folder.path().join(name);
        let (image, acks) = (path("judged").display().to_string(), path("acks").display().to_string());
        let copied = Command::new("cp")
            .args(["--sparse=always", "--reflink=auto"])
            .args([path("image"), path("judged")])
            .status()?;
        assert!(copied.success(), "cp: {copied}");
        fs::write(&acks, &self.acks)?;
        let command = self.check.replace("{image}", &image).replace("{acks}", &acks);
        let status = Command::new("sh").args(["-c", &command]).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        self.points += 1;
        if !status.success() {
            self.bad += 1;
            println!("entry {entry}, after {:?}: {status}", self.acks.lines().last().unwrap_or("nothing"));
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let words_of_user: Vec<String> = std::env::args().skip(1).collect();
    let [log, bytes, check] = &words_of_user[..] else {
        return Err("usage: log_writes LOG IMAGE-BYTES 'check.sh {image} {acks}'".into());
    };
    let mut log = File::open(log)?;
    let mut head = [0; 32];
    log.read_exact(&mut head)?;
    let [magic, version, entries, sector] = words(&head);
    let sector = sector & u64::from(u32::MAX);
    if magic != MAGIC || version != 1 || sector == 0 {
        return Err("this is no log of dm-log-writes".into());
    }
    let folder = tempfile::tempdir()?;
    let image = File::options().read(true).write(true).create_new(true).open(folder.path().join("image"))?;
    image.set_len(bytes.parse()?)?;
    let mut replay = Replay { image, folder, check: check.clone(), acks: String::new(), points: 0, bad: 0 };
    let mut at = sector;
    for entry in 0..entries {
        let mut head = vec![0; usize::try_from(sector)?];
        log.read_exact_at(&mut head, at)?;
        at += sector;
        let [place, sectors, flags, text_bytes] = words(&head);
        if flags & MARK != 0 {
            let text = head.get(32..32 + usize::try_from(text_bytes)?).unwrap_or_default();
            let text = String::from_utf8_lossy(text).trim_end_matches('\0').replace('_', " ");
            replay.acks.push_str(&format!("{text}\n"));
        }
        // Its image holds what was logged before a flush; the flush itself may carry data.
        if flags & (FLUSH | FUA) != 0 {
            replay.judge(entry)?;
        }
        if flags & MARK == 0 {
            let mut data = vec![0; usize::try_from(sectors * sector)?];
            if flags & DISCARD == 0 {
                log.read_exact_at(&mut data, at)?;
                at += sectors * sector;
            }
            replay.image.write_all_at(&data, place * sector)?;
        }
    }
    println!("{entries} entries, {} points, {} bad", replay.points, replay.bad);
    Ok(())
}
