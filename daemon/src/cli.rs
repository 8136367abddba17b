//! The command line.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::device_arguments::{DeviceArguments, MEDIA, NAMESPACE, TextOrList};
use crate::http::address::Address;
use crate::logging::LogFormat;
use crate::machine::Front;
use crate::number::{count, number, time};
use crate::options::Bytes;
use crate::sandbox::Sandbox;
use crate::tracer::order;
use crate::{conform, crash, pages, reference, trace, version};

const AFTER: &str = "Example:\n  brownout qemu --kernel bzImage --initrd initrd --namespace size=1GiB,lba=4096";
const AFTER_SERVE: &str = "Example:\n  brownout serve --socket disk.sock --namespace size=1GiB,lba=4KiB";
const AFTER_MEDIA: &str = "Example:\n  brownout media check disk.img";
const AFTER_SCRUB: &str = "Example:\n  brownout media scrub disk.img";
const AFTER_CREATE: &str = "Example:\n  brownout media create disk.img --media iu=16KiB --namespace size=64GiB";
const AFTER_DUMP: &str = "Example:\n  brownout media dump disk.img --lines";
const AFTER_EXPORT: &str = "Example:\n  brownout media export disk.img --namespace 1 disk.raw";
const AFTER_QEMU: &str = "Example:\n  brownout qemu --kernel bzImage --exec test.sh --timeout 90s -- -smp 2";
const AFTER_CTL: &str = "Example:\n  brownout ctl control.sock query-media";
const AFTER_WAF: &str = "Example:\n  brownout waf --iu 16KiB --offset 12KiB --len 20KiB";

/// An NVMe SSD in software, for stock QEMU.
#[derive(Debug, Parser)]
#[command(name = "brownout", version = version::line(), after_help = AFTER, max_term_width = 100)]
pub struct CommandLine {
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
    /// Log more (-vv: all); see RUST_LOG, --log-format
    #[arg(short, long, action = ArgAction::Count, global = true, display_order = 100)]
    pub verbose: u8,
    /// How messages are written to standard error: text, or json, an object in each line
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, global = true, hide = true)]
    pub log_format: LogFormat,
}

/// Reads the command line. What is wrong with it, or the help that it asks for, ends the process.
pub fn read() -> CommandLine {
    CommandLine::try_parse().unwrap_or_else(|error| {
        // A list that a value asks for, such as `--device help`, is no error, though it comes out of a parser as one.
        match error.to_string().strip_prefix("error: ").filter(|_| error.kind() == ErrorKind::DisplayHelp) {
            None => error.exit(),
            Some(list) => {
                // Whoever closes the pipe has read enough.
                let _ = io::stdout().write_all(list.as_bytes());
                process::exit(0)
            }
        }
    })
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Serve the device on a socket, for a QEMU that you start
    #[command(after_help = AFTER_SERVE, help_template = crash::TEMPLATE)]
    Serve(Serve),
    /// Start a stock QEMU with the device plugged in
    #[command(
        after_help = AFTER_QEMU,
        help_template = crash::TEMPLATE,
        override_usage = "brownout qemu [OPTIONS] [-- <QEMU ARGS>...]"
    )]
    Qemu(Qemu),
    /// Send a command to a running device, or follow its events
    #[command(after_help = AFTER_CTL)]
    Ctl(Ctl),
    /// Compute or measure write amplification
    #[command(after_help = AFTER_WAF)]
    Waf(Waf),
    /// Record, analyse, replay or convert a trace of I/O
    #[command(after_help = trace::AFTER)]
    Trace(trace::Arguments),
    /// Cut power repeatedly, and check what survives
    #[command(after_help = crash::AFTER, help_template = crash::TEMPLATE)]
    #[command(override_usage = "brownout crash [OPTIONS] <--in-process|--guest|--tape FILE|--merge ...>")]
    Crash(Box<crash::Arguments>),
    /// Test a host's NVMe driver, scenario by scenario
    #[command(after_help = conform::AFTER, help_template = conform::TEMPLATE)]
    Conform(conform::Arguments),
    /// Create, describe, check, list or export a media file
    #[command(after_help = AFTER_MEDIA)]
    Media(Media),
    /// Print version, commit and media format
    #[command(hide = true)]
    Version(version::Version),
    /// Write a manual page for each verb
    #[command(hide = true)]
    Man(pages::Man),
    /// Print completions for a shell
    #[command(hide = true)]
    Completions(pages::Completions),
    /// Write the pages of the reference
    #[command(hide = true)]
    Reference(reference::Reference),
    /// Become QEMU, and end with the process that wanted it
    #[command(hide = true)]
    BecomeQemu(BecomeQemu),
}

