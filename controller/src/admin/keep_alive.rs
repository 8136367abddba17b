//! Keep Alive (NVMe Base 2.1 sections 3.9 and 5.1.14): a host that set a timer must show that it is alive. This is the smallest admin
//! command and a model for others.

use media::Nanoseconds;

use super::Done;
use crate::Controller;
use crate::state::Fatal;
use crate::watch::FatalReason;

/// KAS: the timer's granularity in units of 100 ms.
pub(crate) const GRANULARITY_HUNDRED_MS: u16 = 10;

/// The time until the timer runs out starts anew.
pub(super) fn touch(controller: &mut Controller) -> Done {
    restart(controller);
    Done::Now(0)
}

/// Restarts the timer as feature 0Fh says: milliseconds, rounded up to the granularity; 0 is none.
pub(super) fn restart(controller: &mut Controller) {
    let granularity = u64::from(GRANULARITY_HUNDRED_MS) * 100;
    let milliseconds = u64::from(controller.features.keep_alive_ms).next_multiple_of(granularity);
    let deadline = controller.health.now.plus(Nanoseconds(milliseconds * 1_000_000));
    controller.keep_alive = (milliseconds > 0).then_some(deadline);
}

impl Controller {
    /// NVMe Base 2.1 section 3.9: a host that lets its timer run out is taken for dead.
    pub(crate) fn check_keep_alive(&mut self, now: Nanoseconds) {
        if self.keep_alive.is_some_and(|deadline| now >= deadline) {
            self.keep_alive = None;
            self.fatal(Fatal { reason: FatalReason::KeepAlive, value: now.0, bound: 0 });
        }
    }
}
