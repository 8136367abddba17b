//! The media's warnings → what the host is told: bits of the SMART log, and an event for those that it has enabled. Owns the record of
//! which warnings were already handled.

use nvme_spec::log::{Event, WARNING_READ_ONLY, WARNING_RELIABILITY, WARNING_SPARE, WARNING_TEMPERATURE};

use crate::Controller;
use crate::admin::logs::critical_warnings;
use crate::shared::Shared;

/// The bits of the SMART log and their events (NVMe Base 2.1 figures 151 and 207); several bits may have one.
const EVENTS: [(u8, Event); 4] = [
    (WARNING_SPARE, Event::SPARE),
    (WARNING_TEMPERATURE, Event::TEMPERATURE),
    (WARNING_RELIABILITY, Event::RELIABILITY),
    (WARNING_READ_ONLY, Event::RELIABILITY),
];

/// What was looked at.
#[derive(Debug, Default)]
pub(crate) struct WarningsSeen {
    changes: u64,
    bits: u8,
}

impl Controller {
    /// Something of the media began to be wrong, or is right again: what is new is an event, if the host wants to hear of it.
    #[inline]
    pub(crate) fn heed_media(&mut self, shared: &mut Shared) {
        let changes = shared.media.warnings().changes();
        if changes != self.warnings_seen.changes {
            self.warnings_seen.changes = changes;
            self.heed_warnings(shared);
        }
    }

    /// Critical warnings changed: those that are new are events.
    pub(crate) fn heed_warnings(&mut self, shared: &mut Shared) {
        let bits = critical_warnings(self, shared);
        let new = bits & !std::mem::replace(&mut self.warnings_seen.bits, bits);
        self.raise_warnings(new);
    }

    /// Those of these critical warnings that stand are events, as far as the host wants to hear of them (B76).
    pub(crate) fn report_warnings(&mut self, shared: &mut Shared, of: u8) {
        self.raise_warnings(critical_warnings(self, shared) & of);
    }

    fn raise_warnings(&mut self, bits: u8) {
        let wanted = bits & self.features.hears_of_warnings();
        for (_, event) in EVENTS.iter().filter(|(bit, _)| wanted & bit != 0) {
            self.raise(*event);
        }
    }
}