/// `brownout serve`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("front").required(true).multiple(true)))]
pub struct Serve {
    /// NVMe device (vfio-user), QEMU 10.1+; repeatable
    #[arg(long = "socket", value_name = "PATH", group = "front")]
    pub sockets: Vec<PathBuf>,
    /// Virtio disk (vhost-user) for any QEMU
    #[arg(long, value_name = "PATH", group = "front")]
    pub vhost_user: Option<PathBuf>,
    /// Control socket (QMP), for `brownout ctl`
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// Figures and live page: 127.0.0.1:PORT, unix:PATH
    #[arg(long, value_name = "ADDR")]
    pub http: Option<Address>,
    /// Lets --http listen where other machines reach it
    #[arg(long, requires = "http", hide = true)]
    pub http_anywhere: bool,
    /// memory (default), or files: also on local disks
    #[arg(
        long,
        value_name = "KIND",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub guest_memory: GuestMemory,
    /// Drop privileges: on (default), or off
    #[arg(
        long,
        value_name = "WORD",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub sandbox: Sandbox,
    /// As root: open all files, then become this user
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Trace: 'pci_nvme*,file=x.log', or help (repeatable)
    #[arg(long, value_name = "PATTERN,...", allow_hyphen_values = true, value_parser = TRACE)]
    pub trace: Vec<String>,
    /// Where `ctl trace-start`, `tape-start` write
    #[arg(long, value_name = "FOLDER", requires = "control")]
    pub trace_folder: Option<PathBuf>,
    /// Put all changes on a tape, for `crash --tape`
    #[arg(long, value_name = "FILE")]
    pub tape: Option<PathBuf>,
    /// Where `ctl controller-add` makes sockets; hosts are told that there may be several controllers
    #[arg(long, value_name = "FOLDER", requires = "control", hide_short_help = true)]
    pub socket_folder: Option<PathBuf>,
    /// Say that it is ready, and how it is set up, as JSON
    #[arg(long, hide_short_help = true)]
    pub json: bool,
    #[command(flatten)]
    pub device: DeviceArguments,
}

/// What `--trace` takes.
const TRACE: TextOrList = TextOrList { option: "trace", list: |text| matches!(text, "help" | "?").then(order::names) };

