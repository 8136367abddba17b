//! A descriptor that an epoll instance watches for as long as this value lives.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::epoll;

/// Owns a descriptor and its registration. Closing alone would not end the registration: the client holds the same open file, so
/// events of a closed descriptor would keep arriving for whoever came next.
#[derive(Debug)]
pub(crate) struct Watched {
    epoll: Arc<OwnedFd>,
    descriptor: OwnedFd,
    token: u64,
}

impl Watched {
    pub(crate) fn new(epoll: &Arc<OwnedFd>, descriptor: OwnedFd, token: u64) -> io::Result<Self> {
        epoll::add(epoll, &descriptor, epoll::EventData::new_u64(token), epoll::EventFlags::IN)?;
        Ok(Self { epoll: Arc::clone(epoll), descriptor, token })
    }

    /// Asks for writability too, or no longer.
    pub(crate) fn want_output(&self, wanted: bool) -> io::Result<()> {
        let flags = if wanted { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
        Ok(epoll::modify(&self.epoll, &self.descriptor, epoll::EventData::new_u64(self.token), flags)?)
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Nothing can be done about a failure, and nothing but a descriptor that is already gone could cause one.
        let _ = epoll::delete(&self.epoll, &self.descriptor);
    }
}
