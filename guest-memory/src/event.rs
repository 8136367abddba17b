//! Event descriptors of a peer, signalled by a call that cannot block.
//!
//! A write to an event descriptor blocks while its counter is full, unless the open file has O_NONBLOCK. The peer shares the open file,
//! may clear the flag and fill the counter at any moment, so a check before the write is worthless. The kernel's own devices do not
//! write: they signal, and a full counter stays full. Asynchronous I/O does the same for us: a request that completes at once (a read
//! of `/dev/null`) signals the descriptor that it names.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::write;
use tracing::warn;
use vmm_sys_util::aio::{IOCB_CMD_PREAD, IOCB_FLAG_RESFD, IoContext, IoControlBlock, IoEvent};

/// How many orders may have ended of which nobody has heard, and after how many we hear of them.
const ORDERS: u32 = 128;
const ORDERS_PER_LOOK: u32 = 32;

struct Signaller {
    context: IoContext,
    /// `/dev/null` to read, which is done at once, and the same to write only, whose read is refused.
    null: File,
    unreadable: File,
    orders: AtomicU32,
}

/// Made once, before the process gives up the right to open files.
static SIGNALLER: OnceLock<Option<Signaller>> = OnceLock::new();

fn signaller() -> Option<&'static Signaller> {
    SIGNALLER
        .get_or_init(|| {
            Signaller::new()
                .inspect_err(|error| {
                    warn!(%error, "no asynchronous I/O here: a hostile client can block the device until the watchdog ends it");
                })
                .ok()
        })
        .as_ref()
}

/// Makes ready what raising needs, so that it is there when no file can be opened any more.
pub(crate) fn prepare() {
    let _ = signaller();
}

/// Whether this is an event descriptor. The question waits for nobody, whatever it is.
#[must_use]
pub fn is_event(descriptor: BorrowedFd<'_>) -> bool {
    match signaller() {
        // The kernel looks at the descriptor to signal before it finds that the order is impossible.
        Some(signaller) => signaller.submit(&signaller.unreadable, descriptor) == Err(libc::EBADF),
        None => name_of(descriptor).is_some_and(|name| name == b"anon_inode:[eventfd]"),
    }
}

/// What the kernel calls a descriptor's file: nobody is asked for it but the kernel.
pub(crate) fn name_of(descriptor: BorrowedFd<'_>) -> Option<Vec<u8>> {
    let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    rustix::fs::readlink(path, Vec::new()).ok().map(std::ffi::CString::into_bytes)
}

/// Adds one to the counter. A full counter needs nothing: the peer has not looked at it since.
fn raise(descriptor: BorrowedFd<'_>) {
    match signaller() {
        Some(signaller) => signaller.raise(descriptor),
        None => {
            let mut watched = [PollFd::new(&descriptor, PollFlags::OUT)];
            if poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(1) {
                let _ = write(descriptor, &1_u64.to_ne_bytes());
            }
        }
    }
}

impl Signaller {
    fn new() -> io::Result<Self> {
        let null = File::open("/dev/null")?;
        let unreadable = File::options().write(true).open("/dev/null")?;
        Ok(Self { context: IoContext::new(ORDERS)?, null, unreadable, orders: AtomicU32::new(0) })
    }

    fn raise(&self, descriptor: BorrowedFd<'_>) {
        if (self.orders.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(ORDERS_PER_LOOK) {
            self.hear();
        }
        if self.submit(&self.null, descriptor) == Err(libc::EAGAIN) {
            // Other threads were quicker than we.
            self.hear();
            let _ = self.submit(&self.null, descriptor);
        }
    }

    /// Orders a read of nothing that signals `signalled`; or why that cannot be.
    fn submit(&self, from: &File, signalled: BorrowedFd<'_>) -> Result<(), i32> {
        let number = |descriptor: i32| u32::try_from(descriptor).unwrap_or(u32::MAX);
        // It reads no bytes, so it names no buffer.
        let mut order = IoControlBlock {
            aio_lio_opcode: u16::try_from(IOCB_CMD_PREAD).unwrap_or(0),
            aio_fildes: number(from.as_raw_fd()),
            aio_flags: IOCB_FLAG_RESFD,
            aio_resfd: number(signalled.as_raw_fd()),
            ..IoControlBlock::default()
        };
        self.context.submit(&[&mut order]).map(drop).map_err(|error| error.raw_os_error().unwrap_or(0))
    }

    /// Makes room for as many orders as have ended.
    fn hear(&self) {
        let mut ended = [IoEvent::default(); ORDERS as usize];
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let _ = self.context.get_events(0, &mut ended, Some(&mut now));
    }
}

/// An event descriptor of a peer, to be raised.
#[derive(Debug)]
pub struct Signal(OwnedFd);

impl Signal {
    /// Takes an event descriptor. Files, pipes and sockets are refused: a write to them could block, or tell the client more than
    /// it should know.
    #[must_use]
    pub fn new(descriptor: OwnedFd) -> Option<Self> {
        is_event(descriptor.as_fd()).then_some(Self(descriptor))
    }

    /// Adds one to the counter, and waits for nobody. A full counter needs nothing: the client has not looked at it since.
    pub fn raise(&self) {
        raise(self.0.as_fd());
    }
}

impl AsFd for Signal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Signal> for OwnedFd {
    fn from(signal: Signal) -> Self {
        signal.0
    }
}

/// Takes what a peer has counted up, without waiting; `None` if that is nothing.
///
/// # Errors
/// It cannot be read so.
pub fn take(descriptor: BorrowedFd<'_>) -> rustix::io::Result<Option<u64>> {
    let mut counter = [0; 8];
    let mut room = [io::IoSliceMut::new(&mut counter)];
    match rustix::io::preadv2(descriptor, &mut room, u64::MAX, rustix::io::ReadWriteFlags::NOWAIT) {
        Ok(8) => Ok(Some(u64::from_ne_bytes(counter))),
        Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};
    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    /// The counter is full and nothing says O_NONBLOCK: a write would wait for ever. Many more than the kernel keeps room for.
    #[test]
    fn raising_a_full_counter_returns() {
        let event = eventfd(0, EventfdFlags::CLOEXEC).expect("an event descriptor");
        write(&event, &(u64::MAX - 1).to_ne_bytes()).expect("filled");
        for _ in 0..10 * ORDERS {
            raise(event.as_fd());
        }
        assert_eq!(take(event.as_fd()), Ok(Some(u64::MAX)), "full, and no further");
        assert_eq!(take(event.as_fd()), Ok(None), "and then empty, which is not waited for either");
    }

    #[test]
    fn every_raise_counts_on_every_thread() {
        let event = eventfd(0, EventfdFlags::CLOEXEC).expect("an event descriptor");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| raise(event.as_fd())));
            }
        });
        assert_eq!(take(event.as_fd()), Ok(Some(4000)));
    }

    #[test]
    fn asking_what_a_descriptor_is_raises_nothing() {
        let event = eventfd(0, EventfdFlags::CLOEXEC).expect("an event descriptor");
        assert!(is_event(event.as_fd()));
        assert_eq!(take(event.as_fd()), Ok(None));
        let (stream, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let memory = memfd_create("[eventfd]", MemfdFlags::CLOEXEC).expect("memfd");
        let file = File::open("/dev/null").expect("opened");
        for other in [stream.as_fd(), memory.as_fd(), file.as_fd()] {
            assert!(!is_event(other), "{other:?}");
        }
    }
}
