//! One client: what arrived, what it gets, and by when. It never waits for its other end, and it has one request.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};

use media::Nanoseconds;
use rustix::event::PollFlags;

use super::address::Stream;
use super::request::{self, BODY_BYTES_MAX, HEAD_BYTES_MAX, Request};
use super::response::Refusal;

/// A request must have come by then, all of it, however it trickles in.
pub const REQUEST_TIME: Nanoseconds = Nanoseconds(5_000_000_000);
/// And its answer must have been taken so long after it is there.
const ANSWER_TIME: Nanoseconds = Nanoseconds(10_000_000_000);
/// The device must have said what it has to say so long after it was asked.
const DEVICE_TIME: Nanoseconds = Nanoseconds(15_000_000_000);
/// Whoever was refused in the middle of a sentence is listened to for this time, so that it hears why, and for so many bytes.
const LINGER_TIME: Nanoseconds = Nanoseconds(1_000_000_000);
const LINGER_BYTES: usize = 256 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its request has not come.
    Receives,
    /// The device is asked.
    Waits,
    /// Its answer has not gone.
    Sends,
    /// Its answer has gone; what it still says is thrown away.
    Lingers,
    Over,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    state: State,
    until: Nanoseconds,
    bytes: Vec<u8>,
    lingered: usize,
}

impl Connection {
    /// One that was just accepted.
    pub const fn new(stream: Stream, now: Nanoseconds) -> Self {
        let until = now.plus(REQUEST_TIME);
        Self { stream, state: State::Receives, until, bytes: Vec::new(), lingered: 0 }
    }

    /// What to wait for.
    pub const fn interest(&self) -> PollFlags {
        match self.state {
            State::Receives | State::Lingers => PollFlags::IN,
            State::Sends => PollFlags::OUT,
            State::Waits | State::Over => PollFlags::empty(),
        }
    }

    /// When it is to be looked after, whatever happens until then.
    pub const fn until(&self) -> Nanoseconds {
        self.until
    }

    /// Whether it can be forgotten.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Whether it may be sent away for another one: nothing is done for it at the moment.
    pub fn may_go(&self) -> bool {
        self.state != State::Waits
    }

    /// Its time may be over.
    pub fn look(&mut self, now: Nanoseconds) {
        if now < self.until {
            return;
        }
        match self.state {
            State::Receives => self.answer(&Refusal::SLOW.bytes(), now),
            State::Waits => self.answer(&Refusal::DEVICE_BUSY.bytes(), now),
            State::Sends | State::Lingers | State::Over => self.state = State::Over,
        }
    }

    /// Takes what arrived; its request, once all of it is there. What is none is answered.
    pub fn receive(&mut self, now: Nanoseconds) -> Option<Request> {
        let mut bytes = [0; 4096];
        let count = match self.stream.read(&mut bytes) {
            Ok(0) => {
                self.state = State::Over;
                return None;
            }
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return None,
            Err(_) => {
                self.state = State::Over;
                return None;
            }
        };
        if self.state == State::Lingers {
            self.lingered += count;
            if self.lingered > LINGER_BYTES {
                self.state = State::Over;
            }
            return None;
        }
        self.bytes.extend_from_slice(&bytes[..count]);
        assert!(self.bytes.len() <= HEAD_BYTES_MAX + BODY_BYTES_MAX + bytes.len(), "what is longer was refused");
        match request::read(&self.bytes) {
            Ok(None) => None,
            Ok(Some(request)) => {
                (self.state, self.until) = (State::Waits, now.plus(DEVICE_TIME));
                self.bytes.clear();
                Some(request)
            }
            Err(refusal) => {
                self.answer(&refusal.bytes(), now);
                None
            }
        }
    }

    /// It gets this.
    pub fn answer(&mut self, bytes: &[u8], now: Nanoseconds) {
        if matches!(self.state, State::Receives | State::Waits) {
            self.bytes.clear();
            self.bytes.extend_from_slice(bytes);
            (self.state, self.until) = (State::Sends, now.plus(ANSWER_TIME));
            self.send(now);
        }
    }

    /// Sends what is unsent, as far as there is room.
    pub fn send(&mut self, now: Nanoseconds) {
        let mut sent = 0;
        while sent < self.bytes.len() {
            match self.stream.write(&self.bytes[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.state = State::Over;
                    return;
                }
            }
        }
        self.bytes.drain(..sent);
        if self.bytes.is_empty() {
            self.stream.end();
            (self.state, self.until) = (State::Lingers, now.plus(LINGER_TIME));
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn connection() -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        ours.set_nonblocking(true).expect("no waiting");
        theirs.set_nonblocking(true).expect("no waiting");
        (Connection::new(Stream::Path(ours), Nanoseconds(0)), theirs)
    }

    fn said(client: &mut UnixStream) -> String {
        let mut text = String::new();
        let _ = client.read_to_string(&mut text);
        text
    }

    #[test]
    fn a_request_that_trickles_in_is_ended_when_its_time_is_over() {
        let (mut connection, mut client) = connection();
        for second in 0..5 {
            let now = Nanoseconds(second * 1_000_000_000);
            client.write_all(b"G").expect("sent");
            assert_eq!(connection.receive(now), None);
            connection.look(now);
            assert_eq!(said(&mut client), "");
        }
        connection.look(REQUEST_TIME);
        assert!(said(&mut client).starts_with("HTTP/1.1 408 "));
        assert_eq!(connection.interest(), PollFlags::IN, "what it still says is thrown away");
        connection.look(REQUEST_TIME.plus(LINGER_TIME));
        assert!(connection.is_over());
    }

    #[test]
    fn an_answer_that_nobody_takes_is_thrown_away() {
        let (mut connection, mut client) = connection();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
        assert!(connection.receive(Nanoseconds(0)).is_some() && !connection.may_go());
        connection.answer(&vec![b'x'; 8 << 20], Nanoseconds(0));
        assert!(connection.interest() == PollFlags::OUT && connection.may_go());
        connection.look(ANSWER_TIME);
        assert!(connection.is_over());
    }

    #[test]
    fn a_device_that_says_nothing_is_told_of() {
        let (mut connection, mut client) = connection();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
        assert!(connection.receive(Nanoseconds(0)).is_some());
        connection.look(DEVICE_TIME);
        connection.answer(b"too late", DEVICE_TIME);
        let said = said(&mut client);
        assert!(said.starts_with("HTTP/1.1 503 ") && !said.contains("too late"), "{said}");
    }

    #[test]
    fn whoever_goes_on_talking_after_a_refusal_is_listened_to_only_so_long() {
        let (mut connection, mut client) = connection();
        client.write_all(&[b'a'; 8192]).expect("sent");
        (0..2).for_each(|_| assert_eq!(connection.receive(Nanoseconds(0)), None));
        assert!(said(&mut client).starts_with("HTTP/1.1 4"));
        for _ in 0..=LINGER_BYTES / 4096 {
            client.write_all(&[b'a'; 4096]).expect("sent");
            assert_eq!(connection.receive(Nanoseconds(0)), None);
        }
        assert!(connection.is_over());
    }
}
