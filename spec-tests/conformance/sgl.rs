//! Data pointers: Scatter Gather Lists (rules B119–B130). Random commands with random lists are in `fuzz`.

use nvme_host::Piece;
use nvme_host::io::{block_command, nvm_command};
use nvme_spec::command::{DATASET_DEALLOCATE, DatasetRange};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::sgl::{SglDescriptor, SglSubtype, SglType};
use nvme_spec::{Command, Status, identify};
use proptest::prelude::*;
use spec_tests::random::cases;
use spec_tests::rig::{Build, MEMORY};
use zerocopy::IntoBytes;

use crate::verbs::{TRANSFERS, TestHost, Verbs, pattern};

const PAGE: u64 = 4096;
/// Not mapped, and far from what is.
const NOWHERE: u64 = 0x7000_0000_0000;
/// What every block of [`filled`] holds, one after the other.
const SEED: u64 = 123;
const BLOCKS: u32 = 256;
const BOTH: [SglType; 2] = [SglType::SEGMENT, SglType::LAST_SEGMENT];

/// A host with blocks of 512 bytes, the first [`BLOCKS`] of which hold [`stored`].
fn filled() -> TestHost {
    let mut host = Build::default().host();
    assert_eq!(host.write(1, 0, &stored(), false).expect("answered"), Status::SUCCESS);
    host
}

fn stored() -> Vec<u8> {
    pattern(SEED, BLOCKS as usize * 512)
}

fn read(blocks: u32) -> Command {
    block_command(NvmOpcode::READ, 1, 0, blocks)
}

fn data(address: u64, length: u32) -> SglDescriptor {
    SglDescriptor::new(SglType::DATA_BLOCK, address, length)
}

/// What points to a segment of this many descriptors.
fn to(kind: SglType, address: u64, descriptors: usize) -> SglDescriptor {
    SglDescriptor::new(kind, address, u32::try_from(descriptors * 16).expect("below 4 GiB"))
}

/// Writes a segment at `address`, and says what points to it.
fn put(host: &mut TestHost, kind: SglType, address: u64, descriptors: &[SglDescriptor]) -> SglDescriptor {
    host.write_memory(address, descriptors.as_bytes());
    to(kind, address, descriptors.len())
}

/// Two places: for data, and for a segment.
fn places(host: &mut TestHost) -> (u64, u64) {
    (host.allocate(16 * 4096).expect("room"), host.allocate(16 * 4096).expect("room"))
}

/// The bytes of the pieces, joined.
fn gather(host: &TestHost, pieces: &[Piece]) -> Vec<u8> {
    pieces.iter().flat_map(|piece| host.read_memory(piece.address, piece.length as usize)).collect()
}

/// Scatters `bytes` over the pieces.
fn scatter(host: &mut TestHost, pieces: &[Piece], mut bytes: &[u8]) {
    for piece in pieces {
        let (here, later) = bytes.split_at((piece.length as usize).min(bytes.len()));
        host.write_memory(piece.address, here);
        bytes = later;
    }
}

/// Reads, writes and compares blocks by way of the pieces: the bytes are those that they should be.
fn round_trip(host: &mut TestHost, blocks: u32, pieces: &[Piece], room: usize) {
    let mapping = host.map_sgl(pieces, room).expect("room");
    let length = blocks as usize * 512;
    scatter(host, pieces, &vec![0; length]);
    assert_eq!(host.io_status(mapping.on(read(blocks))), Status::SUCCESS);
    assert!(gather(host, pieces)[..length] == stored()[..length], "{blocks} blocks of {pieces:?} are read");
    let compare = mapping.on(block_command(NvmOpcode::COMPARE, 1, 0, blocks));
    assert_eq!(host.io_status(compare), Status::SUCCESS);
    let new = pattern(u64::from(blocks), length);
    scatter(host, pieces, &new);
    assert_eq!(host.io_status(compare), Status::COMPARE_FAILURE);
    let write = mapping.on(block_command(NvmOpcode::WRITE, 1, 4096, blocks));
    assert_eq!(host.io_status(write), Status::SUCCESS);
    assert!(host.read(1, 4096, blocks).expect("answered").1 == new, "{blocks} blocks of {pieces:?} are written");
    host.unmap_sgl(mapping);
}

/// B123, B125, B126, B129: what is offered, and nothing else: data blocks at any byte, and lists that are longer than the data.
#[test]
fn the_controller_says_which_lists_it_takes() {
    let mut host = Build::default().host();
    let sgls = host.identify_controller().expect("mandatory").sgls.get();
    assert_eq!(sgls, (identify::SglSupport::ANY_ALIGNMENT | identify::SglSupport::EXCESS_LENGTH).bits());
}

