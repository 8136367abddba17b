//! One connection to the control socket: what arrived, what is still to be sent, and the limits of both. It never waits for its other
//! end: a peer that does not read is dropped when too much is unread.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::framing::Framer;
use super::message::{self, ProtocolError};

/// Bytes taken from the socket in one go.
const READ_BYTES: usize = 16 << 10;
/// Above this many unsent bytes nothing more is read: who does not read answers asks no more questions.
const UNSENT_PATIENCE: usize = 64 << 10;
/// Above this many unsent bytes a peer that has still more to get is dropped.
pub const UNSENT_MAX: usize = 1 << 20;

/// A connection.
pub struct Peer {
    stream: UnixStream,
    framer: Framer,
    unsent: Vec<u8>,
    /// Capabilities were negotiated: commands are taken, and events are sent.
    pub negotiated: bool,
    /// The device has an order of it.
    pub waits: bool,
    /// Nothing more is taken from it; it goes when it has what is unsent.
    leaving: bool,
    lost: bool,
}

impl Peer {
    /// A connection that was just accepted: it is greeted.
    pub fn new(stream: UnixStream) -> Self {
        let mut peer = Self {
            stream,
            framer: Framer::default(),
            unsent: Vec::new(),
            negotiated: false,
            waits: false,
            leaving: false,
            lost: false,
        };
        peer.send(&message::greeting());
        peer
    }

    /// What to wait for: nothing at all while the device has its order and it has everything.
    pub fn interest(&self) -> PollFlags {
        let reads = !self.leaving && !self.waits && self.unsent.len() <= UNSENT_PATIENCE;
        let read = if reads { PollFlags::IN } else { PollFlags::empty() };
        if self.unsent.is_empty() { read } else { read | PollFlags::OUT }
    }

    /// Whether it can be forgotten.
    pub fn is_over(&self) -> bool {
        self.lost || self.leaving && !self.waits && self.unsent.is_empty()
    }

    /// Whether nobody is at its other end any more, whatever may still have come from there.
    pub fn hung_up(&self) -> bool {
        let mut watched = [PollFd::new(self, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut watched, Some(&now)).is_ok() && watched[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }

    /// Takes what arrived, up to a bound. The end of the stream ends the peer once everything that came before is answered.
    pub fn receive(&mut self) {
        let mut bytes = [0; READ_BYTES];
        match self.stream.read(&mut bytes) {
            Ok(0) => self.leaving = true,
            Ok(count) => self.framer.push(&bytes[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.lost = true,
        }
    }

    /// The next message, if it may have one and all of it is there. What is no message is answered, and ends the peer.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        if self.waits || self.lost || self.unsent.len() > UNSENT_PATIENCE {
            return None;
        }
        match self.framer.take() {
            Ok(message) => message,
            Err(broken) => {
                tracing::debug!(%broken, "dropped a peer of the control socket");
                self.dismiss(&broken.to_string());
                None
            }
        }
    }

    /// Says why, and lets it go.
    pub fn dismiss(&mut self, why: &str) {
        self.send(&message::answer(None, Err(ProtocolError::generic(why))));
        self.framer = Framer::default();
        self.leaving = true;
    }

    /// Sends, now or when there is room.
    pub fn send(&mut self, text: &str) {
        // What it has read meanwhile no longer counts.
        self.flush();
        if self.unsent.len() > UNSENT_MAX {
            tracing::warn!("dropped a client of the control socket that does not read");
            self.lost = true;
            return;
        }
        self.unsent.extend_from_slice(text.as_bytes());
        self.flush();
    }

    /// Sends what is unsent, as far as there is room.
    pub fn flush(&mut self) {
        let mut sent = 0;
        while sent < self.unsent.len() && !self.lost {
            match self.stream.write(&self.unsent[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.lost = true,
            }
        }
        self.unsent.drain(..sent);
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer of which just more is unsent than may be, and its other end.
    fn behind() -> (Peer, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        ours.set_nonblocking(true).expect("no waiting");
        let mut peer = Peer::new(ours);
        while peer.unsent.len() <= UNSENT_MAX {
            peer.send(&"x".repeat(1024));
        }
        assert!(!peer.lost);
        (peer, theirs)
    }

    #[test]
    fn who_has_read_in_time_is_kept_and_who_has_not_is_dropped() {
        let (mut peer, mut theirs) = behind();
        theirs.read_exact(&mut [0; 64 << 10]).expect("it reads");
        peer.send("more");
        assert!(!peer.lost && !peer.is_over(), "there is room for what it has read");
        let (mut peer, _theirs) = behind();
        peer.send("more");
        assert!(peer.is_over());
    }
}
