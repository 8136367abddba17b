//! The device loop: one thread that owns a controller and its transport, and decides when to poll, to step and to sleep.
//!
//! While there is work, and for a moment after it, the loop spins: a wake-up costs more than a command. Then it sleeps. Where every
//! doorbell is a message, it sleeps until a message comes or something of the controller is due: an idle guest costs nothing. Where the
//! guest stores its doorbells to a shared page, nothing announces them, so the loop polls, at intervals that grow with the time without
//! work.
//!
//! [`Pace`] is the decision, without a clock and without a system call; [`run`] executes it.

mod pace;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use media::Nanoseconds;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::clock::Clock;
pub use pace::Policy;
use pace::{Next, Pace};

/// A controller with its transport, as the loop sees it. Nothing in it may block.
pub trait Drive {
    /// Handles messages of the transport: a bounded number, and only those that are there. True if there were any: the loop then asks
    /// again before it sleeps, so that messages may stay in a buffer that [`Drive::readiness`] knows nothing of. They arrive now.
    ///
    /// # Errors
    /// The transport cannot go on. A peer that misbehaves or leaves is no such error.
    fn service(&mut self, now: Nanoseconds) -> io::Result<bool>;

    /// One step of the controller from `now` on, and the delivery of its effects; the clock says when it has taken long enough.
    fn step(&mut self, now: Nanoseconds, clock: &dyn controller::Clock) -> StepResult;

    /// A step in which something was done has ended now.
    fn stepped(&mut self, _now: Nanoseconds) {}

    /// Before the loop sleeps: asks the guest to ring for whatever it does from now on. False if there is work already: the loop then
    /// steps again instead. (While it steps, a guest with shadow doorbells does not ring.)
    fn arm(&mut self) -> bool;

    /// A descriptor that is readable while there are messages to handle.
    fn readiness(&self) -> BorrowedFd<'_>;

    /// After the last step: quiesces the media, so that the end of the process is an orderly one. Called until it returns
    /// something; an error says why it did not.
    fn quiesce(&mut self, now: Nanoseconds) -> Option<Result<(), String>>;

    /// Whether work may appear without any message: a page of doorbells is mapped, and a guest has it.
    fn must_be_polled(&self) -> bool;
}

/// What a step of the controller came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepResult {
    /// Whether anything was done.
    pub worked: bool,
    /// When a step will next have something to do, whatever the guest does.
    pub next_event: Option<Nanoseconds>,
}

