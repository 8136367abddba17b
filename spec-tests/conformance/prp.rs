//! Data pointers: PRP entries and lists (rules B114–B128). `CASES` and `SEED` lengthen and vary the random sample.

use nvme_host::io::block_command;
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Command, Status};
use spec_tests::random::{Random, cases, seed};
use spec_tests::rig::{Build, MEMORY};

use crate::verbs::{TRANSFERS, TestHost, Verbs, bare, identify_controller, pattern, with_prp};

const PAGE: u64 = 4096;
/// Not mapped, and far from what is.
const NOWHERE: u64 = 0x7000_0000_0000;
/// The last page of the rig's memory: behind it there is nothing.
const LAST: u64 = MEMORY.end - PAGE;

/// A host with 4 KiB blocks whose block n holds `pattern(n)`, for n below 64.
fn filled() -> TestHost {
    let mut host = Build { namespaces: vec![(4096, 64)], ..Build::default() }.host();
    let data: Vec<u8> = (0..64).flat_map(|block| pattern(block, 4096)).collect();
    assert_eq!(host.write(1, 0, &data, false).expect("answered"), Status::SUCCESS);
    host
}

fn read(blocks: u32) -> Command {
    block_command(NvmOpcode::READ, 1, 0, blocks)
}

/// Pages of guest memory, each a page away from the next.
fn scattered(host: &mut TestHost, count: usize) -> Vec<u64> {
    (0..count).map(|_| host.allocate(2 * 4096).expect("room")).collect()
}

fn put_list(host: &mut TestHost, address: u64, entries: &[u64]) {
    let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    host.write_memory(address, &bytes);
}

/// The pages hold blocks 0, 1, 2… of [`filled`], and what lies behind each page is untouched.
fn assert_blocks(host: &TestHost, pages: &[u64]) {
    for (block, page) in (0..).zip(pages) {
        assert!(host.read_memory(*page, 4096) == pattern(block, 4096), "block {block}");
        assert!(host.read_memory(*page + PAGE, 4096) == [0; 4096], "behind block {block}");
    }
}

/// B114: the first entry has its low two bits clear, in I/O and admin commands.
#[test]
fn an_odd_first_entry_is_refused() {
    let mut host = filled();
    let page = host.allocate(4096).expect("room");
    for low in 1..4 {
        for opcode in TRANSFERS {
            let command = with_prp(block_command(opcode, 1, 0, 1), page + low, page);
            assert_eq!(host.io_status(command), Status::INVALID_PRP_OFFSET, "{opcode:?}");
        }
        let identify = with_prp(identify_controller(), page + low, page);
        assert_eq!(host.admin_status(identify), Status::INVALID_PRP_OFFSET);
    }
    assert_eq!(host.read_memory(page, 4096), [0; 4096]);
}

/// B115: the second entry as the second page has no offset.
#[test]
fn a_second_page_with_an_offset_is_refused() {
    let mut host = filled();
    let pages = scattered(&mut host, 2);
    for offset in [1, 2, 4, 8, 512, 2048, 4088, 4095] {
        assert_eq!(host.io_status(with_prp(read(2), pages[0], pages[1] + offset)), Status::INVALID_PRP_OFFSET);
        let identify = with_prp(identify_controller(), pages[0] + 4, pages[1] + offset);
        assert_eq!(host.admin_status(identify), Status::INVALID_PRP_OFFSET);
    }
}

/// B69, B70: a second entry that is not needed is not looked at; one that is needed and bad is an error, never a short success.
#[test]
fn the_second_entry_matters_only_where_it_is_needed() {
    let mut host = filled();
    let page = host.allocate(8192).expect("room");
    for prp2 in [0, 1, NOWHERE, u64::MAX] {
        assert_eq!(host.io_status(with_prp(read(1), page, prp2)), Status::SUCCESS);
        assert_eq!(host.admin_status(with_prp(identify_controller(), page, prp2)), Status::SUCCESS);
    }
    for prp2 in [0, NOWHERE] {
        assert_eq!(host.io_status(with_prp(read(1), page + 4, prp2)), Status::DATA_TRANSFER_ERROR);
        assert_eq!(host.admin_status(with_prp(identify_controller(), page + 4, prp2)), Status::DATA_TRANSFER_ERROR);
    }
}

