//! One client's socket: bytes and descriptors in, replies out, never blocking.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use guest_memory::{Vetting, descriptor};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno as SystemErrno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use crate::message::{DESCRIPTORS_MAX, Decoder, Frame, Header, Step};
use crate::watch::Watched;

/// Bytes of replies that wait for a client which does not read. A client that lets more pile up is gone as far as we care.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// Why a client is gone.
#[derive(Debug)]
pub(crate) enum Ending {
    /// It closed the connection.
    Closed,
    /// The socket failed.
    Failed(io::Error),
    /// A header had a size that cannot be, so that what follows cannot be understood.
    LostFraming(Header),
    /// It sends requests and does not read replies.
    Deaf,
    /// It, or others before it, handed over descriptors that cannot be closed.
    Choking,
}

impl fmt::Display for Ending {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => formatter.write_str("it closed the connection"),
            Self::Failed(error) => write!(formatter, "its socket failed: {error}"),
            Self::LostFraming(header) => {
                write!(formatter, "it sent a message of {} bytes, which none has", header.size)
            }
            Self::Choking => formatter.write_str("descriptors that came cannot be closed"),
            Self::Deaf => write!(formatter, "it left {OUTPUT_BYTES_MAX} bytes of replies unread"),
        }
    }
}

/// Descriptors that came with a message.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    pub(crate) all: Vec<OwnedFd>,
    /// More came than may, or than we could take, or such as nobody may touch: some are closed already, and the message cannot be trusted.
    pub(crate) incomplete: bool,
}

/// Descriptors that came with a piece of the stream, and where the piece ended.
#[derive(Debug)]
struct Batch {
    end: u64,
    descriptors: Descriptors,
}

/// What came off the stream.
pub(crate) enum Incoming {
    /// A message; [`Connection::payload`] lends what follows its header.
    Message(Frame, Descriptors),
    /// The header of a message that is too long to be looked at.
    Oversize(Header),
}

/// A reply on its way out.
#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    descriptor: Option<OwnedFd>,
}

/// The connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Watched,
    decoder: Decoder,
    batches: VecDeque<Batch>,
    output: VecDeque<Outgoing>,
    output_bytes: usize,
    /// The last read got all that there was, so another would get nothing.
    drained: bool,
}

impl Connection {
    pub(crate) fn new(epoll: &Arc<OwnedFd>, stream: OwnedFd, token: u64) -> io::Result<Self> {
        Ok(Self {
            stream: Watched::new(epoll, stream, token)?,
            decoder: Decoder::default(),
            batches: VecDeque::new(),
            output: VecDeque::new(),
            output_bytes: 0,
            drained: false,
        })
    }

    /// The epoll instance says that there may be something to read.
    pub(crate) fn readable(&mut self) {
        self.drained = false;
    }

