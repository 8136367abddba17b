//! Whose driver is on trial, and how it is told what to do: a stock Linux with our script, somebody's own image that nobody can tell
//! anything, or firmware.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use checker::Rule;
use guest_harness::{Assets, Device, Kernel, Machine, scripts};

use super::console::{Console, ORDER_PATIENCE};
use super::firmware::Firmware;
use super::place::Place;
use super::scenario::{Act, Agent, Case, Timeouts};
use super::told::Guest;
use super::verdict::Broken;

/// A machine under emulation, on a busy host, takes as long to boot.
const BOOT_PATIENCE: Duration = Duration::from_secs(240);

/// What a guest says when it can be told something.
pub const READY: &str = "guest: ready";
/// Orders after which another kernel is there.
const HANDS_OVER: [&str; 2] = ["kexec", "crash"];
/// Where it finds that kernel; and with two of them and their initramfs in memory it needs more of that.
const SUCCESSOR: (&str, u32) = ("vmlinuz", 1536);

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
    /// Firmware; its own image, or somebody's build of it.
    Firmware(Firmware, Option<PathBuf>),
}

impl Subject {
    /// What it can be told to do.
    pub const fn agent(&self) -> Agent {
        match self {
            Self::Linux(_) => Agent::Shell,
            Self::Own { .. } => Agent::None,
            Self::Firmware(..) => Agent::Copies,
        }
    }

    /// Why a case says nothing about this driver, if so.
    pub fn cannot(&self, case: &Case) -> Option<String> {
        // An image of somebody's own does what it does with every drive that needs no shell in the guest.
        if case.needs > self.agent().max(Agent::Copies) {
            return Some("it needs a shell in the guest, which this driver's system has not".to_owned());
        }
        let most = self.block_bytes_max();
        (case.block_bytes() > most).then(|| format!("{} uses no disk with blocks above {most} bytes", self.name()))
    }

    /// The longest blocks that it takes.
    const fn block_bytes_max(&self) -> u64 {
        match self {
            Self::Firmware(firmware, _) => firmware.block_bytes_max(),
            // Since 6.15 they may be longer than a page.
            Self::Linux(Kernel::Debian612 | Kernel::Stacks) => 4096,
            Self::Linux(Kernel::Newest) | Self::Own { .. } => 64 << 10,
        }
    }

    /// When its driver gives up a command, if nobody says otherwise.
    pub const fn timeouts(&self, given: Timeouts) -> Timeouts {
        match self {
            Self::Firmware(firmware, _) => firmware.timeouts(given),
            // Linux is told.
            Self::Linux(_) | Self::Own { .. } => given,
        }
    }