/// B122, B123: one data block, at corners and a sample of lengths and byte offsets; what is around it does not move.
#[test]
fn a_data_block_of_any_length_and_offset_gives_identical_bytes() {
    let mut host = filled();
    for blocks in [1, 2, 7, 8, 9, 16, 17, 33, 255, 256] {
        for offset in [0, 1, 2, 3, 4, 5, 511, 512, 2047, 4088, 4092, 4095] {
            let length = blocks as usize * 512;
            let buffer = host.allocate(length + 2 * 4096).expect("room");
            host.write_memory(buffer, &vec![0xee; length + 2 * 4096]);
            let at = usize::try_from(offset).expect("small");
            round_trip(&mut host, blocks, &[Piece { address: buffer + offset, length: blocks * 512 }], 0);
            let bytes = host.read_memory(buffer, length + 2 * 4096);
            assert!(bytes[..at].iter().chain(&bytes[at + length..]).all(|byte| *byte == 0xee), "{blocks} at {offset}");
            host.release(buffer);
        }
    }
}

/// B123, E23: a block split at every byte, in pieces that lie the other way round.
#[test]
fn data_split_at_every_byte_gives_identical_bytes() {
    let mut host = filled();
    let (buffer, _) = places(&mut host);
    for split in 0..=512 {
        let pieces = [
            Piece { address: buffer + 0x3001, length: split },
            Piece { address: buffer + 0x1002, length: 512 - split },
        ];
        round_trip(&mut host, 1, &pieces, 2);
    }
}

/// B123: lists in one segment and in many, of all lengths around those that are read at a time.
#[test]
fn segments_of_any_length_are_followed_to_the_last() {
    let mut host = filled();
    let (buffer, _) = places(&mut host);
    for count in [2, 3, 63, 64, 65, 127, 128, 129, 200, 512] {
        let at = |index: u32| buffer + u64::from(511 - index) * 17;
        let mut pieces: Vec<Piece> = (0..count).map(|index| Piece { address: at(index), length: 1 }).collect();
        pieces.push(Piece { address: buffer + 0x8000, length: 1024 - count });
        for room in [2, 3, 17, 64, 65, 66, 600] {
            round_trip(&mut host, 2, &pieces, room);
        }
    }
}

/// B123: a segment that need not say so may be the last all the same: the list ends with the data.
#[test]
fn a_list_may_end_in_a_segment_that_was_not_announced_as_the_last() {
    let mut host = filled();
    let (buffer, list) = places(&mut host);
    let first = put(&mut host, SglType::SEGMENT, list, &[data(buffer, 100), data(buffer + 100, 412)]);
    assert_eq!(host.io_status(read(1).with_sgl1(first)), Status::SUCCESS);
    assert!(host.read_memory(buffer, 512) == stored()[..512]);
}

/// B123, B126: any other type, and any other subtype, is refused: bit buckets, keys, offsets, and what has no name.
#[test]
fn descriptors_that_are_not_offered_are_refused() {
    let mut host = filled();
    let (buffer, list) = places(&mut host);
    put(&mut host, SglType::LAST_SEGMENT, list + PAGE, &[data(buffer, 4096)]);
    let offered = [SglType::DATA_BLOCK, SglType::SEGMENT, SglType::LAST_SEGMENT].map(|kind| kind.0 << 4);
    for identifier in (0..=u8::MAX).filter(|identifier| !offered.contains(identifier)) {
        // Good as data, and as a segment.
        let bad = SglDescriptor { identifier, ..to(SglType::LAST_SEGMENT, list + PAGE, 1) };
        let inside = put(&mut host, SglType::LAST_SEGMENT, list, &[data(buffer, 100), bad, data(buffer, 4096)]);
        for opcode in TRANSFERS {
            let command = block_command(opcode, 1, 0, 8);
            assert_eq!(host.io_status(command.with_sgl1(bad)), Status::INVALID_SGL_TYPE, "{identifier:#x}");
            assert_eq!(host.io_status(command.with_sgl1(inside)), Status::INVALID_SGL_TYPE, "{identifier:#x}");
        }
    }
    assert_eq!((SglType::BIT_BUCKET.0, SglSubtype::OFFSET.0), (1, 1));
    assert_eq!(host.read_memory(buffer, 8192), [0; 8192]);
}

