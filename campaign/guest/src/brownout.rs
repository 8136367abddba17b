//! The process of the device under test: starts `brownout serve`, waits until it is ready, measures it from outside, and
//! ends it. Knows its command line and nothing of its inside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::clock;
use crate::folder::RunFolder;
use crate::process::Process;

const READY: &str = "ready";
const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// What to start; the default is one controller as the binary makes it and no namespace of ours.
#[derive(Clone, Debug, Default)]
pub struct BrownoutBuilder {
    name: Option<String>,
    binary: Option<PathBuf>,
    socket: Option<PathBuf>,
    vhost_user: bool,
    device: Vec<String>,
    namespaces: Vec<String>,
    arguments: Vec<String>,
}

impl BrownoutBuilder {
    /// The name of the run in `guest-logs`; without it, the name of the test.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// The program to start; without it, as `BROWNOUT_BIN` says, or the release build, or the debug build.
    #[must_use]
    pub fn binary(mut self, binary: &Path) -> Self {
        self.binary = Some(binary.to_owned());
        self
    }

    /// Where the socket shall be; without it, in a folder of the run.
    #[must_use]
    pub fn socket(mut self, socket: &Path) -> Self {
        self.socket = Some(socket.to_owned());
        self
    }

    /// Serves a virtio disk at the socket, in place of an NVMe device.
    #[must_use]
    pub fn vhost_user(mut self) -> Self {
        self.vhost_user = true;
        self
    }

    /// Properties for `--device`, as `doorbells=mapped,mdts=5`; several calls are joined.
    #[must_use]
    pub fn device(mut self, properties: &str) -> Self {
        self.device.push(properties.to_owned());
        self
    }

    /// A namespace, as `size=256MiB,lba=4096`; each call adds one.
    #[must_use]
    pub fn namespace(mut self, properties: &str) -> Self {
        self.namespaces.push(properties.to_owned());
        self
    }

    /// One more argument, after all of ours.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts the process and waits until it says that it is ready.
    ///
    /// # Errors
    /// When the binary is missing, or ends or stays silent before it is ready; the logs are kept then.
    pub fn start(self) -> Result<Brownout> {
        let binary = self.binary.clone().map_or_else(binary, Ok)?;
        let folder = RunFolder::new(self.name.as_deref())?;
        let socket = self.socket.clone().unwrap_or_else(|| folder.path().join("nvme.sock"));
        let arguments = self.command(&socket)?;
        let mut process = Process::start("brownout", &binary, &arguments, folder.path())?;
        if let Err(error) = process.wait_for(READY, START_TIMEOUT) {
            folder.keep();
            let errors = fs::read_to_string(folder.path().join("brownout.stderr")).unwrap_or_default();
            return Err(error.context(format!("brownout did not start: {}", errors.trim())));
        }
        Ok(Brownout { process, folder, socket })
    }

    fn command(&self, socket: &Path) -> Result<Vec<String>> {
        let socket = socket.to_str().with_context(|| format!("{} is not valid UTF-8", socket.display()))?;
        let front = if self.vhost_user { "--vhost-user" } else { "--socket" };
        let mut arguments = vec!["serve".to_owned(), front.to_owned(), socket.to_owned()];
        if !self.device.is_empty() {
            arguments.extend(["--device".to_owned(), self.device.join(",")]);
        }
        for namespace in &self.namespaces {
            arguments.extend(["--namespace".to_owned(), namespace.clone()]);
        }
        arguments.extend(self.arguments.iter().cloned());
        Ok(arguments)
    }
}

/// A running `brownout serve`. Killed with SIGKILL when dropped.
pub struct Brownout {
    // Declared before the folder, so that the process is gone before its files are.
    process: Process,
    folder: RunFolder,
    socket: PathBuf,
}

impl Brownout {
    /// Begins the description of a process to start.
    #[must_use]
    pub fn builder() -> BrownoutBuilder {
        BrownoutBuilder::default()
    }

    /// The program that is started if a builder names no other: as `BROWNOUT_BIN` says, or the release build, or the debug build.
    ///
    /// # Errors
    /// There is none.
    pub fn program() -> Result<PathBuf> {
        binary()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The socket QEMU shall connect to.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The run's files: `brownout.log`, `brownout.stderr`, `brownout.command`.
    #[must_use]
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// Its standard output so far.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.text()
    }

    /// Its standard error so far.
    #[must_use]
    pub fn errors(&self) -> String {
        fs::read_to_string(self.folder.path().join("brownout.stderr")).unwrap_or_default()
    }