    /// Whether the client has closed the connection, however much of what it sent is still to be read.
    pub(crate) fn is_over(&self) -> bool {
        let mut descriptors = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut descriptors, Some(&now)).is_ok_and(|count| count > 0)
    }

    /// The next message; `None` if there is no whole one and nothing more to read.
    pub(crate) fn next(&mut self, vetting: &Vetting) -> Result<Option<Incoming>, Ending> {
        loop {
            match self.decoder.step() {
                Step::Message(frame) => return Ok(Some(Incoming::Message(frame, self.descriptors_of(&frame)))),
                Step::Oversize(header) => return Ok(Some(Incoming::Oversize(header))),
                Step::Broken(header) => return Err(Ending::LostFraming(header)),
                Step::Need(_) if self.drained => return Ok(None),
                Step::Need(_) => self.receive(vetting)?,
            }
        }
    }

    /// What follows the header of the message that [`Self::next`] gave.
    pub(crate) fn payload(&self, frame: &Frame) -> &[u8] {
        self.decoder.payload(frame)
    }

    /// Ends the connection.
    pub(crate) fn hang_up(self) {
        self.stream.into_descriptor().into_iter().for_each(descriptor::hang_up);
    }

    /// Reads once.
    fn receive(&mut self, vetting: &Vetting) -> Result<(), Ending> {
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut room);
        let space = self.decoder.space();
        let asked = space.len();
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = match recvmsg(&self.stream, &mut [IoSliceMut::new(space)], &mut control, flags) {
            Ok(received) if received.bytes == 0 => return Err(Ending::Closed),
            Ok(received) => received,
            Err(SystemErrno::INTR) => return Ok(()),
            Err(SystemErrno::AGAIN) => {
                self.drained = true;
                return Ok(());
            }
            Err(error) => return Err(Ending::Failed(error.into())),
        };
        let mut all = Vec::new();
        let mut incomplete = received.flags.contains(ReturnFlags::CTRUNC);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                for descriptor in rights {
                    match vetting.admit(descriptor) {
                        Some(descriptor) => all.push(descriptor),
                        None => incomplete = true,
                    }
                }
            }
        }
        if incomplete && descriptor::is_choked() {
            return Err(Ending::Choking);
        }
        // The kernel ends a read after the piece that brought descriptors, whether there is more or not.
        self.drained = received.bytes < asked && all.is_empty() && !incomplete;
        self.decoder.filled(received.bytes);
        self.keep(Descriptors { all, incomplete });
        Ok(())
    }

    /// Remembers descriptors until their message is whole. A client that keeps sending more than a message may have, in pieces of
    /// one that never ends, has the excess closed.
    fn keep(&mut self, descriptors: Descriptors) {
        // What belonged to a message that was skipped is of no use to the next.
        let used_up = self.decoder.position();
        self.batches.retain(|batch| batch.end > used_up);
        if descriptors.all.is_empty() && !descriptors.incomplete {
            return;
        }
        let held: usize = self.batches.iter().map(|batch| batch.descriptors.all.len()).sum();
        let end = self.decoder.received();
        match self.batches.back_mut() {
            Some(last) if held + descriptors.all.len() > DESCRIPTORS_MAX => {
                last.end = end;
                last.descriptors.incomplete = true;
            }
            _ => self.batches.push_back(Batch { end, descriptors }),
        }
    }

    /// The descriptors of a message that is whole now. A read ends with the piece of the stream that brought descriptors, and a
    /// client sends a message in one piece (or its head, with the descriptors, in one): so they belong to the last message that
    /// begins in what was read, which is the one that reaches the end of it.
    fn descriptors_of(&mut self, frame: &Frame) -> Descriptors {
        let mut taken = Descriptors::default();
        while let Some(batch) = self.batches.pop_front_if(|batch| batch.end <= frame.end) {
            taken.all.extend(batch.descriptors.all);
            taken.incomplete |= batch.descriptors.incomplete;
        }
        taken
    }

    /// Sends a reply, or as much of it as goes, and keeps the rest.
    pub(crate) fn send(&mut self, bytes: Vec<u8>, descriptor: Option<OwnedFd>) -> Result<(), Ending> {
        self.output_bytes += bytes.len();
        self.output.push_back(Outgoing { bytes, sent: 0, descriptor });
        let waiting = self.output.len() > 1;
        if !waiting {
            self.flush()?;
            if !self.output.is_empty() {
                self.stream.want_output(true).map_err(Ending::Failed)?;
            }
        }
        if self.output_bytes > OUTPUT_BYTES_MAX { Err(Ending::Deaf) } else { Ok(()) }
    }

    /// Sends what waits, as far as the client takes it.
    pub(crate) fn resume(&mut self) -> Result<(), Ending> {
        if self.output.is_empty() {
            return Ok(());
        }
        self.flush()?;
        if self.output.is_empty() {
            self.stream.want_output(false).map_err(Ending::Failed)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Ending> {
        while let Some(outgoing) = self.output.front_mut() {
            match send_piece(self.stream.as_fd(), outgoing) {
                Ok(count) => {
                    outgoing.sent += count;
                    outgoing.descriptor = None;
                    self.output_bytes -= count;
                }
                Err(SystemErrno::INTR) => {}
                Err(SystemErrno::AGAIN) => return Ok(()),
                Err(error) => return Err(Ending::Failed(error.into())),
            }
            if outgoing.sent == outgoing.bytes.len() {
                self.output.pop_front();
            }
        }
        Ok(())
    }
}

/// One sendmsg of what is left of a reply: header and payload in one piece, because SPDK reads a payload once and does not loop.
fn send_piece(stream: BorrowedFd<'_>, outgoing: &Outgoing) -> rustix::io::Result<usize> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut room);
    let descriptors = outgoing.descriptor.as_ref().map(|descriptor| [descriptor.as_fd()]);
    if let Some(descriptors) = &descriptors {
        // There is room for exactly this.
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let rest = IoSlice::new(&outgoing.bytes[outgoing.sent..]);
    sendmsg(stream, &[rest], &mut control, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
}