/// B124: a segment has whole descriptors, at least one, and begins at a quadword.
#[test]
fn segments_that_cannot_be_are_refused() {
    let mut host = filled();
    let (buffer, list) = places(&mut host);
    put(&mut host, SglType::LAST_SEGMENT, list + PAGE, &[data(buffer, 512); 8]);
    for kind in BOTH {
        let cases = [0, 1, 8, 15, 17, 24, 0xffff_ffff].map(|length| SglDescriptor::new(kind, list + PAGE, length));
        let crooked = [1, 2, 4, 12].map(|offset| SglDescriptor::new(kind, list + PAGE + offset, 64));
        for bad in cases.into_iter().chain(crooked) {
            assert_eq!(host.io_status(read(1).with_sgl1(bad)), Status::INVALID_SGL_SEGMENT, "{bad:x?}");
            let chained = put(&mut host, SglType::SEGMENT, list, &[data(buffer, 100), bad]);
            assert_eq!(host.io_status(read(1).with_sgl1(chained)), Status::INVALID_SGL_SEGMENT, "{bad:x?}");
        }
        let at_quadword = to(kind, list + PAGE + 8, 2);
        host.write_memory(list + PAGE + 8, [data(buffer, 256); 2].as_bytes());
        assert_eq!(host.io_status(read(1).with_sgl1(at_quadword)), Status::SUCCESS);
    }
}

/// B124: only the last descriptor of a segment leads to another; also where it is not the last but the last that was read at once.
#[test]
fn a_segment_descriptor_that_is_not_the_last_is_refused() {
    let mut host = filled();
    let (buffer, list) = places(&mut host);
    let second = list + 8 * PAGE;
    for kind in BOTH {
        let next = put(&mut host, kind, second, &[data(buffer, 4096)]);
        for (count, at) in [(2, 0), (3, 1), (64, 62), (65, 63), (65, 0), (130, 64), (130, 127)] {
            let mut descriptors = vec![data(buffer, 1); count];
            descriptors[at] = next;
            for outer in BOTH {
                let first = put(&mut host, outer, list, &descriptors);
                let status = host.io_status(read(1).with_sgl1(first));
                assert_eq!(status, Status::INVALID_SGL_COUNT, "{at} of {count}, {kind:?} in {outer:?}");
            }
        }
    }
}

/// B124: a segment that is the last leads to no other.
#[test]
fn a_last_segment_that_goes_on_is_refused() {
    let mut host = filled();
    let (buffer, list) = places(&mut host);
    for kind in BOTH {
        let next = put(&mut host, kind, list + 8 * PAGE, &[data(buffer, 4096)]);
        for count in [1, 2, 64, 65] {
            let mut descriptors = vec![data(buffer, 1); count];
            descriptors[count - 1] = next;
            let first = put(&mut host, SglType::LAST_SEGMENT, list, &descriptors);
            assert_eq!(host.io_status(read(1).with_sgl1(first)), Status::INVALID_SGL_SEGMENT, "{count}");
            let first = put(&mut host, SglType::SEGMENT, list, &descriptors);
            assert_eq!(host.io_status(read(1).with_sgl1(first)), Status::SUCCESS, "{count}");
        }
    }
}

/// B125: a list that describes less than the data is refused, if by one byte, and nothing moves.
#[test]
fn a_list_that_is_too_short_is_refused_and_nothing_moves() {
    let mut host = filled();
    let (buffer, list) = places(&mut host);
    host.write_memory(buffer, &[0xee; 4096]);
    let second = put(&mut host, SglType::LAST_SEGMENT, list + PAGE, &[data(buffer, 2000)]);
    let short = [
        data(buffer, 4095),
        data(buffer, 0),
        put(&mut host, SglType::LAST_SEGMENT, list, &[data(buffer, 4000), data(buffer + 4000, 95)]),
        put(&mut host, SglType::SEGMENT, list + 2 * PAGE, &[data(buffer, 2095), second]),
        put(&mut host, SglType::SEGMENT, list + 3 * PAGE, &[data(buffer, 4095)]),
    ];
    for first in short {
        for opcode in TRANSFERS {
            let status = host.io_status(block_command(opcode, 1, 0, 8).with_sgl1(first));
            assert_eq!(status, Status::INVALID_SGL_LENGTH, "{opcode:?} {first:x?}");
        }
    }
    assert_eq!(host.read_memory(buffer, 4096), [0xee; 4096]);
    assert!(host.read(1, 0, 8).expect("answered").1 == stored()[..4096]);
}

