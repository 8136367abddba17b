//! A drive that the program serves, as its tests start it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

pub const BROWNOUT: &str = env!("CARGO_BIN_EXE_brownout");

/// A drive that is ready, killed when dropped.
pub struct Daemon {
    pub process: Child,
    said: BufReader<ChildStdout>,
}

impl Daemon {
    /// `brownout serve` with these arguments, in this folder.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut process = Command::new(BROWNOUT)
            .arg("serve")
            .args(arguments)
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let said = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut daemon = Self { process, said };
        loop {
            let mut line = String::new();
            if daemon.said.read_line(&mut line).expect("text") == 0 {
                panic!("the drive ended before it was ready: {}", daemon.errors());
            }
            if line.starts_with("# ready: ") {
                return daemon;
            }
        }
    }

    /// An orderly end; what it said to people.
    pub fn end(&mut self) -> String {
        kill_process(Pid::from_child(&self.process), Signal::TERM).expect("told to end");
        let errors = self.errors();
        assert_eq!(self.process.wait().expect("it ends").code(), Some(0), "{errors}");
        errors
    }

    fn errors(&mut self) -> String {
        let mut text = String::new();
        self.process.stderr.take().expect("a pipe").read_to_string(&mut text).expect("text");
        text
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
