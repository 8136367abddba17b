//! Hosts that register with namespaces, and reserve them, while others have commands under way. What a host believes of keys and of the
//! holder follows from what it was told; [`Knowledge`](crate::reservations::Knowledge) says what else may be, and so who may have been let in
//! and who refused.

mod entry;

use std::collections::{BTreeMap, BTreeSet};

use nvme_spec::{Command as Entry, Status};

use super::{Session, Stop, unanswered};
use crate::checker::Answer;
use crate::history::{Command, CommandId, History, Verb};
use crate::inventory::{self, Inventory};
use crate::parameters::Blocks;
use crate::reservations::{Access, Act, Action, Ending, Host, Kind, Knowledge, Needs, Registrations};
use crate::simulator::{Queue, Reservation};
use crate::verdict::{Rule, Violation};

use entry::{command_of, reported};

/// Commands about the registrations of one namespace that hosts have under way together at most.
const TOGETHER_MAX: usize = 3;
/// The name of what is no command of the history, and of which one is under way at a time; those of controllers lie below.
const ASIDE: CommandId = CommandId::MAX;
/// A key that nobody has.
const WRONG: u64 = 1 << 40;
/// The key with which a host registers in order to read everything.
const READER: u64 = 9;

/// What a read needs.
const READS: Needs = Needs { read: true, write: false };
/// What a change needs.
pub(super) const WRITES: Needs = Needs { read: false, write: true };
/// What a Copy needs.
const BOTH: Needs = Needs { read: true, write: true };

/// What hosts know of registrations, and have under way about them.
#[derive(Clone, Debug, Default)]
pub(super) struct Reserving {
    /// What the host of each controller calls itself, 0 if it does not say; nothing where there are no reservations.
    names: Vec<u8>,
    /// The same after the next reset.
    next_names: Vec<u8>,
    /// By the name with which a namespace was made.
    of: BTreeMap<u32, Knowledge>,
    /// That name, by the one that a namespace has now.
    born: BTreeMap<u32, u32>,
    /// Commands about registrations, with the namespace by the name with which it was made.
    acts: BTreeMap<CommandId, (u32, Act)>,
    /// Commands under way of which reservations decide: of which namespaces, and whether all of them must let it in.
    asking: BTreeMap<CommandId, (Vec<u32>, bool)>,
    /// Halves of pairs that were not carried out because of the other.
    blaming: BTreeSet<CommandId>,
}

impl Reserving {
    pub(super) fn new(names: &[u8]) -> Self {
        Self { names: names.to_vec(), next_names: names.to_vec(), ..Self::default() }
    }

    /// Power is lost; hosts call themselves what they will.
    pub(super) fn lose_power(&mut self) {
        self.of.values_mut().for_each(Knowledge::lose_power);
        self.acts.clear();
        self.asking.clear();
        self.blaming.clear();
    }

    /// A namespace is used, which was made with the name `born`.
    pub(super) fn learn(&mut self, name: u32, born: u32, persistent: bool) {
        self.born.insert(name, born);
        self.of.entry(born).or_insert_with(|| Knowledge::new(persistent));
    }

    fn who(&self, controller: u16) -> Host {
        let name = self.names.get(usize::from(controller)).filter(|name| **name != 0);
        name.map_or(Host::Unnamed(controller), |name| Host::Named(*name))
    }

    fn knowledge(&mut self, born: u32) -> &mut Knowledge {
        self.of.get_mut(&born).expect("it was learned of")
    }

    /// The entry of a command, and its data.
    pub(super) fn entry(&self, id: CommandId, nsid: u32) -> (Entry, Vec<u8>) {
        command_of(nsid, &self.acts[&id].1)
    }

    /// A command will not be answered any more.
    fn drop_command(&mut self, id: CommandId) {
        let act = self.acts.remove(&id).map(|(born, _)| born);
        let asked = self.asking.remove(&id).map(|(of, _)| of).unwrap_or_default();
        act.into_iter().chain(asked).for_each(|born| self.knowledge(born).abandon(id));
    }
}

fn violation(id: CommandId, name: u32, found: String) -> Violation {
    let commands = if id < ASIDE { vec![id] } else { Vec::new() };
    Violation { rule: Rule::Reservation, commands, nsid: name, blocks: Vec::new(), found }
}

impl Session {
    /// The host of a controller is another one after the next reset.
    pub fn rename(&mut self, controller: u16, name: u8) {
        if let Some(next) = self.reserving.next_names.get_mut(usize::from(controller)) {
            *next = name;
        }
    }