/// B125, B70, E22: of a list that describes more than the data, the rest is not used, and not looked at.
#[test]
fn what_a_list_describes_behind_the_data_is_not_touched() {
    let mut host = filled();
    let (buffer, list) = places(&mut host);
    let nowhere = to(SglType::SEGMENT, NOWHERE, 4);
    let bad = SglDescriptor { identifier: 0xff, ..SglDescriptor::default() };
    let long = [
        data(buffer, 513),
        data(buffer, u32::MAX),
        put(&mut host, SglType::LAST_SEGMENT, list, &[data(buffer, 500), data(buffer + 500, 8192), bad]),
        put(&mut host, SglType::SEGMENT, list + PAGE, &[data(buffer, 512), nowhere]),
        put(&mut host, SglType::SEGMENT, list + 2 * PAGE, &[data(buffer, 512), nowhere, nowhere]),
    ];
    for first in long {
        host.write_memory(buffer, &[0xee; 8192]);
        assert_eq!(host.io_status(read(1).with_sgl1(first)), Status::SUCCESS, "{first:x?}");
        assert!(host.read_memory(buffer, 512) == stored()[..512]);
        assert!(host.read_memory(buffer + 512, 7680) == [0xee; 7680], "{first:x?}");
    }
}

/// B125: descriptors of no bytes are skipped, wherever they are and point to.
#[test]
fn empty_data_blocks_are_skipped() {
    let mut host = filled();
    let (buffer, list) = places(&mut host);
    let empty = [0, 1, NOWHERE, u64::MAX].map(|address| data(address, 0));
    let second = [&empty[..], &[data(buffer + 100, 412)], &empty[..]].concat();
    let second = put(&mut host, SglType::LAST_SEGMENT, list + PAGE, &second);
    let descriptors = [&empty[..], &[data(buffer, 100)], &empty[..], &[second]].concat();
    let first = put(&mut host, SglType::SEGMENT, list, &descriptors);
    assert_eq!(host.io_status(read(1).with_sgl1(first)), Status::SUCCESS);
    assert!(host.read_memory(buffer, 512) == stored()[..512]);
}

/// B121: MDTS is the same for SGLs.
#[test]
fn transfers_by_sgl_end_at_mdts() {
    let mut build = Build::default();
    build.device.mdts = 5;
    let mut host = build.host();
    let buffer = host.allocate(4096 << 6).expect("room");
    for opcode in TRANSFERS {
        let command = |blocks| block_command(opcode, 1, 0, blocks).with_sgl1(data(buffer, 4096 << 6));
        assert_eq!(host.io_status(command(8 << 5)), Status::SUCCESS, "{opcode:?}");
        assert_eq!(host.io_status(command((8 << 5) + 1)), Status::INVALID_FIELD, "{opcode:?}");
    }
}

/// B127: 2^16 descriptors and more are taken, be they empty or of a byte each.
#[test]
fn lists_of_tens_of_thousands_of_descriptors_are_followed() {
    const COUNT: usize = 1 << 16;
    let mut host = filled();
    let (buffer, _) = places(&mut host);
    let list = host.allocate((COUNT + 2) * 16).expect("room");
    let mut descriptors = vec![data(NOWHERE, 0); COUNT];
    descriptors.push(data(buffer, 512));
    let first = put(&mut host, SglType::LAST_SEGMENT, list, &descriptors);
    assert_eq!(host.io_status(read(1).with_sgl1(first)), Status::SUCCESS);
    assert!(host.read_memory(buffer, 512) == stored()[..512]);
    // Every other byte of 128 KiB.
    let apart = host.allocate(2 * COUNT).expect("room");
    let bytes: Vec<_> = (0..COUNT as u64).map(|index| data(apart + 2 * index, 1)).collect();
    let first = put(&mut host, SglType::LAST_SEGMENT, list, &bytes);
    assert_eq!(host.io_status(read(128).with_sgl1(first)), Status::SUCCESS);
    let expected: Vec<u8> = stored()[..COUNT].iter().flat_map(|byte| [*byte, 0]).collect();
    assert!(host.read_memory(apart, 2 * COUNT) == expected);
}