/// B116: a list may begin at any quadword of its page, and nowhere else.
#[test]
fn a_list_begins_at_any_quadword() {
    let mut host = filled();
    let pages = scattered(&mut host, 8);
    let list = host.allocate(4096).expect("room");
    for offset in (0..=PAGE - 7 * 8).step_by(8) {
        put_list(&mut host, list + offset, &pages[1..]);
        assert_eq!(host.io_status(with_prp(read(8), pages[0], list + offset)), Status::SUCCESS, "{offset}");
    }
    assert_blocks(&host, &pages);
    for offset in [1, 2, 4, 12] {
        assert_eq!(host.io_status(with_prp(read(8), pages[0], list + offset)), Status::INVALID_PRP_OFFSET, "{offset}");
    }
}

/// B116: where more data follows, the last entry of a page points to the next list.
#[test]
fn a_list_goes_on_where_its_last_entry_points() {
    for in_first in 0..6 {
        let mut host = filled();
        let pages = scattered(&mut host, 8);
        let [first, second] = [0; 2].map(|_| host.allocate(4096).expect("room"));
        let (here, there) = pages[1..].split_at(in_first);
        let place = first + PAGE - 8 * (in_first as u64 + 1);
        put_list(&mut host, place, here);
        put_list(&mut host, first + PAGE - 8, &[second]);
        put_list(&mut host, second, there);
        assert_eq!(host.io_status(with_prp(read(8), pages[0], place)), Status::SUCCESS, "{in_first}");
        assert_blocks(&host, &pages);
    }
}

/// B116: a list that ends with its page and the data is not read past; here nothing is mapped behind it.
#[test]
fn a_list_that_ends_with_its_page_is_not_read_past() {
    let mut host = filled();
    let pages = scattered(&mut host, 8);
    for blocks in 3..=8_u32 {
        let entries = &pages[1..blocks as usize];
        let place = MEMORY.end - 8 * entries.len() as u64;
        put_list(&mut host, place, entries);
        assert_eq!(host.io_status(with_prp(read(blocks), pages[0], place)), Status::SUCCESS, "{blocks}");
    }
    assert_blocks(&host, &pages);
    // The same with a whole page of entries behind a chain: 2 MiB at an offset are 513 pages.
    let mut build = Build { namespaces: vec![(4096, 1024)], ..Build::default() };
    build.device.mdts = 9;
    let mut host = build.host();
    let data = host.allocate(4096).expect("room");
    put_list(&mut host, LAST, &[data; 512]);
    assert_eq!(host.io_status(with_prp(read(512), data + 4, LAST)), Status::SUCCESS);
}

/// B117: no entry of a list has an offset, be it data or the way to the next list.
#[test]
fn a_list_entry_with_an_offset_is_refused() {
    let mut host = filled();
    let pages = scattered(&mut host, 8);
    let [first, second] = [0; 2].map(|_| host.allocate(4096).expect("room"));
    for bad in 1..8 {
        for offset in [4, 8, 2048] {
            let mut entries = pages[1..].to_vec();
            entries[bad - 1] += offset;
            put_list(&mut host, first, &entries);
            let command = with_prp(read(8), pages[0], first);
            assert_eq!(host.io_status(command), Status::INVALID_PRP_OFFSET, "entry {bad} + {offset}");
        }
    }
    put_list(&mut host, second + 8, &pages[1..]);
    put_list(&mut host, first + PAGE - 8, &[second + 8]);
    let command = with_prp(read(8), pages[0], first + PAGE - 8);
    assert_eq!(host.io_status(command), Status::INVALID_PRP_OFFSET);
}

/// B118: a list that goes on in itself ends with the data.
#[test]
fn a_list_that_points_to_itself_ends_with_the_data() {
    let mut build = Build { namespaces: vec![(4096, 1024)], ..Build::default() };
    build.device.mdts = 9;
    let mut host = build.host();
    let [data, list] = [0; 2].map(|_| host.allocate(4096).expect("room"));
    put_list(&mut host, list, &[data; 511]);
    put_list(&mut host, list + PAGE - 8, &[list]);
    for start in [list, list + 2048, list + PAGE - 16, list + PAGE - 8] {
        assert_eq!(host.io_status(with_prp(read(512), data, start)), Status::SUCCESS);
    }
    // Reading over the list while it is used: it was taken before.
    put_list(&mut host, list, &[list; 511]);
    assert_eq!(host.io_status(with_prp(read(512), list, list)), Status::SUCCESS);
    host.assert_alive();
}

