//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::crash;
use crate::device_arguments::DeviceArguments;
use crate::machine::Front;
use crate::number::number;
use crate::options::Bytes;
use crate::sandbox::Sandbox;
use crate::trace;

const AFTER: &str = "Example:\n  brownout qemu --kernel bzImage --initrd initrd --namespace size=1GiB,lba=4096";
const AFTER_SERVE: &str = "Example:\n  brownout serve --socket disk.sock --namespace size=1GiB,lba=4KiB";
const AFTER_MEDIA: &str = "Example:\n  brownout media check disk.img";
const AFTER_SCRUB: &str = "Example:\n  brownout media scrub disk.img";
const AFTER_CREATE: &str = "Example:\n  brownout media create disk.img --media iu=16KiB --namespace size=64GiB";
const AFTER_DUMP: &str = "Example:\n  brownout media dump disk.img --lines";
const AFTER_QEMU: &str = "Example:\n  brownout qemu --kernel bzImage --initrd initrd --append quiet -- -smp 2";
const AFTER_CTL: &str = "Example:\n  brownout ctl control.sock query-media";
const AFTER_WAF: &str = "Example:\n  brownout waf --iu 16KiB --offset 12KiB --len 20KiB";

/// An NVMe SSD in software, for stock QEMU.
#[derive(Debug, Parser)]
#[command(name = "brownout", version, after_help = AFTER, max_term_width = 100)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// Say more, -vv everything; RUST_LOG overrules it
    #[arg(short, long, action = ArgAction::Count, global = true, display_order = 100)]
    pub verbose: u8,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Serve a device at a socket, for a QEMU that you start
    #[command(after_help = AFTER_SERVE)]
    Serve(Serve),
    /// Start a stock QEMU with the device already plugged in
    #[command(after_help = AFTER_QEMU, override_usage = "brownout qemu [OPTIONS] [-- <QEMU ARGS>...]")]
    Qemu(Qemu),
    /// Give a running device a command, or follow its events
    #[command(after_help = AFTER_CTL)]
    Ctl(Ctl),
    /// Say what writes cost a drive: by formula, or measured beside theory
    #[command(after_help = AFTER_WAF)]
    Waf(Waf),
    /// Analyse, replay or convert a trace of I/O
    #[command(after_help = trace::AFTER)]
    Trace(trace::Arguments),
    /// Cut power again and again, and judge what is left
    #[command(after_help = crash::AFTER)]
    Crash(crash::Arguments),
    /// Make, describe, check or list a media file
    #[command(after_help = AFTER_MEDIA)]
    Media(Media),
    /// Turn into QEMU, and die with the process that wanted it
    #[command(hide = true)]
    BecomeQemu(BecomeQemu),
}

/// `brownout serve`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("front").required(true).multiple(true)))]
pub struct Serve {
    /// Be an NVMe device (vfio-user) for QEMU 10.1 or later
    #[arg(long, value_name = "PATH", group = "front")]
    pub socket: Option<PathBuf>,
    /// Be a virtio disk (vhost-user) for any QEMU
    #[arg(long, value_name = "PATH", group = "front")]
    pub vhost_user: Option<PathBuf>,
    /// The control socket (QMP), for `brownout ctl`
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// memory (default), or files: on local disks too
    #[arg(
        long,
        value_name = "KIND",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub guest_memory: GuestMemory,
    /// Give up rights: on (default), or off
    #[arg(
        long,
        value_name = "WORD",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub sandbox: Sandbox,
    /// As root: open all, then be this user
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    #[command(flatten)]
    pub device: DeviceArguments,
}

/// Where the memory of a guest may lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum GuestMemory {
    /// In memory with a descriptor.
    #[default]
    Memory,
    /// In files on local disks too.
    Files,
}

impl From<GuestMemory> for guest_memory::GuestFiles {
    fn from(place: GuestMemory) -> Self {
        match place {
            GuestMemory::Memory => Self::Memory,
            GuestMemory::Files => Self::LocalDisk,
        }
    }
}

