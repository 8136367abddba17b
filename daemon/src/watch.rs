//! How the device's thread sleeps for several things at once: one descriptor that is readable when the transport has messages or the
//! media has completed something.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, epoll, eventfd};

/// A descriptor that stands for others, and a notifier among them.
pub struct Watch {
    all: OwnedFd,
    notifier: Arc<Notifier>,
}

/// Signalled from any thread.
struct Notifier {
    descriptor: OwnedFd,
    /// It was signalled since it was last heard: saves a system call in each look at the transport.
    signalled: AtomicBool,
}

impl Watch {
    /// A watch over its notifier alone.
    ///
    /// # Errors
    /// The system has no more descriptors.
    pub fn new() -> io::Result<Self> {
        let all = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let watch = Self { all, notifier: Arc::new(Notifier { descriptor, signalled: AtomicBool::new(false) }) };
        watch.add(watch.notifier.descriptor.as_fd())?;
        Ok(watch)
    }

    /// Watches one more descriptor, until it is closed.
    ///
    /// # Errors
    /// The system refuses.
    pub fn add(&self, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::add(&self.all, descriptor, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?)
    }

    /// Returns what signals the notifier.
    pub fn waker(&self) -> Box<dyn Fn() + Send> {
        let notifier = Arc::clone(&self.notifier);
        Box::new(move || notifier.signal())
    }

    /// Clears the notifier; true if it was signalled. Look for the reason afterwards.
    pub fn heard(&self) -> bool {
        if !self.notifier.signalled.swap(false, Ordering::AcqRel) {
            return false;
        }
        // Nothing to read means that an earlier call took this signal together with its own.
        let _ = rustix::io::read(&self.notifier.descriptor, &mut [0; 8]);
        true
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.all.as_fd()
    }
}

impl Notifier {
    fn signal(&self) {
        // It can only fail where the count is full, and then it is signalled already.
        let _ = rustix::io::write(&self.descriptor, &1u64.to_ne_bytes());
        // Last: whenever there is something to read, the flag says so, or is about to.
        self.signalled.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn readable(watch: &Watch) -> bool {
        let mut descriptors = [PollFd::new(watch, PollFlags::IN)];
        poll(&mut descriptors, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("a look") == 1
    }

    #[test]
    fn the_notifier_and_every_descriptor_are_heard_until_they_are_attended_to() {
        let watch = Watch::new().expect("a watch");
        let (told, teller) = UnixStream::pair().expect("a pair of sockets");
        watch.add(told.as_fd()).expect("added");
        assert!(!readable(&watch) && !watch.heard());
        let wake = watch.waker();
        std::thread::spawn(move || {
            wake();
            wake();
        })
        .join()
        .expect("it rings");
        assert!(readable(&watch));
        assert!(watch.heard() && !watch.heard());
        assert!(!readable(&watch));
        watch.waker()();
        assert!(readable(&watch) && watch.heard());
        io::Write::write_all(&mut &teller, b"x").expect("a byte");
        assert!(readable(&watch) && !watch.heard());
    }
}
