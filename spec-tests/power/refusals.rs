//! Files that cannot be served: a clear error, and nothing lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use guest_harness::Brownout;
use nvme_spec::Status;
use spec_tests::socket_host::SocketPort;

use crate::promises::{BLOCK, stamp};

fn serve(file: &Path, more: &str) -> anyhow::Result<Brownout> {
    let mut builder = Brownout::builder().name("refusals").argument("--media");
    builder = builder.argument(&format!("store=file:{}{more}", file.display()));
    if !file.exists() {
        builder = builder.namespace("size=16MiB,lba=4KiB");
    }
    builder.start()
}

fn refusal(file: &Path, more: &str) -> String {
    format!("{:#}", serve(file, more).err().expect("meant to be refused"))
}

/// A file with one block written, that nobody uses.
fn written(folder: &Path) -> PathBuf {
    let file = folder.join("disk");
    let drive = serve(&file, "").expect("a new file");
    let mut host = SocketPort::host(drive.socket(), 8).expect("the controller comes up");
    assert_eq!(host.write(1, 5, &stamp(1, 1, 5), true), Ok(Status::SUCCESS));
    drop(host);
    drive.stop().expect("an end");
    file
}

fn assert_nothing_lost(file: &Path) {
    let drive = serve(file, "").expect("it serves again");
    let mut host = SocketPort::host(drive.socket(), 8).expect("the controller comes up");
    assert_eq!(host.read(1, 5, 1), Ok((Status::SUCCESS, stamp(1, 1, 5))));
}

#[test]
fn a_file_cut_off_damaged_newer_in_use_or_of_other_numbers_is_refused_and_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = written(folder.path());
    let good = fs::read(&file).expect("the file");
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        fs::write(&file, &bytes).expect("written");
        let words = refusal(&file, "");
        assert!(fs::read(&file).expect("the file") == bytes, "a refused file is not touched");
        words
    };
    assert!(with(&|bytes| bytes.truncate(bytes.len() / 2)).contains("the file is cut off"));
    assert!(with(&|bytes| bytes[20] ^= 1).contains("the header's checksum is wrong"));
    assert!(with(&|bytes| bytes[8] = 9).contains("the file has format version 9"));
    assert!(with(&|bytes| bytes[0] = 0).contains("this is not a brownout media file"));
    fs::write(&file, &good).expect("written");
    assert!(refusal(&file, ",iu=64KiB").contains("has iu=4KiB"));
    let drive = serve(&file, "").expect("it is sound");
    assert!(refusal(&file, "").contains("is in use by another process"));
    drive.stop().expect("an end");
    assert_nothing_lost(&file);
}

#[test]
fn a_file_that_may_only_be_read_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = written(folder.path());
    let mut permissions = fs::metadata(&file).expect("metadata").permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&file, permissions).expect("a mode");
    if fs::OpenOptions::new().write(true).open(&file).is_ok() {
        println!("SKIPPED: this user may write read-only files");
        return;
    }
    assert!(refusal(&file, "").contains("cannot open"));
}

/// A file system of a few megabytes, gone with the value.
struct Small(PathBuf);

impl Small {
    fn mount(folder: &Path) -> Option<Self> {
        let place = folder.join("small");
        fs::create_dir(&place).expect("a folder");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "none"]).arg(&place).status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(place))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_fails_writes_loses_nothing_and_heals_when_there_is_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(small) = Small::mount(folder.path()) else {
        println!("SKIPPED: only root may mount the small file system that this test fills");
        return;
    };
    let file = written(&small.0);
    let ballast = small.0.join("ballast");
    let _ = fs::write(&ballast, vec![1; 4 << 20]);
    let drive = serve(&file, "").expect("it serves");
    let mut host = SocketPort::host(drive.socket(), 8).expect("the controller comes up");
    let refused = (0..64).find_map(|n| {
        let lba = 64 + n * 16;
        let data: Vec<u8> = (0..16).flat_map(|block| stamp(1, 2, lba + block)).collect();
        let status = host.write(1, lba, &data, true).expect("an answer, and no hang");
        (status != Status::SUCCESS).then_some(status)
    });
    assert!(refused.is_some(), "four megabytes are less than what was written");
    assert_eq!(host.read(1, 5, 1), Ok((Status::SUCCESS, stamp(1, 1, 5))), "what was there is read as before");
    fs::remove_file(&ballast).expect("room");
    let healed = (0..200).any(|_| {
        std::thread::park_timeout(std::time::Duration::from_millis(20));
        host.write(1, 7, &stamp(1, 3, 7), true) == Ok(Status::SUCCESS)
    });
    assert!(healed, "there is room again");
    drop(host);
    assert!(drive.stop().expect("an end").success());
    assert_nothing_lost(&file);
    assert_eq!(BLOCK, 4096);
}
