//! The host's half of one queue pair, as lean as a host can be: it writes the entries of a batch, and looks at the answers.

use controller::dma::GuestMemory;
use media::power::Random;
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{COMMAND_BYTES, COMPLETION_BYTES, Command, Completion, Status};
use zerocopy::{FromBytes, IntoBytes};

/// Commands of a batch: what the device finds when it looks.
pub const BATCH: u16 = 32;
/// A page of guest memory.
const PAGE: u64 = 4096;
/// Where pages lie that are apart, from the first buffer on.
const SCATTERED: u64 = 8 << 20;
/// Command dword 0 bits 15:14, as far as they are in its second byte: the data pointer is an SGL (Base 2.1 figure 92).
const PSDT_SGL: u8 = 0b01 << 6;
/// The identifier of the queue pair.
pub const QUEUE: u16 = 1;

/// How a command says where its data lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pointer {
    /// By one PRP entry, as far as its data fits a page; otherwise by PRP entries of one piece of memory.
    #[default]
    Prp,
    /// By PRP entries of pages that lie apart, from the middle of the first one on: two, or one and a list.
    Pages,
    /// By an SGL data block descriptor.
    Sgl,
}

/// What the commands of a bench do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Read or Write.
    pub opcode: NvmOpcode,
    /// Bytes of each command, a multiple of [`Work::BLOCK`].
    pub bytes: usize,
    /// The working set in bytes, from the first block on.
    pub extent: u64,
    /// One place after the other instead of random ones.
    pub sequential: bool,
    /// Where their data lies.
    pub pointer: Pointer,
}

impl Work {
    /// Bytes of a logical block.
    pub const BLOCK: usize = 512;

    /// Where the data of the command with this identifier begins, from the first buffer on.
    const fn buffer(&self, cid: u16) -> u64 {
        let (cid, bytes) = (cid as u64, self.bytes as u64);
        match self.pointer {
            Pointer::Prp | Pointer::Sgl => cid * bytes,
            // In the middle of a page.
            Pointer::Pages => cid * 2 * PAGE + 512,
        }
    }

    /// How many places of the working set a command can go to.
    #[must_use]
    pub const fn places(&self) -> u64 {
        self.extent / self.bytes as u64
    }
}

/// Where blocks lie that hold nothing but their own number.
///
/// # Panics
/// If the memory is not whole blocks.
pub fn stamp(first: u64, blocks: &mut [u8]) {
    for (lba, block) in (first..).zip(blocks.chunks_exact_mut(Work::BLOCK)) {
        block[..8].copy_from_slice(&lba.to_le_bytes());
    }
}

/// A queue pair of equal size, from the host's side.
#[derive(Clone, Debug)]
pub struct Ring {
    /// Guest address of the submission queue.
    pub submission: u64,
    /// Guest address of the completion queue.
    pub completion: u64,
    /// Entries of each.
    pub entries: u16,
    /// Guest address of one buffer for each command of a batch, one behind the other.
    pub buffers: u64,
    /// The tail of the submission queue.
    pub tail: u16,
    /// The head of the completion queue.
    pub head: u16,
    phase: bool,
    /// The next place of sequential work.
    next: u64,
    blocks: [u64; BATCH as usize],
}

impl Ring {
    /// An empty pair.
    #[must_use]
    pub const fn new(submission: u64, completion: u64, entries: u16, buffers: u64) -> Self {
        Self {
            submission,
            completion,
            entries,
            buffers,
            tail: 0,
            head: 0,
            phase: true,
            next: 0,
            blocks: [0; BATCH as usize],
        }
    }

    /// Writes the entries of a batch: random places of the working set.
    ///
    /// # Panics
    /// If the memory is not there.
    pub fn prepare<M: GuestMemory>(&mut self, memory: &M, work: &Work, random: &mut Random) {
        let blocks = work.bytes / Work::BLOCK;
        for (cid, block) in (0..BATCH).zip(&mut self.blocks) {
            self.next += 1;
            let place = if work.sequential { self.next % work.places() } else { random.below(work.places()) };
            *block = place * blocks as u64;
            let buffer = self.buffers + work.buffer(cid);
            let (flags, prp2) = match work.pointer {
                Pointer::Prp => (0, 0),
                Pointer::Sgl => (PSDT_SGL, work.bytes as u64),
                Pointer::Pages => (0, pages(memory, self.buffers + SCATTERED, cid, work.bytes)),
            };
            let command = Command {
                opcode: work.opcode.0,
                flags,
                cid: cid.into(),
                nsid: 1.into(),
                prp1: buffer.into(),
                prp2: prp2.into(),
                cdw10: low(*block).into(),
                cdw11: low(*block >> 32).into(),
                cdw12: (u32::try_from(blocks).expect("few blocks") - 1).into(),
                ..Command::default()
            };
            if work.opcode == NvmOpcode::WRITE {
                memory.write(buffer, &block.to_le_bytes()).expect("the buffer is there");
            }
            let at = self.submission + u64::from(self.tail) * COMMAND_BYTES as u64;
            memory.write(at, command.as_bytes()).expect("the queue is there");
            self.tail = (self.tail + 1) % self.entries;
        }
    }

    /// Takes the answers of a batch.
    ///
    /// # Panics
    /// If one is missing, one says anything but success, or a read brought another block than was asked for: then there is nothing
    /// to measure.
    pub fn reap<M: GuestMemory>(&mut self, memory: &M, work: &Work) {
        for _ in 0..BATCH {
            let mut bytes = [0; COMPLETION_BYTES];
            memory
                .read(self.completion + u64::from(self.head) * COMPLETION_BYTES as u64, &mut bytes)
                .expect("the queue is there");
            let entry = Completion::read_from_bytes(&bytes).expect("the sizes agree");
            assert!(entry.phase() == self.phase, "a command was not answered in one step");
            assert_eq!(entry.status(), Status::SUCCESS, "a command failed");
            self.head += 1;
            if self.head == self.entries {
                (self.head, self.phase) = (0, !self.phase);
            }
            let cid = entry.cid.get();
            let mut found = [0; 8];
            memory.read(self.buffers + work.buffer(cid), &mut found).expect("the buffer is there");
            assert_eq!(u64::from_le_bytes(found), self.blocks[usize::from(cid)], "a read brought another block");
        }
    }
}

/// PRP entry 2 of a command whose data begins [`Work::buffer`] says where: of a page, or of a list of pages that lie apart.
fn pages<M: GuestMemory>(memory: &M, area: u64, cid: u16, bytes: usize) -> u64 {
    let more = (bytes as u64).div_ceil(PAGE);
    let area = area + u64::from(cid) * (2 * more + 1) * PAGE;
    let page = |number: u64| area + (2 * number + 1) * PAGE;
    if more == 1 {
        return page(0);
    }
    for number in 0..more {
        memory.write(area + number * 8, &page(number).to_le_bytes()).expect("the list is there");
    }
    area
}

fn low(number: u64) -> u32 {
    let [b0, b1, b2, b3, ..] = number.to_le_bytes();
    u32::from_le_bytes([b0, b1, b2, b3])
}
