//! The hosts' side of a simulated pass: each brings its controller up, queues and rings commands over stamped buffers, reaps, and tells the
//! recorder, which is one for all. What reads return is judged at once; what follows from a power loss is not its business.

mod commands;
mod known;
mod look;
mod manage;
mod reserve;
mod switches;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash as _, Hasher as _};

use nvme_host::{Host, HostError, Mapping, Port as _, Setup};
use nvme_spec::feature::{FeatureId, HOST_BEHAVIOR_BYTES};
use nvme_spec::log::{LogId, Smart};
use nvme_spec::{Completion, NSID_ALL, Status, identify};
use zerocopy::FromBytes;

use super::outcome::Outcomes;
use super::world::{Path, World};
use super::{Fingerprint, Queue};
use crate::checker::{Answer, is_mixed, judge_answer};
use crate::history::{CommandId, History, Verb};
use crate::inventory::{Format, Inventory, Knowledge, Limits};
use crate::stamp::Found;
use crate::verdict::{Rule, Violation};

use known::Known;
use manage::Managing;
use reserve::Reserving;

/// Guest memory begins here and is so long.
pub const MEMORY: std::ops::Range<u64> = 0..8 << 20;
/// Entries of an I/O queue.
const ENTRIES: u32 = 64;
/// LBAFEE: the byte of Host Behavior Support that asks for formats above the sixteenth.
const EXTENDED_FORMATS: usize = 2;
/// Steps after which a command counts as never answered.
const STEPS_MAX: u32 = 20_000;

/// Why a pass ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Power is lost.
    PowerLost,
    /// A rule was broken.
    Broken(Violation),
}

impl From<Violation> for Stop {
    fn from(violation: Violation) -> Self {
        Self::Broken(violation)
    }
}

fn unanswered(found: String) -> Violation {
    Violation { rule: Rule::Unanswered, commands: Vec::new(), nsid: 0, blocks: Vec::new(), found }
}

/// A command on its way, and its memory.
struct Sent {
    id: CommandId,
    data: Option<(u64, usize, Mapping)>,
    metadata: Option<(u64, usize)>,
}

impl Sent {
    /// What its memory holds, which the host gets back.
    fn take(self, host: &mut Host<Path>) -> (Vec<u8>, Vec<u8>) {
        let (mut data, mut metadata) = (Vec::new(), Vec::new());
        if let Some((address, length, mapping)) = self.data {
            data = host.read_memory(address, length);
            host.unmap(mapping);
            host.release(address);
        }
        if let Some((address, length)) = self.metadata {
            metadata = host.read_memory(address, length);
            host.release(address);
        }
        (data, metadata)
    }
}

/// What hosts remember while power is off.
#[derive(Clone)]
pub struct Remembered {
    controller: identify::Controller,
    knowledge: Knowledge,
    /// The LBA formats that are offered, by number.
    formats: Vec<Format>,
    /// By name.
    known: BTreeMap<u32, Known>,
    /// The last name that was given.
    next_name: u32,
    reserving: Reserving,
}

/// Hosts with their queues.
pub struct Session {
    /// By controller.
    hosts: Vec<Host<Path>>,
    queues: u16,
    controller: identify::Controller,
    knowledge: Knowledge,
    formats: Vec<Format>,
    known: BTreeMap<u32, Known>,
    next_name: u32,
    /// What the last look at the inventory found, by identifier.
    seen_as: BTreeMap<u32, Known>,
    sent: BTreeMap<(Queue, u16), Sent>,
    /// Commands whose doorbell was not rung, by queue.
    quiet: BTreeMap<Queue, Vec<CommandId>>,
    /// Commands about namespaces, by controller and identifier.
    managing: BTreeMap<(u16, u16), Managing>,
    reserving: Reserving,
    /// How commands ended.
    pub outcomes: Outcomes,
    /// Commands of this pass that a read showed.
    shown: BTreeSet<CommandId>,
    /// What the hosts saw.
    pub seen: Fingerprint,
}