/// B119, B120, E2: whatever part of the description is not mapped, wraps, or lies where a BAR would be: a data transfer error.
#[test]
fn addresses_without_memory_are_data_transfer_errors() {
    let mut host = filled();
    let pages = scattered(&mut host, 8);
    let list = host.allocate(4096).expect("room");
    let top = u64::MAX - (PAGE - 1);
    for nowhere in [NOWHERE, 0, MEMORY.end, MEMORY.start - PAGE, 0xfebf_0000, 1 << 63, top] {
        for opcode in TRANSFERS {
            let command = |blocks| block_command(opcode, 1, 0, blocks);
            let mut entries = pages[1..].to_vec();
            entries[6] = nowhere;
            put_list(&mut host, list, &entries);
            put_list(&mut host, list + PAGE - 8, &[nowhere]);
            let described = [
                with_prp(command(1), nowhere, 0),
                with_prp(command(2), nowhere, pages[1]),
                with_prp(command(2), pages[0], nowhere),
                with_prp(command(8), pages[0], nowhere),
                with_prp(command(8), pages[0], list),
                with_prp(command(8), pages[0], list + PAGE - 8),
            ];
            // Compare stops at a difference: let there be none in what is mapped.
            (0..).zip(&pages).for_each(|(block, page)| host.write_memory(*page, &pattern(block, 4096)));
            for (which, command) in described.into_iter().enumerate() {
                assert_eq!(host.io_status(command), Status::DATA_TRANSFER_ERROR, "{opcode:?} {nowhere:#x} {which}");
            }
        }
    }
    host.assert_alive();
}

/// B119: a piece that begins in memory and ends outside is an error; neighbouring mappings may be crossed.
#[test]
fn a_page_that_is_partly_mapped_is_an_error() {
    let mut host = filled();
    let memory = host.port_mut().memory.unmap_all();
    let edge = 0x1_0000_0800;
    memory.into_iter().for_each(|range| host.port_mut().memory.map(range));
    host.port_mut().memory.map(0x1_0000_0000..edge);
    assert_eq!(host.io_status(with_prp(read(1), 0x1_0000_0000, 0)), Status::DATA_TRANSFER_ERROR);
    host.port_mut().memory.map(edge..0x1_0000_1000);
    assert_eq!(host.io_status(with_prp(read(1), 0x1_0000_0000, 0)), Status::SUCCESS);
    assert_blocks(&host, &[0x1_0000_0000]);
}

/// B119, E50: entries at the top of the address space do not wrap to the bottom, even where memory is at both.
#[test]
fn the_last_page_does_not_go_on_at_the_first() {
    let mut host = filled();
    let top = u64::MAX - (PAGE - 1);
    host.port_mut().memory.map(0..2 * PAGE);
    // All of the last page but its last byte, which a range cannot include.
    host.port_mut().memory.map(top..u64::MAX);
    assert_eq!(host.io_status(with_prp(read(1), top, 0)), Status::DATA_TRANSFER_ERROR);
    let page = host.allocate(4096).expect("room");
    for list in [u64::MAX - 7, u64::MAX - 15] {
        assert_eq!(host.io_status(with_prp(read(8), page, list)), Status::DATA_TRANSFER_ERROR);
    }
    assert_eq!(host.read_memory(0, 4096), [0; 4096]);
    host.assert_alive();
}

/// E42: address 0 is an address like any other where memory is there, as first entry and in a list.
#[test]
fn address_zero_is_memory_where_there_is_memory() {
    let mut host = filled();
    host.port_mut().memory.map(0..0x10_0000);
    assert_eq!(host.io_status(with_prp(read(1), 0, 0)), Status::SUCCESS);
    assert_blocks(&host, &[0]);
    host.write_memory(0, &[0; 4096]);
    let pages = scattered(&mut host, 4);
    let list = host.allocate(4096).expect("room");
    put_list(&mut host, list, &[pages[1], 0, pages[3]]);
    assert_eq!(host.io_status(with_prp(read(4), pages[0], list)), Status::SUCCESS);
    assert_blocks(&host, &[pages[0], pages[1], 0, pages[3]]);
    // The list itself at 0.
    host.write_memory(0, &[0; 4096]);
    put_list(&mut host, 0, &pages[1..]);
    assert_eq!(host.io_status(with_prp(read(4), pages[0], 0)), Status::SUCCESS);
    assert_blocks(&host, &pages);
}

