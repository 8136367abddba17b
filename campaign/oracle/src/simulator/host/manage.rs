//! Namespaces that hosts make, delete, format, attach and detach, while others have commands under way. A host knows what it was told:
//! [`Knowledge`](crate::inventory::Knowledge) says what else may be. It begins no command of a namespace that is about to change, as a
//! kernel that freezes its queues; those that a controller has taken before are carried out before it changes.

use std::collections::BTreeSet;

use controller::ControllerId;
use nvme_host::Mapping;
use nvme_host::admin::admin_command;
use nvme_spec::identify::{self, FormattedSize};
use nvme_spec::opcode::AdminOpcode;
use nvme_spec::{Command, Completion, IDENTIFY_BYTES, Status};
use zerocopy::{FromZeros, IntoBytes};

use super::look::inventory;
use super::reserve::WRITES;
use super::{STEPS_MAX, Session, Stop, unanswered};
use crate::history::{CommandId, History, Verb};
use crate::inventory::{Change, Ending, Format, Refusal};
use crate::parameters::Blocks;
use crate::reservations::Access;
use crate::simulator::{Administration, Queue};
use crate::verdict::Violation;

/// Commands about namespaces that hosts have under way together at most.
const TOGETHER_MAX: usize = 2;
/// The bit of Format NVM's dword 10 that places metadata behind each block.
const EXTENDED: u32 = 1 << 4;
/// Secure Erase Settings 001b.
const ERASE: u32 = 1 << 9;

/// A command about namespaces on its way.
pub(super) struct Managing {
    id: CommandId,
    change: Change,
    /// It purges the media.
    erase: bool,
    buffer: Option<(u64, Mapping)>,
}

impl Managing {
    /// Whether blocks are on their way out.
    const fn takes_blocks(&self) -> bool {
        matches!(self.change, Change::Delete { .. } | Change::Format { .. })
    }
}

impl Session {
    /// Asks a controller for a change, and does not wait for it. Nothing happens if the host cannot know what it would mean.
    ///
    /// # Errors
    /// As [`Session::step`].
    pub fn manage(&mut self, history: &mut History, controller: u16, wanted: Administration) -> Result<(), Stop> {
        let enough = self.knowledge.under_way().count() >= TOGETHER_MAX;
        let Some(change) = self.change(wanted).filter(|_| !enough) else {
            history.skip();
            return Ok(());
        };
        let erase = matches!(wanted, Administration::Format { erase: true, .. });
        let before = change.nsid().and_then(|nsid| self.knowledge.certain(nsid)).map(|entry| entry.name);
        match (&change, before) {
            (Change::Delete { nsid } | Change::Format { nsid, .. }, Some(name)) => {
                self.learn(history, *nsid, name)?;
                self.wait_for(history, |session, queue, command| command == name && session.is_waiting_in(queue))?;
            }
            (Change::Attach { controller: loser, attach: false, .. }, Some(name)) => {
                let loser = *loser;
                self.wait_for(history, |_, queue, command| command == name && queue.controller == loser)?;
            }
            _ => {}
        }
        let id = match (&change, before) {
            (Change::Delete { .. } | Change::Format { .. }, Some(name)) => {
                let blocks = Blocks::new(0, self.known[&name].blocks);
                history.queue_at(controller, Verb::Erase, name, blocks, true)
            }
            _ => history.skip(),
        };
        let (command, data) = self.command_of(&change, erase);
        let buffer = match data {
            Some(data) => Some(self.buffer(controller, &data)?),
            None => None,
        };
        let command = buffer.as_ref().map_or(command, |(_, mapping)| mapping.on(command));
        history.ring(id);
        if let (Change::Delete { .. } | Change::Format { .. }, Some(name)) = (&change, before) {
            self.ask_for(id, controller, name, WRITES);
        }
        self.knowledge.begin(id, change.clone());
        let cid = self.hosts[usize::from(controller)].submit(0, command);
        let cid = cid.map_err(|error| unanswered(error.to_string()))?;
        self.managing.insert((controller, cid), Managing { id, change, erase, buffer });
        Ok(())
    }

    /// What is asked for, if it is certain what namespace that is about.
    fn change(&mut self, wanted: Administration) -> Option<Change> {
        let certain = |nsid: u32| self.knowledge.may_be(nsid).count() == 0 || self.knowledge.certain(nsid).is_some();
        let controllers = self.knowledge.limits().controllers;
        self.next_name += 1;
        let name = self.next_name;
        Some(match wanted {
            Administration::Create { format, extended, units, shared } => {
                let offered = self.formats.get(usize::from(format) % self.formats.len().max(1))?;
                let format = Format { extended: extended && offered.metadata_bytes != 0, ..*offered };
                // Half a unit less, where a block is less than half.
                let bytes = units * self.knowledge.limits().unit_bytes;
                let blocks = (bytes / u64::from(format.block_bytes)).saturating_sub(u64::from(extended)).max(1);
                Change::Create { name, format, blocks, shared: shared && controllers > 1 }
            }
            Administration::Delete { nsid } if certain(nsid) => Change::Delete { nsid },
            Administration::Format { nsid, format, extended, .. } if certain(nsid) => {
                let offered = *self.formats.get(usize::from(format) % self.formats.len().max(1))?;
                let placed = match self.is_managed() {
                    true => extended,
                    // Where the drive does not keep it, metadata lies where it always lay.
                    false => self.placed_behind(nsid),
                };
                let format = Format { extended: placed && offered.metadata_bytes != 0, ..offered };
                Change::Format { nsid, name, format }
            }
            Administration::Attach { nsid, controller, attach } if certain(nsid) && controller < controllers => {
                Change::Attach { nsid, controller, attach }
            }
            _ => return None,
        })
    }