    /// Waits until the text appears on its standard output, behind what the last call found.
    ///
    /// # Errors
    /// When it ends or the time passes without it.
    pub fn wait_for(&mut self, pattern: &str, timeout: Duration) -> Result<String> {
        self.process.wait_for(pattern, timeout)
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.process.status()?.is_none())
    }

    /// Number of open file descriptors.
    ///
    /// # Errors
    /// When it has ended.
    pub fn descriptors(&self) -> Result<usize> {
        self.count_entries("fd")
    }

    /// Number of threads.
    ///
    /// # Errors
    /// When it has ended.
    pub fn threads(&self) -> Result<usize> {
        self.count_entries("task")
    }

    /// Number of memory mappings.
    ///
    /// # Errors
    /// When it has ended.
    pub fn mappings(&self) -> Result<usize> {
        Ok(self.read("maps")?.lines().count())
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resident_bytes(&self) -> Result<u64> {
        parse_resident(&self.read("status")?).context("no VmRSS in the process's status")
    }

    /// Processor time used so far, in user and system mode, by all threads.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cpu_time(&self) -> Result<Duration> {
        let ticks = parse_cpu_ticks(&self.read("stat")?).context("the process's stat line has an unknown form")?;
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Ok(Duration::from_millis(ticks.saturating_mul(1000) / per_second))
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// When it does not end in time; it is killed then and its logs are kept.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.process.terminate()?;
        if let Some(status) = self.process.wait_until(clock::now() + STOP_TIMEOUT)? {
            return Ok(status);
        }
        self.folder.keep();
        self.process.kill()?;
        bail!("brownout did not end within {} s of SIGTERM", STOP_TIMEOUT.as_secs());
    }

    /// SIGKILL, which is a power loss, and waits until the process is gone.
    ///
    /// # Errors
    /// When the system refuses to wait for the process.
    pub fn kill(mut self) -> Result<()> {
        self.process.kill()?;
        Ok(())
    }

    /// Runs another verb of the binary to its end.
    ///
    /// # Errors
    /// When the binary is missing or cannot be started.
    pub fn run(arguments: &[&str]) -> Result<Output> {
        Self::command(arguments)?.output().context("cannot start the binary")
    }

    /// Another verb of the binary, to be started.
    ///
    /// # Errors
    /// When the binary is missing.
    pub fn command(arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(binary()?);
        command.args(arguments);
        Ok(command)
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.pid());
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    }

    fn count_entries(&self, folder: &str) -> Result<usize> {
        let path = format!("/proc/{}/{folder}", self.pid());
        Ok(fs::read_dir(&path).with_context(|| format!("cannot read {path}"))?.count())
    }
}

/// The binary to test: as `BROWNOUT_BIN` says, or the release build, or the debug build.
fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("BROWNOUT_BIN") {
        let path = PathBuf::from(path);
        if path.is_file() {
            return Ok(path);
        }
        bail!("BROWNOUT_BIN is {}, which is not a file", path.display());
    }
    // Tests and examples lie in folders below the one where cargo puts programs.
    let ourselves = std::env::current_exe().context("cannot tell where this program lies")?;
    let profiles = ["release", "debug"].into_iter();
    let mut places =
        profiles.flat_map(|profile| ourselves.ancestors().map(move |folder| folder.join(profile).join("brownout")));
    places
        .find(|path| path.is_file())
        .context("no brownout binary: build it (cargo build --release) or set BROWNOUT_BIN")
}

/// User plus system ticks from `/proc/PID/stat`. The name in parentheses may itself hold spaces and parentheses, so
/// fields are counted from the last one that closes.
fn parse_cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    // The first field behind the name is number 3, the state; utime is 14 and stime 15.
    let mut fields = fields.split_whitespace().skip(14 - 3);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_a_name_with_parentheses() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194304 100 0 0 0 17 5 0 0 20 0 3 0 100 1000 10";
        assert_eq!(parse_cpu_ticks(stat), Some(22));
        assert_eq!(parse_cpu_ticks("nothing"), None);
    }

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(parse_resident("Name:\tx\nVmRSS:\t    12 kB\n"), Some(12 * 1024));
    }

    #[test]
    fn the_command_line_has_one_device_and_each_namespace() -> Result<()> {
        let builder = Brownout::builder()
            .device("mdts=5")
            .device("doorbells=mapped")
            .namespace("size=1GiB")
            .namespace("size=2GiB");
        let command = builder.command(Path::new("/s"))?.join(" ");
        assert_eq!(
            command,
            "serve --socket /s --device mdts=5,doorbells=mapped --namespace size=1GiB --namespace size=2GiB"
        );
        Ok(())
    }
}
