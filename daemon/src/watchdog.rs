//! Ends a process whose device is stuck. Nothing on the device's thread should block, but a kernel, a disk of the host or a bug may
//! make it. Then it is better to end with a message than to hang: a service manager can start the drive again.
//!
//! The device's thread publishes where it is and that it makes progress, at the cost of a store. The watchdog checks that number once a
//! second, and counts its own looks, not the time: a process that was stopped and continued, or a host that slept, is not stuck.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Builder;

use media::Nanoseconds;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::device_loop::{Drive, Host, StepResult, Woken};

/// The exit code of a process that the watchdog ends.
pub const EXIT_CODE: i32 = 3;

/// Where the device's thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Place {
    /// Making the device, recovery included: that takes as long as it takes.
    Opening,
    /// Asleep, until somebody wants something.
    Asleep,
    /// Between two of the others.
    Loop,
    /// Messages of a client.
    Messages,
    /// A step: orders, commands, interrupts.
    Step,
    /// An order that brings power back, recovery included.
    PowerRestore,
    /// Asking the guest to ring.
    Arming,
    /// Quiescing the media.
    Quiesce,
    /// Nowhere: it has ended.
    Ended,
}

impl Place {
    const ALL: [Self; 9] = [
        Self::Opening,
        Self::Asleep,
        Self::Loop,
        Self::Messages,
        Self::Step,
        Self::PowerRestore,
        Self::Arming,
        Self::Quiesce,
        Self::Ended,
    ];

    /// Whether it is all right to be there for long.
    const fn is_patient(self) -> bool {
        matches!(self, Self::Opening | Self::Asleep | Self::PowerRestore)
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Opening => "opening the media",
            Self::Asleep => "waiting for work",
            Self::Loop => "the loop itself",
            Self::Messages => "answering messages of a client",
            Self::Step => "a step of the controller",
            Self::PowerRestore => "recovering after power-restore",
            Self::Arming => "asking the guest to ring",
            Self::Quiesce => "quiescing the media",
            Self::Ended => "its end",
        }
    }
}

/// What the device's thread tells: its place in the low byte, and above it how often it has moved.
#[derive(Debug, Default)]
pub struct Heartbeat(AtomicU64);

impl Heartbeat {
    /// Only the device's thread calls this.
    fn enter(&self, place: Place) {
        let moves = (self.0.load(Ordering::Relaxed) >> 8).wrapping_add(1);
        self.0.store(moves << 8 | u64::from(place as u8), Ordering::Relaxed);
    }

    fn look(&self) -> (u64, Place) {
        let told = self.0.load(Ordering::Relaxed);
        let place = Place::ALL.into_iter().find(|place| u64::from(*place as u8) == told & 0xff);
        (told, place.unwrap_or(Place::Loop))
    }
}

thread_local! {
    static HEARTBEAT: RefCell<Option<Arc<Heartbeat>>> = const { RefCell::new(None) };
}

/// Carries out a part of a step that may take long and says so. On a thread that nobody watches it says it to nobody.
pub fn during<T>(place: Place, act: impl FnOnce() -> T) -> T {
    let enter = |place| {
        HEARTBEAT.with_borrow(|heartbeat| {
            if let Some(heartbeat) = heartbeat {
                heartbeat.enter(place);
            }
        });
    };
    enter(place);
    let done = act();
    enter(Place::Step);
    done
}

/// A device, or what it waits with, that tells where it is.
pub struct Watched<T> {
    inner: T,
    heartbeat: Arc<Heartbeat>,
}

impl<T> Watched<T> {
    /// Wraps it.
    pub const fn new(inner: T, heartbeat: Arc<Heartbeat>) -> Self {
        Self { inner, heartbeat }
    }

    fn at<R>(&mut self, place: Place, act: impl FnOnce(&mut T) -> R) -> R {
        self.heartbeat.enter(place);
        let done = act(&mut self.inner);
        self.heartbeat.enter(Place::Loop);
        done
    }
}

impl<D: Drive> Drive for Watched<D> {
    fn service(&mut self, now: Nanoseconds) -> io::Result<bool> {
        self.at(Place::Messages, |drive| drive.service(now))
    }

    fn step(&mut self, now: Nanoseconds, clock: &dyn controller::Clock) -> StepResult {
        self.at(Place::Step, |drive| drive.step(now, clock))
    }

    fn stepped(&mut self, now: Nanoseconds) {
        self.inner.stepped(now);
    }

    fn arm(&mut self) -> bool {
        self.at(Place::Arming, D::arm)
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.inner.readiness()
    }

    fn quiesce(&mut self, now: Nanoseconds) -> Option<Result<(), String>> {
        self.at(Place::Quiesce, |drive| drive.quiesce(now))
    }

    fn must_be_polled(&self) -> bool {
        self.inner.must_be_polled()
    }
}