/// Where the memory of a guest may lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum GuestMemory {
    /// A memfd, or a file on tmpfs or hugetlbfs.
    #[default]
    Memory,
    /// Also a file on a local disk.
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
#[command(override_usage = "brownout qemu [OPTIONS] [-- QEMU ARGS...]", group(ArgGroup::new("boots").multiple(true)))]
pub struct Qemu {
    /// Kernel to boot, its console here; or "stacks"
    ///
    /// "stacks" is Debian's general kernel, with an initramfs that has F2FS's tools, PostgreSQL and MariaDB. It is fetched when it is first
    /// asked for.
    #[arg(long, value_name = "BZIMAGE", group = "boots")]
    pub kernel: Option<PathBuf>,
    /// The kernel's initramfs
    #[arg(long, value_name = "FILE", requires = "boots")]
    pub initrd: Option<PathBuf>,
    /// Additional kernel command line
    #[arg(long, value_name = "STR", requires = "boots", allow_hyphen_values = true)]
    pub append: Option<String>,
    /// Run a script in the guest; its exit code is ours
    #[arg(long, value_name = "SCRIPT", group = "boots")]
    pub exec: Option<PathBuf>,
    /// End the guest after this time: 90s, 5min
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub timeout: Option<Duration>,
    /// Print the command that starts QEMU; start nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Wait for gdb on localhost:1234
    #[arg(long)]
    pub gdb: bool,
    /// Use /dev/kvm
    #[arg(long, hide_short_help = true)]
    pub kvm: bool,
    /// Guest memory [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Bytes>,
    /// QEMU to start [default: the one in PATH]
    #[arg(long, value_name = "PATH")]
    pub qemu: Option<PathBuf>,
    /// vfio-user: NVMe (default); vhost-user: virtio
    #[arg(
        long,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        hide_default_value = true,
        hide_short_help = true
    )]
    pub front: Front,
    /// Control socket (QMP), for `brownout ctl`
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// Trace: 'pci_nvme*,file=x.log', or help (repeatable)
    #[arg(long, value_name = "PATTERN,...", allow_hyphen_values = true, value_parser = TRACE)]
    pub trace: Vec<String>,
    /// Where `ctl trace-start`, `tape-start` write
    #[arg(long, value_name = "FOLDER", requires = "control", hide = true)]
    pub trace_folder: Option<PathBuf>,
    /// Figures and live page: 127.0.0.1:PORT, unix:PATH
    #[arg(long, value_name = "ADDR", hide_short_help = true)]
    pub http: Option<Address>,
    /// Lets --http listen where other machines reach it
    #[arg(long, requires = "http", hide = true)]
    pub http_anywhere: bool,
    /// Put all changes on a tape, for `crash --tape`
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub tape: Option<PathBuf>,
    #[command(flatten)]
    pub device: DeviceArguments,
    /// Passed to QEMU
    #[arg(last = true, value_name = "QEMU ARGS", hide = true)]
    pub more: Vec<OsString>,
}

/// `brownout ctl`.
#[derive(Debug, Args)]
pub struct Ctl {
    /// Control socket; `help [COMMAND]` needs none
    pub path: PathBuf,
    /// Command; `help` lists all, `help COMMAND` describes one
    pub command: Option<String>,
    /// Arguments; a dot names a nested value: at.step=line-erased
    #[arg(value_name = "KEY=VALUE")]
    pub arguments: Vec<String>,
    /// Print the answer as a table, not as JSON
    #[arg(long, requires = "command")]
    pub table: bool,
    /// Print events, one per line, until the device ends
    #[arg(long, conflicts_with = "command")]
    pub watch: bool,
}

/// `brownout waf`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("experiment").conflicts_with("iu")))]
pub struct Waf {
    /// Indirection unit; several are compared
    #[arg(long, value_name = "SIZE,...", value_delimiter = ',', required_unless_present = "experiment")]
    pub iu: Vec<Bytes>,
    /// First byte of the write
    #[arg(long, value_name = "SIZE", requires = "iu", required_unless_present_any = ["plot", "experiment"])]
    pub offset: Option<Bytes>,
    /// Length of the write
    #[arg(long, value_name = "SIZE", requires = "iu", required_unless_present_any = ["plot", "experiment"])]
    pub len: Option<Bytes>,
    /// Print the cost of a write, or an experiment, as JSON
    #[arg(long)]
    pub json: bool,
    /// Draw a figure, .svg or .png; of --iu: worst case, mean
    #[arg(long, value_name = "FILE", conflicts_with_all = ["offset", "len", "numbers"])]
    pub plot: Option<PathBuf>,
    /// Step of plotted lengths and offsets [default: 4KiB]
    #[arg(long, value_name = "SIZE", requires = "iu")]
    pub grid: Option<Bytes>,
    /// Largest plotted length [default: 1MiB]
    #[arg(long, value_name = "SIZE", requires = "iu")]
    pub max_len: Option<Bytes>,
    /// Measure garbage collection beside theory (a minute)
    #[arg(long, group = "experiment")]
    pub theory: bool,
    /// Measure the cost of small writes on an SD card
    #[arg(long, group = "experiment")]
    pub sd_card: bool,
    /// Measure exactness, memory, recovery and wear
    #[arg(long, group = "experiment")]
    pub numbers: bool,
    /// Only recovery of a full drive; 1TiB takes 16 GiB
    #[arg(long, value_name = "SIZE", requires = "numbers", conflicts_with_all = ["coarse", "theory", "sd_card"])]
    pub drive: Option<Bytes>,
    /// Seed of an experiment [default: 1]
    #[arg(long, value_name = "N", requires = "experiment", value_parser = number)]
    pub seed: Option<u64>,
    /// Small experiment: takes seconds, checks no limits
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
    /// Create a media file
    #[command(after_help = AFTER_CREATE)]
    Create(MediaCreate),
    /// Describe a media file, without recovering it
    #[command(after_help = "Example:\n  brownout media info disk.img")]
    Info(MediaFile),
    /// Recover in memory, check lines, map, ledger and data; never writes. Exit code 1 if the file is damaged
    #[command(after_help = AFTER_MEDIA)]
    Check(MediaFile),
    /// Read all data, as a running drive's patrol does, and name lost blocks. Exit code 1 if there are any
    #[command(after_help = AFTER_SCRUB)]
    Scrub(MediaFile),
    /// Recover in memory, and list lines, map or journal
    #[command(after_help = AFTER_DUMP)]
    Dump(MediaDump),
    /// Recover in memory, and write a namespace as a sparse raw image
    #[command(after_help = AFTER_EXPORT)]
    Export(MediaExport),
}