/// B121: what MDTS says can be moved, a block more cannot, and then nothing is moved. MDTS counts 4 KiB pages whatever CC.MPS says.
#[test]
fn transfers_end_at_mdts() {
    for (mdts, page_shift) in [(1, 12), (5, 12), (7, 12), (9, 12), (7, 16), (1, 16)] {
        let mut build = Build { namespaces: vec![(512, 1 << 14)], ..Build::default() };
        build.device.mdts = mdts;
        build.setup.page_shift = page_shift;
        let mut host = build.host();
        assert_eq!(host.identify_controller().expect("mandatory").mdts, mdts);
        let most = (4096 << mdts) / 512;
        let length = most as usize * 512;
        let buffer = host.allocate(length + 512).expect("room");
        let mapping = host.map(buffer, length + 512).expect("room");
        for opcode in TRANSFERS {
            let status = host.io_status(mapping.on(block_command(opcode, 1, 0, most)));
            assert_eq!(status, Status::SUCCESS, "{opcode:?}, MDTS {mdts}");
            host.write_memory(buffer, &vec![1; length + 512]);
            let status = host.io_status(mapping.on(block_command(opcode, 1, 0, most + 1)));
            assert_eq!(status, Status::INVALID_FIELD, "{opcode:?}, MDTS {mdts}");
            assert!(host.read_memory(buffer, length + 512).iter().all(|byte| *byte == 1));
            host.write_memory(buffer, &vec![0; length + 512]);
        }
        assert!(host.read(1, 0, most).expect("answered").1.iter().all(|byte| *byte == 0));
    }
}

/// B121, E14: the largest NLB is more than MDTS allows and is refused as such.
#[test]
fn the_largest_number_of_blocks_is_refused() {
    let mut host = Build { namespaces: vec![(65536, 1 << 20)], ..Build::default() }.host();
    for opcode in TRANSFERS {
        assert_eq!(host.io_status(block_command(opcode, 1, 0, 65536)), Status::INVALID_FIELD, "{opcode:?}");
    }
}

/// Writes blocks from one place of memory and reads them to another; nothing around them moves.
fn round_trip(host: &mut TestHost, lba: u64, blocks: u32, offset: usize, list_offset: u64, seed: u64) {
    let length = host.block_bytes(1).expect("active") * blocks as usize;
    let room = offset + length + 512;
    let buffer = host.allocate(room).expect("room");
    let start = buffer + offset as u64;
    let data = pattern(seed, length);
    let mapping = host.map_with_list_at(start, length, list_offset).expect("room");
    host.write_memory(start, &data);
    assert_eq!(host.io_status(mapping.on(block_command(NvmOpcode::WRITE, 1, lba, blocks))), Status::SUCCESS);
    host.write_memory(buffer, &vec![0xee; room]);
    assert_eq!(host.io_status(mapping.on(block_command(NvmOpcode::READ, 1, lba, blocks))), Status::SUCCESS);
    let bytes = host.read_memory(buffer, room);
    let case = format!("{blocks} blocks at offset {offset}, list at {list_offset}");
    assert!(bytes[offset..offset + length] == data, "{case}");
    assert!(bytes[..offset].iter().chain(&bytes[offset + length..]).all(|byte| *byte == 0xee), "around {case}");
    host.unmap(mapping);
    host.release(buffer);
}

/// B122: the corners of length and offset, with lists that go on early.
#[test]
fn corners_of_length_and_offset_give_identical_bytes() {
    let mut host = Build::default().host();
    let most = (4096 << Build::default().device.mdts) / 512;
    for blocks in [1, 2, 7, 8, 9, 15, 16, 17, 24, 25, most - 1, most] {
        for offset in [0, 4, 8, 508, 512, 2048, 3584, 4088, 4092] {
            for list_offset in [0, 4080, 4088] {
                round_trip(&mut host, 5, blocks, offset, list_offset, u64::from(blocks));
            }
        }
    }
}

