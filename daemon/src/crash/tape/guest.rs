//! A guest that judges images. It boots once, on a drive of this process whose contents are changed under it while it does not use them,
//! and runs the user's script for each. A guest that ends or hangs has judged, too; the next image gets a new one.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use guest_harness::{Device, Guest, scripts};
use tape::history::{Block, content};
use tape::{Changer, Image, Stand, Volume};
use tempfile::TempDir;

use super::judge::{Judge, LOG_BYTES, Verdict};
use super::place::read_base;
use crate::crash::bounds::Bounds;
use crate::crash::system::System;
use crate::device_thread::DeviceThread;
use crate::options::{Given, Settings};
use crate::wiring::{self, Places};

/// The namespace of what was acknowledged: bytes of a block, and blocks.
const TEXT: (u32, u64) = (512, 1 << 17);
/// Memory of a guest whose initramfs has databases, or what the user has put there.
const LARGE_MEMORY_MIB: u32 = 1024;
/// A guest that takes longer to boot is stuck.
const BOOT_PATIENCE: Duration = Duration::from_secs(300);
/// The console of a machine that ends is closed before its process is gone.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// What a kernel says that does not go on, in the order in which it is looked for.
const LAST_WORDS: [&str; 4] = ["Kernel panic", "BUG: ", "Oops", "Call Trace"];

/// A drive, and the guest that uses it.
pub struct Station {
    // In this order they go.
    guest: Option<Guest>,
    drive: Drive,
    changer: Changer,
    script: Vec<u8>,
    system: System,
    limit: Duration,
    /// What the namespace held as the tape began.
    base: Vec<(u64, Block)>,
    /// Images that were put up.
    number: u64,
    log: String,
    bounds: Bounds,
}

/// A drive in this process that shows images.
struct Drive {
    socket: PathBuf,
    thread: Option<DeviceThread>,
    /// The thread ends when this does.
    stopper: Option<UnixStream>,
    _folder: TempDir,
}

impl Drive {
    fn start(volume: &Volume, changer: &Changer) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("brownout-").tempdir().context("cannot create a folder")?;
        let socket = folder.path().join("drive");
        let of = |(bytes, blocks): (u32, u64)| format!("size={}B,lba={bytes}", u64::from(bytes) * blocks);
        let image = (volume.block_bytes, volume.blocks);
        let sockets = vec![("the drive's socket", socket.clone())];
        let given = Given { namespaces: vec![of(image), of(TEXT)], sockets, ..Given::default() };
        let settings = Settings::read(&given)?;
        let (stop, stopper) = UnixStream::pair().context("cannot create a pair of sockets")?;
        let places = Places { sockets: vec![socket.clone()], ..Places::default() };
        let changer = changer.clone();
        let thread = DeviceThread::start(stop, move || {
            wiring::open_over(settings, &places, Box::new(Stand::new(changer, image, TEXT)))
        })?;
        Ok(Self { socket, thread: Some(thread), stopper: Some(stopper), _folder: folder })
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        self.stopper = None;
        // Whatever became of it: nothing that it held is needed.
        self.thread.take().map(DeviceThread::join).transpose().ok();
    }
}

impl Station {
    /// Boots a guest that runs this script over images of the volume.
    ///
    /// # Errors
    /// The script or the base cannot be read; no guest can be had, or it does not boot.
    pub fn start(
        script: &Path,
        system: System,
        limit: Duration,
        volume: &Volume,
        base: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let cannot_read = || format!("cannot read the script {}: --check-guest", script.display());
        let script = fs::read(script).with_context(cannot_read)?;
        let mut before = Vec::new();
        if let Some(base) = base {
            let bytes = volume.block_bytes as usize;
            let mut take = |lba: u64, run: &[u8]| before.extend((lba..).zip(run.chunks(bytes).map(content)));
            read_base(&base, bytes, &mut take)?;
            before.retain(|(_, block)| block.is_some());
        }
        let changer = Changer::new();
        let drive = Drive::start(volume, &changer)?;
        let bounds = Bounds::new(None)?;
        let (log, number) = (String::new(), 0);
        let mut station =
            Self { guest: None, drive, changer, script, system, limit, base: before, number, log, bounds };
        station.begin()?;
        station.boot()?;
        Ok(station)
    }

    /// Boots, unless a guest is there.
    fn boot(&mut self) -> anyhow::Result<()> {
        if self.guest.is_some() {
            return Ok(());
        }
        let device = Device::VfioUser { socket: self.drive.socket.clone() };
        let machine = self.system.machine(scripts::IMAGES)?.device(device);
        let machine = machine.file("user-check", &self.script).kernel_argument("oops=panic");
        let machine = if self.system.is_large() { machine.memory_mib(LARGE_MEMORY_MIB) } else { machine };
        let mut guest = machine.spawn()?;
        let ready = guest.wait_for_while("guest: ready", BOOT_PATIENCE, || !self.bounds.asked());
        ready.context("the guest that judges images does not boot")?.context("the campaign was told to end")?;
        self.guest = Some(guest);
        Ok(())
    }