/// A media file.
#[derive(Debug, Args)]
pub struct MediaFile {
    /// Media file
    pub file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `brownout media create`.
#[derive(Debug, Args)]
pub struct MediaCreate {
    /// Media file; must not exist yet
    pub file: PathBuf,
    /// Media and namespaces; options take precedence
    #[arg(long, value_name = "TOML")]
    pub config: Option<PathBuf>,
    /// Media: iu=16KiB,op=7%,...; or help
    #[arg(long, value_name = "K=V,...", value_parser = MEDIA)]
    pub media: Option<String>,
    /// Namespace: size=1GiB,... (repeatable); or help
    #[arg(long, value_name = "K=V,...", value_parser = NAMESPACE)]
    pub namespace: Vec<String>,
}

/// `brownout media dump`.
#[derive(Debug, Args)]
pub struct MediaDump {
    /// Media file
    pub file: PathBuf,
    /// Lines: state, valid units, erase counts (default)
    #[arg(long)]
    pub lines: bool,
    /// Runs of consecutive units
    #[arg(long)]
    pub map: bool,
    /// Deallocations that a recovery would replay
    #[arg(long)]
    pub journal: bool,
    /// Print JSON, an entry in each line
    #[arg(long)]
    pub json: bool,
}

/// `brownout media export`.
#[derive(Debug, Args)]
pub struct MediaExport {
    /// Media file
    pub file: PathBuf,
    /// Image; must not exist yet
    pub out: PathBuf,
    /// Which namespace, counted from 1 [default: 1]
    #[arg(long, value_name = "N", value_parser = count)]
    pub namespace: Option<u64>,
    /// Replace an image that exists
    #[arg(long)]
    pub force: bool,
}

/// The hidden verb.
#[derive(Debug, Args)]
pub struct BecomeQemu {
    /// The process that must be alive
    pub parent: u32,
    /// Program to run
    pub program: PathBuf,
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn each_help_fits_a_screen_and_ends_with_an_example() {
        let verbs = ["", "ctl", "media", "waf", "trace"];
        let of_media = ["media create", "media info", "media check", "media scrub", "media dump"];
        // The long form of these says more.
        let long =
            ["serve", "qemu", "crash", "conform", "trace analyse", "trace replay", "trace record", "trace convert"]
                .map(|verb| (verb, "-h"));
        let pages = verbs.into_iter().chain(of_media).flat_map(|verb| ["-h", "--help"].map(|flag| (verb, flag)));
        let pages = pages.chain(long);
        let helps = pages.map(|(verb, flag)| {
            let line = std::iter::once("brownout").chain(verb.split_whitespace()).chain([flag]);
            let help = CommandLine::command().term_width(80).try_get_matches_from(line);
            help.expect_err("the help").to_string()
        });
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