/// B127: a list without an end has one here, and the device goes on.
#[test]
fn lists_that_never_end_are_refused() {
    let mut host = filled();
    let (buffer, list) = places(&mut host);
    let itself = to(SglType::SEGMENT, list, 1);
    let endless = [
        put(&mut host, SglType::SEGMENT, list, &[itself]),
        put(&mut host, SglType::SEGMENT, list + PAGE, &[data(buffer, 0), to(SglType::SEGMENT, list + PAGE, 2)]),
        to(SglType::LAST_SEGMENT, MEMORY.start, 0x20_0010),
        to(SglType::SEGMENT, MEMORY.start + 16, 0x20_0001),
    ];
    for first in &endless[..2] {
        assert_eq!(host.io_status(read(1).with_sgl1(*first)), Status::INVALID_SGL_COUNT, "{first:x?}");
    }
    // A segment over all of memory: whatever lies there, it is answered.
    for first in &endless[2..] {
        assert!(!host.io_status(read(1).with_sgl1(*first)).is_success());
    }
    let zeroes = host.allocate((1 << 21) + 32).expect("room");
    let status =
        |host: &mut TestHost, count| host.io_status(read(1).with_sgl1(to(SglType::LAST_SEGMENT, zeroes, count)));
    assert_eq!(status(&mut host, 1 << 17), Status::INVALID_SGL_LENGTH);
    assert_eq!(status(&mut host, (1 << 17) + 1), Status::INVALID_SGL_COUNT);
    assert_eq!(status(&mut host, (1 << 28) - 1), Status::INVALID_SGL_COUNT);
    host.assert_alive();
}

/// B119, B120, B130, E2: data or a segment that is not mapped, wraps, or lies where a BAR would be, is a data transfer error, also where
/// memory comes before it; there is no controller memory buffer to mix with (CAP.CMBS is 0).
#[test]
fn addresses_without_memory_are_data_transfer_errors() {
    let mut host = filled();
    let (buffer, list) = places(&mut host);
    assert_eq!(host.capabilities().0 >> 57 & 1, 0);
    for nowhere in [NOWHERE, 0, MEMORY.end, MEMORY.start - PAGE, 0xfebf_0000, 1 << 63, u64::MAX - 4095] {
        for opcode in TRANSFERS {
            host.write_memory(buffer, &stored()[..4096]);
            let lists = [
                data(nowhere, 4096),
                to(SglType::SEGMENT, nowhere, 2),
                to(SglType::LAST_SEGMENT, nowhere, 300),
                put(&mut host, SglType::LAST_SEGMENT, list, &[data(buffer, 512), data(nowhere, 3584)]),
                put(
                    &mut host,
                    SglType::SEGMENT,
                    list + PAGE,
                    &[data(buffer, 512), to(SglType::LAST_SEGMENT, nowhere, 1)],
                ),
            ];
            for first in lists {
                let status = host.io_status(block_command(opcode, 1, 0, 8).with_sgl1(first));
                assert_eq!(status, Status::DATA_TRANSFER_ERROR, "{opcode:?} {first:x?}");
            }
        }
    }
    assert!(host.read(1, 0, 8).expect("answered").1 == stored()[..4096]);
    host.assert_alive();
}

/// B119, E50: what begins at the top of the address space does not go on at the bottom, even where memory is at both.
#[test]
fn the_last_address_does_not_go_on_at_the_first() {
    let mut host = filled();
    host.port_mut().memory.map(0..2 * PAGE);
    host.port_mut().memory.map(u64::MAX - 4095..u64::MAX);
    let (buffer, list) = places(&mut host);
    host.write_memory(0, data(buffer, 512).as_bytes());
    let data_wraps = data(u64::MAX - 255, 512);
    let joined = put(&mut host, SglType::LAST_SEGMENT, list, &[data(u64::MAX - 255, 256), data(0, 256)]);
    let segment_wraps = [64, 65, 1 << 20].map(|count| to(SglType::LAST_SEGMENT, u64::MAX - 1023, count));
    for first in [data_wraps, joined].into_iter().chain(segment_wraps) {
        assert_eq!(host.io_status(read(1).with_sgl1(first)), Status::DATA_TRANSFER_ERROR, "{first:x?}");
    }
    host.assert_alive();
}

/// B128, B129: PSDT 01b is taken with commands that move nothing, too, and the metadata pointer matters nowhere.
#[test]
fn commands_without_data_and_without_metadata_do_not_mind() {
    let mut host = filled();
    let (buffer, _) = places(&mut host);
    for mptr in [0, 1, NOWHERE, u64::MAX] {
        for opcode in [NvmOpcode::FLUSH, NvmOpcode::WRITE_ZEROES, NvmOpcode::READ] {
            let command = Command { mptr: mptr.into(), ..block_command(opcode, 1, 4000, 1) };
            assert_eq!(host.io_status(command.with_sgl1(data(buffer, 512))), Status::SUCCESS, "{opcode:?}");
        }
    }
}

