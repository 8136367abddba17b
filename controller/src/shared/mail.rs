//! What one controller leaves for another: it is there at the other's next step.

use media::{Media, Nanoseconds, Outcome, Token};

use crate::ana::AnaState;
use crate::controllers::{ControllerId, ControllerSet};
use crate::reason::Reason;
use crate::shared::reservations::Notification;

/// What a namespace is like now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) blocks: u64,
    /// Bytes of data of a block,
    pub(crate) block_bytes: u32,
    /// and bytes that are transferred for it.
    pub(crate) transfer_bytes: u32,
}

/// How a change ended for the host that asked for it: dword 0, or why it failed with what the error log says besides.
pub(crate) type Answer = Result<u32, (Reason, u64)>;

/// How something ended that a command waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ended {
    /// What the media had.
    Media(Outcome),
    /// A change of namespaces.
    Change(Answer),
}

/// Something that another controller, or the subsystem, has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// NVM Subsystem Reset: it meets every controller (NVMe Base 2.1 section 3.7.1).
    SubsystemReset,
    /// This controller got a namespace, or lost it; unless `announced`, its host knows. That is what it is like.
    Attachment { nsid: u32, attached: bool, announced: bool, size: Size },
    /// A namespace has another size or format.
    Reshaped { nsid: u32, announced: bool, size: Size },
    /// Queues that were held back may go on.
    GoOn,
    /// Another host changed the reservation of a namespace.
    Reservation { nsid: u32, what: Notification },
    /// The controller's access to a group of its namespaces is another one.
    Access { group: u32, state: AnaState },
    /// The Preempt and Abort with this number, of another controller, waits for the commands on a namespace.
    Preempted { nsid: u32, by: ControllerId, number: u64 },
    /// Those of a controller have ended.
    Aborted { number: u64, by: ControllerId },
}

/// Of one controller.
#[derive(Debug, Default)]
struct Mailbox {
    /// What the media has finished, and changes of namespaces that have ended.
    finished: Vec<(Token, Ended)>,
    notices: Vec<Notice>,
}

/// One for each controller, and what the media has finished for the subsystem itself.
#[derive(Debug)]
pub(crate) struct Mailboxes {
    of: Vec<Mailbox>,
    /// Those that have not gone.
    there: ControllerSet,
    finished: Vec<(Token, Outcome)>,
}

impl Mailboxes {
    pub(crate) fn new(controllers: u16) -> Self {
        let of = (0..controllers).map(|_| Mailbox::default()).collect();
        Self { of, there: ControllerSet::first(controllers), finished: Vec::new() }
    }

    /// The controllers that there are.
    pub(crate) const fn controllers(&self) -> ControllerSet {
        self.there
    }

    /// A controller comes, one behind the last or one that has gone; or it goes.
    pub(crate) fn set_there(&mut self, id: ControllerId, there: bool) {
        if id.index() == self.of.len() {
            self.of.push(Mailbox::default());
        }
        self.of[id.index()] = Mailbox::default();
        self.there.set(id, there);
    }

    /// Asks the media what it has finished, and leaves that where it belongs.
    pub(crate) fn collect(&mut self, media: &mut dyn Media, now: Nanoseconds) {
        media.poll(now, &mut |token, outcome| {
            // What belongs to no controller is the subsystem's own.
            match self.of.get_mut(token.owner()) {
                Some(mailbox) => mailbox.finished.push((token, Ended::Media(outcome))),
                None => self.finished.push((token, outcome)),
            }
        });
    }

    /// Whether something has ended for a controller.
    #[inline]
    pub(crate) fn has_finished(&self, id: ControllerId) -> bool {
        !self.of[id.index()].finished.is_empty()
    }

    /// A change of namespaces ended that the host of a controller asked for.
    pub(crate) fn answer(&mut self, id: ControllerId, token: Token, answer: Answer) {
        self.of[id.index()].finished.push((token, Ended::Change(answer)));
    }

    /// A command is not interested any more in how its change ended. Whether there was one.
    pub(crate) fn forget_answer(&mut self, id: ControllerId, token: Token) -> bool {
        let finished = &mut self.of[id.index()].finished;
        let before = finished.len();
        finished.retain(|(other, ended)| *other != token || !matches!(ended, Ended::Change(_)));
        finished.len() != before
    }

    /// What has ended for a controller.
    pub(crate) fn take_finished(&mut self, id: ControllerId) -> Vec<(Token, Ended)> {
        std::mem::take(&mut self.of[id.index()].finished)
    }

    /// How a request of the subsystem itself ended, if it has.
    pub(crate) fn take_own(&mut self, token: Token) -> Option<Outcome> {
        let place = self.finished.iter().position(|(other, _)| *other == token)?;
        Some(self.finished.swap_remove(place).1)
    }

    /// Whether others did something that concerns a controller.
    #[inline]
    pub(crate) fn has_notices(&self, id: ControllerId) -> bool {
        !self.of[id.index()].notices.is_empty()
    }

    /// What that is.
    pub(crate) fn take_notices(&mut self, id: ControllerId) -> Vec<Notice> {
        std::mem::take(&mut self.of[id.index()].notices)
    }

    /// Tells every controller but the one that did it, if one did.
    pub(crate) fn tell_others(&mut self, by: Option<ControllerId>, notice: Notice) {
        for id in self.there.iter().filter(|id| by != Some(*id)) {
            self.tell(id, notice);
        }
    }

    /// Tells one controller, if it is there.
    pub(crate) fn tell(&mut self, id: ControllerId, notice: Notice) {
        if self.there.has(id) {
            self.of[id.index()].notices.push(notice);
        }
    }

    /// Whether nothing waits for a controller.
    pub(crate) fn is_empty(&self, id: ControllerId) -> bool {
        !self.has_finished(id) && !self.has_notices(id)
    }

    /// A reset of a controller: what the media had finished for it goes to nobody.
    pub(crate) fn forget_finished(&mut self, id: ControllerId) {
        self.of[id.index()].finished.clear();
    }

    /// Power came back.
    pub(crate) fn clear(&mut self) {
        self.finished.clear();
        self.of.fill_with(Mailbox::default);
    }
}
