//! The fast path: Reads and Writes, many at a time from one queue, while they overlap no command under way and no crash point is armed.
//! Nearly all commands are like this; the media completes most of them at once, and nothing is kept of those. Any other command,
//! including one that must be refused, stays in its queue for the scheduled path (`scheduling`).
//!
//! Most are *plain*: their data is one piece of guest memory, behind PRP entry 1 or an SGL data block descriptor, or it lies in two pages.
//! Reads of that kind are looked up together. The data of a *long* one lies in more pages, which are found first; they go one by one.

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
use crate::dma::{DataPointer, GuestMemory, Piece, Segment, Transfer};
use crate::inflight::Origin;
use crate::namespace::Namespaces;
use crate::queue::Permit;
use crate::state::Shutdown;
use crate::{Controller, outcome, prp, sgl};

/// A command that can go the fast path.
#[derive(Clone, Copy)]
struct Plain {
    volume: VolumeId,
    writes: bool,
    range: LbaRange,
    data: Segment,
    /// The page where the data goes on that is not there.
    behind: Option<u64>,
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
    page_shift: u32,
    /// MDTS.
    transfer_bytes_max: u64,
}

impl Limits {
    #[inline]
    const fn page_bytes(self) -> u64 {
        1 << self.page_shift
    }
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
        let limits =
            Limits { page_shift: self.registers.page_shift(), transfer_bytes_max: self.transfer_bytes_max as u64 };
        let special = self.random.is_some()
            || self.watch.hops()
            || self.faults.keep_off_fast_path()
            || self.supply.breaker.attentive()
            || self.registers.shutdown != Shutdown::No
            || self.resizing.holds_back()
            || limits.page_bytes() > limits.transfer_bytes_max;
        let mut done = 0;
        while done < enough.min(most) {
            let Some(id) = self.arbiter.next(burst) else { return (done, Then::Nothing) };
            if special || id == 0 {
                return (done, Then::Long(id));
            }
            let taken = self.take_from(now, memory, id, most - done, alone, limits);
            if taken == 0 {
                return (done, Then::Long(id));
            }
            done += taken;
        }
        (done, Then::Look)
    }

    /// The same from one queue; how many it was, where long ones count for more.
    #[inline]
    fn take_from<M: GuestMemory>(
        &mut self,
        now: Nanoseconds,
        memory: &M,
        id: u16,
        most: usize,
        alone: bool,
        limits: Limits,
    ) -> usize {
        let Some(media) = self.media.fast_path(now) else { return 0 };
        let Some(mut pair) = self.queues.pair(id) else { return 0 };
        let (mut done, mut more, mut failed) = (0, 0, None);
        let (entries, first) = pair.look(memory, self.arbiter.in_a_row().min(most));
        let free = |volume, range| alone || !self.range_locks.may_meet(volume, range);
        // The name is made where it is needed and nowhere else: the compiler would count it along for every read.
        let mark = |entry: &Command, number: usize| Mark::new(id, entry.cid.get(), first + black_box(number) as u64);
        let plain_of = |entry| plain(&self.namespaces, entry, limits).filter(|plain| free(plain.volume, plain.range));
        let mut together = usize::MAX;
        while let Some(entry) = entries.get(done).filter(|_| done + more < most) {
            let plain = plain_of(entry);
            if let Some(plain) = plain.filter(|plain| !plain.writes) {
                let following = entries[done + 1..].iter().take(together).map_while(&plain_of);
                let (count, all, error) =
                    self.reads.read(media, memory, plain, following.take_while(|next| !next.writes));
                done += count;
                together = if all { together.saturating_mul(2) } else { 1 };
                if error.is_some() {
                    failed = error;
                    break;
                }
                if all || count > 0 {
                    continue;
                }
                // It is not one that the media reads together with others.
            }
            let ended = if let Some(plain) = plain.filter(|plain| plain.writes) {
                plain.write(media, mark(entry, done), memory)
            } else {
                let long = long(&self.namespaces, entry, limits).filter(|long| free(long.volume, long.range));
                let ended =
                    long.and_then(|long| long.carry_out(media, mark(entry, done), memory, limits, &mut self.segments));
                more += if ended.is_some() { crate::work(&self.segments) } else { 0 };
                ended
            };
            match ended {
                None => break,
                Some(Ok(())) => done += 1,
                Some(Err(error)) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if done > 0 {
            pair.succeed(done);
            self.unpublished.insert(pair.completion_queue());
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

/// Reads that are looked up together: scratch.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    ranges: Vec<(VolumeId, LbaRange)>,
    segments: Vec<Segment>,
    /// Where the data of those goes on that is longer than its segment, in their order.
    behind: Vec<u64>,
}

impl Reads {
    #[inline]
    fn add(&mut self, plain: &Plain) {
        self.ranges.push((plain.volume, plain.range));
        self.segments.push(plain.data);
        if let Some(page) = plain.behind {
            self.behind.push(page);
        }
    }

    /// Reads the first one and those that follow it: how many, whether that is all of them, and why the next one failed, if it did.
    #[inline]
    fn read<M: GuestMemory>(
        &mut self,
        media: &mut dyn FastPath,
        memory: &M,
        first: Plain,
        following: impl Iterator<Item = Plain>,
    ) -> (usize, bool, Option<MediaError>) {
        self.ranges.clear();
        self.segments.clear();
        self.behind.clear();
        self.add(&first);
        following.for_each(|next| self.add(&next));
        let mut into = Pieces { memory, segments: &self.segments, behind: self.behind.iter() };
        let (count, error) = media.read(&self.ranges, &mut into);
        (count, count == self.ranges.len(), error)
    }
}

impl Plain {
    #[inline]
    fn write<M: GuestMemory>(&self, media: &mut dyn FastPath, mark: Mark, memory: &M) -> Option<Outcome> {
        let Some(page) = self.behind else {
            return media.write(mark, self.volume, self.range, &mut Piece::new(memory, self.data));
        };
        // What does not lie in it is not asked for: the second piece may be as long as anything.
        let pieces = [self.data, Segment { address: page, length: usize::MAX }];
        media.write(mark, self.volume, self.range, &mut Transfer::new(memory, &pieces))
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
        match self.data {
            DataPointer::Prp(entries) => {
                prp::resolve(memory, entries, self.length, limits.page_shift, segments).ok()?
            }
            DataPointer::Sgl(first) if sgl::is_short(&first) => {
                sgl::resolve(memory, first, self.length, segments).ok()?
            }
            DataPointer::Sgl(_) => return None,
        }
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
    /// Where those go on that are longer than their segments, in their order.
    behind: slice::Iter<'a, u64>,
}

impl<M: GuestMemory> Pieces<'_, M> {
    /// Data that lies in two pages.
    #[inline(never)]
    fn take_in_two(&mut self, first: Segment, from: &[u8]) -> Result<(), Fault> {
        let page = self.behind.next().ok_or(Fault)?;
        let (before, after) = from.split_at(first.length);
        self.memory.write(first.address, before).map_err(|_| Fault)?;
        self.memory.write(*page, after).map_err(|_| Fault)
    }
}

impl<M: GuestMemory> Sinks for Pieces<'_, M> {
    #[inline]
    fn take(&mut self, number: usize, from: &[u8], next: &[u8]) -> Result<(), Fault> {
        self.memory.prefetch(next);
        let segment = self.segments[number];
        if from.len() > segment.length {
            return self.take_in_two(segment, from);
        }
        Piece::new(self.memory, segment).take(0, from)
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

/// What an entry asks for, if it is plain. Whether its blocks are there the media says.
#[inline]
fn plain(namespaces: &Namespaces, entry: &Command, limits: Limits) -> Option<Plain> {
    let writes = match kind(entry) {
        WRITE => true,
        READ => false,
        kind => return plain_by_sgl(namespaces, entry, kind, limits),
    };
    if entry.force_unit_access() {
        return None;
    }
    let namespace = namespaces.get(entry.nsid.get())?;
    let blocks = u64::from(entry.nlb_z()) + 1;
    let length = blocks * u64::from(namespace.shape.block_bytes);
    let address = entry.prp1.get();
    let page_bytes = limits.page_bytes();
    let inside = address & (page_bytes - 1);
    let (volume, range) = (namespace.volume, LbaRange::new(Lba(entry.slba()), blocks));
    if address & 0b11 != 0 || inside + length > page_bytes {
        return in_two(
            entry.prp2.get(),
            Plain { volume, writes, range, data: Segment { address, length: 0 }, behind: None },
            length,
            limits,
        );
    }
    let data = Segment { address, length: usize::try_from(length).ok()? };
    Some(Plain { volume, writes, range, data, behind: None })
}

/// The same, if the data ends in the page of PRP entry 2.
#[inline(never)]
fn in_two(page: u64, plain: Plain, length: u64, limits: Limits) -> Option<Plain> {
    let page_bytes = limits.page_bytes();
    let address = plain.data.address;
    if address & 0b11 != 0 {
        return None;
    }
    let before = page_bytes - (address & (page_bytes - 1));
    let fits = length - before <= page_bytes && length <= limits.transfer_bytes_max;
    if !fits || page & (page_bytes - 1) != 0 {
        return None;
    }
    let data = Segment { address, length: usize::try_from(before).ok()? };
    Some(Plain { data, behind: Some(page), ..plain })
}

/// The same, if an SGL data block descriptor has all of it.
#[inline(never)]
fn plain_by_sgl(namespaces: &Namespaces, entry: &Command, kind: u16, limits: Limits) -> Option<Plain> {
    let writes = match kind {
        SGL_WRITE => true,
        SGL_READ => false,
        _ => return None,
    };
    let namespace = namespaces.get(entry.nsid.get()).filter(|_| !entry.force_unit_access())?;
    let blocks = u64::from(entry.nlb_z()) + 1;
    let length = blocks * u64::from(namespace.shape.block_bytes);
    let descriptor = entry.sgl1();
    let whole = descriptor.kind() == SglType::DATA_BLOCK
        && descriptor.subtype() == SglSubtype::ADDRESS
        && u64::from(descriptor.length.get()) >= length;
    if !whole || length > limits.page_bytes() {
        return None;
    }
    let data = Segment { address: descriptor.address.get(), length: usize::try_from(length).ok()? };
    let range = LbaRange::new(Lba(entry.slba()), blocks);
    Some(Plain { volume: namespace.volume, writes, range, data, behind: None })
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
    let namespace = namespaces.get(entry.nsid.get()).filter(|_| !entry.force_unit_access())?;
    let blocks = u64::from(entry.nlb_z()) + 1;
    let length = blocks * u64::from(namespace.shape.block_bytes);
    if length > limits.transfer_bytes_max {
        return None;
    }
    let range = LbaRange::new(Lba(entry.slba()), blocks);
    Some(Long { volume: namespace.volume, writes, range, data, length: usize::try_from(length).ok()? })
}
