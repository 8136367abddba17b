//! What another controller, or the subsystem, did that concerns this one.

use nvme_spec::log::Event;

use crate::Controller;
use crate::shared::mail::Notice;
use crate::state::Reset;
use crate::watch::TraceEvent;

impl Controller {
    /// Another controller, or the subsystem, did something that concerns this one.
    pub(crate) fn heed(&mut self, notice: Notice) {
        match notice {
            Notice::SubsystemReset => self.registers.ask_reset(Reset::Subsystem),
            Notice::Resized { nsid, blocks } => {
                self.watch.tell(TraceEvent::Resized { nsid, blocks });
                self.announce_change(nsid);
            }
            Notice::GoOn => self.arbiter.unblock(),
        }
    }

    /// What changed of a namespace is listed, and told to a host that wants to hear of it (B78).
    pub(crate) fn announce_change(&mut self, nsid: u32) {
        self.changed_namespaces.insert(nsid);
        if self.features.hears_of_namespaces() {
            self.raise(Event::NAMESPACE_CHANGED);
        }
    }
}
