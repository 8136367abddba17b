//! What another controller, or the subsystem, did that concerns this one.

use media::Token;
use nvme_spec::log::Event;

use crate::Controller;
use crate::inflight::InFlight;
use crate::reason::Reason;
use crate::shared::Shared;
use crate::shared::mail::{Answer, Notice, Size};
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

    /// A change of namespaces has ended that the host asked for.
    #[cold]
    pub(crate) fn change_ended(&mut self, shared: &mut Shared, token: Token, answer: Answer) {
        let Some(command) = self.in_flight.get_mut(token) else { return };
        let result = answer.map_err(|(reason, specific)| {
            command.origin.specific = specific;
            reason
        });
        self.end(shared, token, result);
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
                    self.end_on(shared, nsid, Reason::NamespaceInactive);
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
            Notice::Reservation { nsid, what } => self.hear_of_reservation(nsid, what),
            Notice::Access { group, state } => self.access_changed(group, state),
            Notice::Preempted { nsid, by, number } => self.preempted(shared, nsid, by, number),
            Notice::Aborted { number, by } => self.others_aborted(shared, number, by),
        }
    }

    fn tell_size(&mut self, nsid: u32, size: Size) {
        let Size { blocks, block_bytes, transfer_bytes } = size;
        self.watch.tell(TraceEvent::NamespaceChanged { nsid, blocks, block_bytes, transfer_bytes });
    }

    /// Commands under way on a namespace end for `reason`, but for those that the media has just finished; whether none is left.
    pub(crate) fn end_on(&mut self, shared: &mut Shared, nsid: u32, reason: Reason) -> bool {
        let there = |command: &InFlight| command.permit.sqid() != 0 && command.origin.nsid == nsid;
        for token in self.in_flight.tokens(there) {
            self.withdraw(shared, token, reason);
        }
        self.in_flight.tokens(there).is_empty()
    }

    /// What changed of a namespace is listed, and told to a host that wants to hear of it (B78).
    pub(crate) fn announce_change(&mut self, nsid: u32) {
        self.changed_namespaces.insert(nsid);
        if self.features.hears_of_namespaces() {
            self.raise(Event::NAMESPACE_CHANGED);
        }
    }
}
