//! The only clock of the product. Everything else is told what time it is.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use media::Nanoseconds;

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
}