impl Session {
    /// Brings the controllers of a new drive up, each with this many queue pairs, and looks at its namespaces. Where these come and go they
    /// may take so many units of so many bytes. `names` says what the host of each controller calls itself, if there are reservations.
    ///
    /// # Errors
    /// [`Stop::PowerLost`], or a controller does not come up.
    pub fn first(paths: Vec<Path>, queues: u16, (units, unit_bytes): (u64, u64), names: &[u8]) -> Result<Self, Stop> {
        let controllers = u16::try_from(paths.len()).expect("few controllers");
        let limits = Limits { units, unit_bytes, last: 0, controllers };
        let remembered = Remembered {
            controller: identify::Controller::read_from_bytes(&[0; nvme_spec::IDENTIFY_BYTES]).expect("a page"),
            knowledge: Knowledge::new(limits, Inventory::default()),
            formats: Vec::new(),
            known: BTreeMap::new(),
            next_name: 0,
            reserving: Reserving::new(names),
        };
        let mut session = Self::start(paths, queues, remembered)?;
        let controller = session.hosts[0].identify_controller();
        session.controller = session.admin(controller)?;
        let mut inventory = session.look_at_inventory()?;
        for (name, entry) in (1..).zip(inventory.namespaces.values_mut()) {
            (entry.name, entry.born) = (name, name);
        }
        session.next_name = u32::try_from(inventory.namespaces.len()).expect("few");
        let named = |(nsid, known): (u32, Known)| (inventory.namespaces[&nsid].name, known);
        session.known = std::mem::take(&mut session.seen_as).into_iter().map(named).collect();
        let asked = if units == 0 { inventory.namespaces.keys().next().copied() } else { Some(NSID_ALL) };
        let owner = asked.and_then(|nsid| inventory.namespaces.get(&nsid)).and_then(|entry| entry.attached.first());
        if let Some(nsid) = asked {
            let data = session.hosts[owner.map_or(0, |owner| usize::from(*owner))].identify_namespace(nsid);
            session.formats = offered(&session.admin(data)?);
        }
        let limits = Limits { last: session.controller.nn.get(), ..limits };
        session.knowledge = Knowledge::new(limits, inventory);
        Ok(session)
    }

    /// Brings the controllers up again.
    ///
    /// # Errors
    /// As [`Session::first`].
    pub fn start(paths: Vec<Path>, queues: u16, remembered: Remembered) -> Result<Self, Stop> {
        let setup = || Setup::new(MEMORY.start + (1 << 12)..MEMORY.end);
        let Remembered { controller, knowledge, formats, known, next_name, mut reserving } = remembered;
        reserving.lose_power();
        let mut session = Self {
            hosts: paths.into_iter().map(|path| Host::attach(path, setup())).collect(),
            queues,
            controller,
            knowledge,
            formats,
            known,
            next_name,
            seen_as: BTreeMap::new(),
            sent: BTreeMap::new(),
            quiet: BTreeMap::new(),
            managing: BTreeMap::new(),
            reserving,
            outcomes: Outcomes::default(),
            shown: BTreeSet::new(),
            seen: Fingerprint::default(),
        };
        for controller in 0..session.controllers() {
            session.bring_up(controller)?;
        }
        Ok(session)
    }

