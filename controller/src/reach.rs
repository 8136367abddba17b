//! Whether a command may have its namespace: by the state of the controller's access to it (MC5), and by reservations (RES13, RES14). While
//! nothing restricts any namespace of a controller, nobody asks.

use nvme_spec::NSID_ALL;
use nvme_spec::log::Event;

use crate::Controller;
use crate::ana::AnaState;
use crate::command::Needs;
use crate::reason::Reason;
use crate::shared::Shared;
use crate::watch::TraceEvent;

impl Controller {
    /// Whether a command of an I/O queue may begin that needs this of a namespace, or of all.
    #[cold]
    pub(crate) fn check_access(&self, shared: &Shared, nsid: u32, needs: Needs) -> Result<(), Reason> {
        self.check_reach(shared, nsid)?;
        let meant = self.namespaces.iter().map(|namespace| namespace.identity.nsid);
        let mut meant = meant.filter(|of| nsid == NSID_ALL || *of == nsid);
        meant.try_for_each(|of| shared.reservations.check(self.id, of, needs))
    }

    /// Whether the controller reaches a namespace, or all that it has, as far as it is there: the host may try another path if not (NVMe
    /// Base 2.1 sections 8.1.1.6 to 8.1.1.8).
    pub(crate) fn check_reach(&self, shared: &Shared, nsid: u32) -> Result<(), Reason> {
        if !shared.config.ana {
            return Ok(());
        }
        let refusal = |group| shared.ana.state(self.id, group).refusal().map_or(Ok(()), Err);
        if nsid == NSID_ALL {
            return self.namespaces.iter().try_for_each(|own| refusal(own.identity.anagrpid));
        }
        shared.namespaces.get(nsid).map_or(Ok(()), |own| refusal(own.identity.anagrpid))
    }

    /// The access to a group is another one. A host that wants to hear of it hears where the change ended, not of its beginning (NVMe Base
    /// 2.1 section 8.1.1.9).
    pub(crate) fn access_changed(&mut self, group: u32, state: AnaState) {
        self.watch.tell(TraceEvent::AccessChanged { group, state });
        if state != AnaState::Change && self.features.hears_of_access() {
            self.raise(Event::ACCESS_CHANGED);
        }
    }
}