/// `brownout qemu`.
#[derive(Debug, Args)]
#[command(override_usage = "brownout qemu [OPTIONS] [-- QEMU ARGS...]")]
pub struct Qemu {
    /// Boot this kernel, its console in this terminal
    #[arg(long, value_name = "BZIMAGE")]
    pub kernel: Option<PathBuf>,
    /// The kernel's first file system
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub initrd: Option<PathBuf>,
    /// More words for the kernel's command line
    #[arg(long, value_name = "STR", requires = "kernel", allow_hyphen_values = true)]
    pub append: Option<String>,
    /// Wait for gdb at localhost:1234
    #[arg(long)]
    pub gdb: bool,
    /// Use /dev/kvm
    #[arg(long)]
    pub kvm: bool,
    /// Guest memory [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Bytes>,
    /// The QEMU to start, if not the one in PATH
    #[arg(long, value_name = "PATH")]
    pub qemu: Option<PathBuf>,
    /// vfio-user: NVMe (default), or vhost-user: virtio
    #[arg(long, value_enum, default_value_t, hide_possible_values = true, hide_default_value = true)]
    pub front: Front,
    /// The control socket (QMP), for `brownout ctl`
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
    #[command(flatten)]
    pub device: DeviceArguments,
    /// Handed on to QEMU
    #[arg(last = true, value_name = "QEMU ARGS", hide = true)]
    pub more: Vec<OsString>,
}

/// `brownout ctl`.
#[derive(Debug, Args)]
pub struct Ctl {
    /// The control socket
    pub path: PathBuf,
    /// What to do; help lists the commands, help COMMAND describes one
    #[arg(required_unless_present = "watch")]
    pub command: Option<String>,
    /// Its arguments; a dot goes into an object: at.step=line-erased
    #[arg(value_name = "KEY=VALUE")]
    pub arguments: Vec<String>,
    /// Print events, one in a line, until the device ends
    #[arg(long, conflicts_with = "command")]
    pub watch: bool,
}

/// `brownout waf`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("experiment").conflicts_with("iu")))]
pub struct Waf {
    /// What the drive maps as a whole; several are compared
    #[arg(long, value_name = "SIZE,...", value_delimiter = ',', required_unless_present = "experiment")]
    pub iu: Vec<Bytes>,
    /// First byte of the write
    #[arg(long, value_name = "SIZE", requires = "iu", required_unless_present_any = ["plot", "experiment"])]
    pub offset: Option<Bytes>,
    /// Length of the write
    #[arg(long, value_name = "SIZE", requires = "iu", required_unless_present_any = ["plot", "experiment"])]
    pub len: Option<Bytes>,
    /// Draw it: .svg or .png; of --iu, worst case and mean
    #[arg(long, value_name = "FILE", conflicts_with_all = ["offset", "len", "numbers"])]
    pub plot: Option<PathBuf>,
    /// Plotted lengths and offsets are its multiples [default: 4KiB]
    #[arg(long, value_name = "SIZE", requires = "iu")]
    pub grid: Option<Bytes>,
    /// Where the plotted curve ends [default: 1MiB]
    #[arg(long, value_name = "SIZE", requires = "iu")]
    pub max_len: Option<Bytes>,
    /// Measure garbage collection beside theory, a minute at most
    #[arg(long, group = "experiment")]
    pub theory: bool,
    /// Measure what small writes cost on an SD card
    #[arg(long, group = "experiment")]
    pub sd_card: bool,
    /// Measure exactness, memory, recovery and wear
    #[arg(long, group = "experiment")]
    pub numbers: bool,
    /// Only recovery, of a full drive; 1TiB takes 16 GiB
    #[arg(long, value_name = "SIZE", requires = "numbers", conflicts_with_all = ["coarse", "theory", "sd_card"])]
    pub drive: Option<Bytes>,
    /// Where an experiment's chance begins [default: 1]
    #[arg(long, value_name = "N", requires = "experiment", value_parser = number)]
    pub seed: Option<u64>,
    /// A small experiment, in seconds, without bars
    #[arg(long, requires = "experiment")]
    pub coarse: bool,
}

/// `brownout media`.
#[derive(Debug, Args)]
pub struct Media {
    #[command(subcommand)]
    pub verb: MediaVerb,
}

