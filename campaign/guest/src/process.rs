//! Child processes that cannot outlive us, and their output while it comes.
//!
//! The kernel sends the death signal of a child when the *thread* that started it ends, not the process. So all children are
//! started by one thread that lives as long as the process; a guest may then be handed from thread to thread.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::clock;

struct Order {
    command: Command,
    answer: Sender<std::io::Result<Child>>,
}

static SPAWNER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();

fn spawn_from_lasting_thread(command: Command) -> Result<Child> {
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, receiver) = channel::<Order>();
        thread::spawn(move || {
            for mut order in receiver {
                let child = order.command.spawn();
                if let Err(returned) = order.answer.send(child)
                    && let Ok(mut child) = returned.0
                {
                    // Nobody waits for it any more. It may have ended already; there is nothing to do about an error.
                    let _ = child.kill();
                }
            }
        });
        Mutex::new(sender)
    });
    let (answer, child) = channel();
    spawner
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send(Order { command, answer })
        .map_err(|_| anyhow!("the thread that starts processes is gone"))?;
    Ok(child.recv().context("the thread that starts processes is gone")??)
}

/// What a process has written so far.
#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    written: Mutex<Written>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running child with a pipe on its standard output. Killed with SIGKILL when dropped.
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: Arc<Shared>,
    read_up_to: usize,
    name: String,
}

impl Process {
    /// Starts `program`; standard output goes to `NAME.log` in `folder` and can be waited for, standard error to
    /// `NAME.stderr`, the command line to `NAME.command`.
    pub(crate) fn start(name: &str, program: &Path, arguments: &[String], folder: &Path) -> Result<Self> {
        std::fs::write(folder.join(format!("{name}.command")), command_line(program, arguments))?;
        let log = File::create(folder.join(format!("{name}.log")))?;
        let errors = File::create(folder.join(format!("{name}.stderr")))?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            // A group of its own: a Ctrl-C at the terminal ends the test process, and that ends the children in order.
            .process_group(0);
        let mut child =
            spawn_from_lasting_thread(command).with_context(|| format!("cannot start {}", program.display()))?;
        let input = child.stdin.take();
        let pipe = child.stdout.take();
        let output = Arc::new(Shared::default());
        let process = Self { child, input, output: Arc::clone(&output), read_up_to: 0, name: name.to_owned() };
        let pipe = pipe.context("the child has no standard output")?;
        thread::spawn(move || copy_output(pipe, log, &output));
        Ok(process)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything written so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().bytes).into_owned()
    }

    /// Waits until the text appears behind what the last call found, and returns the line up to the end of the match.
    pub(crate) fn wait_for(&mut self, pattern: &str, timeout: Duration) -> Result<String> {
        self.look_for(pattern, timeout)?.with_context(|| {
            let last = tail(&self.output.lock().bytes);
            format!("{} did not say {pattern:?} within {} s; its last lines:\n{last}", self.name, timeout.as_secs())
        })
    }

    /// The same; nothing where it did not appear in time.
    pub(crate) fn look_for(&mut self, pattern: &str, timeout: Duration) -> Result<Option<String>> {
        let deadline = clock::now() + timeout;
        let mut written = self.output.lock();
        loop {
            if let Some(end) = find_end(&written.bytes, self.read_up_to, pattern.as_bytes()) {
                let found = end - pattern.len();
                let start = written.bytes.get(..found).map_or(0, start_of_last_line);
                let line = String::from_utf8_lossy(written.bytes.get(start..end).unwrap_or_default()).into_owned();
                self.read_up_to = end;
                return Ok(Some(line));
            }
            if written.ended {
                bail!("{} ended without having said {pattern:?}; its last lines:\n{}", self.name, tail(&written.bytes));
            }
            let left = clock::remaining(deadline);
            if left.is_zero() {
                return Ok(None);
            }
            written = self.output.changed.wait_timeout(written, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes a line to its standard input.
    pub(crate) fn send_line(&mut self, line: &str) -> Result<()> {
        self.send(format!("{line}\n").as_bytes())
    }

    /// Writes to its standard input.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let input = self.input.as_mut().context("standard input is closed")?;
        input.write_all(bytes)?;
        input.flush()?;
        Ok(())
    }

    /// Waits for the end of its output, then for its exit. `None`: it still runs when the time is over.
    pub(crate) fn wait_until(&mut self, deadline: Instant) -> Result<Option<ExitStatus>> {
        let mut written = self.output.lock();
        while !written.ended {
            let left = clock::remaining(deadline);
            if left.is_zero() {
                return Ok(None);
            }
            written = self.output.changed.wait_timeout(written, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(written);
        // The pipe closes when the process exits, a moment before it can be waited for.
        Ok(Some(self.child.wait()?))
    }

    /// SIGKILL, at once, and waits for the end. Without effect on a process that has ended.
    pub(crate) fn kill(&mut self) -> Result<ExitStatus> {
        // An error here means that it has been waited for already, and then wait() returns that result again.
        let _ = self.child.kill();
        Ok(self.child.wait()?)
    }

    /// SIGTERM: the polite request.
    pub(crate) fn terminate(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        Ok(())
    }

    /// The exit status, if it has ended.
    pub(crate) fn status(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors: it was gone already, which is what we want.
        let _ = self.kill();
    }
}

fn copy_output(mut pipe: impl Read, mut log: File, output: &Shared) {
    let mut buffer = [0_u8; 4096];
    loop {
        // An error of the pipe is an end, too.
        let count = pipe.read(&mut buffer).unwrap_or(0);
        let bytes = buffer.get(..count).unwrap_or_default();
        // The log file is for people; a full disk must not end a run.
        let _ = log.write_all(bytes);
        let mut written = output.lock();
        written.bytes.extend_from_slice(bytes);
        written.ended = count == 0;
        output.changed.notify_all();
        if written.ended {
            return;
        }
    }
}

fn find_end(bytes: &[u8], from: usize, pattern: &[u8]) -> Option<usize> {
    let rest = bytes.get(from..)?;
    if pattern.is_empty() {
        return Some(from);
    }
    rest.windows(pattern.len()).position(|window| window == pattern).map(|start| from + start + pattern.len())
}

fn start_of_last_line(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1)
}

/// The last lines of an output, for error messages.
pub(crate) fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(25)..).unwrap_or_default().join("\n")
}

