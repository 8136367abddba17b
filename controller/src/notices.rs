//! What another controller, or the subsystem, did that concerns this one.

use nvme_spec::log::Event;

use crate::Controller;
use crate::inflight::InFlight;
use crate::reason::Reason;
use crate::shared::Shared;
use crate::shared::mail::{Notice, Size};
use crate::state::Reset;
use crate::watch::TraceEvent;

impl Controller {
    /// Heeds whatever another controller, or the subsystem, did that concerns this one.
    #[cold]
    pub(crate) fn read_notices(&mut self, shared: &mut Shared) {
        for notice in shared.mail.take_notices(self.id) {
            self.heed(shared, notice);
        }
    }

    fn heed(&mut self, shared: &mut Shared, notice: Notice) {
        match notice {
            Notice::SubsystemReset => {
                self.reset_is_known = true;
                self.registers.ask_reset(Reset::Subsystem);
            }
            Notice::Attachment { nsid, attached, announced, size } => {
                self.tell_size(nsid, if attached { size } else { Size::default() });
                if !attached {
                    self.lose(shared, nsid);
                    self.features.forget_namespace(nsid);
                }
                if announced {
                    self.announce_change(nsid);
                }
            }
            Notice::Reshaped { nsid, announced, size } => {
                if self.namespaces.get(nsid).is_some() {
                    self.tell_size(nsid, size);
                    if announced {
                        self.announce_change(nsid);
                    }
                }
            }
            Notice::GoOn => self.arbiter.unblock(),
        }
    }

    fn tell_size(&mut self, nsid: u32, size: Size) {
        let Size { blocks, block_bytes, transfer_bytes } = size;
        self.watch.tell(TraceEvent::NamespaceChanged { nsid, blocks, block_bytes, transfer_bytes });
    }

    /// Commands under way on a namespace that is no longer attached end as those that come from now on.
    fn lose(&mut self, shared: &mut Shared, nsid: u32) {
        let there = |command: &InFlight| command.permit.sqid() != 0 && command.origin.nsid == nsid;
        for token in self.in_flight.tokens(there) {
            self.withdraw(shared, token, Reason::NamespaceInactive);
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
