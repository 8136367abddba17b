//! What a guest said: the console cut into script output, kernel log and verdict.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::assets::parse_environment;
use crate::folder::RunFolder;

pub(crate) const START: &str = "BROWNOUT-START:";
pub(crate) const DMESG_BEGIN: &str = "BROWNOUT-DMESG-BEGIN";
const DMESG_END: &str = "BROWNOUT-DMESG-END";
const VERDICT: &str = "BROWNOUT-VERDICT:";

/// Levels of the kernel log up to here are trouble: emergency 0, alert 1, critical 2, error 3, warning 4.
const WARNING: u8 = 4;

/// One line of the kernel log.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelLine {
    /// 0 (emergency) to 7 (debug).
    pub level: u8,
    /// Seconds since the guest's start.
    pub seconds: f64,
    /// The message.
    pub text: String,
}

impl KernelLine {
    /// Reads a line of `dmesg -r`: `<6>[    1.945421] nvme nvme0: pci function 0000:01:00.0`.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (priority, rest) = line.strip_prefix('<')?.split_once('>')?;
        let priority: u32 = priority.parse().ok()?;
        let (seconds, text) = rest.strip_prefix('[')?.split_once(']')?;
        Some(Self {
            // The priority is facility times eight plus level.
            level: u8::try_from(priority & 7).ok()?,
            seconds: seconds.trim().parse().ok()?,
            text: text.strip_prefix(' ').unwrap_or(text).to_owned(),
        })
    }

    /// Whether this line tells of trouble with the NVMe device, the bus it sits on, its interrupts, or of a crash of the
    /// kernel itself.
    #[must_use]
    pub fn is_complaint(&self) -> bool {
        let text = self.text.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if has(CRASHES) {
            return true;
        }
        // File systems name the device in every line; with them only errors count, not "experimental feature" warnings.
        if has(FILE_SYSTEMS) {
            return self.level < WARNING || has(FILE_SYSTEM_TROUBLE);
        }
        if !has(DEVICE_NAMES) || has(HARMLESS) {
            return false;
        }
        self.level <= WARNING || has(DEVICE_TROUBLE)
    }
}

impl fmt::Display for KernelLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "<{}>[{:.6}] {}", self.level, self.seconds, self.text)
    }
}

// All in small letters, as the text is compared.
const CRASHES: &[&str] = &[
    "kernel panic",
    "oops:",
    "bug: ",
    "general protection fault",
    "warning: cpu",
    "warning: at ",
    "warning: drivers/",
    "nobody cared",
    "disabling irq",
    "blocked for more than",
    "i/o error",
    "critical medium error",
    "critical target error",
    "critical space allocation error",
    "protection error",
];
const FILE_SYSTEMS: &[&str] = &["ext4-fs", "jbd2", "xfs (", "xfs: ", "fat-fs"];
const FILE_SYSTEM_TROUBLE: &[&str] = &["error", "corrupt", "shutdown", "recovery required", "aborted", "failed"];
const DEVICE_NAMES: &[&str] =
    &["nvme", "pcieport", "pciehp", "aer:", "pci 0000:", "msi-x", "dmar", "vfio", "virtio", "vda:"];
const HARMLESS: &[&str] = &[
    // The driver says at info level what the controller's shutdown time (RTD3E) is.
    "shutdown timeout set to",
];
const DEVICE_TROUBLE: &[&str] = &[
    "timeout",
    "timed out",
    "retry",
    "retries",
    "retrying",
    "invalid",
    "abort",
    "resetting",
    "reset controller",
    "i/o error",
    "error",
    "fail",
    "bogus",
    "not ready",
    "removing",
    "removed",
    "disabling",
    "unable",
    "cannot",
    "can't",
    "missing",
    "unsupported",
    "not supported",
    "duplicate",
    "illegal",
    "mismatch",
    "too small",
    "too large",
    "link down",
    "warn",
    "stuck",
    "frozen",
    "unexpected",
    "broken",
    "ignoring",
    "no space for",
    "no gsi",
    "dead",
];