    /// A controller is about to be reset: a host without a name is gone some time after that.
    pub(super) fn leave(&mut self, controller: u16) {
        let host = self.reserving.who(controller);
        if host == Host::Unnamed(controller) {
            let id = ASIDE - 1 - CommandId::from(controller);
            self.reserving.of.values_mut().for_each(|of| of.begin(id, host, Act::Leave));
        }
    }

    /// A controller was reset: what it had under way is not answered any more, and its host says who it is.
    pub(super) fn introduce(&mut self, controller: u16) -> Result<(), Stop> {
        let id = ASIDE - 1 - CommandId::from(controller);
        if self.reserving.who(controller) == Host::Unnamed(controller) {
            let left = |of: &mut Knowledge| of.end(id, &Ending::Done).expect("whoever is asked to leave leaves");
            self.reserving.of.values_mut().for_each(left);
        }
        let own = self.sent.iter().filter(|((queue, _), _)| queue.controller == controller);
        let own: Vec<CommandId> = own.map(|(_, sent)| sent.id).collect();
        own.into_iter().for_each(|id| self.reserving.drop_command(id));
        let at = usize::from(controller);
        if let Some(name) = self.reserving.next_names.get(at).copied() {
            self.reserving.names[at] = name;
            if name != 0 {
                let set = self.hosts[at].set_host_identifier(&[name; 16]);
                self.admin(set)?;
            }
        }
        Ok(())
    }

    /// Puts a command about registrations into a queue, if that has room and the namespace is there for certain; `wrong` says that not all
    /// of what it says is right.
    ///
    /// # Errors
    /// As [`Session::queue`].
    pub fn reserve(
        &mut self,
        history: &mut History,
        queue: Queue,
        (nsid, what, wrong): (u32, Reservation, bool),
    ) -> Result<(), Stop> {
        let place = self.place(history, queue, nsid, Blocks::new(0, 0))?;
        let Some((name, _)) = place.filter(|_| self.room(queue) >= 1) else {
            history.skip();
            return Ok(());
        };
        let born = self.reserving.born[&name];
        if self.reserving.acts.values().filter(|(of, _)| *of == born).count() >= TOGETHER_MAX {
            history.skip();
            return Ok(());
        }
        let host = self.reserving.who(queue.controller);
        let act = act(self.reserving.knowledge(born).likely(), host, what, wrong);
        let id = history.queue_at(queue.controller, Verb::Reserve, name, Blocks::new(0, 0), false);
        self.reserving.acts.insert(id, (born, act));
        self.put(history, queue, id)
    }

    /// A command of an I/O queue gets its doorbell.
    pub(super) fn ask(&mut self, history: &History, id: CommandId) {
        let command = history.command(id).expect("it was recorded");
        let needs = match command.verb {
            Verb::Reserve => {
                let host = self.reserving.who(command.controller);
                let (born, act) = self.reserving.acts[&id];
                return self.reserving.knowledge(born).begin(id, host, act);
            }
            Verb::Read | Verb::Compare | Verb::Verify => READS,
            Verb::Copy { .. } => BOTH,
            Verb::FlushAll => {
                let host = self.reserving.who(command.controller);
                self.reserving.of.values_mut().for_each(|of| of.ask(id, host, WRITES));
                // Which of them the controller has is not always known.
                let all = self.reserving.of.keys().copied().collect();
                self.reserving.asking.insert(id, (all, false));
                return;
            }
            _ => WRITES,
        };
        self.ask_for(id, command.controller, command.nsid, needs);
    }

    /// A command needs something of a namespace.
    pub(super) fn ask_for(&mut self, id: CommandId, controller: u16, name: u32, needs: Needs) {
        let host = self.reserving.who(controller);
        let born = self.reserving.born[&name];
        self.reserving.knowledge(born).ask(id, host, needs);
        self.reserving.asking.insert(id, (vec![born], true));
    }

