//! Whose driver is on trial, and how it is told what to do: a stock Linux with our script, somebody's own image that nobody can tell
//! anything, or U-Boot at its prompt.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use checker::Rule;
use guest_harness::{Device, Guest, Kernel, Machine, scripts};

use super::scenario::{Agent, COPIED, Case, Timeouts};

/// A machine under emulation, on a busy host, takes as long to boot.
const BOOT_PATIENCE: Duration = Duration::from_secs(240);
/// An order may meet several time-outs of the driver.
const ORDER_PATIENCE: Duration = Duration::from_secs(300);
/// U-Boot moves so many bytes at a time: far from its limit, and long enough for lists.
const UBOOT_BYTES: u64 = 256 << 10;
const UBOOT_MEMORY: u64 = 0x0400_0000;
const BLOCK: u64 = 512;

/// What is started for each case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// One of our Linux kernels.
    Linux(Kernel),
    /// Somebody's kernel.
    Own {
        /// Its image,
        kernel: PathBuf,
        /// its initramfs,
        initrd: Option<PathBuf>,
        /// and words for its command line.
        append: Vec<String>,
    },
    /// U-Boot, with its image.
    UBoot(PathBuf),
}

impl Subject {
    /// What it can be told to do.
    pub const fn agent(&self) -> Agent {
        match self {
            Self::Linux(_) => Agent::Shell,
            Self::Own { .. } => Agent::None,
            Self::UBoot(_) => Agent::Copies,
        }
    }

    /// Rules that it is known to break, by its source, without harm (docs/conform.md): they count as remarks.
    pub const fn known(&self) -> &'static [Rule] {
        match self {
            // Queues are cleared when they exist already, and before the first command.
            Self::Linux(_) => &[Rule::H34],
            Self::Own { .. } | Self::UBoot(_) => &[],
        }
    }

    /// Its name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Linux(Kernel::Debian612) => "linux-6.12",
            Self::Linux(Kernel::Newest) => "linux-newest",
            Self::Own { .. } => "own-image",
            Self::UBoot(_) => "u-boot",
        }
    }

    /// Boots it with the drive that a case has made.
    ///
    /// # Errors
    /// It cannot be started, or does not come up.
    pub fn boot(&self, case: &Case, timeouts: Timeouts, socket: PathBuf) -> anyhow::Result<Running> {
        let machine = match self {
            Self::Linux(kernel) => {
                let mut machine = Machine::new(*kernel).script(scripts::CONFORM);
                machine = machine.kernel_argument(&format!("nvme_core.io_timeout={}", timeouts.io));
                machine = machine.kernel_argument(&format!("nvme_core.admin_timeout={}", timeouts.admin));
                case.kernel.iter().fold(machine, |machine, word| machine.kernel_argument(word))
            }
            Self::Own { kernel, initrd, append } => {
                append.iter().fold(Machine::with_images(kernel.clone(), initrd.clone()), |machine, word| {
                    machine.kernel_argument(word)
                })
            }
            Self::UBoot(image) => Machine::with_firmware(Some(image.clone())).processors(1),
        };
        let mut guest = machine.name("conform").device(Device::VfioUser { socket }).timeout(BOOT_PATIENCE).spawn()?;
        match self {
            Self::Linux(_) => _ = guest.wait_for("guest: ready", BOOT_PATIENCE)?,
            Self::Own { .. } => {}
            Self::UBoot(_) => {
                guest.wait_for("Hit any key to stop autoboot", BOOT_PATIENCE)?;
                guest.send_line("")?;
                guest.wait_for("=>", BOOT_PATIENCE)?;
            }
        }
        Ok(Running { agent: self.agent(), uboot: matches!(self, Self::UBoot(_)), guest })
    }
}

/// A machine that runs.
pub struct Running {
    agent: Agent,
    uboot: bool,
    guest: Guest,
}

impl Running {
    /// Everything on its console so far.
    pub fn console(&self) -> String {
        self.guest.console()
    }

