//! The fast path: Reads and Writes whose data is one piece of guest memory behind their first PRP entry, many at a time from one queue,
//! while they overlap no command under way and no crash point is armed. Nearly all commands are like this; the media completes most of
//! them at once, and nothing is kept of those. Any other command, including one that must be refused, stays in its queue for the
//! scheduled path (`scheduling`).

use std::hint::black_box;

use media::power::Mark;
use media::volume::Sinks;
use media::{Fault, Lba, LbaRange, MediaError, Nanoseconds, Sink as _, VolumeId};
use nvme_spec::Command;
use nvme_spec::opcode::NvmOpcode;

use crate::admin::Done;
use crate::command::IoCommand;
use crate::dma::{GuestMemory, Piece, Segment};
use crate::inflight::Origin;
use crate::namespace::Namespaces;
use crate::queue::Permit;
use crate::state::Shutdown;
use crate::{Controller, outcome};

/// A command that can go the fast path.
struct Plain {
    volume: VolumeId,
    writes: bool,
    range: LbaRange,
    data: Segment,
}

/// What comes after some commands that went the fast path.
pub(crate) enum Then {
    /// No queue has any.
    Nothing,
    /// More of them, once the clock was looked at.
    Look,
    /// It is this queue's turn, whose next command goes the scheduled path.
    Long(u16),
}

impl Controller {
    /// Carries out commands in turn from the I/O queues, until none is left, the next one cannot go the fast path, or about `enough` were
    /// done, and `most` at most: how many it was, and what comes then.
    #[inline(never)]
    pub(crate) fn take_fast<M: GuestMemory>(
        &mut self,
        now: Nanoseconds,
        memory: &M,
        burst: u32,
        [enough, most]: [usize; 2],
    ) -> (usize, Then) {
        let alone = self.range_locks.is_idle();
        let page_bytes = 1 << self.registers.page_shift();
        let special = self.random.is_some()
            || self.watch.hops()
            || self.faults.keep_off_fast_path()
            || self.supply.breaker.attentive()
            || self.registers.shutdown != Shutdown::No
            || self.resizing.holds_back()
            || page_bytes > self.transfer_bytes_max as u64;
        let mut done = 0;
        while done < enough.min(most) {
            let Some(id) = self.arbiter.next(burst) else { return (done, Then::Nothing) };
            if special || id == 0 {
                return (done, Then::Long(id));
            }
            let taken = self.take_from(now, memory, id, most - done, alone, page_bytes);
            if taken == 0 {
                return (done, Then::Long(id));
            }
            done += taken;
        }
        (done, Then::Look)
    }

    /// The same from one queue; how many it was.
    #[inline]
    fn take_from<M: GuestMemory>(
        &mut self,
        now: Nanoseconds,
        memory: &M,
        id: u16,
        most: usize,
        alone: bool,
        page_bytes: u64,
    ) -> usize {
        let Some(media) = self.media.fast_path(now) else { return 0 };
        let Some(mut pair) = self.queues.pair(id) else { return 0 };
        let (mut done, mut failed) = (0, None);
        let (entries, first) = pair.look(memory, self.arbiter.in_a_row().min(most));
        let plain = |entry| {
            plain(&self.namespaces, entry, page_bytes)
                .filter(|plain| alone || !self.range_locks.may_meet(plain.volume, plain.range))
        };
        while let Some(entry) = entries.get(done) {
            let Some(Plain { volume, writes, range, data }) = plain(entry) else { break };
            if writes {
                // The name is made here and nowhere else: the compiler would count it along for every read.
                let ordinal = first + black_box(done) as u64;
                let mark = Mark::new(id, entry.cid.get(), ordinal);
                match media.write(mark, volume, range, &mut Piece::new(memory, data)) {
                    None => break,
                    Some(Ok(())) => done += 1,
                    Some(Err(error)) => {
                        failed = Some(error);
                        break;
                    }
                }
                continue;
            }
            // Reads that follow each other are looked up together.
            let into = &mut self.segments;
            self.reads.clear();
            into.clear();
            self.reads.push((volume, range));
            into.push(data);
            for next in entries[done + 1..].iter().map_while(plain).take_while(|next| !next.writes) {
                self.reads.push((next.volume, next.range));
                into.push(next.data);
            }
            let (count, error) = media.read(&self.reads, &mut Pieces { memory, segments: into });
            done += count;
            if count < self.reads.len() {
                failed = error;
                break;
            }
        }
        if done > 0 {
            pair.succeed(done);
            self.unpublished.insert(pair.completion_queue());
        }
        let failed = failed.map(|error| (pair.take(), error));
        let taken = done + usize::from(failed.is_some());
        if pair.is_empty() {
            self.arbiter.idle(id);
        } else if taken > 0 {
            self.arbiter.took(taken);
        }
        if let Some(((permit, entry), error)) = failed {
            self.fail_short(permit, &entry, error);
        }
        taken
    }

    /// One that failed is answered as any other.
    #[cold]
    fn fail_short(&mut self, permit: Permit, entry: &Command, error: MediaError) {
        let mut origin = Origin::of(entry);
        let result = IoCommand::parse(entry).and_then(|command| {
            origin.lba = command.first_block();
            outcome::conclude(Err(error), &mut origin).map(Done::Now)
        });
        self.settle(permit, origin, result);
    }
}

/// Where the data of several reads goes.
struct Pieces<'a, M> {
    memory: &'a M,
    segments: &'a [Segment],
}

impl<M: GuestMemory> Sinks for Pieces<'_, M> {
    #[inline]
    fn take(&mut self, number: usize, from: &[u8], next: &[u8]) -> Result<(), Fault> {
        self.memory.prefetch(next);
        Piece::new(self.memory, self.segments[number]).take(0, from)
    }
}

/// What an entry asks for, if it can go the fast path. Whether its blocks are there the media says.
#[inline]
fn plain(namespaces: &Namespaces, entry: &Command, page_bytes: u64) -> Option<Plain> {
    const WRITE: u16 = NvmOpcode::WRITE.0 as u16;
    const READ: u16 = NvmOpcode::READ.0 as u16;
    // No flags, which are the upper byte: PRP entries, and no fused pair.
    let writes = match u16::from_le_bytes([entry.opcode, entry.flags]) {
        WRITE => true,
        READ => false,
        _ => return None,
    };
    if entry.force_unit_access() {
        return None;
    }
    let namespace = namespaces.get(entry.nsid.get())?;
    let blocks = u64::from(entry.nlb_z()) + 1;
    let length = blocks * u64::from(namespace.shape.block_bytes);
    let address = entry.prp1.get();
    if address & 0b11 != 0 || (address & (page_bytes - 1)) + length > page_bytes {
        return None;
    }
    let data = Segment { address, length: usize::try_from(length).ok()? };
    Some(Plain { volume: namespace.volume, writes, range: LbaRange::new(Lba(entry.slba()), blocks), data })
}