/// The result of a guest that ran to its end.
#[derive(Debug)]
pub struct GuestReport {
    /// The whole console, with Unix line ends.
    pub console: String,
    /// The kernel log as it was at the end.
    pub kernel_log: Vec<KernelLine>,
    /// Exit code of the script.
    pub exit_code: i32,
    /// From the start of QEMU to its end.
    pub duration: Duration,
    /// The guest's own seconds from the kernel's start to the script's.
    pub boot_seconds: f64,
    folder: Option<RunFolder>,
}

impl GuestReport {
    /// Cuts a console; `None` without a verdict.
    pub(crate) fn from_console(console: &str, duration: Duration) -> Option<Self> {
        let console = console.replace("\r\n", "\n").replace('\r', "\n");
        // From behind: a script might print our words, but only init speaks last.
        let (before_verdict, verdict) = console.rsplit_once(VERDICT)?;
        let exit_code = verdict.lines().next()?.trim().parse().ok()?;
        let log = before_verdict.rsplit_once(DMESG_BEGIN).map_or("", |(_, log)| log);
        let log = log.split_once(DMESG_END).map_or(log, |(log, _)| log);
        let kernel_log = log.lines().filter_map(KernelLine::parse).collect();
        let boot_seconds = console
            .split_once(START)
            .and_then(|(_, rest)| rest.trim_start().strip_prefix("uptime "))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|seconds| seconds.parse().ok())
            .unwrap_or(0.0);
        Some(Self { console, kernel_log, exit_code, duration, boot_seconds, folder: None })
    }

    pub(crate) fn in_folder(mut self, folder: RunFolder) -> Self {
        self.folder = Some(folder);
        self
    }

    /// What came to the console between the script's start and its end, without the kernel's lines.
    #[must_use]
    pub fn script_output(&self) -> String {
        let after =
            self.console.split_once(START).and_then(|(_, rest)| rest.split_once('\n')).map_or("", |(_, rest)| rest);
        let output = after.rsplit_once(DMESG_BEGIN).map_or(after, |(output, _)| output);
        output.lines().filter(|line| !is_console_kernel_line(line)).flat_map(|line| [line, "\n"]).collect()
    }

    /// The script's `KEY=VALUE` lines.
    #[must_use]
    pub fn values(&self) -> BTreeMap<String, String> {
        parse_environment(&self.script_output())
    }

    /// Lines of the kernel log that tell of trouble with the device: warnings, time-outs, retries, resets, invalid values,
    /// I/O errors, lost interrupts.
    #[must_use]
    pub fn nvme_complaints(&self) -> Vec<&KernelLine> {
        self.nvme_complaints_except(&[])
    }

    /// The same, without the lines that contain one of the given texts: what the test itself provokes.
    #[must_use]
    pub fn nvme_complaints_except(&self, expected: &[&str]) -> Vec<&KernelLine> {
        self.kernel_log
            .iter()
            .filter(|line| line.is_complaint() && !expected.iter().any(|text| line.text.contains(text)))
            .collect()
    }

    /// Keeps the logs of this run even though it went well.
    pub fn keep_logs(&self) {
        if let Some(folder) = &self.folder {
            folder.keep();
        }
    }

    /// Turns a script that failed into an error that shows its last lines.
    ///
    /// # Errors
    /// When the script's exit code is not zero.
    pub fn require_success(&self) -> Result<()> {
        if self.exit_code == 0 {
            return Ok(());
        }
        self.keep_logs();
        let output = self.script_output();
        bail!(
            "the guest's script failed with exit code {}; its last lines:\n{}",
            self.exit_code,
            crate::process::tail(output.as_bytes())
        );
    }

    /// An error that lists the complaints, if there is one besides the expected.
    ///
    /// # Errors
    /// When the kernel complained.
    pub fn require_no_complaints(&self, expected: &[&str]) -> Result<()> {
        let complaints = self.nvme_complaints_except(expected);
        if complaints.is_empty() {
            return Ok(());
        }
        self.keep_logs();
        let lines: Vec<String> = complaints.iter().map(ToString::to_string).collect();
        bail!("the guest's kernel complained:\n{}", lines.join("\n"));
    }
}

