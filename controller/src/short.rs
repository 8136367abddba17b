//! The short way: Reads and Writes of one piece of guest memory behind their first PRP entry, taken many at a time from one queue
//! while nobody waits and no crash point is armed. Nearly all commands are such, and the media answers most of them at once; nothing
//! is kept of those. Whatever else a command is or needs, a refusal included, it stays in its queue for the long way (`turn`).

use media::{Lba, LbaRange, Nanoseconds, Request, Submitted};
use nvme_spec::Command;
use nvme_spec::opcode::NvmOpcode;

use crate::admin::Done;
use crate::command::IoCommand;
use crate::dma::{GuestMemory, Piece, Segment};
use crate::inflight::Origin;
use crate::namespace::{Namespace, Namespaces};
use crate::queue::Permit;
use crate::state::Shutdown;
use crate::{Controller, outcome};

/// A command that can go the short way.
struct Plain<'a> {
    namespace: &'a Namespace,
    writes: bool,
    range: LbaRange,
    force: bool,
    data: Segment,
}

/// What a transfer may be for the short way.
#[derive(Clone, Copy)]
struct Limits {
    page_bytes: u64,
    transfer_bytes_max: usize,
}

impl Controller {
    /// Carries out commands from the front of an I/O queue that can go the short way, `most` at most; returns how many.
    pub(crate) fn take_short<M: GuestMemory>(&mut self, now: Nanoseconds, memory: &M, id: u16, most: usize) -> usize {
        let alone = self.order.is_idle() && self.dice.is_none();
        if !alone || self.supply.breaker.attentive() || self.registers.shutdown != Shutdown::No {
            return 0;
        }
        let limits =
            Limits { page_bytes: 1 << self.registers.page_shift(), transfer_bytes_max: self.transfer_bytes_max };
        let token = self.in_flight.next_token();
        let Some(mut pair) = self.queues.pair(id) else { return 0 };
        let (mut done, mut unfinished) = (0, None);
        while done < most && unfinished.is_none() {
            let Some(entry) = pair.peek(memory) else { break };
            let Some(command) = plain(&self.namespaces, entry, limits) else { break };
            if command.writes && !memory.is_mapped(command.data.address, command.data.length as u64) {
                break;
            }
            let Some(permit) = pair.take() else { break };
            done += 1;
            self.supply.work_on(&permit);
            let (range, force) = (command.range, command.force);
            let mut data = Piece::new(memory, command.data);
            let request = if command.writes {
                Request::Write { range, from: &mut data, force }
            } else {
                Request::Read { range, into: &mut data, force }
            };
            match self.media.submit(now, token, command.namespace.volume, request) {
                Submitted::Done(Ok(())) => pair.succeed(permit),
                submitted => unfinished = Some((permit, *pair.latest(), submitted)),
            }
        }
        if done > 0 {
            self.unpublished.insert(pair.completion_queue());
        }
        if let Some((permit, entry, submitted)) = unfinished {
            self.finish_long(permit, &entry, submitted);
        }
        done
    }

    /// One that the media did not answer with success at once goes on as any other does.
    #[cold]
    fn finish_long(&mut self, permit: Permit, entry: &Command, submitted: Submitted) {
        let (token, mut origin) = (self.in_flight.next_token(), Origin::of(entry));
        let result = IoCommand::parse(entry).and_then(|command| {
            origin.lba = command.first_block();
            match submitted {
                Submitted::Done(outcome) => outcome::conclude(outcome, &mut origin).map(Done::Now),
                Submitted::Pending => Ok(self.pending(token, origin.nsid, &command)),
            }
        });
        self.settle(permit, origin, result);
    }
}

/// What an entry asks for, if it can go the short way.
#[inline]
fn plain<'a>(namespaces: &'a Namespaces, entry: &Command, limits: Limits) -> Option<Plain<'a>> {
    let writes = NvmOpcode(entry.opcode) == NvmOpcode::WRITE;
    // No flags: PRP entries, and no fused pair.
    if entry.flags != 0 || !(writes || NvmOpcode(entry.opcode) == NvmOpcode::READ) {
        return None;
    }
    let namespace = namespaces.get(entry.nsid.get())?;
    let range = LbaRange::new(Lba(entry.slba()), u64::from(entry.nlb_z()) + 1);
    if namespace.shape.metadata_bytes != 0 || !range.fits(namespace.shape.capacity_blocks) {
        return None;
    }
    let address = entry.prp1.get();
    let length = (u64::from(entry.nlb_z()) + 1) * u64::from(namespace.shape.block_bytes);
    let to_end_of_page = limits.page_bytes - (address & (limits.page_bytes - 1));
    if address & 0b11 != 0 || length > to_end_of_page {
        return None;
    }
    let length = usize::try_from(length).ok().filter(|length| *length <= limits.transfer_bytes_max)?;
    Some(Plain { namespace, writes, range, force: entry.force_unit_access(), data: Segment { address, length } })
}