/// The command line as a shell would take it, so that a run can be repeated by hand.
fn command_line(program: &Path, arguments: &[String]) -> String {
    let mut line = program.display().to_string();
    for argument in arguments {
        let plain = !argument.is_empty()
            && argument.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=,./:+".contains(&byte));
        line.push(' ');
        if plain {
            line.push_str(argument);
        } else {
            line.push('\'');
            line.push_str(&argument.replace('\'', "'\\''"));
            line.push('\'');
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<(Process, tempfile::TempDir)> {
        let folder = tempfile::tempdir()?;
        let process = Process::start("sh", Path::new("sh"), &["-c".to_owned(), script.to_owned()], folder.path())?;
        Ok((process, folder))
    }

    #[test]
    fn output_is_found_in_order_and_the_status_is_returned() -> Result<()> {
        let (mut process, folder) = shell("echo one two; read line; echo got $line; exit 3")?;
        assert_eq!(process.wait_for("two", Duration::from_secs(10))?, "one two");
        process.send_line("three")?;
        assert_eq!(process.wait_for("\n", Duration::from_secs(10))?, "one two\n");
        process.wait_for("got three", Duration::from_secs(10))?;
        let status = process.wait_until(clock::now() + Duration::from_secs(10))?;
        assert_eq!(status.and_then(|status| status.code()), Some(3));
        assert_eq!(std::fs::read_to_string(folder.path().join("sh.log"))?, "one two\ngot three\n");
        Ok(())
    }

    #[test]
    fn a_missing_text_ends_with_the_process_or_with_the_time() -> Result<()> {
        let (mut process, _folder) = shell("echo short")?;
        assert!(process.wait_for("long", Duration::from_secs(10)).is_err_and(|e| e.to_string().contains("ended")));
        let (mut process, _folder) = shell("exec sleep 100")?;
        assert!(process.wait_for("x", Duration::from_millis(20)).is_err_and(|e| e.to_string().contains("within")));
        Ok(())
    }

    #[test]
    fn a_dropped_process_is_gone() -> Result<()> {
        let (process, _folder) = shell("exec sleep 100")?;
        let entry = format!("/proc/{}", process.pid());
        assert!(Path::new(&entry).exists());
        drop(process);
        assert!(!Path::new(&entry).exists());
        Ok(())
    }

    #[test]
    fn a_child_survives_the_thread_that_asked_for_it() -> Result<()> {
        let asked = thread::spawn(|| shell("read line; echo still here"));
        let (mut process, _folder) = asked.join().map_err(|_| anyhow!("the thread panicked"))??;
        process.send_line("")?;
        process.wait_for("still here", Duration::from_secs(10))?;
        Ok(())
    }

    #[test]
    fn a_command_line_can_be_pasted() {
        let arguments = ["-m".to_owned(), "a b".to_owned(), "it's".to_owned()];
        assert_eq!(command_line(Path::new("/q"), &arguments), "/q -m 'a b' 'it'\\''s'\n");
    }
}
