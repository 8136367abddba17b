//! Waiting for what another process does.

use std::time::Duration;

/// Tries a few times a second, a minute at most; whether it came to be.
pub fn within_a_minute(mut done: impl FnMut() -> bool) -> bool {
    (0..1200).any(|_| {
        done() || {
            std::thread::park_timeout(Duration::from_millis(50));
            false
        }
    })
}
