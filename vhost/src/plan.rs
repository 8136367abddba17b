//! A request → the NVMe commands that carry it out, one after the other. MDTS and the 16 bits of NLB decide how many there are.

use nvme_host::Piece;
use nvme_host::io::{block_command, nvm_command};
use nvme_spec::command::{DATASET_DEALLOCATE, DatasetRange, WRITE_ZEROES_DEALLOCATE};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::sgl::{DESCRIPTOR_BYTES, SglType};
use nvme_spec::{Command, SglDescriptor};
use zerocopy::IntoBytes;

use crate::geometry::Geometry;
use crate::request::{DISCARD_SEGMENTS_MAX, Extent, Operation, PIECES_MAX, Range, Request};

/// How much memory of our own a command may point to: its SGL segment, or its list of ranges.
pub const SEGMENT_BYTES_MAX: usize = 4096;
const _: () = assert!(PIECES_MAX * DESCRIPTOR_BYTES <= SEGMENT_BYTES_MAX);
const _: () = assert!(DISCARD_SEGMENTS_MAX * size_of::<DatasetRange>() <= SEGMENT_BYTES_MAX);
/// NLB is a 16-bit zero-based number.
const ZEROES_BLOCKS_MAX: u64 = 1 << 16;

/// How far the commands of a request have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Which range, of several.
    range: usize,
    /// Blocks of that range that have their commands.
    blocks: u64,
    /// Where the data goes on: a piece, and an offset into it.
    piece: usize,
    offset: u32,
}

impl Plan {
    /// The next command, without an identifier; `None` if there is none left. What must lie at `segments` for it is put into `list`.
    pub fn next(
        &mut self,
        request: &Request,
        extent: &Extent,
        geometry: &Geometry,
        segments: u64,
        list: &mut Vec<u8>,
    ) -> Option<Command> {
        list.clear();
        let nsid = geometry.nsid;
        match request.operation {
            Operation::Read(range) => self.transfer(NvmOpcode::READ, range, extent, geometry, segments, list),
            Operation::Write(range) => self.transfer(NvmOpcode::WRITE, range, extent, geometry, segments, list),
            Operation::Flush => self.once().then(|| nvm_command(NvmOpcode::FLUSH, nsid)),
            Operation::Identify => None,
            Operation::Discard => {
                (!extent.ranges.is_empty() && self.once()).then(|| deallocate(nsid, &extent.ranges, segments, list))
            }
            Operation::WriteZeroes { unmap } => {
                let range = *extent.ranges.get(self.range)?;
                let count = (range.count - self.blocks).min(ZEROES_BLOCKS_MAX);
                let mut command = block_command(NvmOpcode::WRITE_ZEROES, nsid, range.first + self.blocks, small(count));
                if unmap {
                    command.cdw12 |= WRITE_ZEROES_DEALLOCATE;
                }
                self.blocks += count;
                if self.blocks == range.count {
                    (self.range, self.blocks) = (self.range + 1, 0);
                }
                Some(command)
            }
        }
    }

    /// True the first time.
    const fn once(&mut self) -> bool {
        self.range += 1;
        self.range == 1
    }

    fn transfer(
        &mut self,
        opcode: NvmOpcode,
        range: Range,
        extent: &Extent,
        geometry: &Geometry,
        segments: u64,
        list: &mut Vec<u8>,
    ) -> Option<Command> {
        let shift = geometry.limits.block_shift;
        let count = (range.count - self.blocks).min(geometry.transfer_bytes_max >> shift);
        if count == 0 {
            return None;
        }
        let command = block_command(opcode, geometry.nsid, range.first + self.blocks, small(count));
        self.blocks += count;
        Some(command.with_sgl1(self.describe(count << shift, &extent.pieces, segments, list)))
    }

    /// The SGL of the next `bytes` bytes of the data: one piece is in the command, more are in a segment.
    fn describe(&mut self, bytes: u64, pieces: &[Piece], segments: u64, list: &mut Vec<u8>) -> SglDescriptor {
        let mut missing = bytes;
        let mut first = SglDescriptor::default();
        while missing > 0 {
            let piece = pieces[self.piece];
            let left = piece.length - self.offset;
            let part = u32::try_from(missing).unwrap_or(u32::MAX).min(left);
            first = SglDescriptor::new(SglType::DATA_BLOCK, piece.address + u64::from(self.offset), part);
            missing -= u64::from(part);
            (self.piece, self.offset) =
                if part == left { (self.piece + 1, 0) } else { (self.piece, self.offset + part) };
            if missing > 0 || !list.is_empty() {
                list.extend_from_slice(first.as_bytes());
            }
        }
        if list.is_empty() { first } else { SglDescriptor::new(SglType::LAST_SEGMENT, segments, length_of(list)) }
    }
}

fn deallocate(nsid: u32, ranges: &[Range], segments: u64, list: &mut Vec<u8>) -> Command {
    for range in ranges {
        let range = DatasetRange { slba: range.first.into(), blocks: small(range.count).into(), ..Default::default() };
        list.extend_from_slice(range.as_bytes());
    }
    let count_z = u8::try_from(ranges.len() - 1).expect("at most 256 ranges");
    let command = Command {
        cdw10: u32::from(count_z).into(),
        cdw11: DATASET_DEALLOCATE.into(),
        ..nvm_command(NvmOpcode::DATASET_MANAGEMENT, nsid)
    };
    command.with_sgl1(SglDescriptor::new(SglType::DATA_BLOCK, segments, length_of(list)))
}

fn length_of(list: &[u8]) -> u32 {
    let length = list.len();
    assert!(length <= SEGMENT_BYTES_MAX, "{length} bytes of descriptors");
    u32::try_from(length).expect("a page")
}

/// A number of blocks that 32 bits hold: the request had no more sectors.
fn small(blocks: u64) -> u32 {
    u32::try_from(blocks).expect("at most 2^32 - 1 blocks")
}