    /// Gives an order and waits until it is carried out; whether it was. `go_on` is asked meanwhile.
    ///
    /// # Errors
    /// The machine ended, said nothing in time, or the run was told to end.
    pub fn order(&mut self, order: &str, go_on: &mut dyn FnMut() -> bool) -> anyhow::Result<bool> {
        if self.agent == Agent::None {
            bail!("nobody in this guest can be told to {order}");
        }
        if self.uboot {
            return self.order_uboot(order, go_on);
        }
        self.guest.send_line(order)?;
        if order == "off" {
            return self.is_off(go_on);
        }
        let verb = order.split(' ').next().unwrap_or(order);
        self.says(&format!("guest: done {verb} "), go_on)?;
        // What is returned is the line from its beginning.
        let line = self.says("\n", go_on)?;
        Ok(line.trim_end().ends_with(" 0"))
    }

    /// Waits for an image of somebody's own: until a line of its console matches, or so long.
    pub fn until(&mut self, seconds: u64, mut matches: impl FnMut(&str) -> bool, go_on: &mut dyn FnMut() -> bool) {
        let mut looked = 0;
        for _ in 0..seconds * 4 {
            let console = self.guest.console();
            let found = console[looked..].lines().any(&mut matches);
            looked = console.rfind('\n').map_or(0, |end| end + 1);
            if found || !go_on() || self.guest.is_off_within(Duration::from_millis(250)).unwrap_or(true) {
                return;
            }
        }
    }

    fn is_off(&mut self, go_on: &mut dyn FnMut() -> bool) -> anyhow::Result<bool> {
        for _ in 0..ORDER_PATIENCE.as_secs() * 4 {
            if self.guest.is_off_within(Duration::from_millis(250))? {
                return Ok(true);
            }
            if !go_on() {
                break;
            }
        }
        Ok(false)
    }

    fn says(&mut self, words: &str, go_on: &mut dyn FnMut() -> bool) -> anyhow::Result<String> {
        self.guest.wait_for_while(words, ORDER_PATIENCE, go_on)?.context("the run was told to end")
    }

    /// What U-Boot can be told: to scan, and to move blocks through its memory.
    fn order_uboot(&mut self, order: &str, go_on: &mut dyn FnMut() -> bool) -> anyhow::Result<bool> {
        let words: Vec<&str> = order.split(' ').collect();
        match words[..] {
            ["attach"] => {
                self.type_uboot("nvme scan", go_on)?;
                Ok(self.type_uboot("nvme info", go_on)?.contains("Capacity"))
            }
            ["copy", bytes, _] => {
                let bytes: u64 = bytes.parse().context("a number of bytes")?;
                let (count, step) = (UBOOT_BYTES / BLOCK, UBOOT_BYTES);
                let mut done = true;
                for from in (0..bytes).step_by(usize::try_from(step)?) {
                    let (source, target) = (from / BLOCK, (from + COPIED) / BLOCK);
                    let read = format!("nvme read {UBOOT_MEMORY:x} {source:x} {count:x}");
                    let write = format!("nvme write {UBOOT_MEMORY:x} {target:x} {count:x}");
                    // A driver that is told of an error tries again, as a file system would.
                    done &= self.again(&read, "OK", go_on)? && self.again(&write, "OK", go_on)?;
                }
                Ok(done)
            }
            ["off"] => {
                self.guest.send_line("poweroff")?;
                self.is_off(go_on)
            }
            _ => bail!("U-Boot cannot be told to {order}"),
        }
    }

    fn again(&mut self, line: &str, good: &str, go_on: &mut dyn FnMut() -> bool) -> anyhow::Result<bool> {
        for _ in 0..3 {
            if self.type_uboot(line, go_on)?.contains(good) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Types a line at U-Boot's prompt; what it says until the next one.
    fn type_uboot(&mut self, line: &str, go_on: &mut dyn FnMut() -> bool) -> anyhow::Result<String> {
        let before = self.guest.console().len();
        self.guest.send_line(line)?;
        self.says(line, go_on)?;
        self.says("=> ", go_on)?;
        Ok(self.guest.console().split_off(before))
    }
}
