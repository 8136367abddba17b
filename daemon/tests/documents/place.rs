//! Where the blocks of a page are run: a folder of their own, with the program and QEMU's tools in PATH, a kernel and its initramfs. The
//! machine is a stand-in, which notes what it was given.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use guest_harness::Assets;

use crate::blocks::root;

/// It knows what it was given, and that the drive answers.
const MACHINE: &str = r#"case "$1 $2" in
'--version ') echo 'QEMU emulator version 11.1.3';;
'-device help') echo 'name "vfio-user-pci" name "vhost-user-blk-pci"';;
*) printf '%s\n' "$@" > arguments
   grep -q -x -e -kernel arguments || exit 1
   for word; do case "$word" in file:*) echo 0 > "${word#file:}";; esac; done;;
esac"#;

/// A folder for the blocks of one page.
pub struct Place {
    folder: tempfile::TempDir,
    /// For what listens at a port.
    port: u16,
    tools: bool,
}

/// Saves a script.
pub fn script(path: &Path, text: &str) {
    fs::write(path, text).expect("a script");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
}

impl Place {
    /// An empty one.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).expect("a folder");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_brownout"), bin.join("brownout")).expect("a link");
        std::os::unix::fs::symlink(root().join("campaign"), folder.path().join("campaign")).expect("a link");
        script(&bin.join("qemu-system-x86_64"), &format!("#!/bin/sh\n{MACHINE}\n"));
        let mut tools = true;
        for tool in ["qemu-img", "qemu-storage-daemon"] {
            match Assets::load().and_then(|assets| Ok(assets.tool(tool)?.to_owned())) {
                Ok(path) => script(&bin.join(tool), &format!("#!/bin/sh\nexec '{}' \"$@\"\n", path.display())),
                Err(_) => tools = false,
            }
        }
        for file in ["bzImage", "initrd", "test.sh"] {
            fs::write(folder.path().join(file), file).expect("a file");
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        Self { folder, port, tools }
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Whether what a block needs is there.
    pub fn has(&self, need: &str) -> bool {
        let found = |program: &str| {
            let search = format!("command -v {program} >/dev/null");
            Command::new("sh")
                .args(["-c", &search])
                .env("PATH", self.search_path())
                .status()
                .is_ok_and(|end| end.success())
        };
        match need {
            "fuse" => {
                let mounts = rustix::process::geteuid().is_root() || found("fusermount3");
                self.tools && mounts && Path::new("/dev/fuse").exists() && found("mkfs.ext4")
            }
            "tools" => self.tools,
            program => found(program),
        }
    }

    fn search_path(&self) -> String {
        let path = std::env::var("PATH").unwrap_or_default();
        format!("{}:{path}:/usr/sbin:/sbin", self.path("bin").display())
    }

    fn command(&self, text: &str) -> Command {
        // The machine of a distribution need not be there, and ports are those that are free.
        let machine = self.path("bin/qemu-system-x86_64").display().to_string();
        let text = text.replace("/usr/bin/qemu-system-x86_64", &machine);
        let text = text.replace("127.0.0.1:9000", &format!("127.0.0.1:{}", self.port));
        let mut command = Command::new("sh");
        command.args(["-e", "-c", &text]).env("PATH", self.search_path()).current_dir(self.folder.path());
        command.stdin(Stdio::null());
        command
    }

    /// Runs commands to their end; what they printed, errors last.
    pub fn run(&self, text: &str, place: &str) -> String {
        let output = self.command(text).output().expect("a shell");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{place}\n{text}\n{said}");
        said
    }

    /// Starts a line that goes on.
    pub fn start(&self, line: &str, place: &str) -> Server {
        let mut child = self.command(&format!("exec {line}")).stdout(Stdio::piped()).spawn().expect("a shell");
        let said = BufReader::new(child.stdout.take().expect("a pipe"));
        Server { child, said, line: format!("{place}: {line}") }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What went wrong in the middle of a block leaves the tools alone with their disk: those that are there still.
        let entries = fs::read_dir(self.folder.path()).into_iter().flatten().filter_map(Result::ok);
        let files = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "pid"));
        for pid in files.filter_map(|path| fs::read_to_string(path).ok()) {
            let arguments = fs::read_to_string(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
            if arguments.contains("qemu-") {
                let _ = Command::new("umount").arg(self.path("disk")).stderr(Stdio::null()).status();
                let _ = Command::new("kill").arg(pid.trim()).stderr(Stdio::null()).status();
            }
        }
    }
}

/// A drive that runs, or who listens to one.
pub struct Server {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
    line: String,
}

impl Server {
    /// Waits until it says that it is ready.
    pub fn until_ready(&mut self) {
        let mut line = String::new();
        while !line.starts_with("# ready: ") && !line.starts_with("{\"ready\":true") {
            line.clear();
            assert!(self.said.read_line(&mut line).expect("text") > 0, "{} ended", self.line);
        }
    }

    /// Whether a text names one of its sockets.
    pub fn is_named_in(&self, text: &str) -> bool {
        let words: Vec<&str> = self.line.split_whitespace().collect();
        let sockets =
            words.windows(2).filter(|pair| matches!(pair[0], "--socket" | "--vhost-user" | "--control" | "--http"));
        sockets.map(|pair| pair[1].trim_start_matches("unix:")).any(|socket| text.contains(socket))
    }

    /// An orderly end.
    pub fn stop(mut self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it lives");
        self.end();
    }

    /// Waits for its end.
    pub fn end(&mut self) {
        let mut said = String::new();
        self.said.read_to_string(&mut said).expect("text");
        assert!(self.child.wait().expect("an end").success(), "{}", self.line);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
