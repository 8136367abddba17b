//! The back channel: the socket on which the client gets messages that it did not request (vhost-user, "Back-end communication").
//! rust-vmm's request handler does not hand that socket out and lacks the one message that a disk needs. So we copy its descriptor
//! before the handler sees the message, and write that message ourselves.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, recvmsg, send};

/// VHOST_USER_BACKEND_CONFIG_CHANGE_MSG.
const CONFIG_CHANGE: u32 = 2;
/// Flags of a message: version 1, and no reply is needed.
const VERSION: u32 = 1;
/// Code, flags, and that nothing follows.
pub(crate) const CONFIG_CHANGED: [[u8; 4]; 3] = [CONFIG_CHANGE.to_le_bytes(), VERSION.to_le_bytes(), [0; 4]];

/// The most descriptors that a message can bring (Linux: `SCM_MAX_FD`): none is overlooked.
const DESCRIPTORS_MAX: usize = 253;

/// What comes with the message at the head of a stream, which stays where it is.
pub(crate) struct Brought {
    /// A copy of each descriptor.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// Whether there may be more: the message came in pieces, or we have no descriptors left.
    pub(crate) more: bool,
}

/// Copies of the descriptors that come with the message of this many bytes, all of which has arrived.
pub(crate) fn peek(stream: &UnixStream, message_bytes: usize) -> io::Result<Brought> {
    let mut bytes = vec![0; message_bytes];
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let seen = recvmsg(stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?;
    let descriptors: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    // A look ends behind the piece that brought descriptors: what follows in this message may bring others.
    let more = seen.flags.contains(ReturnFlags::CTRUNC) || !descriptors.is_empty() && seen.bytes < message_bytes;
    Ok(Brought { descriptors, more })
}

/// Tells the client that the configuration space changed; `false` if it has no room for that now.
pub(crate) fn tell_config_changed(channel: &UnixStream) -> io::Result<bool> {
    let message = CONFIG_CHANGED.as_flattened();
    match send(channel, message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(sent) if sent == message.len() => Ok(true),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(Errno::AGAIN | Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_does_not_read_is_told_later_and_one_that_is_gone_never() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let mut told = 0;
        while tell_config_changed(&ours).expect("it is there") {
            told += 1;
        }
        assert!(told > 0);
        let mut message = [0; 12];
        io::Read::read_exact(&mut &theirs, &mut message).expect("told");
        assert_eq!(message, [2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        drop(theirs);
        assert!(tell_config_changed(&ours).is_err());
    }
}