    /// Whether a reservation explains how a command of an I/O queue was answered.
    pub(super) fn judge_access(&mut self, command: &Command, id: CommandId, answer: Answer) -> Result<(), Stop> {
        let access = match answer {
            Answer::Success | Answer::Differs | Answer::Unreadable => Some(Access::Granted),
            Answer::Refused => Some(Access::Refused),
            Answer::Aborted => Some(Access::Aborted),
            Answer::PartnerFailed | Answer::TooLarge | Answer::Other => None,
        };
        if answer == Answer::PartnerFailed {
            let partner = if command.verb == Verb::Compare { id + 1 } else { id - 1 };
            self.reserving.blaming.insert(id);
            if self.reserving.blaming.contains(&partner) {
                let found = format!("commands {id} and {partner} each failed because of the other");
                return Err(Violation { rule: Rule::Pair, ..violation(id, command.nsid, found) }.into());
            }
        }
        if access == Some(Access::Refused) && self.shown.contains(&id) {
            let found = format!("{:?}, which was refused, was read", command.verb);
            return Err(violation(id, command.nsid, found).into());
        }
        self.outcomes.count_access(access);
        self.judge(id, command.nsid, access, || format!("{:?}", command.verb))
    }

    /// The same of a Format or a deletion.
    pub(super) fn judge_change(
        &mut self,
        history: &History,
        id: CommandId,
        access: Option<Access>,
    ) -> Result<(), Stop> {
        let name = history.command(id).map_or(0, |command| command.nsid);
        self.judge(id, name, access, || "a Format or a deletion".to_owned())
    }

    fn judge(
        &mut self,
        id: CommandId,
        name: u32,
        access: Option<Access>,
        what: impl FnOnce() -> String,
    ) -> Result<(), Stop> {
        let Some((of, all)) = self.reserving.asking.remove(&id) else {
            // A reservation decides of no other command.
            return match access {
                Some(Access::Refused | Access::Aborted) => {
                    Err(violation(id, name, format!("{} was {access:?}", what())).into())
                }
                _ => Ok(()),
            };
        };
        let Some(access) = access else {
            of.iter().for_each(|born| self.reserving.knowledge(*born).abandon(id));
            return Ok(());
        };
        let answers: Vec<bool> = of.iter().map(|born| self.reserving.knowledge(*born).answer(id, access)).collect();
        let explained = match access {
            Access::Granted => !all || answers.into_iter().all(|explains| explains),
            Access::Refused | Access::Aborted => answers.contains(&true),
        };
        if explained {
            return Ok(());
        }
        let states: Vec<&Registrations> = of.iter().flat_map(|born| self.reserving.of[born].may_be()).collect();
        Err(violation(id, name, format!("{} was {access:?}, and possible are {states:?}", what())).into())
    }

    /// A command about registrations was answered.
    pub(super) fn reserved(
        &mut self,
        command: &Command,
        id: CommandId,
        status: Status,
        data: &[u8],
    ) -> Result<(), Stop> {
        let (born, act) = self.reserving.acts.remove(&id).expect("it is under way");
        let (host, name) = (self.reserving.who(command.controller), command.nsid);
        if status.kind() == Status::ABORTED_PREEMPT.kind() {
            self.outcomes.count_access(Some(Access::Aborted));
            let asked = self.reserving.knowledge(born).abort(id);
            return asked.map_err(|_| violation(id, name, format!("{act:?} of {host:?} was aborted")).into());
        }
        let ending = if act == Act::Report && status.is_success() {
            Ending::Shown(self.reported(data).map_err(|found| violation(id, name, found))?)
        } else {
            let ending = entry::ending(status);
            ending.ok_or_else(|| Violation {
                commands: vec![id],
                ..unanswered(format!("{act:?} ended with {status:?}"))
            })?
        };
        self.note(&format!("{act:?} {ending:?}"));
        self.outcomes.count_act(&act, &ending);
        let possible = self.reserving.knowledge(born).end(id, &ending);
        possible.map_err(|possible| {
            let found = format!("{act:?} of {host:?} ended with {ending:?}, and could with {possible:?}");
            violation(id, name, found).into()
        })
    }

    /// What a report says; each controller in it serves the host of which it says so.
    fn reported(&self, page: &[u8]) -> Result<Registrations, String> {
        reported(page, |controller| (controller < self.controllers()).then(|| self.reserving.who(controller)))
    }

