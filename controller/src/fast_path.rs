//! The fast path: Reads and Writes, many at a time from one queue, while they overlap no command under way and no crash point is armed.
//! Nearly all commands are like this; the media completes most of them at once, and nothing is kept of those. Any other command,
//! including one that must be refused, stays in its queue for the scheduled path (`scheduling`).
//!
//! Most are *plain*: their data is one piece of guest memory, behind PRP entry 1. Reads of that kind are looked up together, and with
//! them those whose data an SGL data block descriptor has, or two pages. The data of *long* ones lies in more pieces, which are found
//! first; they go one by one.

use std::hint::black_box;
use std::slice;

use media::power::Mark;
use media::volume::{FastPath, Outcome, Sinks};
use media::{Fault, Lba, LbaRange, MediaError, Nanoseconds, Sink as _, VolumeId};
use nvme_spec::Command;
use nvme_spec::command::psdt;
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::sgl::{SglSubtype, SglType};

use crate::admin::Done;
use crate::command::{IoCommand, prps};
use crate::dma::{DataPointer, GuestMemory, Piece, PrpEntries, Segment, Transfer};
use crate::inflight::Origin;
use crate::queue::Permit;
use crate::shared::Shared;
use crate::shared::namespace::Namespaces;
use crate::state::Shutdown;
use crate::{Controller, outcome, prp, sgl};

/// A command that can go the fast path.
struct Plain {
    volume: VolumeId,
    writes: bool,
    range: LbaRange,
    data: Segment,
}

/// One whose data may lie in many pieces.
struct Long {
    volume: VolumeId,
    writes: bool,
    range: LbaRange,
    data: DataPointer,
    length: usize,
}

/// What decides where data may lie.
#[derive(Clone, Copy)]
struct Limits {
    /// CC.MPS.
    page_bytes: u64,
    /// MDTS.
    transfer_bytes_max: u64,
}

/// What comes after some commands that went the fast path.
pub(crate) enum Then {
    /// No queue has any.
    Nothing,
    /// More of them, once the clock was looked at.
    Look,
    /// It is this queue's turn, whose next command is not plain.
    Special(u16),
    /// It is this queue's turn, whose next command goes the scheduled path.
    Long(u16),
}

impl Controller {
    /// Carries out commands in turn from the I/O queues, until none is left, the next one is not plain, or about `enough` were
    /// done, and `most` at most: how many it was, and what comes then.
    #[inline(never)]
    pub(crate) fn take_fast<M: GuestMemory>(
        &mut self,
        shared: &mut Shared,
        now: Nanoseconds,
        memory: &M,
        burst: u32,
        [enough, most]: [usize; 2],
    ) -> (usize, Then) {
        let alone = shared.range_locks.is_idle();
        let page_bytes = 1 << self.registers.page_shift();
        let special = shared.random.is_some()
            || self.watch.hops()
            || self.faults.keep_off_fast_path()
            || self.supply.breaker.attentive()
            || self.registers.shutdown != Shutdown::No
            || shared.changes.holds_back()
            || page_bytes > self.transfer_bytes_max as u64;
        let mut done = 0;
        while done < enough.min(most) {
            let Some(id) = self.arbiter.next(burst) else { return (done, Then::Nothing) };
            if special || id == 0 {
                return (done, Then::Long(id));
            }
            let taken = self.take_from(shared, now, memory, id, most - done, (alone, page_bytes));
            if taken == 0 {
                return (done, Then::Special(id));
            }
            done += taken;
        }
        (done, Then::Look)
    }

