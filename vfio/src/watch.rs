//! A descriptor that an epoll instance watches for as long as this value lives.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::epoll;

/// Owns a descriptor and its registration. Closing alone would not end the registration: the client holds the same open file, so
/// events of a closed descriptor would keep arriving for whoever came next.
#[derive(Debug)]
pub struct Watched {
    epoll: Arc<OwnedFd>,
    descriptor: OwnedFd,
    token: u64,
}

impl Watched {
    /// Watches for something to read, for as long as there is something.
    ///
    /// # Errors
    /// It cannot be watched: it is a file, say.
    pub fn new(epoll: &Arc<OwnedFd>, descriptor: OwnedFd, token: u64) -> io::Result<Self> {
        Self::with(epoll, descriptor, token, epoll::EventFlags::IN)
    }

    /// Reports once each time that something arrives. What arrived need not be read, and a read that could block is not needed.
    ///
    /// # Errors
    /// As [`Watched::new`].
    pub fn arrivals(epoll: &Arc<OwnedFd>, descriptor: OwnedFd, token: u64) -> io::Result<Self> {
        Self::with(epoll, descriptor, token, epoll::EventFlags::IN | epoll::EventFlags::ET)
    }

    fn with(epoll: &Arc<OwnedFd>, descriptor: OwnedFd, token: u64, flags: epoll::EventFlags) -> io::Result<Self> {
        epoll::add(epoll, &descriptor, epoll::EventData::new_u64(token), flags)?;
        Ok(Self { epoll: Arc::clone(epoll), descriptor, token })
    }

    /// Watches no longer, and gives the descriptor back: another one of the same file, if the system has any left.
    #[must_use]
    pub fn into_descriptor(self) -> Option<OwnedFd> {
        self.descriptor.try_clone().ok()
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