/// The kernel's own lines on the console: `[    1.945421] text`.
fn is_console_kernel_line(line: &str) -> bool {
    line.strip_prefix('[').and_then(|rest| rest.split_once("] ")).is_some_and(|(seconds, _)| {
        seconds.contains('.') && seconds.trim().bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    const CONSOLE: &str = "SeaBIOS\r\n[    0.000000] Linux version\r\nBROWNOUT-START: uptime 2.88 kernel 6.12\r\n\
        hello\r\n[    3.100000] EXT4-fs (nvme0n1): mounted filesystem\r\nLBA=512\r\n\r\nBROWNOUT-DMESG-BEGIN\r\n\
        <5>[    0.000000] Linux version\r\n<6>[    1.945421] nvme nvme0: pci function 0000:01:00.0\r\n\
        <30>[    2.000000] init: message\r\nBROWNOUT-DMESG-END\r\nBROWNOUT-VERDICT: 7\r\n[    4.0] reboot: Power down\r\n";

    fn complaint(line: &str) -> bool {
        KernelLine::parse(line).is_some_and(|line| line.is_complaint())
    }

    #[test]
    fn a_console_is_cut_into_output_log_and_verdict() -> Result<()> {
        let report = GuestReport::from_console(CONSOLE, Duration::ZERO).context("no report")?;
        assert_eq!(report.exit_code, 7);
        assert!((report.boot_seconds - 2.88).abs() < 1e-9);
        assert_eq!(report.script_output(), "hello\nLBA=512\n\n");
        assert_eq!(report.values().get("LBA").map(String::as_str), Some("512"));
        assert_eq!(report.kernel_log.len(), 3);
        assert_eq!(report.kernel_log[2].level, 6);
        assert!(report.nvme_complaints().is_empty());
        assert!(report.require_success().is_err());
        Ok(())
    }

    #[test]
    fn a_console_without_verdict_is_no_report() {
        assert!(GuestReport::from_console("[    0.0] Kernel panic\n", Duration::ZERO).is_none());
    }

    #[test]
    fn the_driver_s_ordinary_lines_are_no_complaints() {
        assert!(!complaint("<6>[    1.945421] nvme nvme0: pci function 0000:01:00.0"));
        assert!(!complaint("<6>[    1.945421] nvme nvme0: Shutdown timeout set to 10 seconds"));
        assert!(!complaint("<6>[    2.015349] nvme nvme0: 2/0/0 default/read/poll queues"));
        assert!(!complaint("<6>[    5.678505] EXT4-fs (nvme0n1): mounted filesystem 4bee r/w with ordered data mode."));
        assert!(!complaint(
            "<4>[    5.6] XFS (nvme0n1): EXPERIMENTAL large block size feature enabled.  Use at your own risk!"
        ));
        assert!(!complaint("<4>[    0.1] unrelated: warning with error and timeout"));
    }

    #[test]
    fn trouble_is_recognised() {
        for line in [
            "<4>[   33.0] nvme nvme0: I/O tag 3 (1003) opcode 0x1 (I/O Cmd) QID 1 timeout, completion polled",
            "<4>[   33.0] nvme nvme0: missing or invalid SUBNQN field.",
            "<3>[   33.0] I/O error, dev nvme0n1, sector 8 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 0",
            "<6>[   33.0] nvme nvme0: invalid id 0 completed on queue 1",
            "<4>[   33.0] nvme nvme0: resetting controller",
            "<3>[   33.0] irq 22: nobody cared (try booting with the \"irqpoll\" option)",
            "<6>[   33.0] pci 0000:01:00.0: BAR 0 [mem size 0x4000]: failed to assign",
            "<2>[   33.0] EXT4-fs error (device nvme0n1): htree_dirblock_to_tree",
            "<6>[   33.0] nvme nvme0: Ignoring bogus Namespace Identifiers",
        ] {
            assert!(complaint(line), "{line}");
        }
    }

    #[test]
    fn expected_complaints_can_be_named() -> Result<()> {
        let console = CONSOLE.replace("pci function", "resetting controller;");
        let report = GuestReport::from_console(&console, Duration::ZERO).context("no report")?;
        assert_eq!(report.nvme_complaints().len(), 1);
        assert!(report.nvme_complaints_except(&["resetting controller"]).is_empty());
        Ok(())
    }
}