    /// Gives the ways to the controllers back, and what the hosts remember.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Path>, Remembered) {
        let Self { hosts, controller, knowledge, formats, known, next_name, reserving, .. } = self;
        let paths = hosts.into_iter().map(Host::into_port).collect();
        (paths, Remembered { controller, knowledge, formats, known, next_name, reserving })
    }

    /// Works on what all hosts share.
    pub fn world<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        work(&mut self.hosts[0].port().world())
    }

    /// How many controllers there are.
    #[must_use]
    pub fn controllers(&self) -> u16 {
        u16::try_from(self.hosts.len()).expect("few controllers")
    }

    /// What the hosts know of the namespaces.
    #[must_use]
    pub const fn knowledge(&self) -> &Knowledge {
        &self.knowledge
    }

    /// The namespaces as they are known now, as a pass begins.
    #[must_use]
    pub fn namespaces(&self) -> BTreeMap<u32, (crate::parameters::Parameters, bool, u64)> {
        self.known.iter().map(|(name, known)| (*name, (known.parameters, known.cached, known.blocks))).collect()
    }

    /// Resets a controller and brings it up. Nothing of its own that is under way is answered any more; the others go on.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn bring_up(&mut self, controller: u16) -> Result<(), Stop> {
        self.leave(controller);
        let came_up = self.hosts[usize::from(controller)].start();
        // Where power goes before the queues are forgotten, what was answered until then can still be found in them.
        self.admin(came_up)?;
        self.introduce(controller)?;
        self.sent.retain(|(queue, _), _| queue.controller != controller);
        self.quiet.retain(|queue, _| queue.controller != controller);
        if self.is_managed() || self.hosts.len() > 1 {
            // Namespaces may have any format.
            let mut behavior = [0; HOST_BEHAVIOR_BYTES];
            behavior[EXTENDED_FORMATS] = 1;
            let set = self.hosts[usize::from(controller)].set_feature_data(FeatureId::HOST_BEHAVIOR, 0, &behavior);
            self.admin(set)?;
        }
        for queue in 1..=self.queues {
            let made = self.hosts[usize::from(controller)].create_queue_pair(queue, ENTRIES, Some(queue));
            self.admin(made)?;
        }
        Ok(())
    }

    /// What an admin command ended with; without power nothing is an error of the controller.
    fn admin<T>(&mut self, ended: Result<T, HostError>) -> Result<T, Stop> {
        if self.power_lost() {
            return Err(Stop::PowerLost);
        }
        ended.map_err(|error| unanswered(error.to_string()).into())
    }

    fn power_lost(&self) -> bool {
        self.world(|world| world.power_lost())
    }

    /// What the hosts saw is part of what happened.
    fn note(&mut self, seen: &str) {
        self.seen.write(seen.as_bytes());
    }

    /// Rings a queue's doorbell; the recorder knows before the device does.
    ///
    /// # Errors
    /// There is no such queue.
    pub fn ring(&mut self, history: &mut History, queue: Queue) -> Result<(), Stop> {
        for id in self.quiet.remove(&queue).unwrap_or_default() {
            if history.command(id).is_some_and(|command| command.verb == Verb::FlushAll) {
                history.limit_flush(id, self.knowledge.attached_to(queue.controller));
            }
            self.ask(history, id);
            history.ring(id);
        }
        self.hosts[queue.host()].ring(queue.number).map_err(|error| unanswered(error.to_string()).into())
    }

    /// One step of the device, and a look at the completion queues. What is there was posted, also if power has gone since.
    ///
    /// # Errors
    /// [`Stop::PowerLost`], a command that failed, or a read that no conforming drive returns.
    pub fn step(&mut self, history: &mut History) -> Result<(), Stop> {
        self.hosts[0].port_mut().relax();
        self.stepped(history)
    }

    /// The same, of one controller alone.
    ///
    /// # Errors
    /// As [`Session::step`].
    pub fn step_one(&mut self, history: &mut History, controller: u16) -> Result<(), Stop> {
        self.world(|world| world.step_one(controller));
        self.stepped(history)
    }

    fn stepped(&mut self, history: &mut History) -> Result<(), Stop> {
        self.reap(history)?;
        if self.power_lost() { Err(Stop::PowerLost) } else { Ok(()) }
    }

    /// Looks at the completion queues.
    ///
    /// # Errors
    /// As [`Session::step`], but power may be lost.
    pub fn reap(&mut self, history: &mut History) -> Result<(), Stop> {
        for queue in self.all_queues() {
            // A reset that power cut short leaves a host without queues.
            let host = &self.hosts[queue.host()];
            if host.completion_queue(queue.number).is_none() {
                continue;
            }
            while let Some(completion) = self.hosts[queue.host()].reap(queue.number) {
                self.completed(history, queue, &completion)?;
            }
        }
        self.reap_managing(history)
    }

    /// The I/O queues of all hosts.
    pub fn all_queues(&self) -> impl Iterator<Item = Queue> + use<> {
        let queues = self.queues;
        let of = move |controller| (1..=queues).map(move |number| Queue { controller, number });
        (0..self.controllers()).flat_map(of)
    }

    fn completed(&mut self, history: &mut History, queue: Queue, completion: &Completion) -> Result<(), Stop> {
        let Some(sent) = self.sent.remove(&(queue, completion.cid.get())) else {
            return Err(unanswered(format!("{completion:?} answers nothing")).into());
        };
        let (answer, id) = (answer_of(completion.status()), sent.id);
        history.end(id, answer == Answer::Success);
        (queue.controller, queue.number, id, history.now()).hash(&mut self.seen);
        let (data, metadata) = sent.take(&mut self.hosts[queue.host()]);
        let command = *history.command(id).expect("it was recorded");
        if command.verb == Verb::Reserve {
            return self.reserved(&command, id, completion.status(), &data);
        }
        self.judge_access(&command, id, answer)?;
        if answer == Answer::Other {
            let found = format!("{:?} of {:?} ended with {:?}", command.verb, command.blocks, completion.status());
            return Err(Violation { commands: vec![id], nsid: command.nsid, ..unanswered(found) }.into());
        }
        let mut found = Vec::new();
        if command.verb == Verb::Read && answer == Answer::Success {
            found = self.known[&command.nsid].look(&data, &metadata);
            found.hash(&mut self.seen);
        }
        // All sources of a Copy are read before anything is written.
        let is_copy = matches!(command.verb, Verb::Copy { .. }) && !matches!(answer, Answer::Success | Answer::Aborted);
        if is_copy || command.changes() && answer == Answer::Refused {
            history.undo(id);
        }
        if command.reads().count() > 0 && answer != Answer::Success {
            answer.hash(&mut self.seen);
        }
        judge_answer(history, id, answer, &found)?;
        let mixed = !found.is_empty() && is_mixed(history, id, &found);
        self.outcomes.count(&command, answer, mixed);
        self.judge_pair(history, id, answer, &found)
    }

    /// What is learned of pairs: the Write of one whose Compare failed must not be there, and must not have been.
    fn judge_pair(
        &mut self,
        history: &mut History,
        id: CommandId,
        answer: Answer,
        found: &[Found],
    ) -> Result<(), Stop> {
        for stamp in found.iter().filter_map(|found| found.stamp().filter(|stamp| stamp.pass == history.pass)) {
            self.shown.insert(stamp.command);
        }
        let compare = history.command(id).filter(|command| command.verb == Verb::Compare);
        let Some((compare, write)) = compare.copied().zip(history.partner(id)) else { return Ok(()) };
        if answer == Answer::Success {
            return Ok(());
        }
        history.undo(write);
        if self.shown.contains(&write) {
            let found = format!("the Write of Compare {id}, which failed, was read");
            let (commands, nsid, blocks) = (vec![id, write], compare.nsid, compare.blocks.each().collect());
            return Err(Violation { rule: Rule::Pair, commands, nsid, blocks, found }.into());
        }
        Ok(())
    }

    /// Lets the device run until every rung command has ended, and every one about namespaces.
    ///
    /// # Errors
    /// As [`Session::step`]; a command that does not end.
    pub fn finish(&mut self, history: &mut History) -> Result<(), Stop> {
        for _ in 0..STEPS_MAX {
            let waiting = |sent: &Sent| history.command(sent.id).is_some_and(|command| command.rung.is_some());
            if !self.sent.values().any(waiting) {
                return self.finish_managing(history, None);
            }
            self.step(history)?;
        }
        let commands = self.sent.values().map(|sent| sent.id).collect();
        Err(Violation { commands, ..unanswered("no end".into()) }.into())
    }

    /// The count of unsafe shutdowns, from the SMART log.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn unsafe_shutdowns(&mut self) -> Result<u64, Stop> {
        let log = self.hosts[0].get_log(LogId::SMART, size_of::<Smart>(), nvme_host::admin::LogArguments::default());
        let log = self.admin(log)?;
        let smart = Smart::read_from_bytes(&log).map_err(|_| unanswered("a short SMART log".into()))?;
        Ok(u64::try_from(smart.unsafe_shutdowns.get()).unwrap_or(u64::MAX))
    }
}

/// The LBA formats of Identify Namespace.
fn offered(data: &identify::Namespace) -> Vec<Format> {
    let count = usize::from(data.nlbaf_z) + 1;
    let of = |format: &identify::LbaFormat| Format {
        block_bytes: 1 << format.lbads,
        metadata_bytes: format.ms.get().into(),
        extended: false,
    };
    data.lbaf.iter().take(count).map(of).collect()
}

/// What a status means to the checker.
fn answer_of(status: Status) -> Answer {
    let known = [
        (Status::SUCCESS, Answer::Success),
        (Status::COMPARE_FAILURE, Answer::Differs),
        (Status::UNRECOVERED_READ, Answer::Unreadable),
        (Status::FAILED_FUSED, Answer::PartnerFailed),
        (Status::ATOMIC_UNIT_EXCEEDED, Answer::TooLarge),
        (Status::RESERVATION_CONFLICT, Answer::Refused),
        (Status::ABORTED_PREEMPT, Answer::Aborted),
    ];
    let meant = known.iter().find(|(known, _)| known.kind() == status.kind());
    meant.map_or(Answer::Other, |(_, answer)| *answer)
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("a simulated drive is small")
}