    /// Every namespace reports what may be there after a power loss.
    pub(super) fn settle_reservations(&mut self, settled: &Inventory) -> Result<(), Stop> {
        let born: Vec<u32> = settled.namespaces.values().map(|entry| entry.born).collect();
        self.reserving.of.retain(|name, _| born.contains(name));
        self.reserving.born.retain(|_, name| born.contains(name));
        if self.reserving.names.is_empty() {
            return Ok(());
        }
        for (nsid, entry) in &settled.namespaces {
            let asked = entry.attached.first().copied().unwrap_or(0);
            let seen = self.with(*nsid, entry, |session| session.report(asked, *nsid, entry.name))?;
            self.note(&format!("{seen:?}"));
            let knowledge = self.reserving.knowledge(entry.born);
            let may_be_lost = knowledge.was_registered();
            let possible = knowledge.settle(&seen);
            possible.map_err(|possible| {
                let found = format!("after a power loss {seen:?}, and possible are {possible:?}");
                violation(ASIDE, entry.name, found)
            })?;
            self.outcomes.count_settled(&seen, may_be_lost);
        }
        Ok(())
    }

    fn report(&mut self, controller: u16, nsid: u32, name: u32) -> Result<Registrations, Stop> {
        let (entry, data) = command_of(nsid, &Act::Report);
        let ended = self.hosts[usize::from(controller)].execute_in(1, entry, data.len());
        let (completion, page) = self.admin(ended)?;
        if !completion.status().is_success() {
            return Err(unanswered(format!("a report ended with {:?}", completion.status())).into());
        }
        self.reported(&page).map_err(|found| violation(ASIDE, name, found).into())
    }

    /// A controller whose host may read a namespace; if there is none, the host of one takes away what is in its way.
    pub(super) fn reader(&mut self, nsid: u32, entry: &inventory::Entry) -> Result<u16, Stop> {
        let all: Vec<u16> = if entry.attached.is_empty() { vec![0] } else { entry.attached.iter().copied().collect() };
        let state = self.reserving.knowledge(entry.born).likely().clone();
        let reader = all.iter().find(|controller| !state.forbids(self.reserving.who(**controller), READS));
        if let Some(reader) = reader {
            return Ok(*reader);
        }
        let (action, ignores_key, persistence) = (Action::Replace, true, None);
        let register = Act::Register { action, ignores_key, key: 0, new: READER, persistence };
        for act in [register, Act::Clear { key: READER }] {
            self.act_now(all[0], (nsid, entry), act)?;
        }
        Ok(all[0])
    }

    /// Sends a command about registrations while nothing else is under way, and waits for it.
    fn act_now(&mut self, controller: u16, (nsid, entry): (u32, &inventory::Entry), act: Act) -> Result<(), Stop> {
        let host = self.reserving.who(controller);
        self.reserving.knowledge(entry.born).begin(ASIDE, host, act);
        let (command, data) = command_of(nsid, &act);
        let ended = self.hosts[usize::from(controller)].execute_out(1, command, &data);
        let status = self.admin(ended)?.status();
        let ending = entry::ending(status);
        let explained = ending.is_some_and(|ending| self.reserving.knowledge(entry.born).end(ASIDE, &ending).is_ok());
        if explained {
            return Ok(());
        }
        Err(violation(ASIDE, entry.name, format!("{act:?} of {host:?} alone ended with {status:?}")).into())
    }
}

/// What a host sends that believes this.
fn act(state: &Registrations, host: Host, what: Reservation, wrong: bool) -> Act {
    let own = state.keys.get(&host).copied();
    let key = own.unwrap_or(0) + if wrong { WRONG } else { 0 };
    let (action, ignores_key, new, persistence) = match what {
        // Once more with the same key, unless it is to be refused.
        Reservation::Register { key, persistence } => {
            (Action::Register, false, own.filter(|_| !wrong).unwrap_or(key), persistence)
        }
        Reservation::Replace { key, ignores_key, persistence } => (Action::Replace, ignores_key, key, persistence),
        Reservation::Unregister { ignores_key, persistence } => (Action::Unregister, ignores_key, 0, persistence),
        Reservation::Acquire { kind } => return Act::Acquire { key, kind },
        Reservation::Preempt { other, kind, abort } => {
            let others = state.keys.values().copied();
            let nth = usize::from(other).checked_sub(1);
            let preempted = nth.map_or(0, |nth| others.cycle().take(8).nth(nth).unwrap_or(WRONG));
            return Act::Preempt { key, preempted, kind, abort };
        }
        Reservation::Release => {
            let Kind(held) = state.held.map_or(Kind(1), |held| held.kind);
            // Of a type that is not held.
            let (key, kind) = if wrong { (key - WRONG, held % 6 + 1) } else { (key, held) };
            return Act::Release { key, kind: Kind(kind) };
        }
        Reservation::Clear => return Act::Clear { key },
        Reservation::Report => return Act::Report,
    };
    Act::Register { action, ignores_key, key, new, persistence }
}