impl StepResult {
    /// What the step of another part came to.
    pub fn add(&mut self, worked: bool, next_event: Option<Nanoseconds>) {
        self.worked |= worked;
        self.next_event = Nanoseconds::earliest(self.next_event, next_event);
    }
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Woken {
    /// The loop is to end.
    pub stop: bool,
    /// The transport has messages.
    pub ready: bool,
}

/// The clock and the waiting: the real ones, or those of a test.
pub trait Host: controller::Clock {
    /// Waits for the descriptor, for the order to stop, or for so much time to pass; without `limit` for ever.
    ///
    /// # Errors
    /// The system refuses to wait.
    fn wait(&mut self, device: BorrowedFd<'_>, limit: Option<Nanoseconds>) -> io::Result<Woken>;

    /// Lets others have this processor for a moment.
    fn give_way(&mut self);

    /// Does nothing for so long.
    fn pause(&mut self, time: Nanoseconds);
}

/// How long an orderly end may take: less than what service managers grant (90 s), and enough for a slow disk with a full backlog.
const QUIESCE_LIMIT: Nanoseconds = Nanoseconds(60_000_000_000);
/// How long to wait between two looks at a media that quiesces.
const QUIESCE_PAUSE: Nanoseconds = Nanoseconds(1_000_000);

/// Quiesces the media of a device whose loop has ended.
///
/// # Errors
/// It refused, or took too long: the next start will find an unclean end, and recover.
pub fn quiesce(drive: &mut impl Drive, host: &mut impl Host) -> io::Result<()> {
    let limit = host.now().plus(QUIESCE_LIMIT);
    loop {
        let now = host.now();
        if let Some(ended) = drive.quiesce(now) {
            return ended.map_err(io::Error::other);
        }
        if now > limit {
            return Err(io::Error::other("the media did not quiesce in time"));
        }
        host.pause(QUIESCE_PAUSE);
    }
}

/// Runs a device until it is told to stop.
///
/// # Errors
/// The transport or the system gave up.
pub fn run(drive: &mut impl Drive, host: &mut impl Host, policy: Policy) -> io::Result<()> {
    // A step begins where the one before it ended, unless something was done in between.
    let mut now = host.now();
    let mut pace = Pace::new(policy, now);
    let mut more_messages = false;
    let mut next = Next::Look;
    loop {
        let mut worked = false;
        if let Some(limit) = limit_of(next, more_messages) {
            let woken = host.wait(drive.readiness(), limit)?;
            if woken.stop {
                return Ok(());
            }
            more_messages = (woken.ready || more_messages) && drive.service(host.now())?;
            worked = more_messages;
            now = host.now();
        }
        let turn = drive.step(now, host);
        // A step may take longer than the loop spins: what counts is when its work ended, not when it began.
        now = host.now();
        if turn.worked {
            drive.stepped(now);
        }
        let worked = worked || turn.worked;
        next = pace.next(now, worked, turn.next_event, drive.must_be_polled());
        if let Next::Sleep(limit) = next {
            let armed = drive.arm();
            // What arming took is no longer to be slept.
            let taken = host.now().0.saturating_sub(now.0);
            let left = limit.map(|limit| Nanoseconds(limit.0.saturating_sub(taken)));
            next = if armed { Next::Sleep(left) } else { Next::Step };
            now = now.plus(Nanoseconds(taken));
        }
        if policy.give_way && !worked && next == Next::Look {
            host.give_way();
        }
    }
}

/// How long to wait for the descriptors before the next step: the outer `None` is not at all, the inner one for ever.
const fn limit_of(next: Next, more_messages: bool) -> Option<Option<Nanoseconds>> {
    match next {
        Next::Step => None,
        Next::Look => Some(Some(Nanoseconds(0))),
        Next::Sleep(_) if more_messages => Some(Some(Nanoseconds(0))),
        Next::Sleep(limit) => Some(limit),
    }
}

/// The clock and the waiting of this machine.
pub struct System {
    clock: Clock,
    stop: UnixStream,
}

impl System {
    /// A host whose loop stops when `stop` becomes readable or its other end is closed.
    pub const fn new(clock: Clock, stop: UnixStream) -> Self {
        Self { clock, stop }
    }
}

impl controller::Clock for System {
    fn now(&self) -> Nanoseconds {
        self.clock.now()
    }
}

impl Host for System {
    fn wait(&mut self, device: BorrowedFd<'_>, limit: Option<Nanoseconds>) -> io::Result<Woken> {
        let stop = self.stop.as_fd();
        let mut watched = [PollFd::new(&stop, PollFlags::IN), PollFd::new(&device, PollFlags::IN)];
        match poll(&mut watched, limit.map(timespec).as_ref()) {
            Ok(_) => Ok(Woken { stop: !watched[0].revents().is_empty(), ready: !watched[1].revents().is_empty() }),
            // A signal: if it concerns us, the next look finds its byte.
            Err(rustix::io::Errno::INTR) => Ok(Woken::default()),
            Err(error) => Err(error.into()),
        }
    }

    fn give_way(&mut self) {
        std::thread::yield_now();
    }

    fn pause(&mut self, time: Nanoseconds) {
        // Woken early by a signal is no harm.
        let _ = poll(&mut [], Some(&timespec(time)));
    }
}

fn timespec(time: Nanoseconds) -> Timespec {
    const SECOND: u64 = 1_000_000_000;
    let part = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Timespec { tv_sec: part(time.0 / SECOND), tv_nsec: part(time.0 % SECOND) }
}
