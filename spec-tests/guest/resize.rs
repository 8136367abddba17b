//! A disk that gets another size under a guest that uses it: stock drivers learn it by the drive's own notice, over both fronts.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use guest_harness::{Brownout, Device, Emulator, Kernel, Machine, scripts};
use serde_json::json;
use spec_tests::qmp::Qmp;

/// A guest under emulation on a busy machine.
const PATIENCE: Duration = Duration::from_secs(200);

/// `emulator` stands for a virtio disk in that QEMU; without, the disk is an NVMe device.
fn resized(name: &str, kernel: Kernel, emulator: Option<Emulator>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let control: PathBuf = folder.path().join("control.sock");
    let mut drive = Brownout::builder().name(name).namespace("size=64MiB,size_max=192MiB,iu=16KiB");
    if emulator.is_some() {
        drive = drive.vhost_user();
    }
    let drive = drive.argument("--control").argument(control.to_str().context("UTF-8")?).start()?;
    let mut peer = Qmp::connect(&control);
    let socket = drive.socket().into();
    let machine = Machine::new(kernel).name(name).timeout(Duration::from_secs(400)).script(scripts::RESIZE);
    let machine = match emulator {
        None => machine.device(Device::VfioUser { socket }),
        Some(emulator) => machine
            .emulator(emulator)
            .environment("DEVICE", "/dev/vda")
            .device(Device::VhostUser { socket, queues: Some(1) }),
    };
    let mut guest = machine.spawn()?;
    for (word, size) in [("resize: grow", "192MiB"), ("resize: shrink", "64MiB"), ("resize: grow again", "192MiB")] {
        guest.wait_for(word, PATIENCE)?;
        let resize = json!({ "nsid": 1, "size": size });
        peer.execute("namespace-resize", &resize).map_err(|why| anyhow!("{word}: {why}"))?;
        guest.send_line("done")?;
    }
    let report = guest.wait()?;
    report.require_success()?;
    report.require_no_complaints(&[])?;
    drive.stop().map(drop)
}

#[test]
fn an_nvme_namespace_is_resized_under_6_12() -> Result<()> {
    resized("resize-6.12", Kernel::Debian612, None)
}

#[test]
fn an_nvme_namespace_is_resized_under_the_newest_kernel() -> Result<()> {
    resized("resize-newest", Kernel::Newest, None)
}

#[test]
fn a_virtio_disk_is_resized_in_the_old_qemu() -> Result<()> {
    resized("resize-virtio-old", Kernel::Debian612, Some(Emulator::Old))
}

#[test]
fn a_virtio_disk_is_resized_in_the_newest_qemu() -> Result<()> {
    resized("resize-virtio-newest", Kernel::Newest, Some(Emulator::Newest))
}