/// B123, B125, B142: the ranges of Dataset Management come by SGL too; Linux describes a whole page for them, whatever their number.
#[test]
fn ranges_of_dataset_management_come_by_sgl() {
    let mut host = filled();
    let (buffer, list) = places(&mut host);
    let range = |slba: u64| DatasetRange { slba: slba.into(), blocks: 1.into(), ..DatasetRange::default() };
    let ranges = [range(0), range(2)];
    let command =
        Command { cdw10: 1.into(), cdw11: DATASET_DEALLOCATE.into(), ..nvm_command(NvmOpcode::DATASET_MANAGEMENT, 1) };
    host.write_memory(buffer, &ranges.as_bytes()[..11]);
    host.write_memory(buffer + PAGE, &ranges.as_bytes()[11..]);
    let short = put(&mut host, SglType::LAST_SEGMENT, list, &[data(buffer, 11), data(buffer + PAGE, 20)]);
    assert_eq!(host.io_status(command.with_sgl1(short)), Status::INVALID_SGL_LENGTH);
    assert!(host.read(1, 0, 3).expect("answered").1 == stored()[..3 * 512]);
    let long = put(&mut host, SglType::LAST_SEGMENT, list, &[data(buffer, 11), data(buffer + PAGE, 4096)]);
    assert_eq!(host.io_status(command.with_sgl1(long)), Status::SUCCESS);
    let after = host.read(1, 0, 3).expect("answered").1;
    assert_eq!((&after[..512], &after[1024..]), (&[0; 512][..], &[0; 512][..]));
    assert!(after[512..1024] == stored()[512..1024]);
}

/// B119, B182: a write whose memory ends in the middle of a block leaves that block as it was.
#[test]
fn a_write_whose_pieces_end_leaves_each_block_old_or_new() {
    let mut host = filled();
    let (buffer, list) = places(&mut host);
    for mapped in [1, 511, 512, 700, 4095] {
        let pieces = [data(buffer, mapped), data(NOWHERE, 4096 - mapped)];
        let first = put(&mut host, SglType::LAST_SEGMENT, list, &pieces);
        let status = host.io_status(block_command(NvmOpcode::WRITE, 1, 0, 8).with_sgl1(first));
        assert_eq!(status, Status::DATA_TRANSFER_ERROR);
        let after = host.read(1, 0, 8).expect("answered").1;
        for (block, (new, old)) in after.chunks(512).zip(stored().chunks(512)).enumerate() {
            assert!(new == old || new == [0; 512], "block {block} is torn");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: u32::try_from(cases(128)).unwrap_or(u32::MAX),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    /// B122, B123: whatever pieces describe the data, the bytes are those that PRPs bring, and no others change.
    #[test]
    fn pieces_bring_what_prps_bring(
        shape in prop::collection::vec((0_u64..5000, 0_u32..1500), 1..60),
        room in 2_usize..70,
        excess in 0_u32..600,
    ) {
        let mut host = filled();
        let total: u32 = shape.iter().map(|(_, length)| length).sum::<u32>();
        let blocks = (total.saturating_sub(excess) / 512).min(BLOCKS);
        prop_assume!(blocks > 0);
        let area = usize::try_from(shape.iter().map(|(gap, length)| gap + u64::from(*length)).sum::<u64>()).unwrap();
        let buffer = host.allocate(area + 1).expect("room");
        host.write_memory(buffer, &vec![0xee; area]);
        let mut expected = vec![0xee; area];
        let (mut at, mut left) = (0, host.read(1, 0, blocks).expect("answered").1);
        let mut pieces = Vec::new();
        for (gap, length) in shape {
            at += usize::try_from(gap).unwrap();
            pieces.push(Piece { address: buffer + at as u64, length });
            let here: Vec<u8> = left.drain(..left.len().min(length as usize)).collect();
            expected[at..at + here.len()].copy_from_slice(&here);
            at += length as usize;
        }
        let mapping = host.map_sgl(&pieces, room).expect("room");
        prop_assert_eq!(host.io_status(mapping.on(read(blocks))), Status::SUCCESS);
        prop_assert!(host.read_memory(buffer, area) == expected);
        let write = mapping.on(block_command(NvmOpcode::WRITE, 1, 4096, blocks));
        prop_assert_eq!(host.io_status(write), Status::SUCCESS);
        prop_assert!(host.read(1, 4096, blocks).expect("answered").1 == stored()[..blocks as usize * 512]);
    }
}
