//! Commands of I/O queues as a host makes them: entries and buffers for what the recorder has.

use nvme_host::HostError;
use nvme_host::io::{block_command, copy_command, nvm_command};
use nvme_host::queue::SubmissionQueue;
use nvme_spec::command::{DATASET_DEALLOCATE, DatasetRange, WRITE_ZEROES_DEALLOCATE, fuse};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Command, NSID_ALL};
use zerocopy::IntoBytes;

use super::{Sent, Session, Stop, index, unanswered};
use crate::history::{CommandId, History, Verb};
use crate::parameters::Blocks;
use crate::simulator::{Guess, Queue};
use crate::stamp::Found;

/// Force Unit Access: dword 12 bit 30.
const FORCE_UNIT_ACCESS: u32 = 1 << 30;
/// No command of a host is about more bytes.
const TRANSFER_BYTES: u64 = 64 << 10;

impl Session {
    /// Puts a command into a queue, if that has room, and the namespace is there for certain and has these blocks.
    ///
    /// # Errors
    /// A host error that a full queue is not.
    pub fn queue(
        &mut self,
        history: &mut History,
        queue: Queue,
        (verb, nsid, blocks, force): (Verb, u32, Blocks, bool),
    ) -> Result<(), Stop> {
        let place = self.place(history, queue, nsid, blocks)?;
        let Some((name, blocks)) = place.filter(|_| self.room(queue) >= 1) else {
            history.skip();
            return Ok(());
        };
        if let Verb::Copy { from } = verb
            // A namespace may have other blocks than it was thought to, and no Copy is over its own source.
            && (from + blocks.count() > self.known[&name].blocks
                || from < blocks.end && blocks.start < from + blocks.count())
        {
            history.skip();
            return Ok(());
        }
        let id = history.queue_at(queue.controller, verb, name, blocks, force);
        self.put(history, queue, id)
    }

    /// Puts a Compare into a queue, and with `write` the Write of a fused pair behind it, as [`Self::queue`] does.
    ///
    /// # Errors
    /// As [`Session::queue`].
    pub fn queue_compare(
        &mut self,
        history: &mut History,
        queue: Queue,
        (nsid, blocks, force): (u32, Blocks, bool),
        (guess, write): (Guess, bool),
    ) -> Result<(), Stop> {
        let place = self.place(history, queue, nsid, blocks)?;
        let Some((name, blocks)) = place.filter(|_| self.room(queue) >= 2) else {
            for _ in 0..=u8::from(write) {
                history.skip();
            }
            return Ok(());
        };
        let guess = match guess {
            // A namespace that was formatted may have none.
            Guess::Metadata { .. } if !self.known[&name].has_metadata() => Guess::Answered,
            other => other,
        };
        let expected = guess.expected(history, name, blocks);
        let id = history.queue_compare(queue.controller, name, blocks, force, expected, write);
        self.put(history, queue, id)?;
        if write {
            self.put(history, queue, id + 1)?;
        }
        Ok(())
    }

    /// The namespace that a controller has for certain, and the blocks that it has of these; nothing if it has none.
    pub(super) fn place(
        &mut self,
        history: &mut History,
        queue: Queue,
        nsid: u32,
        blocks: Blocks,
    ) -> Result<Option<(u32, Blocks)>, Stop> {
        let Some(name) = self.knowledge.usable(nsid, queue.controller).map(|entry| entry.name) else {
            return Ok(None);
        };
        self.learn(history, nsid, name)?;
        let known = &self.known[&name];
        let most = (TRANSFER_BYTES / known.strides().0 as u64).max(1);
        let start = if blocks.start < known.blocks { blocks.start } else { blocks.start % known.blocks };
        let count = blocks.count().min(most).min(known.blocks - start);
        Ok(Some((name, Blocks::new(start, count))))
    }

    pub(super) fn room(&self, queue: Queue) -> u32 {
        let room = |queue: &SubmissionQueue| {
            queue.entries - 1 - (u32::from(queue.tail) + queue.entries - u32::from(queue.head)) % queue.entries
        };
        self.hosts[queue.host()].submission_queue(queue.number).map_or(0, room)
    }

    pub(super) fn put(&mut self, history: &mut History, queue: Queue, id: CommandId) -> Result<(), Stop> {
        let described = self.describe(history, queue, id);
        let (mut command, sent) = described.map_err(|error| unanswered(error.to_string()))?;
        let recorded = history.command(id).expect("just recorded");
        if recorded.fused {
            command.flags |= if recorded.verb == Verb::Compare { fuse::FIRST } else { fuse::SECOND };
        }
        let cid = self.hosts[queue.host()].submit_quietly(queue.number, command);
        let cid = cid.map_err(|error| unanswered(error.to_string()))?;
        self.sent.insert((queue, cid), sent);
        self.quiet.entry(queue).or_default().push(id);
        Ok(())
    }

