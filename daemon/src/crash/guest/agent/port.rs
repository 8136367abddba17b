//! The port on which an agent speaks: a socket that QEMU connects to, one machine after the other, and lines in both directions.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vfio::socket::{SocketFile, listen_at};

use crate::clock::Clock;

/// How often who waits is asked whether to go on.
const ASKED_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
/// A longer line is none of an agent's.
const LINE_BYTES: usize = 64 << 10;
/// A machine that takes nothing for so long is stuck.
const SEND_PATIENCE: Duration = Duration::from_secs(60);

/// A socket, and who has connected to it.
pub struct Port {
    listener: UnixListener,
    path: PathBuf,
    peer: Option<Peer>,
    _file: SocketFile,
}

struct Peer {
    stream: UnixStream,
    unread: Vec<u8>,
}

impl Port {
    /// Listens there.
    ///
    /// # Errors
    /// Somebody else does, or nobody can.
    pub fn listen(path: &Path) -> anyhow::Result<Self> {
        let (listener, file) = listen_at(path)?;
        Ok(Self { listener, path: path.to_owned(), peer: None, _file: file })
    }

    /// Hangs up: the machine is gone, or will be.
    pub fn hang_up(&mut self) {
        self.peer = None;
    }

    /// Waits until a machine connects; without a limit for as long as `go_on` says so.
    ///
    /// # Errors
    /// None does; `go_on` says why not to wait.
    pub fn accept(
        &mut self,
        limit: Option<Duration>,
        mut go_on: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let clock = Clock::new();
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    stream.set_write_timeout(Some(SEND_PATIENCE))?;
                    self.peer = Some(Peer { stream, unread: Vec::new() });
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("cannot take the machine's connection"),
            }
            go_on()?;
            ensure!(
                limit.is_none_or(|limit| u128::from(clock.now().0) < limit.as_nanos()),
                "no machine has connected to {} within {} s",
                self.path.display(),
                limit.unwrap_or_default().as_secs()
            );
            let mut watched = [PollFd::new(&self.listener, PollFlags::IN)];
            // A signal is heard of when who waits is asked.
            let _ = poll(&mut watched, Some(&ASKED_EVERY));
        }
    }

    /// Sends a line.
    ///
    /// # Errors
    /// The machine is gone, or does not take it.
    pub fn send(&mut self, line: &str) -> anyhow::Result<()> {
        let peer = self.peer.as_mut().context("no machine has connected")?;
        peer.stream.write_all(format!("{line}\n").as_bytes()).context("the agent's port takes nothing")
    }

    /// The next line, within so much time, if there is an end to it.
    ///
    /// # Errors
    /// None comes; the machine is gone; `go_on` says why not to wait.
    pub fn line(
        &mut self,
        limit: Option<Duration>,
        mut go_on: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<String> {
        let clock = Clock::new();
        let peer = self.peer.as_mut().context("no machine has connected")?;
        loop {
            if let Some(end) = peer.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = peer.unread.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            ensure!(
                peer.unread.len() <= LINE_BYTES,
                "what speaks on the agent's port is no agent: a line has more than {LINE_BYTES} bytes"
            );
            go_on()?;
            if limit.is_some_and(|limit| u128::from(clock.now().0) >= limit.as_nanos()) {
                bail!("the agent said nothing within {} s", limit.unwrap_or_default().as_secs());
            }
            let mut watched = [PollFd::new(&peer.stream, PollFlags::IN)];
            if poll(&mut watched, Some(&ASKED_EVERY)).is_ok_and(|ready| ready > 0) {
                let mut bytes = [0; 4096];
                let count = peer.stream.read(&mut bytes).context("cannot read from the agent's port")?;
                ensure!(count > 0, "the machine has closed the agent's port");
                peer.unread.extend_from_slice(&bytes[..count]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected() -> (Port, UnixStream, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut port = Port::listen(&folder.path().join("port")).expect("a socket");
        let machine = UnixStream::connect(&port.path).expect("somebody listens");
        port.accept(Some(Duration::from_secs(10)), || Ok(())).expect("connected");
        (port, machine, folder)
    }

    #[test]
    fn lines_come_whole_and_one_after_the_other() {
        let (mut port, mut machine, _folder) = connected();
        machine.write_all(b"one\r\ntwo\nthr").expect("sent");
        let limit = Some(Duration::from_secs(10));
        assert_eq!(port.line(limit, || Ok(())).expect("a line"), "one\r\n");
        assert_eq!(port.line(limit, || Ok(())).expect("a line"), "two\n");
        assert!(
            port.line(Some(Duration::ZERO), || Ok(())).expect_err("half a line").to_string().contains("said nothing")
        );
        machine.write_all(b"ee\xff\n").expect("sent");
        assert_eq!(port.line(limit, || Ok(())).expect("a line"), "three\u{fffd}\n");
        assert!(port.line(limit, || bail!("told to end")).expect_err("no line").to_string().contains("told to end"));
        drop(machine);
        assert!(port.line(limit, || Ok(())).expect_err("nobody").to_string().contains("has closed"));
    }

    #[test]
    fn who_never_ends_a_line_is_no_agent() {
        let (mut port, mut machine, _folder) = connected();
        let talker = std::thread::spawn(move || while machine.write_all(&[b'x'; 4096]).is_ok() {});
        let error = port.line(Some(Duration::from_secs(60)), || Ok(())).expect_err("no line").to_string();
        assert!(error.contains("is no agent"), "{error}");
        drop(port);
        talker.join().expect("it ends when nobody listens");
    }

    #[test]
    fn the_next_machine_takes_the_place_of_the_one_before() {
        let (mut port, first, _folder) = connected();
        port.hang_up();
        drop(first);
        assert!(port.send("load").is_err());
        assert!(port.accept(Some(Duration::ZERO), || Ok(())).is_err(), "there is none yet");
        let mut second = UnixStream::connect(&port.path).expect("somebody listens");
        port.accept(Some(Duration::from_secs(10)), || Ok(())).expect("connected");
        port.send("check").expect("sent");
        let mut heard = [0; 6];
        second.read_exact(&mut heard).expect("a line");
        assert_eq!(&heard, b"check\n");
    }
}
