//! The drive as a virtio disk: in a QEMU from before vfio-user and in the newest, and with a daemon that is killed again and again.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use guest_harness::{Brownout, BrownoutBuilder, Device, Emulator, Guest, Kernel, Machine, scripts};
use serde_json::Value;
use spec_tests::random::{Random, cases, seed};

const PATIENCE: Duration = Duration::from_secs(200);

fn machine(name: &str, emulator: Emulator, drive: &Brownout, queues: u16) -> Machine {
    Machine::new(Kernel::Debian612)
        .name(name)
        .emulator(emulator)
        .processors(4)
        .environment("DEVICE", "/dev/vda")
        .environment("QUEUES", &queues.to_string())
        .environment("SERIAL", "drive-7")
        .timeout(Duration::from_secs(500))
        .device(Device::VhostUser { socket: drive.socket().into(), queues: Some(queues) })
}

/// What an order at the control socket returns.
fn ask(control: &Path, order: &str) -> Result<Value> {
    let output = Brownout::run(&["ctl", control.to_str().context("UTF-8")?, order])?;
    assert!(output.status.success(), "{order}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Gives an order with arguments.
fn order(control: &Path, words: &[&str]) -> Result<()> {
    let mut arguments = vec!["ctl", control.to_str().context("UTF-8")?];
    arguments.extend(words);
    let output = Brownout::run(&arguments)?;
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn used_blocks(control: &Path) -> Result<u64> {
    ask(control, "query-namespaces")?[0]["used-blocks"].as_u64().context("NUSE")
}

/// The value of feature 06h.
fn write_cache(control: &Path) -> Result<u64> {
    let features = ask(control, "query-features")?;
    let feature = features.as_array().into_iter().flatten().find(|feature| feature["id"] == 6);
    feature.context("feature 06h")?["value"].as_u64().context("a number")
}

fn go_on(guest: &mut Guest) -> Result<()> {
    guest.send_line("go on")
}

/// What the disk says of itself, fio with verification, ext4 and XFS.
fn disk(name: &str, emulator: Emulator, queues: u16) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let control = folder.path().join("control.sock");
    let drive = Brownout::builder()
        .name(name)
        .vhost_user()
        .device("serial=drive-7")
        .namespace("size=1GiB")
        .argument("--control")
        .argument(control.to_str().context("UTF-8")?)
        .start()?;
    let script = format!("{}\n{}\n{}", scripts::DISK, scripts::VERIFY, scripts::FILESYSTEMS);
    let mut guest = machine(name, emulator, &drive, queues).script(&script).spawn()?;
    guest.wait_for("AT written", PATIENCE)?;
    let written = used_blocks(&control)?;
    go_on(&mut guest)?;
    guest.wait_for("AT freed", PATIENCE)?;
    assert_eq!(written - used_blocks(&control)?, 8 << 20 >> 9, "discard and write-zeroes give 4 MiB back each");
    go_on(&mut guest)?;
    for (place, expected) in [("AT through", 0), ("AT back", 1)] {
        guest.wait_for(place, PATIENCE)?;
        assert_eq!(write_cache(&control)?, expected, "{place}");
        go_on(&mut guest)?;
    }
    let report = guest.wait()?;
    report.require_success()?;
    report.require_no_complaints(&[])?;
    drive.stop().map(drop)
}

#[test]
fn a_virtio_disk_of_one_queue_in_the_old_qemu() -> Result<()> {
    disk("virtio-old-1", Emulator::Old, 1)
}

#[test]
fn a_virtio_disk_of_four_queues_in_the_old_qemu() -> Result<()> {
    disk("virtio-old-4", Emulator::Old, 4)
}

#[test]
fn a_virtio_disk_of_one_queue_in_the_newest_qemu() -> Result<()> {
    disk("virtio-newest-1", Emulator::Newest, 1)
}

#[test]
fn a_virtio_disk_of_four_queues_in_the_newest_qemu() -> Result<()> {
    disk("virtio-newest-4", Emulator::Newest, 4)
}

/// Writes without a cache, and reads: power goes when the read is fetched, and the disk is dead until it comes back.
const CUT: &str = r#"
. /lib.sh
wait_for_device
echo "write through" >/sys/block/vda/cache_type || fail "the write cache cannot be switched off"
echo "AT armed"
read -r _
xfs_io -d -c "pwrite -q -S 0x42 0 64k" -c "pread -q 128k 4k" /dev/vda || fail "the read after the loss"
echo "AT back"
xfs_io -d -c "pread -v 0 64k" /dev/vda | grep -c "42 42 42 42 42 42 42 42 42 42 42 42 42 42 42 42" >/tmp/lines
[ "$(cat /tmp/lines)" = 4096 ] || fail "$(cat /tmp/lines) of 4096 lines are there"
fio_job after --ioengine=io_uring --rw=randwrite --bs=4k --iodepth=16 --size=4M --verify=crc32 --do_verify=1 --verify_fatal=1
"#;

#[test]
fn what_was_written_through_survives_a_power_cut_and_the_dead_disk_comes_back() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let control = folder.path().join("control.sock");
    let mut builder = Brownout::builder().name("virtio-cut").vhost_user().namespace("size=64MiB");
    builder = builder.argument("--control").argument(control.to_str().context("UTF-8")?);
    let drive = builder.start()?;
    let mut guest = machine("virtio-cut", Emulator::Newest, &drive, 4).script(CUT).spawn()?;
    guest.wait_for("AT armed", PATIENCE)?;
    order(&control, &["crash-arm", "at.match.opcode=2", "policy=none-survive"])?;
    go_on(&mut guest)?;
    while ask(&control, "query-status")?["running"] == true {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert!(guest.wait_for("AT back", Duration::from_secs(2)).is_err(), "a dead disk answered");
    order(&control, &["power-restore"])?;
    guest.wait_for("AT back", PATIENCE)?;
    let report = guest.wait()?;
    report.require_success()?;
    report.require_no_complaints(&[])?;
    drive.stop().map(drop)
}

/// Without a write cache what was acknowledged is there, whenever the daemon dies: what it kills is memory. The choice itself is told
/// once, before the first death.
const KILLED: &str = r#"
. /lib.sh
wait_for_device
echo "write through" >/sys/block/vda/cache_type || fail "the write cache cannot be switched off"
(sleep 0.3; echo WRITING) &
round=0
until [ -e /tmp/enough ]; do
    round=$((round + 1))
    fio_job "round$round" --ioengine=io_uring --rw=randwrite --bsrange=4k-64k --iodepth=16 --size=24M --offset=$((round % 4 * 32))M \
        --randrepeat=0 --verify=crc32 --do_verify=1 --verify_fatal=1
    echo "ROUND $round"
    read -t 1 -r _ && : >/tmp/enough
done
[ "$(cat /sys/block/vda/cache_type)" = "write through" ] || fail "the write cache came back"
"#;

fn file_drive(name: &str, file: &Path, socket: &Path) -> BrownoutBuilder {
    let media = format!("store=file:{}", file.display());
    let builder = Brownout::builder().name(name).vhost_user().socket(socket).argument("--media").argument(&media);
    if file.exists() { builder } else { builder.namespace("size=256MiB,lba=4KiB") }
}

/// Kills the daemon this many times under fio, which notices nothing but time. `SEED` chooses the moments.
fn kill_daemon(name: &str, emulator: Emulator, times: u64) -> Result<()> {
    let mut random = Random::new(seed(1));
    let folder = tempfile::tempdir()?;
    let (file, socket) = (folder.path().join("disk"), folder.path().join("disk.sock"));
    let mut drive = file_drive(name, &file, &socket).start()?;
    let timeout = Duration::from_secs(300 + 10 * times);
    let mut guest = machine(name, emulator, &drive, 4).script(KILLED).timeout(timeout).spawn()?;
    guest.wait_for("WRITING", PATIENCE)?;
    for time in 0..times {
        std::thread::park_timeout(Duration::from_millis(500 + random.below(1500)));
        drive.kill()?;
        drive = file_drive(name, &file, &socket).start().with_context(|| format!("start {time}"))?;
    }
    guest.wait_for("ROUND", PATIENCE)?;
    go_on(&mut guest)?;
    let report = guest.wait()?;
    report.require_success()?;
    report.require_no_complaints(&[])?;
    drive.stop().map(drop)
}

#[test]
fn a_daemon_killed_under_verified_io_comes_back_and_nothing_is_lost() -> Result<()> {
    kill_daemon("kill-daemon", Emulator::Newest, cases(6))
}

#[test]
fn a_daemon_killed_under_verified_io_comes_back_to_the_old_qemu() -> Result<()> {
    kill_daemon("kill-daemon-old", Emulator::Old, cases(4))
}

/// The long version.
#[test]
#[ignore = "make soak: the daemon dies a hundred times"]
fn a_daemon_killed_a_hundred_times_comes_back_and_nothing_is_lost() -> Result<()> {
    kill_daemon("kill-daemon-soak", Emulator::Newest, cases(100))
}
