//! The entry that fuzzers and random tests share: bytes as a driver's memory, from the descriptors to the NVMe commands. Not part of
//! the crate's interface.

use controller::dma::FlatMemory;

use crate::chain::{self, CHAIN_MAX, DESCRIPTOR_BYTES};
use crate::geometry::{Geometry, SEGMENTS_MAX};
use crate::memory::WINDOW_START;
use crate::plan::{Plan, SEGMENT_BYTES_MAX};
use crate::request::{self, DISCARD_SEGMENTS_MAX, Extent, Limits, Operation, PIECES_MAX, Range, Request};
use crate::wire::ID_BYTES;

/// How the input begins: log2 of the table's size, a head, flags, log2 of the block size less 9, log2 of the number of blocks, MDTS.
const SETTINGS: usize = 8;
/// Flag: indirect tables were negotiated.
const INDIRECT: u8 = 1;
/// Flag: addresses and indexes of the table are cut down to what there is, so that more of them lead somewhere.
const TAME: u8 = 2;

/// Takes one head of the table at address 0 through all that is done before a command is submitted. Returns whether there was a
/// request in it.
///
/// # Panics
/// If anything about it is not as the controller may rely on.
pub fn fuzz_entry(input: &[u8]) -> bool {
    let Some((settings, bytes)) = input.split_first_chunk::<SETTINGS>() else { return false };
    let [size, head_low, head_high, flags, shift, blocks, mdts, _] = *settings;
    let size = 1_u16 << (size % 11);
    let mut bytes = bytes.to_vec();
    if flags & TAME != 0 {
        tame(&mut bytes, size);
    }
    let memory = FlatMemory::new(bytes);
    let geometry = geometry(shift, blocks, mdts);
    let mut buffers = Vec::new();
    let head = u16::from_le_bytes([head_low, head_high]);
    if chain::walk(&memory, 0, size, head, flags & INDIRECT != 0, &mut buffers).is_err() {
        return false;
    }
    assert!(!buffers.is_empty() && buffers.len() <= CHAIN_MAX);
    let mut extent = Extent::default();
    let Ok(request) = request::parse(&memory, &buffers, &geometry.limits, &mut extent) else { return false };
    check_request(&request, &extent, &geometry);
    check_plan(&request, &extent, &geometry);
    true
}

fn tame(bytes: &mut [u8], size: u16) {
    let last = u64::try_from(bytes.len().saturating_sub(1)).unwrap_or(0);
    for entry in bytes.as_chunks_mut::<DESCRIPTOR_BYTES>().0.iter_mut().take(size.into()) {
        let [a, b, c, d, e, f, g, h, rest @ ..] = *entry;
        let address = u64::from_le_bytes([a, b, c, d, e, f, g, h]) & last;
        entry[..8].copy_from_slice(&address.to_le_bytes());
        let next = u16::from_le_bytes([rest[6], rest[7]]) & (size - 1);
        entry[14..].copy_from_slice(&next.to_le_bytes());
    }
}

fn geometry(shift: u8, blocks: u8, mdts: u8) -> Geometry {
    let block_shift = 9 + u32::from(shift % 8);
    // A command carries at least one block: no other namespace becomes a disk.
    let transfer_bytes_max = (1_u64 << block_shift).max(4096 << (mdts % 9));
    let bytes_max = transfer_bytes_max * u64::from(SEGMENTS_MAX);
    Geometry {
        nsid: 1,
        limits: Limits { block_shift, blocks: 1 << (blocks % 48), bytes_max },
        transfer_bytes_max,
        serial: [0; ID_BYTES],
        write_cache: None,
        read_only: false,
        physical_blocks: 1,
        minimum_blocks: 1,
        optimal_blocks: 0,
        discard_blocks: 1,
    }
}

fn check_request(request: &Request, extent: &Extent, geometry: &Geometry) {
    let inside = |range: &Range| {
        range.count > 0 && range.first.checked_add(range.count).is_some_and(|end| end <= geometry.limits.blocks)
    };
    assert!(extent.pieces.len() <= PIECES_MAX && extent.ranges.iter().all(inside));
    for piece in &extent.pieces {
        assert!(piece.length > 0 && piece.address + u64::from(piece.length) <= WINDOW_START);
    }
    let bytes: u64 = extent.pieces.iter().map(|piece| u64::from(piece.length)).sum();
    match request.operation {
        Operation::Read(range) | Operation::Write(range) => {
            assert!(inside(&range));
            assert_eq!(bytes, range.count << geometry.limits.block_shift);
        }
        Operation::Flush => assert_eq!(bytes, 0),
        Operation::Identify => assert!(bytes > 0 && bytes <= ID_BYTES as u64),
        Operation::Discard => assert!(extent.ranges.len() <= DISCARD_SEGMENTS_MAX),
        Operation::WriteZeroes { .. } => assert!(extent.ranges.len() <= 1),
    }
}

/// The commands cover the request once, in order, and none carries more than it may.
fn check_plan(request: &Request, extent: &Extent, geometry: &Geometry) {
    let (mut plan, mut list) = (Plan::default(), Vec::new());
    let all = match request.operation {
        Operation::Read(range) | Operation::Write(range) => Some(range),
        Operation::WriteZeroes { .. } => extent.ranges.first().copied(),
        _ => None,
    };
    let mut next = all.map_or(0, |range| range.first);
    while let Some(command) = plan.next(request, extent, geometry, WINDOW_START, &mut list) {
        assert!(list.len() <= SEGMENT_BYTES_MAX);
        assert_eq!(command.nsid.get(), 1);
        if all.is_some() {
            let first = u64::from(command.cdw10.get()) | u64::from(command.cdw11.get()) << 32;
            let count = u64::from(command.cdw12.get() & 0xffff) + 1;
            assert_eq!(first, next);
            let zeroes = matches!(request.operation, Operation::WriteZeroes { .. });
            assert!(zeroes || count << geometry.limits.block_shift <= geometry.transfer_bytes_max);
            next += count;
        }
    }
    assert_eq!(next, all.map_or(0, |range| range.first + range.count));
}