    fn describe(&mut self, history: &History, queue: Queue, id: CommandId) -> Result<(Command, Sent), HostError> {
        let command = *history.command(id).expect("just recorded");
        let (name, blocks) = (command.nsid, command.blocks);
        // A Flush of all namespaces may find none.
        let nsid = self.knowledge.nsid_of(name).unwrap_or(NSID_ALL);
        let over = |opcode: NvmOpcode, more: u32| {
            let count = u32::try_from(blocks.count()).expect("a command names few blocks");
            let entry = block_command(opcode, nsid, blocks.start, count);
            let force = if command.force { FORCE_UNIT_ACCESS } else { 0 };
            Command { cdw12: (entry.cdw12.get() | force | more).into(), ..entry }
        };
        let sent = Sent { id, data: None, metadata: None };
        Ok(match command.verb {
            Verb::Write => {
                let stamps: Vec<_> = blocks.each().map(|lba| Found::Stamp(history.stamp(id, name, lba))).collect();
                let (data, metadata) = self.known[&name].stamped(stamps.into_iter());
                self.with_buffers(queue.controller, over(NvmOpcode::WRITE, 0), id, &data, &metadata)?
            }
            Verb::Compare => {
                let expected = history.expected(id).iter().copied();
                let (data, metadata) = self.known[&name].stamped(expected);
                self.with_buffers(queue.controller, over(NvmOpcode::COMPARE, 0), id, &data, &metadata)?
            }
            Verb::Uncorrectable => (over(NvmOpcode::WRITE_UNCORRECTABLE, 0), sent),
            Verb::Copy { from } => {
                let count = u32::try_from(blocks.count()).expect("a command names few blocks");
                let (entry, list) = copy_command(nsid, &[(from, count)], blocks.start, command.force);
                self.with_buffers(queue.controller, entry, id, list.as_bytes(), &[])?
            }
            Verb::Verify => (over(NvmOpcode::VERIFY, 0), sent),
            Verb::Read => {
                let (stride, apart) = self.known[&name].strides();
                let count = index(blocks.count());
                self.with_buffers(
                    queue.controller,
                    over(NvmOpcode::READ, 0),
                    id,
                    &vec![0; count * stride],
                    &vec![0; count * apart],
                )?
            }
            Verb::Zeroes { deallocate } => {
                (over(NvmOpcode::WRITE_ZEROES, if deallocate { WRITE_ZEROES_DEALLOCATE } else { 0 }), sent)
            }
            Verb::Deallocate => {
                let count = u32::try_from(blocks.count()).expect("a command names few blocks");
                let range = DatasetRange { slba: blocks.start.into(), blocks: count.into(), ..Default::default() };
                let entry =
                    Command { cdw11: DATASET_DEALLOCATE.into(), ..nvm_command(NvmOpcode::DATASET_MANAGEMENT, nsid) };
                self.with_buffers(queue.controller, entry, id, range.as_bytes(), &[])?
            }
            Verb::Flush => (nvm_command(NvmOpcode::FLUSH, nsid), sent),
            Verb::FlushAll => (nvm_command(NvmOpcode::FLUSH, NSID_ALL), sent),
            Verb::Reserve => {
                let (entry, data) = self.reserving.entry(id, nsid);
                self.with_buffers(queue.controller, entry, id, &data, &[])?
            }
            Verb::SetCache(_) | Verb::DisableNormal(_) | Verb::Damage | Verb::Erase | Verb::Shutdown => {
                unreachable!("not a verb of an I/O queue")
            }
        })
    }

    pub(super) fn with_buffers(
        &mut self,
        controller: u16,
        command: Command,
        id: CommandId,
        data: &[u8],
        metadata: &[u8],
    ) -> Result<(Command, Sent), HostError> {
        let host = &mut self.hosts[usize::from(controller)];
        let address = host.allocate(data.len())?;
        host.write_memory(address, data);
        let mapping = host.map(address, data.len())?;
        let mut command = mapping.on(command);
        let mut beside = None;
        if !metadata.is_empty() {
            let address = host.allocate(metadata.len())?;
            host.write_memory(address, metadata);
            command.mptr = address.into();
            beside = Some((address, metadata.len()));
        }
        Ok((command, Sent { id, data: Some((address, data.len(), mapping)), metadata: beside }))
    }
}
