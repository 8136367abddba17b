//! The only place of this crate that reads the clock: time-outs of real processes need the real time.

use std::time::{Duration, Instant};

/// The present moment.
#[expect(
    clippy::disallowed_methods,
    reason = "the harness watches real processes, and this is where it reads the clock"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// What is left until `deadline`; zero when it has passed.
pub(crate) fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(now())
}