/// What to do with a media file.
#[derive(Debug, Subcommand)]
pub enum MediaVerb {
    /// Make a media file
    #[command(after_help = AFTER_CREATE)]
    Create(MediaCreate),
    /// Say what a media file is, without recovering it
    #[command(after_help = "Example:\n  brownout media info disk.img")]
    Info(MediaFile),
    /// Recover in memory, check lines, map and ledger, then scrub; the file stays as it is. Exit code 1 if it is damaged
    #[command(after_help = AFTER_MEDIA)]
    Check(MediaFile),
    /// Read everything, as the patrol of a running drive does, and name what is lost by namespace and block. Exit code 1 if anything is
    #[command(after_help = AFTER_SCRUB)]
    Scrub(MediaFile),
    /// List what is inside, recovered in memory
    #[command(after_help = AFTER_DUMP)]
    Dump(MediaDump),
}

/// A media file.
#[derive(Debug, Args)]
pub struct MediaFile {
    /// The media file
    pub file: PathBuf,
}

/// `brownout media create`.
#[derive(Debug, Args)]
pub struct MediaCreate {
    /// The media file; nothing may be there yet
    pub file: PathBuf,
    /// Media and namespaces; the options win over it
    #[arg(long, value_name = "TOML")]
    pub config: Option<PathBuf>,
    /// The media: iu=16KiB,op=7%,...
    #[arg(long, value_name = "K=V,...")]
    pub media: Option<String>,
    /// A namespace: size=1GiB,lba=512,... Repeatable
    #[arg(long, value_name = "K=V,...")]
    pub namespace: Vec<String>,
}

/// `brownout media dump`.
#[derive(Debug, Args)]
pub struct MediaDump {
    /// The media file
    pub file: PathBuf,
    /// Each line: state, valid units, erases (what is listed if nothing else is asked for)
    #[arg(long)]
    pub lines: bool,
    /// Each run of units that lie one behind the other
    #[arg(long)]
    pub map: bool,
    /// Deallocations that a recovery would replay
    #[arg(long)]
    pub journal: bool,
}

/// The hidden verb.
#[derive(Debug, Args)]
pub struct BecomeQemu {
    /// Who must be alive
    pub parent: u32,
    /// What to run
    pub program: PathBuf,
    /// With what
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn each_help_fits_a_screen_and_ends_with_an_example() {
        let mut command = CommandLine::command().term_width(80);
        command.build();
        let mut helps = vec![command.render_help().to_string()];
        for verb in ["serve", "qemu", "ctl", "crash", "media", "waf", "trace"] {
            helps.push(command.find_subcommand_mut(verb).expect("a verb").render_help().to_string());
        }
        for verb in ["create", "info", "check", "dump"] {
            let media = command.find_subcommand_mut("media").expect("a verb");
            helps.push(media.find_subcommand_mut(verb).expect("a verb").render_help().to_string());
        }
        for verb in ["analyse", "replay", "convert"] {
            let trace = command.find_subcommand_mut("trace").expect("a verb");
            helps.push(trace.find_subcommand_mut(verb).expect("a verb").render_help().to_string());
        }
        for help in helps {
            assert!(help.lines().count() <= 24, "{} lines:\n{help}", help.lines().count());
            assert!(help.trim_end().lines().rev().nth(1) == Some("Example:"), "{help}");
            assert!(help.lines().all(|line| line.len() <= 80), "{help}");
        }
    }

    #[test]
    fn what_follows_two_dashes_is_qemus() {
        let line =
            CommandLine::try_parse_from(["brownout", "qemu", "-v", "--memory", "2GiB", "--", "-smp", "2", "--", "-x"]);
        let Verb::Qemu(qemu) = line.expect("legal").verb else { panic!("the verb is qemu") };
        assert_eq!(qemu.more, ["-smp", "2", "--", "-x"]);
        assert_eq!(qemu.memory, Some(Bytes(2 << 30)));
        let line = ["brownout", "become-qemu", "7", "/bin/qemu", "-machine", "q35", "--", "-v"];
        let Verb::BecomeQemu(become_qemu) = CommandLine::try_parse_from(line).expect("legal").verb else {
            panic!("hidden")
        };
        assert_eq!(become_qemu.arguments, ["-machine", "q35", "--", "-v"]);
    }

    #[test]
    fn a_kernels_companions_need_a_kernel() {
        assert!(CommandLine::try_parse_from(["brownout", "qemu", "--initrd", "x"]).is_err());
    }
}
