//! The only clock of the product. Everything else gets the time as an argument.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use media::Nanoseconds;
use rustix::time::{ClockId, clock_gettime};

/// How long ago 1970 began, for people who compare what several programs say. It may go back.
#[expect(clippy::disallowed_methods, reason = "this is the place where the daemon reads the time for all others")]
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Nanoseconds since the clock was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that begins at zero.
    #[expect(clippy::disallowed_methods, reason = "this is the place where the daemon reads the time for all others")]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }

    /// The time; it never goes back.
    pub fn now(&self) -> Nanoseconds {
        // 64 bits of nanoseconds last for 584 years.
        Nanoseconds(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The time that processors have spent on this process. On a busy machine that says more of the work than the time it took.
    pub fn processor() -> Nanoseconds {
        let spent = clock_gettime(ClockId::ProcessCPUTime);
        let [seconds, nanoseconds] = [spent.tv_sec, spent.tv_nsec].map(|part| u64::try_from(part).unwrap_or(0));
        Nanoseconds(seconds * 1_000_000_000 + nanoseconds)
    }
}