    /// The same from one queue; how many it was.
    #[inline]
    fn take_from<M: GuestMemory>(
        &mut self,
        shared: &mut Shared,
        now: Nanoseconds,
        memory: &M,
        id: u16,
        most: usize,
        (alone, page_bytes): (bool, u64),
    ) -> usize {
        let Some(media) = shared.media.fast_path(now) else { return 0 };
        let Some(mut pair) = self.queues.pair(id) else { return 0 };
        let (mut done, mut failed) = (0, None);
        let (entries, first) = pair.look(memory, self.arbiter.in_a_row().min(most));
        let name = Mark::new(self.id.0, id, 0, first);
        let plain = |entry| {
            plain(&self.namespaces, entry, page_bytes)
                .filter(|plain| alone || !shared.range_locks.may_meet(plain.volume, plain.range))
        };
        while let Some(entry) = entries.get(done) {
            let Some(Plain { volume, writes, range, data }) = plain(entry) else { break };
            if writes {
                // The name is made here and nowhere else: the compiler would count it along for every read.
                let mark = name.behind(black_box(done) as u64, entry.cid.get());
                match media.write(mark, volume, range, &mut Piece::new(memory, data)) {
                    None => break,
                    Some(Ok(())) => {
                        done += 1;
                        self.answered.fast_writes += 1;
                    }
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
            self.answered.fast(done);
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

    /// The others from one queue, up to the next plain one; how many it was, where long ones count for more.
    pub(crate) fn take_special<M: GuestMemory>(
        &mut self,
        shared: &mut Shared,
        now: Nanoseconds,
        memory: &M,
        id: u16,
        most: usize,
    ) -> usize {
        let alone = shared.range_locks.is_idle();
        let limits = self.limits();
        let Some(media) = shared.media.fast_path(now) else { return 0 };
        let Some(mut pair) = self.queues.pair(id) else { return 0 };
        let (entries, first) = pair.look(memory, self.arbiter.in_a_row().min(most));
        let name = Mark::new(self.id.0, id, 0, first);
        let free = |volume, range| alone || !shared.range_locks.may_meet(volume, range);
        let (mut done, mut more, mut failed, mut together) = (0, 0, None, usize::MAX);
        while let Some(entry) = entries.get(done).filter(|_| done + more < most) {
            if done > 0 && plain(&self.namespaces, entry, limits.page_bytes).is_some() {
                break;
            }
            self.apart.clear();
            let add = |next| self.apart.add(&self.namespaces, next, limits, free);
            _ = entries[done..].iter().take(together).all(add);
            let (count, error) = self.apart.read(media, memory);
            done += count;
            if error.is_some() {
                failed = error;
                break;
            }
            if count > 0 {
                together = usize::MAX;
                continue;
            }
            // It is not one that the media reads together with others, and the next ones may be alike.
            together = 1;
            let long = long(&self.namespaces, entry, limits).filter(|long| free(long.volume, long.range));
            let mark = name.behind(done as u64, entry.cid.get());
            let writes = long.as_ref().is_some_and(|long| long.writes);
            match long.and_then(|long| long.carry_out(media, mark, memory, limits, &mut self.segments)) {
                None => break,
                Some(Ok(())) => {
                    done += 1;
                    self.answered.fast_writes += u64::from(writes);
                }
                Some(Err(error)) => {
                    failed = Some(error);
                    break;
                }
            }
            more += crate::work(&self.segments);
        }
        if done > 0 {
            pair.succeed(done);
            self.unpublished.insert(pair.completion_queue());
            self.answered.fast(done);
        }
        let failed = failed.map(|error| (pair.take(), error));
        let taken = done + more + usize::from(failed.is_some());
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

    fn limits(&self) -> Limits {
        Limits { page_bytes: 1 << self.registers.page_shift(), transfer_bytes_max: self.transfer_bytes_max as u64 }
    }

    /// One that failed is answered as any other.
    #[cold]
    fn fail_short(&mut self, permit: Permit, entry: &Command, error: MediaError) {
        let mut origin = Origin::of(entry, self.health.now);
        let result = IoCommand::parse(entry).and_then(|command| {
            origin.lba = command.first_block();
            outcome::conclude(Err(error), &mut origin).map(Done::Now)
        });
        self.settle(permit, origin, result);
    }
}

/// Reads that are looked up together, whose data lies in two pages or where an SGL says: scratch.
#[derive(Debug, Default)]
pub(crate) struct Apart {
    ranges: Vec<(VolumeId, LbaRange)>,
    segments: Vec<Segment>,
    /// Where the data of those goes on that is longer than its segment, in their order.
    behind: Vec<u64>,
}

impl Apart {
    fn clear(&mut self) {
        self.ranges.clear();
        self.segments.clear();
        self.behind.clear();
    }

    /// Adds a Read whose data lies in two pages, or that an SGL data block descriptor has; whether it is one.
    fn add(
        &mut self,
        namespaces: &Namespaces,
        entry: &Command,
        limits: Limits,
        free: impl Fn(VolumeId, LbaRange) -> bool,
    ) -> bool {
        let Some(Long { volume, writes: false, range, data, length }) = long(namespaces, entry, limits) else {
            return false;
        };
        let (data, behind) = match data {
            DataPointer::Prp(entries) => {
                let Some((first, page)) = in_two_pages(entries, length, limits.page_bytes) else { return false };
                (first, Some(page))
            }
            DataPointer::Sgl(descriptor) => {
                let has_all = descriptor.kind() == SglType::DATA_BLOCK
                    && descriptor.subtype() == SglSubtype::ADDRESS
                    && descriptor.length.get() as usize >= length;
                if !has_all {
                    return false;
                }
                (Segment { address: descriptor.address.get(), length }, None)
            }
        };
        if !free(volume, range) {
            return false;
        }
        self.ranges.push((volume, range));
        self.segments.push(data);
        self.behind.extend(behind);
        true
    }

    /// Reads them: how many, and why the next one failed, if it did.
    fn read<M: GuestMemory>(&self, media: &mut dyn FastPath, memory: &M) -> (usize, Option<MediaError>) {
        media.read(&self.ranges, &mut Halves { memory, segments: &self.segments, behind: self.behind.iter() })
    }
}

impl Long {
    /// Finds its data, and has it moved. None, and nothing is done, if that is not so simple: then what is wrong with it is found out on
    /// the scheduled path.
    fn carry_out<M: GuestMemory>(
        &self,
        media: &mut dyn FastPath,
        mark: Mark,
        memory: &M,
        limits: Limits,
        segments: &mut Vec<Segment>,
    ) -> Option<Outcome> {
        let page_shift = limits.page_bytes.trailing_zeros();
        match self.data {
            DataPointer::Prp(entries) => prp::resolve(memory, entries, self.length, page_shift, segments),
            DataPointer::Sgl(first) if sgl::is_short(&first) => sgl::resolve(memory, first, self.length, segments),
            DataPointer::Sgl(_) => return None,
        }
        .ok()?;
        let mut data = Transfer::new(memory, segments);
        if self.writes {
            media.write(mark, self.volume, self.range, &mut data)
        } else {
            media.read_long(self.volume, self.range, &mut data)
        }
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

/// The same, where it may lie in two pages.
struct Halves<'a, M> {
    memory: &'a M,
    segments: &'a [Segment],
    /// Where those go on that are longer than their segments, in their order.
    behind: slice::Iter<'a, u64>,
}

impl<M: GuestMemory> Sinks for Halves<'_, M> {
    #[inline]
    fn take(&mut self, number: usize, from: &[u8], next: &[u8]) -> Result<(), Fault> {
        self.memory.prefetch(next);
        let Segment { address, length } = self.segments[number];
        let Some((before, after)) = from.split_at_checked(length).filter(|(_, after)| !after.is_empty()) else {
            return self.memory.write(address, from).map_err(|_| Fault);
        };
        let page = self.behind.next().ok_or(Fault)?;
        self.memory.write(address, before).and_then(|()| self.memory.write(*page, after)).map_err(|_| Fault)
    }
}

/// A Read or Write; its flags, the upper byte, are none: PRP entries, and no fused pair.
const WRITE: u16 = NvmOpcode::WRITE.0 as u16;
const READ: u16 = NvmOpcode::READ.0 as u16;
/// The same with an SGL.
const SGL: u16 = (psdt::SGL as u16) << 14;
const SGL_WRITE: u16 = SGL | WRITE;
const SGL_READ: u16 = SGL | READ;

#[inline]
const fn kind(entry: &Command) -> u16 {
    u16::from_le_bytes([entry.opcode, entry.flags])
}

/// What an entry asks for, if it is plain: its data ends in the page of PRP entry 1. Whether its blocks are there the media says.
#[inline]
fn plain(namespaces: &Namespaces, entry: &Command, page_bytes: u64) -> Option<Plain> {
    let writes = match kind(entry) {
        WRITE => true,
        READ => false,
        _ => return None,
    };
    if entry.force_unit_access() {
        return None;
    }
    let namespace = namespaces.brief(entry.nsid.get())?;
    let blocks = u64::from(entry.nlb_z()) + 1;
    let length = blocks * u64::from(namespace.block_bytes);
    let address = entry.prp1.get();
    if address & 0b11 != 0 || (address & (page_bytes - 1)) + length > page_bytes {
        return None;
    }
    let data = Segment { address, length: usize::try_from(length).ok()? };
    Some(Plain { volume: namespace.volume, writes, range: LbaRange::new(Lba(entry.slba()), blocks), data })
}

/// The piece in the page of PRP entry 1, and the page of PRP entry 2, if they have all of the data.
fn in_two_pages(entries: PrpEntries, length: usize, page_bytes: u64) -> Option<(Segment, u64)> {
    let PrpEntries { prp1, prp2 } = entries;
    let before = page_bytes - (prp1 & (page_bytes - 1));
    let after = (length as u64).checked_sub(before).filter(|after| *after > 0)?;
    let possible = prp1 & 0b11 == 0 && prp2 & (page_bytes - 1) == 0 && after <= page_bytes;
    possible.then_some((Segment { address: prp1, length: usize::try_from(before).ok()? }, prp2))
}

/// What an entry that is not plain asks for, if it is long.
fn long(namespaces: &Namespaces, entry: &Command, limits: Limits) -> Option<Long> {
    let (writes, data) = match kind(entry) {
        WRITE => (true, DataPointer::Prp(prps(entry))),
        READ => (false, DataPointer::Prp(prps(entry))),
        SGL_WRITE => (true, DataPointer::Sgl(entry.sgl1())),
        SGL_READ => (false, DataPointer::Sgl(entry.sgl1())),
        _ => return None,
    };
    let namespace = namespaces.brief(entry.nsid.get()).filter(|_| !entry.force_unit_access())?;
    let blocks = u64::from(entry.nlb_z()) + 1;
    let length = blocks * u64::from(namespace.block_bytes);
    if length > limits.transfer_bytes_max {
        return None;
    }
    let range = LbaRange::new(Lba(entry.slba()), blocks);
    Some(Long { volume: namespace.volume, writes, range, data, length: usize::try_from(length).ok()? })
}
