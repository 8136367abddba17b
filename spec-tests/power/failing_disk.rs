//! A disk that fails in the kernel: ext4 without a journal on a loop device, whose file lies on a file system that becomes full. Pages
//! whose write-back failed are clean afterwards, and a sync that is tried again has nothing to do: that must not make a flush succeed. So
//! are blocks in which the file system notes where the file lies; and a loop device says of a write for which there was room in part that it
//! was done, so what a sync covered shortly before is missing too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use guest_harness::Brownout;
use nvme_host::Host;
use nvme_spec::Status;
use spec_tests::socket_host::SocketPort;
use spec_tests::waiting::within_a_minute;

use crate::promises::{BLOCK, shown, stamp};

/// Blocks of a write.
const CHUNK: u64 = 64;
/// Blocks that are written in all: more than there is room for at first.
const BLOCKS: u64 = 24 << 20 >> 12;
/// A flush for this many of them.
const FLUSHED: u64 = 16;
const WRITER: u64 = 77;

fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The file systems, gone with the value.
struct Disk {
    below: PathBuf,
    above: PathBuf,
    device: String,
}

impl Disk {
    fn make(folder: &Path, size: &str) -> Option<Self> {
        let (below, above) = (folder.join("below"), folder.join("above"));
        fs::create_dir(&below).and_then(|()| fs::create_dir(&above)).expect("folders");
        let image = below.join("image");
        let text = |path: &Path| path.display().to_string();
        run("mount", &["-t", "tmpfs", "-o", size, "none", &text(&below)])?;
        let mut disk = Self { below, above, device: String::new() };
        fs::File::create(&image).and_then(|file| file.set_len(256 << 20)).expect("a sparse file");
        run("mkfs.ext4", &["-q", "-O", "^has_journal", "-E", "nodiscard", &text(&image)])?;
        disk.device = run("losetup", &["-f", "--show", &text(&image)])?;
        disk.mount()?;
        Some(disk)
    }

    fn mount(&self) -> Option<()> {
        run("mount", &["-t", "ext4", &self.device, &self.above.display().to_string()]).map(|_| ())
    }

    /// What is read afterwards comes from the disk.
    fn mount_again(&self) {
        // Killed processes let go of their files a moment after they are gone.
        let unmounted = within_a_minute(|| run("umount", &[&self.above.display().to_string()]).is_some());
        assert!(unmounted, "the file system is busy");
        self.mount().expect("it is mounted again");
    }

    fn give_room(&self) {
        run("mount", &["-o", "remount,size=256m", &self.below.display().to_string()]).expect("there is room");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A process that was just killed may still have it open: it is gone when that is.
        let _ = run("umount", &["-l", &self.above.display().to_string()]);
        if !self.device.is_empty() {
            let _ = run("losetup", &["-d", &self.device]);
        }
        let _ = run("umount", &["-l", &self.below.display().to_string()]);
    }
}

fn serve(folder: &Path) -> Brownout {
    let (file, control) = (folder.join("above/disk"), folder.join("control"));
    let mut builder = Brownout::builder().name("failing-disk").argument("--media");
    builder = builder.argument(&format!("store=file:{}", file.display()));
    builder = builder.argument("--control").argument(&control.display().to_string());
    if !file.exists() {
        builder = builder.namespace("size=64MiB,lba=4KiB");
    }
    builder.start().expect("the drive starts")
}

/// The warnings that a peer of the control socket reads.
fn warnings(folder: &Path) -> String {
    let output =
        Brownout::run(&["ctl", &folder.join("control").display().to_string(), "query-status"]).expect("an answer");
    String::from_utf8_lossy(&output.stdout).split_whitespace().collect()
}

/// Writes pieces and flushes now and then, until everything was tried; the pieces that were accepted, and what failed first.
fn fill(host: &mut Host<SocketPort>) -> (Vec<u64>, Option<Status>) {
    let (mut accepted, mut failed) = (Vec::new(), None);
    for lba in (0..BLOCKS).step_by(usize::try_from(CHUNK).expect("small")) {
        let data: Vec<u8> = (lba..lba + CHUNK).flat_map(|lba| stamp(WRITER, 1, lba)).collect();
        let written = host.write(1, lba, &data, false).expect("an answer");
        if written == Status::SUCCESS {
            accepted.push(lba);
        } else {
            failed.get_or_insert(written);
        }
        if lba % (CHUNK * FLUSHED) == CHUNK * (FLUSHED - 1) {
            let flushed = host.flush(1).expect("an answer");
            if flushed != Status::SUCCESS {
                failed.get_or_insert(flushed);
            }
        }
    }
    (accepted, failed)
}

/// All of these pieces hold what was written.
fn assert_held(host: &mut Host<SocketPort>, pieces: &[u64], when: &str) {
    let mut lost: Vec<u64> = Vec::new();
    for lba in pieces {
        let (status, bytes) = host.read(1, *lba, u32::try_from(CHUNK).expect("small")).expect("an answer");
        assert_eq!(status, Status::SUCCESS);
        let blocks = (*lba..).zip(bytes.chunks_exact(BLOCK));
        lost.extend(blocks.filter(|(lba, block)| shown(WRITER, *lba, block) != Ok(1)).map(|(lba, _)| lba));
    }
    assert_eq!(lost, Vec::<u64>::new(), "{when}: these blocks were promised");
}

#[test]
fn a_flush_that_succeeds_after_the_disk_failed_is_true_on_the_disk() {
    for size in ["size=9m", "size=12m", "size=13000k", "size=15004k"] {
        let folder = tempfile::tempdir().expect("a folder");
        let Some(disk) = Disk::make(folder.path(), size) else {
            println!("SKIPPED: loop devices, ext4 or mounting are not to be had here");
            return;
        };
        fill_and_die(&disk, folder.path());
    }
}

/// Fills the disk, gives it room, has a flush succeed, and looks at what is on the disk once the process is dead.
fn fill_and_die(disk: &Disk, folder: &Path) {
    let drive = serve(folder);
    let mut host = SocketPort::host(drive.socket(), 8).expect("the controller comes up");
    let (accepted, failed) = fill(&mut host);
    let failed = failed.expect("there is less room than was written");
    assert!([Status::CAPACITY_EXCEEDED.kind(), Status::WRITE_FAULT.kind()].contains(&failed.kind()), "{failed:?}");
    assert_eq!(host.flush(1).map(|status| status == Status::SUCCESS), Ok(false), "nothing has changed");
    let while_full = warnings(folder);
    assert!(while_full.contains("\"kind\":\"host-disk-f") && while_full.contains("\"stands\":true"), "{while_full}");

    disk.give_room();
    let flushed = within_a_minute(|| host.flush(1) == Ok(Status::SUCCESS));
    assert!(flushed, "there is room again, and flushes fail:\n{}", drive.errors());
    assert_held(&mut host, &accepted, "before the process dies");
    let over = warnings(folder);
    assert!(!over.contains("\"stands\":true"), "{over}");
    let errors = drive.errors();
    assert!(errors.matches("WARN").count() <= 4, "a line now and then, not one for each try:\n{errors}");
    drop(host);
    drive.kill().expect("it dies");
    disk.mount_again();
    let drive = serve(folder);
    let mut host = SocketPort::host(drive.socket(), 8).expect("the controller comes up");
    assert_held(&mut host, &accepted, "what a flush said is on the disk");
    drop(host);
    assert!(drive.stop().expect("an end").success());
}
