//! README, executed: every line of its `sh` blocks, in order, in one folder, and every command in the text. A server runs until the end
//! of its block. What cannot be run here is listed with the reason, and nothing that is listed may be missing.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use guest_harness::Assets;

const README: &str = include_str!("../../README.md");

/// Commands that are not run, and why.
const NOT_RUN: &[(&str, &str)] = &[
    ("make demo", "builds for release and boots two guests: minutes"),
    ("make test", "runs this test"),
    (
        "brownout crash --in-process --cuts 100000 --seed 1",
        "a minute of all processors; the tests of the oracle run short ones",
    ),
    ("brownout crash --guest --cuts 500 --seed 1", "boots guests for hours"),
    ("brownout conform --linux newest --junit conform.xml", "boots some fifty guests"),
    ("brownout conform --kernel bzImage --initrd root.cpio --expect 'login:'", "boots a kernel of the reader's own"),
    ("brownout waf --theory", "a minute in a release build; tests/waf runs it with --coarse"),
    ("brownout waf --sd-card", "as --theory"),
    ("brownout waf --numbers", "as --theory"),
    ("brownout ctl control.sock help COMMAND", "names a command in general; tests/control asks for one"),
];

fn blocks() -> Vec<Vec<String>> {
    let mut blocks = Vec::new();
    for block in README.split("```sh\n").skip(1) {
        let text = block.split("```").next().expect("a block ends").replace("\\\n", " ");
        blocks.push(text.lines().map(|line| line.split("  #").next().unwrap_or(line).trim().to_owned()).collect());
    }
    blocks
}

/// Commands in the text: what stands between single backquotes and begins with the program's name.
fn in_text() -> Vec<String> {
    let text: String = README.split("```").step_by(2).collect();
    let spans = text.split('`').skip(1).step_by(2).map(|span| span.replace('\n', " "));
    spans.filter(|span| span.starts_with("brownout ")).collect()
}

fn is_run(line: &str) -> bool {
    NOT_RUN.iter().all(|(command, _)| *command != line)
}

/// What README presupposes: the program and QEMU's tools in PATH, a kernel and its initramfs.
struct Place {
    folder: tempfile::TempDir,
    tools: bool,
}

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("a script");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).expect("a folder");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_brownout"), bin.join("brownout")).expect("a link");
        // The guest tests boot real machines; this one knows what it was given, and that the drive answers.
        let machine = r#"case "$1 $2" in
'--version ') echo 'QEMU emulator version 11.1.3';;
'-device help') echo 'name "vfio-user-pci" name "vhost-user-blk-pci"';;
*) printf '%s\n' "$@" > arguments
   for word; do case "$word" in file:*) echo 0 > "${word#file:}";; esac; done;;
esac"#;
        script(&bin.join("qemu-system-x86_64"), machine);
        let mut tools = Path::new("/dev/fuse").exists() && Path::new("/sbin/mkfs.ext4").exists();
        for tool in ["qemu-img", "qemu-storage-daemon"] {
            match Assets::load().and_then(|assets| Ok(assets.tool(tool)?.to_owned())) {
                Ok(path) => script(&bin.join(tool), &format!("exec '{}' \"$@\"", path.display())),
                Err(_) => tools = false,
            }
        }
        for file in ["bzImage", "initrd", "test.sh"] {
            fs::write(folder.path().join(file), file).expect("a file");
        }
        Self { folder, tools }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, line: &str) -> Command {
        // The machine of a distribution need not be there.
        let line =
            line.replace("/usr/bin/qemu-system-x86_64", &self.path("bin/qemu-system-x86_64").display().to_string());
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("sh");
        let line = if line.contains("&&") || line.contains(';') { line } else { format!("exec {line}") };
        command.args(["-c", &line]).env("PATH", path).current_dir(self.folder.path());
        command.stdin(Stdio::null());
        command
    }

    /// Runs a line to its end; what it printed.
    fn run(&self, line: &str) -> String {
        let output = self.command(line).output().expect("a shell");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}\n{errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Starts a line that goes on.
    fn start(&self, line: &str) -> Server {
        let mut child = self.command(line).stdout(Stdio::piped()).spawn().expect("a shell");
        let said = BufReader::new(child.stdout.take().expect("a pipe"));
        Server { child, said, line: line.to_owned() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What went wrong in the middle of a block leaves the tools alone with their disk.
        if let Ok(pid) = fs::read_to_string(self.path("tools.pid")) {
            let _ = Command::new("umount").arg(self.path("disk")).stderr(Stdio::null()).status();
            let _ = Command::new("kill").arg(pid.trim()).status();
        }
    }
}

struct Server {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
    line: String,
}

impl Server {
    fn until_ready(&mut self) {
        let mut line = String::new();
        while !line.starts_with("# ready: ") {
            line.clear();
            assert!(self.said.read_line(&mut line).expect("text") > 0, "{} ended", self.line);
        }
    }

    /// An orderly end; what it said.
    fn stop(mut self) -> String {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it lives");
        self.end()
    }

    fn end(&mut self) -> String {
        let mut said = String::new();
        self.said.read_to_string(&mut said).expect("text");
        assert!(self.child.wait().expect("an end").success(), "{}", self.line);
        said
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn needs_tools(block: &[String]) -> bool {
    block.iter().any(|line| line.starts_with("qemu-"))
}

/// Runs the lines of a block. A server is ready before the next line, and those that listen to it end with it.
fn run_block(place: &Place, block: &[String]) {
    let (mut servers, mut listeners) = (Vec::new(), Vec::new());
    for line in block.iter().filter(|line| is_run(line)) {
        if line.starts_with("brownout serve ") {
            let mut server = place.start(line);
            server.until_ready();
            servers.push(server);
        } else if line.ends_with("--watch") {
            listeners.push(place.start(line));
        } else if line.starts_with("brownout qemu ") {
            place.run(line);
            let arguments = fs::read_to_string(place.path("arguments")).expect("the machine was started");
            let initrd = if line.contains("--exec") { "/initrd\n" } else { "\n-initrd\ninitrd\n" };
            assert!(arguments.contains("\n-kernel\nbzImage\n") && arguments.contains(initrd), "{arguments}");
        } else {
            place.run(line);
        }
    }
    servers.into_iter().for_each(|server| drop(server.stop()));
    for mut listener in listeners {
        listener.end();
    }
}

#[test]
fn every_block_of_readme_can_be_run_line_by_line() {
    let place = Place::new();
    let blocks = blocks();
    assert!(blocks.len() >= 7, "README has its blocks");
    for block in &blocks {
        if needs_tools(block) && !place.tools {
            eprintln!(
                "SKIPPED: no QEMU tools with libblkio, /dev/fuse or mkfs.ext4 (make guest unpacks the tools): {block:?}"
            );
            continue;
        }
        run_block(&place, block);
    }
    assert!(place.path("disk.img").exists(), "the file that README keeps");
}

#[test]
fn every_command_in_the_text_of_readme_can_be_run() {
    let commands = in_text();
    assert!(commands.len() >= 8, "{commands:?}");
    for command in commands.iter().filter(|command| is_run(command)) {
        Place::new().run(command);
    }
}

#[test]
fn what_is_not_run_stands_in_readme() {
    let all: BTreeSet<String> = blocks().into_iter().flatten().chain(in_text()).collect();
    for (command, why) in NOT_RUN {
        assert!(all.contains(*command) && !why.is_empty(), "{command} is not in README any more");
    }
}