impl<H: Host> controller::Clock for Watched<H> {
    fn now(&self) -> Nanoseconds {
        self.inner.now()
    }
}

impl<H: Host> Host for Watched<H> {
    fn wait(&mut self, device: BorrowedFd<'_>, limit: Option<Nanoseconds>) -> io::Result<Woken> {
        self.at(Place::Asleep, |host| host.wait(device, limit))
    }

    fn give_way(&mut self) {
        self.inner.give_way();
    }

    fn pause(&mut self, time: Nanoseconds) {
        self.at(Place::Asleep, |host| host.pause(time));
    }
}

/// How patient the watchdog is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The time between two looks.
    pub tick: Timespec,
    /// After this many looks at a device that has not moved it is stuck.
    pub looks: u32,
    /// After this many looks since it was told to stop it has stopped too slowly: more than an orderly end may take.
    pub looks_to_stop: u32,
}

impl Patience {
    /// What the process has: thirty seconds, after which Linux takes a disk for dead too, and eighty for an end, before a service manager
    /// makes one (90).
    pub const REAL: Self = Self { tick: Timespec { tv_sec: 1, tv_nsec: 0 }, looks: 30, looks_to_stop: 80 };
}

/// The decision, without a clock.
#[derive(Debug, Default)]
struct Watchdog {
    last: u64,
    unmoved: u32,
    stopping: u32,
}

/// What a look came to.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Moves,
    Over,
    Stuck(Place),
    TooSlow(Place),
}

impl Watchdog {
    fn look(&mut self, (told, place): (u64, Place), stop: bool, patience: Patience) -> Verdict {
        if place == Place::Ended {
            return Verdict::Over;
        }
        if told != self.last || place.is_patient() {
            (self.last, self.unmoved) = (told, 0);
        } else {
            self.unmoved += 1;
        }
        self.stopping += u32::from(stop);
        if self.unmoved >= patience.looks {
            Verdict::Stuck(place)
        } else if self.stopping >= patience.looks_to_stop {
            Verdict::TooSlow(place)
        } else {
            Verdict::Moves
        }
    }
}

/// Lets the thread that calls this be watched. Dropped at its end.
pub struct WatchdogGuard {
    heartbeat: Arc<Heartbeat>,
}

impl WatchdogGuard {
    /// Starts a watchdog that hears of the order to stop from a copy of `stop`, and calls `end` with what it has to say if this thread is
    /// stuck.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(stop: UnixStream, patience: Patience, end: impl FnOnce(&str) + Send + 'static) -> io::Result<Self> {
        let heartbeat = Arc::new(Heartbeat::default());
        heartbeat.enter(Place::Opening);
        HEARTBEAT.set(Some(Arc::clone(&heartbeat)));
        // Opened now: it may be that no file can be opened any more when it is read.
        let system_call = std::fs::File::open("/proc/thread-self/syscall").ok();
        let watched = Arc::clone(&heartbeat);
        let body = move || {
            if let Some(why) = watch(&watched, &stop, patience) {
                end(&message(&why, system_call.as_ref()));
            }
        };
        Builder::new().name("watchdog".to_owned()).spawn(body)?;
        Ok(Self { heartbeat })
    }

    /// What the wrappers of device and host tell.
    pub fn heartbeat(&self) -> Arc<Heartbeat> {
        Arc::clone(&self.heartbeat)
    }
}

impl Drop for WatchdogGuard {
    fn drop(&mut self) {
        self.heartbeat.enter(Place::Ended);
        HEARTBEAT.set(None);
    }
}

/// Looks until the device has ended, or is stuck, which it then says.
fn watch(heartbeat: &Heartbeat, stop: &UnixStream, patience: Patience) -> Option<String> {
    let mut watchdog = Watchdog::default();
    let mut stopping = false;
    loop {
        // What stays readable is no longer waited for.
        let mut watched = [PollFd::new(stop, PollFlags::IN)];
        let heard =
            if stopping { poll(&mut [], Some(&patience.tick)) } else { poll(&mut watched, Some(&patience.tick)) };
        if !stopping && heard == Ok(1) {
            stopping = true;
            continue;
        }
        match watchdog.look(heartbeat.look(), stopping, patience) {
            Verdict::Moves => {}
            Verdict::Over => return None,
            Verdict::Stuck(place) => {
                return Some(format!("the device has not moved for {} seconds, in {}", patience.looks, place.words()));
            }
            Verdict::TooSlow(place) => {
                let looks = patience.looks_to_stop;
                return Some(format!(
                    "the device did not end within {looks} seconds of the order, last in {}",
                    place.words()
                ));
            }
        }
    }
}