    /// Waits for the verdict of the image that is put up.
    fn hear(&mut self, mut guest: Guest, before: usize) -> anyhow::Result<Verdict> {
        let pattern = format!(", image {};", self.number);
        let heard = guest.wait_for_while(&pattern, self.limit, || !self.bounds.asked());
        let console = guest.console();
        let said = console.get(before..).unwrap_or_default();
        let verdict = match heard {
            Ok(Some(line)) => {
                let (code, state) = judged(&line).with_context(|| format!("the guest says {line:?}"))?;
                self.log = between(said, "guest: said", "guest: all").replace("\r\n", "\n");
                if state == "free" {
                    self.guest = Some(guest);
                }
                return Ok(if code == 0 { Verdict::Good } else { Verdict::Code(code) });
            }
            Ok(None) => Verdict::Unjudged,
            Err(_) if guest.is_off_within(END_PATIENCE)? => Verdict::Ended(last_words(said)),
            Err(_) => Verdict::Hung(self.limit),
        };
        self.log = last_part(said).to_owned();
        guest.kill()?;
        Ok(verdict)
    }
}

impl Judge for Station {
    fn begin(&mut self) -> anyhow::Result<()> {
        self.changer.clear();
        self.changer.follow(&self.base);
        Ok(())
    }

    fn follow(&mut self, blocks: &[(u64, Block)]) -> anyhow::Result<()> {
        self.changer.follow(blocks);
        Ok(())
    }

    fn judge(&mut self, image: &Image, acks: &str) -> anyhow::Result<Verdict> {
        if self.bounds.asked() {
            return Ok(Verdict::Unjudged);
        }
        let room = u64::from(TEXT.0) * TEXT.1;
        ensure!(acks.len() as u64 <= room, "what was acknowledged are more than {room} bytes");
        self.number += 1;
        self.changer.put_up(&image.blocks, acks.as_bytes(), TEXT.0);
        self.boot()?;
        let mut guest = self.guest.take().context("there is no guest")?;
        let before = guest.console().len();
        guest.send_line(&format!("check {} {}", self.number, acks.len()))?;
        let verdict = self.hear(guest, before)?;
        Ok(verdict.and_found(|| self.log.clone(), acks))
    }

    fn log(&self) -> String {
        self.log.clone()
    }
}

/// Code and state of `guest: judged CODE STATE, image NUMBER;`.
fn judged(line: &str) -> Option<(i32, &str)> {
    let (_, said) = line.rsplit_once("guest: judged ")?;
    let (code, rest) = said.split_once(' ')?;
    let (state, _) = rest.split_once(',')?;
    Some((code.parse().ok()?, state))
}

/// What is said between two lines, as a console has it.
fn between<'a>(said: &'a str, first: &str, last: &str) -> &'a str {
    let behind = said.split_once(first).map_or("", |(_, behind)| behind);
    behind.rsplit_once(last).map_or(behind, |(text, _)| text).trim()
}

/// The line that says most of why a guest ended.
fn last_words(said: &str) -> String {
    let found = LAST_WORDS.iter().find_map(|words| said.lines().rev().find(|line| line.contains(words)));
    let line = found.or_else(|| said.lines().rev().find(|line| !line.trim().is_empty()));
    line.map_or("without a word", str::trim).to_owned()
}

fn last_part(said: &str) -> &str {
    let mut start = said.len().saturating_sub(usize::try_from(LOG_BYTES).unwrap_or(usize::MAX));
    while !said.is_char_boundary(start) {
        start += 1;
    }
    &said[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_says_is_read_among_other_lines() {
        assert_eq!(judged("guest: judged 3 free, image 17;"), Some((3, "free")));
        assert_eq!(judged("noise guest: judged 0 busy, image 1;"), Some((0, "busy")));
        assert_eq!(judged("guest: judged x free, image 1;"), None);
        let said =
            "check 1 5\r\nguest: said\r\nrecord 1\r\nis lost\r\n\r\nguest: all\r\nguest: judged 3 free, image 1;";
        assert_eq!(between(said, "guest: said", "guest: all"), "record 1\r\nis lost");
        assert_eq!(between("guest: said\r\nhalf", "guest: said", "guest: all"), "half");
    }

    #[test]
    fn a_guest_that_ended_is_quoted() {
        let panic = "[ 1.0] BUG: unable to handle page fault\r\n[ 1.1] Kernel panic - not syncing: Fatal\r\n[ 1.2] ---[ end\r\n";
        assert_eq!(last_words(panic), "[ 1.1] Kernel panic - not syncing: Fatal");
        assert_eq!(last_words("one\r\ntwo\r\n\r\n"), "two");
        assert_eq!(last_words(""), "without a word");
        let long = "é".repeat(40_000);
        assert!(last_part(&long).len() <= 65_536 && long.ends_with(last_part(&long)));
    }
}
