//! The harness tested on QEMU's own NVMe controller: if these fail, no result about brownout means anything.

use std::time::Duration;

use anyhow::Result;
use guest_harness::{Device, Kernel, Machine, scripts};

const DISK: u64 = 64 << 20;

#[test]
fn both_kernels_boot_and_give_output_verdict_and_log() -> Result<()> {
    for kernel in Kernel::ALL {
        let report = Machine::new(kernel)
            .device(Device::qemu_nvme(DISK))
            .environment("GREETING", "it's me")
            .script(". /lib.sh\nwait_for_device\necho \"GREETING=$GREETING\"\nexit 3\n")
            .run()?;
        assert_eq!(report.exit_code, 3);
        assert_eq!(report.values().get("GREETING").map(String::as_str), Some("it's me"));
        assert!(report.kernel_log.iter().any(|line| line.text.contains("nvme nvme0: pci function")));
        assert!(report.boot_seconds > 0.0);
        // QEMU's own device is known to be ignored on identifiers; anything else would be news.
        report.require_no_complaints(&["bogus Namespace Identifiers"])?;
    }
    Ok(())
}

#[test]
fn a_running_guest_can_be_talked_to_and_killed() -> Result<()> {
    let mut guest = Machine::new(Kernel::Debian612)
        .script("echo what; read -r answer; echo \"heard $answer\"; sleep 1000\n")
        .spawn()?;
    guest.wait_for("what", Duration::from_secs(120))?;
    guest.send_line("that")?;
    guest.wait_for("heard that", Duration::from_secs(60))?;
    let process = format!("/proc/{}", guest.pid());
    assert!(std::path::Path::new(&process).exists());
    guest.kill()?;
    assert!(!std::path::Path::new(&process).exists());
    Ok(())
}

#[test]
fn a_guest_that_hangs_is_ended_in_time() {
    let result = Machine::new(Kernel::Debian612).script("sleep 1000\n").timeout(Duration::from_secs(2)).run();
    assert!(result.is_err_and(|error| error.to_string().contains("not done after 2 s")));
}

#[test]
fn limits_are_read_from_the_guest() -> Result<()> {
    let report = Machine::new(Kernel::Debian612)
        .device(Device::QemuNvme { size: DISK, block_size: 4096 })
        .script(scripts::LIMITS)
        .run()?;
    report.require_success()?;
    assert_eq!(report.values().get("logical_block_size").map(String::as_str), Some("4096"));
    Ok(())
}
