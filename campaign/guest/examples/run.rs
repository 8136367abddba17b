//! Runs one script in a guest and shows what it says: `run SCRIPT.sh [6.12|newest] [qemu[:BLOCK]|NAMESPACE] [KERNEL-ARGUMENT...]`.
//!
//! The third word is QEMU's own controller (with a block size, if wanted), or what `brownout serve --namespace` takes.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use guest_harness::{Brownout, Device, Kernel, Machine};

const QEMU_SIZE: u64 = 512 << 20;

fn main() -> Result<ExitCode> {
    let mut words = std::env::args().skip(1);
    let script =
        words.next().context("usage: run SCRIPT.sh [6.12|newest] [qemu[:BLOCK]|NAMESPACE] [KERNEL-ARGUMENT...]")?;
    let script = std::fs::read_to_string(&script).with_context(|| format!("cannot read {script}"))?;
    let kernel = match words.next().as_deref() {
        None | Some("6.12") => Kernel::Debian612,
        Some("newest") => Kernel::Newest,
        Some(other) => bail!("kernel {other:?} is neither 6.12 nor newest"),
    };
    let device = words.next().unwrap_or_else(|| "qemu".to_owned());
    let mut machine = Machine::new(kernel).name("run").script(&script).timeout(Duration::from_secs(900));
    for argument in words {
        machine = machine.kernel_argument(&argument);
    }
    // Kept until the guest is done.
    let mut brownout = None;
    let device = if device == "qemu" || device.starts_with("qemu:") {
        let block_size = device.split_once(':').map_or(Ok(512), |(_, size)| size.parse())?;
        Device::QemuNvme { size: QEMU_SIZE, block_size }
    } else {
        let running = brownout.insert(Brownout::builder().name("run").namespace(&device).start()?);
        Device::VfioUser { socket: running.socket().to_owned() }
    };
    let report = machine.device(device).spawn()?.wait_showing(&mut std::io::stdout())?;
    for line in report.nvme_complaints() {
        println!("kernel: {line}");
    }
    println!(
        "exit code {}, script began after {:.1} s, whole run {:.1} s",
        report.exit_code,
        report.boot_seconds,
        report.duration.as_secs_f64()
    );
    if let Some(running) = brownout {
        running.stop()?;
    }
    Ok(ExitCode::from(u8::try_from(report.exit_code).unwrap_or(1)))
}
