//! The stripped loop: the least that a device in memory must do for a command. It fetches the entry, checks opcode, namespace, range
//! and PRP entry, loads a map entry, copies, and writes the completion with its phase. No queues but one, no errors told apart, no
//! log, no accounting. What the drive costs is said as a multiple of this, measured in the same minute.

use memmap2::MmapMut;
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{COMMAND_BYTES, COMPLETION_BYTES};

use crate::flat_memory::huge;
use crate::ring::{BATCH, Ring, Work, stamp};

/// Bytes that a map entry stands for.
const UNIT: usize = 4096;

/// The floor's device.
pub struct Stripped {
    map: Vec<u32>,
    media: MmapMut,
    blocks: u64,
    entries: usize,
    head: usize,
    tail: usize,
    phase: bool,
    submission: usize,
    completion: usize,
    /// Where the next written unit goes; units beyond the volume make the log go round.
    frontier: u32,
}

impl Stripped {
    /// A device of this many bytes, full of stamped blocks, for a queue pair.
    ///
    /// # Errors
    /// There is not so much memory.
    ///
    /// # Panics
    /// If the ring's addresses are not those of memory.
    pub fn new(bytes: usize, ring: &Ring) -> anyhow::Result<Self> {
        let units = u32::try_from(bytes / UNIT)?;
        let mut media = huge(bytes)?;
        stamp(0, &mut media);
        Ok(Self {
            map: (0..units).collect(),
            media,
            blocks: (bytes / Work::BLOCK) as u64,
            entries: ring.entries.into(),
            head: 0,
            tail: 0,
            phase: true,
            submission: usize::try_from(ring.submission)?,
            completion: usize::try_from(ring.completion)?,
            frontier: 0,
        })
    }

    /// One batch.
    ///
    /// # Panics
    /// If an entry is not one that the host half writes.
    #[inline(never)]
    pub fn device_half(&mut self, guest: &mut [u8]) {
        for _ in 0..BATCH {
            let at = self.submission + self.head * COMMAND_BYTES;
            let entry: &[u8; COMMAND_BYTES] = guest[at..].first_chunk().expect("the queue is there");
            let (opcode, nsid) = (entry[0], number::<4>(entry, 4));
            let cid = [entry[2], entry[3]];
            let (prp, first) = (number::<8>(entry, 24), number::<8>(entry, 40));
            let count = number::<4>(entry, 48) + 1;
            assert!(nsid == 1 && first + count <= self.blocks && prp.is_multiple_of(4), "not our entry");
            self.head = if self.head + 1 == self.entries { 0 } else { self.head + 1 };
            self.copy(opcode, first, count, prp, guest);
            self.answer(cid, guest);
        }
    }

    #[inline]
    fn copy(&mut self, opcode: u8, first: u64, count: u64, prp: u64, guest: &mut [u8]) {
        let bytes = index(count) * Work::BLOCK;
        let byte = index(first) * Work::BLOCK;
        let (unit, offset) = (byte / UNIT, byte % UNIT);
        let buffer = &mut guest[index(prp)..][..bytes];
        if opcode == NvmOpcode::READ.0 {
            let from = self.map[unit] as usize * UNIT + offset;
            buffer.copy_from_slice(&self.media[from..][..bytes]);
        } else {
            assert_eq!(opcode, NvmOpcode::WRITE.0, "not our entry");
            // A log without a memory of what it overwrites: the units it takes may be in use, and the volume's contents become
            // those of others. For a floor that is enough.
            let old = self.map[unit];
            let place = if bytes == UNIT { self.frontier } else { old };
            self.map[unit] = place;
            self.frontier = if self.frontier as usize + 1 == self.map.len() { 0 } else { self.frontier + 1 };
            self.media[place as usize * UNIT + offset..][..bytes].copy_from_slice(buffer);
        }
    }

    #[inline]
    fn answer(&mut self, cid: [u8; 2], guest: &mut [u8]) {
        let at = self.completion + self.tail * COMPLETION_BYTES;
        let entry: &mut [u8; COMPLETION_BYTES] = guest[at..].first_chunk_mut().expect("the queue is there");
        let head = u64::try_from(self.head).expect("an index");
        let status = u64::from(self.phase) << 48;
        let cid = u64::from(u16::from_le_bytes(cid)) << 32;
        entry[..8].fill(0);
        entry[8..].copy_from_slice(&(head | 1 << 16 | cid | status).to_le_bytes());
        self.tail += 1;
        if self.tail == self.entries {
            (self.tail, self.phase) = (0, !self.phase);
        }
    }
}

/// A little-endian number of `N` bytes at `at`.
#[inline]
fn number<const N: usize>(entry: &[u8; COMMAND_BYTES], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes[..N].copy_from_slice(&entry[at..at + N]);
    u64::from_le_bytes(bytes)
}

#[inline]
fn index(number: u64) -> usize {
    usize::try_from(number).expect("checked before")
}