    /// Rules that it is known to break, by its source, without harm (docs/conform.md): they count as remarks.
    pub const fn known(&self) -> &'static [Rule] {
        match self {
            // Queues are cleared when they exist already, and before the first command.
            Self::Linux(_) => &[Rule::H34],
            Self::Own { .. } | Self::Firmware(..) => &[],
        }
    }

    /// Whether this is what QEMU's own firmware does before a kernel is there. It has the second life of the controller, and sets no
    /// Number of Queues in it.
    pub fn is_of_firmware(&self, broken: &Broken) -> bool {
        !matches!(self, Self::Firmware(..)) && broken.generation <= 2 && broken.rule == Rule::H29.id()
    }

    /// Its name in reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Linux(Kernel::Debian612) => "linux-6.12",
            Self::Linux(Kernel::Newest) => "linux-newest",
            Self::Linux(Kernel::Stacks) => "linux-stacks",
            Self::Own { .. } => "own-image",
            Self::Firmware(firmware, _) => firmware.name(),
        }
    }

    /// What exactly is tried, for reports.
    pub fn version(&self) -> String {
        let known = |key| Assets::load().ok().and_then(|assets| assets.value(key).map(str::to_owned));
        let version = match self {
            Self::Linux(Kernel::Debian612) => known("KERNEL_6_12_VERSION"),
            Self::Linux(Kernel::Newest) => known("KERNEL_NEWEST_VERSION"),
            Self::Linux(Kernel::Stacks) => known("KERNEL_STACKS_VERSION"),
            Self::Own { kernel, .. } => Some(kernel.display().to_string()),
            Self::Firmware(_, Some(image)) => Some(image.display().to_string()),
            Self::Firmware(Firmware::SeaBios, None) => Some("QEMU's own".to_owned()),
            Self::Firmware(Firmware::Ovmf, None) => known("OVMF_VERSION"),
            Self::Firmware(Firmware::UBoot, None) => known("U_BOOT_VERSION"),
        };
        version.unwrap_or_default()
    }

    /// Where on the disk it copies.
    pub fn place(&self, nsid: u64, block_bytes: u64) -> Place {
        let beginning = Place::new(nsid, block_bytes);
        match self {
            Self::Firmware(firmware, _) => firmware.place(beginning),
            Self::Linux(_) | Self::Own { .. } => beginning,
        }
    }

    /// What the disk has to hold besides what is copied: the place of each piece, in bytes.
    ///
    /// # Errors
    /// It cannot be had.
    pub fn disk(&self, place: &Place) -> anyhow::Result<Vec<(u64, Vec<u8>)>> {
        match self {
            Self::Firmware(firmware, _) => firmware.disk(place),
            Self::Linux(_) | Self::Own { .. } => Ok(Vec::new()),
        }
    }

    /// Starts its machine with the drive that a case has made.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, case: &Case, place: Place, timeouts: Timeouts, socket: PathBuf) -> anyhow::Result<Running> {
        let machine = match self {
            Self::Linux(kernel) => {
                let mut machine = Machine::new(*kernel).script(scripts::CONFORM);
                machine = machine.environment("NSID", &place.nsid.to_string());
                machine = machine.kernel_argument(&format!("nvme_core.io_timeout={}", timeouts.io));
                machine = machine.kernel_argument(&format!("nvme_core.admin_timeout={}", timeouts.admin));
                if HANDS_OVER.iter().any(|how| case.acts.contains(&Act::Order((*how).to_owned()))) {
                    let image = Assets::load()?.kernel(*kernel)?;
                    let image = std::fs::read(&image).with_context(|| format!("cannot read {}", image.display()))?;
                    machine = machine.file(SUCCESSOR.0, &image).memory_mib(SUCCESSOR.1);
                }
                case.kernel.iter().fold(machine, |machine, word| machine.kernel_argument(word))
            }
            Self::Own { kernel, initrd, append } => {
                append.iter().fold(Machine::with_images(kernel.clone(), initrd.clone()), |machine, word| {
                    machine.kernel_argument(word)
                })
            }
            Self::Firmware(firmware, rom) => firmware.machine(rom.clone()),
        };
        let guest = machine.name("conform").device(Device::VfioUser { socket }).timeout(BOOT_PATIENCE).spawn()?;
        Ok(Running { subject: self.clone(), place, guest })
    }
}

/// A machine that runs.
pub struct Running {
    subject: Subject,
    place: Place,
    guest: guest_harness::Guest,
}

impl Guest for Running {
    fn console(&self) -> String {
        self.guest.console()
    }

    fn come_up(&mut self, go_on: &mut dyn FnMut() -> bool) -> anyhow::Result<()> {
        let mut console = Console::new(&mut self.guest, BOOT_PATIENCE, go_on);
        match &self.subject {
            Subject::Linux(_) => console.says(READY).map(drop),
            Subject::Own { .. } => Ok(()),
            Subject::Firmware(firmware, _) => firmware.come_up(&mut console),
        }
    }

    fn order(&mut self, order: &str, go_on: &mut dyn FnMut() -> bool) -> anyhow::Result<bool> {
        let mut console = Console::new(&mut self.guest, ORDER_PATIENCE, go_on);
        match &self.subject {
            Subject::Own { .. } => anyhow::bail!("nobody in this guest can be told to {order}"),
            Subject::Firmware(firmware, _) => firmware.order(&mut console, &self.place, order),
            Subject::Linux(_) => {
                console.type_line(order, "\n")?;
                if order == "off" {
                    return console.is_off();
                }
                if HANDS_OVER.contains(&order) {
                    return console.says(READY).map(|_| true);
                }
                let verb = order.split(' ').next().unwrap_or(order);
                console.says(&format!("guest: done {verb} "))?;
                // What is returned is the line from its beginning.
                Ok(console.says("\n")?.trim_end().ends_with(" 0"))
            }
        }
    }

    fn until(&mut self, seconds: u64, matches: &mut dyn FnMut(&str) -> bool, go_on: &mut dyn FnMut() -> bool) {
        let mut looked = 0;
        for _ in 0..seconds * 4 {
            let console = self.guest.console();
            let found = console[looked..].lines().any(&mut *matches);
            looked = console.rfind('\n').map_or(0, |end| end + 1);
            if found || !go_on() || self.guest.is_off_within(Duration::from_millis(250)).unwrap_or(true) {
                return;
            }
        }
    }
}