    fn placed_behind(&self, nsid: u32) -> bool {
        let world = self.hosts[0].port().world();
        world.subsystem.namespaces().any(|own| own.nsid == nsid && own.extended_metadata)
    }

    fn buffer(&mut self, controller: u16, data: &[u8]) -> Result<(u64, Mapping), Stop> {
        let host = &mut self.hosts[usize::from(controller)];
        let placed = host.allocate(data.len()).and_then(|address| {
            host.write_memory(address, data);
            host.map(address, data.len()).map(|mapping| (address, mapping))
        });
        self.admin(placed)
    }

    /// The entry, and the page that goes with it.
    fn command_of(&self, change: &Change, erase: bool) -> (Command, Option<Vec<u8>>) {
        match *change {
            Change::Create { format, blocks, shared, .. } => {
                let mut wanted = identify::Namespace::new_zeroed();
                let placed = if format.extended { FormattedSize::EXTENDED.bits() } else { 0 };
                (wanted.nsze, wanted.ncap) = (blocks.into(), blocks.into());
                let number = self.number(format);
                (wanted.flbas, wanted.nmic) = (number & 0xf | (number >> 4) << 5 | placed, u8::from(shared));
                (admin_command(AdminOpcode::NAMESPACE_MANAGEMENT), Some(wanted.as_bytes().to_vec()))
            }
            Change::Delete { nsid } => {
                let command = admin_command(AdminOpcode::NAMESPACE_MANAGEMENT);
                (Command { nsid: nsid.into(), cdw10: 1.into(), ..command }, None)
            }
            Change::Format { nsid, format, .. } => {
                let placed = if format.extended { EXTENDED } else { 0 };
                let erase = if erase { ERASE } else { 0 };
                let number = u32::from(self.number(format));
                let dword = number & 0xf | (number >> 4) << 12 | placed | erase;
                (Command { nsid: nsid.into(), cdw10: dword.into(), ..admin_command(AdminOpcode::FORMAT) }, None)
            }
            Change::Attach { nsid, controller, attach } => {
                let mut list = vec![0; IDENTIFY_BYTES];
                list[..2].copy_from_slice(&1_u16.to_le_bytes());
                list[2..4].copy_from_slice(&controller.to_le_bytes());
                let command = admin_command(AdminOpcode::NAMESPACE_ATTACHMENT);
                (Command { nsid: nsid.into(), cdw10: u32::from(!attach).into(), ..command }, Some(list))
            }
        }
    }

    /// The number of a format.
    fn number(&self, format: Format) -> u8 {
        let same = |offered: &Format| *offered == Format { extended: false, ..format };
        let number = self.formats.iter().position(same).expect("one of those that are offered");
        u8::try_from(number).expect("at most 64 are offered")
    }

    /// Lets the device run until no command is left that matters. Those that have no doorbell yet get it.
    fn wait_for(&mut self, history: &mut History, matters: impl Fn(&Self, Queue, u32) -> bool) -> Result<(), Stop> {
        let queues: BTreeSet<Queue> = self.sent.keys().map(|(queue, _)| *queue).collect();
        for queue in queues {
            self.ring(history, queue)?;
        }
        for _ in 0..STEPS_MAX {
            let name = |id: CommandId| history.command(id).map_or(0, |command| command.nsid);
            if !self.sent.iter().any(|((queue, _), sent)| matters(self, *queue, name(sent.id))) {
                return Ok(());
            }
            self.step(history)?;
        }
        Err(unanswered("commands of a namespace do not end".into()).into())
    }

    /// Whether the controller has not taken all of a queue yet.
    fn is_waiting_in(&self, queue: Queue) -> bool {
        let world = self.hosts[0].port().world();
        let controller = world.subsystem.controller(ControllerId(queue.controller));
        let own = controller.submission_queues().find(|own| own.id == queue.number);
        let tail = self.hosts[queue.host()].submission_queue(queue.number).map_or(0, |queue| queue.tail);
        own.is_none_or(|own| own.head != u32::from(tail))
    }

    /// Looks for answers to commands about namespaces.
    pub(super) fn reap_managing(&mut self, history: &mut History) -> Result<(), Stop> {
        let under_way: Vec<(u16, u16)> = self.managing.keys().copied().collect();
        for (controller, cid) in under_way {
            let host = &mut self.hosts[usize::from(controller)];
            if host.completion_queue(0).is_some()
                && let Some(completion) = host.poll(0, cid)
            {
                let managing = self.managing.remove(&(controller, cid)).expect("it is under way");
                self.managed(history, controller, managing, &completion)?;
            }
        }
        Ok(())
    }