/// B122: a sample of all lengths from a block to MDTS and all offsets.
#[test]
fn a_sample_of_lengths_and_offsets_gives_identical_bytes() {
    let mut random = Random::new(seed(122));
    let mut host = Build::default().host();
    for case in 0..cases(400) {
        let most = if random.one_in(8) { 1024 } else { 40 };
        let blocks = u32::try_from(random.below(most) + 1).expect("few");
        let (offset, list_offset) = (random.index(1024) * 4, random.below(512) * 8);
        let lba = random.below(4096);
        round_trip(&mut host, lba, blocks, offset, list_offset, case);
    }
}

/// B122, B3: the same with every memory page size and every block size.
#[test]
fn every_page_size_and_block_size_gives_identical_bytes() {
    for page_shift in 12..=16 {
        for block_shift in 9..=16_u8 {
            let mut build = Build { namespaces: vec![(1 << block_shift, 4096)], ..Build::default() };
            build.setup.page_shift = page_shift;
            let mut host = build.host();
            let page = 1_usize << page_shift;
            let most = (512 << 10) >> block_shift;
            for blocks in [1, 2, most / 2, most] {
                for offset in [0, 4, page - 512, page - 4] {
                    round_trip(&mut host, 3, blocks, offset, page as u64 - 8, u64::from(block_shift));
                }
            }
        }
    }
}

/// B117: with larger pages, what was aligned for smaller ones is not.
#[test]
fn a_second_page_is_aligned_to_the_page_size_of_the_controller() {
    let mut build = Build { namespaces: vec![(65536, 16)], ..Build::default() };
    build.setup.page_shift = 16;
    let mut host = build.host();
    let pages = host.allocate(4 << 16).expect("room");
    let status = host.io_status(with_prp(read(2), pages, pages + (1 << 16) + 4096));
    assert_eq!(status, Status::INVALID_PRP_OFFSET);
    assert_eq!(host.io_status(with_prp(read(2), pages, pages + (1 << 16))), Status::SUCCESS);
}

/// B128: PSDT 11b is no data pointer, and 10b has an SGL for metadata, which is not offered: every command refuses them.
#[test]
fn data_pointers_that_are_neither_prps_nor_offered_sgls_are_refused() {
    let mut host = filled();
    let page = host.allocate(4096).expect("room");
    for opcode in [0x00, 0x01, 0x02, 0x05, 0x08, 0x09].map(NvmOpcode) {
        for psdt in 2..4_u8 {
            let command = Command { flags: psdt << 6, ..block_command(opcode, 1, 0, 1) };
            assert_eq!(host.io_status(with_prp(command, page, 0)), Status::INVALID_FIELD, "{opcode:?}, PSDT {psdt}");
        }
    }
}

/// B119, B182: a write whose memory ends in the middle leaves each block old or new, and the others alone.
#[test]
fn a_write_whose_memory_ends_leaves_each_block_old_or_new() {
    let mut host = Build::default().host();
    let (old, new) = (pattern(1, 16 * 512), pattern(2, 8 * 512));
    for offset in [0, 4, 256, 300, 512, 2048, 3840, 4092] {
        assert_eq!(host.write(1, 0, &old, false).expect("answered"), Status::SUCCESS);
        let page = host.allocate(4096).expect("room");
        host.write_memory(page + offset as u64, &new[..4096 - offset]);
        let command = block_command(NvmOpcode::WRITE, 1, 4, if offset == 0 { 16 } else { 8 });
        let status = host.io(with_prp(command, page + offset as u64, NOWHERE)).expect("answered");
        assert_eq!(bare(status), Status::DATA_TRANSFER_ERROR);
        let after = host.read(1, 0, 16).expect("answered").1;
        for block in 0..16 {
            let range = block * 512..(block + 1) * 512;
            let is_new = (4..12).contains(&block) && after[range.clone()] == new[range.start - 2048..range.end - 2048];
            assert!(
                is_new || after[range.clone()] == old[range],
                "block {block} of a write at offset {offset} is torn"
            );
        }
    }
}
