//! The clock of the benches: everything else here asks this file.

use std::time::{Duration, Instant};

/// Now.
#[expect(clippy::disallowed_methods, reason = "a bench measures wall-clock time")]
pub fn now() -> Instant {
    Instant::now()
}

/// Does nothing for so long.
pub fn pause(time: Duration) {
    let end = now() + time;
    loop {
        let left = end.saturating_duration_since(now());
        if left.is_zero() {
            return;
        }
        // Woken early by whoever likes to, and then there is time left.
        std::thread::park_timeout(left);
    }
}

/// How long processors have worked for this process.
pub fn processor_time() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(spent).unwrap_or_default()
}