fn message(why: &str, system_call: Option<&std::fs::File>) -> String {
    let mut bytes = [0; 64];
    let read = system_call.and_then(|file| rustix::io::pread(file, &mut bytes, 0).ok()).unwrap_or(0);
    let text = String::from_utf8_lossy(bytes.get(..read).unwrap_or_default()).into_owned();
    let call = text.split(' ').next().and_then(|word| word.trim().parse::<i64>().ok());
    let kernel = call.map(|number| format!(" (waiting in system call {number})")).unwrap_or_default();
    format!(
        "brownout: {why}{kernel}; this process ends, which is a power loss: what a Flush or a FUA write promised is kept, writes after \
         the last of them may be lost, and the next start recovers\n"
    )
}

/// The end of the process: says why, unless nobody reads that, and leaves without waiting for the stuck thread.
pub fn end_process(message: &str) {
    let stderr = io::stderr();
    // Not through the log, nor the lock of the standard error: the stuck thread may hold them.
    let patience = Timespec { tv_sec: 1, tv_nsec: 0 };
    if poll(&mut [PollFd::new(&stderr.as_fd(), PollFlags::OUT)], Some(&patience)) == Ok(1) {
        let _ = rustix::io::write(&stderr, message.as_bytes());
    }
    std::process::exit(EXIT_CODE);
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::sync::mpsc::channel;

    use super::*;
    use crate::device_thread::DeviceThread;
    use crate::testing::Doubled;

    const QUICK: Patience = Patience { tick: Timespec { tv_sec: 0, tv_nsec: 2_000_000 }, looks: 10, looks_to_stop: 70 };

    fn looks(watchdog: &mut Watchdog, heartbeat: &Heartbeat, count: u32, stop: bool) -> Verdict {
        let mut verdict = Verdict::Moves;
        for _ in 0..count {
            verdict = watchdog.look(heartbeat.look(), stop, Patience::REAL);
        }
        verdict
    }

    /// A process that was stopped for an hour comes back to one look, and its device moves before the next.
    #[test]
    fn only_a_device_that_does_not_move_while_it_is_looked_at_is_stuck() {
        let heartbeat = Heartbeat::default();
        for place in Place::ALL.into_iter().filter(|place| *place != Place::Ended) {
            let mut watchdog = Watchdog::default();
            heartbeat.enter(place);
            assert_eq!(looks(&mut watchdog, &heartbeat, 30, false), Verdict::Moves, "{place:?}");
            heartbeat.enter(place);
            assert_eq!(looks(&mut watchdog, &heartbeat, 30, false), Verdict::Moves, "{place:?}: it moved");
            let last = looks(&mut watchdog, &heartbeat, 1, false);
            assert_eq!(last, if place.is_patient() { Verdict::Moves } else { Verdict::Stuck(place) });
        }
        heartbeat.enter(Place::Ended);
        assert_eq!(looks(&mut Watchdog::default(), &heartbeat, 1, false), Verdict::Over);
    }

    #[test]
    fn an_end_may_take_a_minute_and_no_longer_however_much_it_moves() {
        let heartbeat = Heartbeat::default();
        let mut watchdog = Watchdog::default();
        for look in 1..=80 {
            heartbeat.enter(Place::Quiesce);
            let expected = if look < 80 { Verdict::Moves } else { Verdict::TooSlow(Place::Quiesce) };
            assert_eq!(looks(&mut watchdog, &heartbeat, 1, true), expected);
        }
    }

    /// The order to stop reaches a stuck device as little as anything else: told or not, the end comes, with the place and the system call.
    #[test]
    fn a_stuck_device_ends_the_process_with_the_place_and_the_call() {
        for told_to_stop in [false, true] {
            let (stop, stopper) = UnixStream::pair().expect("a pair of sockets");
            let (mut byte, waker) = UnixStream::pair().expect("a pair of sockets");
            let (descriptor, _peer) = UnixStream::pair().expect("a pair of sockets");
            let (said, heard) = channel();
            let end = move |message: &str| said.send(message.to_owned()).expect("somebody listens");
            let (entered, inside) = channel();
            // A step waits for a byte that does not come.
            let step = move || {
                let _ = entered.send(());
                let _ = byte.read(&mut [0]);
            };
            let make = move || Ok(Doubled { descriptor, service: || Ok(false), step });
            let device = DeviceThread::start_watched(stop, QUICK, end, make).expect("a device");
            inside.recv().expect("it is stuck now");
            let stopper = Some(stopper).filter(|_| !told_to_stop);
            let message = heard.recv_timeout(std::time::Duration::from_secs(20)).expect("the end");
            assert!(message.contains("has not moved for 10 seconds, in a step of the controller"), "{message}");
            assert!(message.contains("may be lost"), "{message}");
            // Not every kernel tells of system calls.
            assert!(!std::fs::exists("/proc/thread-self/syscall").expect("known") || message.contains("system call"));
            drop((waker, stopper));
            device.join().expect("an orderly end, once it can");
        }
    }
}