    fn managed(
        &mut self,
        history: &mut History,
        controller: u16,
        managing: Managing,
        completion: &Completion,
    ) -> Result<(), Stop> {
        let Managing { id, change, buffer, .. } = managing;
        if let Some((address, mapping)) = buffer {
            let host = &mut self.hosts[usize::from(controller)];
            host.unmap(mapping);
            host.release(address);
        }
        let ending = ending(&change, completion).ok_or_else(|| {
            let found = format!("{change:?} ended with {:?}", completion.status());
            Violation { commands: vec![id], ..unanswered(found) }
        })?;
        self.note(&format!("{change:?} {ending:?}"));
        self.outcomes.count_change(&change, ending);
        let access = match ending {
            Ok(_) => Some(Access::Granted),
            Err(Refusal::Reserved) => Some(Access::Refused),
            Err(_) => None,
        };
        self.judge_change(history, id, access)?;
        let possible = self.knowledge.end(id, ending);
        possible.map_err(|possible| {
            let found = format!("{change:?} ended with {ending:?}, and could with {possible:?}");
            Violation { commands: vec![id], ..inventory(found) }
        })?;
        let command = *history.command(id).expect("it was recorded");
        if command.verb == Verb::Erase && ending.is_ok() {
            history.forget(command.nsid);
        } else if command.verb == Verb::Erase {
            history.undo(id);
        }
        if command.ended.is_none() {
            history.end(id, ending.is_ok());
        }
        Ok(())
    }

    /// Looks how far Formats are. Once one with a secure erase shows progress, no block comes back that it has erased (FMT14).
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn ask_progress(&mut self, history: &mut History, controller: u16) -> Result<(), Stop> {
        let formats = |managing: &&Managing| managing.takes_blocks() && managing.erase;
        let under_way: Vec<(CommandId, Option<u32>)> =
            self.managing.values().filter(formats).map(|managing| (managing.id, managing.change.nsid())).collect();
        for (id, nsid) in under_way {
            let nsid = nsid.expect("a Format is about a namespace");
            let active =
                self.is_managed() || self.knowledge.may_be(nsid).any(|entry| entry.attached.contains(&controller));
            let erases = history.command(id).is_some_and(|command| command.verb == Verb::Erase);
            if !active || !erases || history.command(id).is_some_and(|command| command.ended.is_some()) {
                continue;
            }
            let left = self.identify(controller, nsid)?.fpi & 0x7f;
            if (1..100).contains(&left) {
                self.outcomes.count_progress();
                history.end(id, true);
            }
        }
        Ok(())
    }

    /// Lets the device run until a controller's commands about namespaces were answered; all of them, with `None`.
    ///
    /// # Errors
    /// As [`Session::step`]; one that is not answered.
    pub fn finish_managing(&mut self, history: &mut History, controller: Option<u16>) -> Result<(), Stop> {
        for _ in 0..STEPS_MAX {
            if !self.managing.keys().any(|(own, _)| controller.is_none_or(|controller| controller == *own)) {
                return Ok(());
            }
            self.step(history)?;
        }
        Err(unanswered("a command about namespaces does not end".into()).into())
    }

    /// The first controller gets a namespace that nobody has, or gives it back.
    pub(super) fn attach_now(&mut self, nsid: u32, attach: bool) -> Result<(), Stop> {
        let (command, list) = self.command_of(&Change::Attach { nsid, controller: 0, attach }, false);
        let ended = self.hosts[0].execute_out(0, command, &list.unwrap_or_default());
        let completion = self.admin(ended)?;
        if completion.status().is_success() {
            return Ok(());
        }
        Err(inventory(format!("namespace {nsid} cannot be attached: {:?}", completion.status())).into())
    }
}

/// What an answer means; nothing if it is none that such a change may have.
fn ending(change: &Change, completion: &Completion) -> Option<Ending> {
    let status = completion.status();
    if status.is_success() {
        let made = matches!(change, Change::Create { .. });
        return Some(Ok(if made { completion.dw0.get() } else { 0 }));
    }
    let known = [
        (Status::INVALID_FIELD, Refusal::NoNamespace),
        (Status::INVALID_NAMESPACE, Refusal::NoNamespace),
        (Status::INSUFFICIENT_CAPACITY, Refusal::NoCapacity),
        (Status::NAMESPACE_IDENTIFIER_UNAVAILABLE, Refusal::NoIdentifier),
        (Status::INVALID_FORMAT, Refusal::NoFormat),
        (Status::NAMESPACE_ALREADY_ATTACHED, Refusal::Attached),
        (Status::NAMESPACE_NOT_ATTACHED, Refusal::NotAttached),
        (Status::NAMESPACE_PRIVATE, Refusal::Private),
        (Status::RESERVATION_CONFLICT, Refusal::Reserved),
    ];
    known.iter().find(|(known, _)| known.kind() == status.kind()).map(|(_, refusal)| Err(*refusal))
}
