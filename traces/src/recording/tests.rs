//! What is written is read again; whatever else is read is an error that says where, and costs no more memory than the file has bytes.

use media::ledger::Ledger;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::record::{Entry, Extent, Flags, Namespace, Record, Sample, Trace, TraceError};
use crate::watched::{Begun, Ended};

fn extent() -> impl Strategy<Value = Extent> {
    (prop_oneof![0..1000u64, any::<u64>()], any::<u32>()).prop_map(|(first, blocks)| Extent { first, blocks })
}

fn record() -> impl Strategy<Value = Record> {
    let times = (any::<u64>(), proptest::option::of(any::<u64>()));
    let place = (any::<u16>(), any::<u16>(), any::<u16>(), any::<u8>(), any::<u32>());
    let rest = (vec(extent(), 0..4), any::<u16>(), any::<u16>(), proptest::option::of(vec(any::<u8>(), 0..600)));
    (times, place, extent(), rest).prop_map(|((begin_ns, end_ns), place, extent, (ranges, flags, status, data))| {
        let (controller, queue, cid, opcode, nsid) = place;
        let flags = Flags::from_bits_retain(flags);
        Record { begin_ns, end_ns, controller, queue, cid, opcode, nsid, extent, ranges, flags, status, data }
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let sample = (any::<u64>(), any::<u32>(), 0..1u64 << 60).prop_map(|(time_ns, unit_bytes, host)| {
        let ledger = Ledger { programs: host + 7, host, fill: 7, ..Ledger::default() };
        Entry::Sample(Sample { time_ns, unit_bytes, ledger })
    });
    let namespace = (any::<u32>(), 9..=16u32, "[a-zµ]{0,8}")
        .prop_map(|(nsid, shift, name)| Entry::Namespace(Namespace { nsid, block_bytes: 1 << shift, name }));
    prop_oneof![8 => record().prop_map(Entry::Command), 1 => sample, 1 => namespace]
}

fn written(entries: &[Entry], with_data: bool) -> Vec<u8> {
    let mut writer = Writer::create(Vec::new(), with_data).expect("memory takes everything");
    entries.iter().for_each(|entry| writer.put(entry).expect("memory takes everything"));
    writer.finish().expect("memory takes everything")
}

/// What comes out, and how it ends.
fn read(bytes: &[u8]) -> (Vec<Entry>, Result<(), TraceError>) {
    let mut entries = Vec::new();
    let mut reader = match Reader::open(bytes) {
        Ok(reader) => reader,
        Err(error) => return (entries, Err(error)),
    };
    loop {
        match reader.next() {
            Ok(Some(entry)) => entries.push(entry),
            Ok(None) => return (entries, Ok(())),
            Err(error) => {
                assert!(matches!(reader.next(), Ok(None)), "nothing comes behind an error");
                return (entries, Err(error));
            }
        }
    }
}

fn plain(count: u64) -> Vec<Entry> {
    let command = |number: u64| {
        Entry::Command(Record {
            begin_ns: number * 1000,
            end_ns: Some(number * 1000 + 700),
            queue: 1,
            cid: u16::try_from(number % 1000).expect("below 1000"),
            opcode: 1,
            nsid: 1,
            extent: Extent { first: number * 8, blocks: 8 },
            ..Record::default()
        })
    };
    let namespace = Namespace { nsid: 1, block_bytes: 512, name: "sda".to_owned() };
    std::iter::once(Entry::Namespace(namespace)).chain((0..count).map(command)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn what_is_written_is_read_again(entries in vec(entry(), 0..60)) {
        let (found, end) = read(&written(&entries, true));
        prop_assert!(end.is_ok(), "{end:?}");
        prop_assert_eq!(found, entries);
    }

    #[test]
    fn a_damaged_recording_is_an_error_and_what_came_before_is_whole(
        entries in vec(entry(), 1..40), at in any::<prop::sample::Index>(), flip in 1..=255u8,
    ) {
        let mut bytes = written(&entries, true);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let (found, end) = read(&bytes);
        prop_assert!(end.is_err(), "byte {at}");
        prop_assert!(entries.starts_with(&found));
    }

    #[test]
    fn a_recording_that_was_cut_short_says_so(entries in vec(entry(), 0..40), at in any::<prop::sample::Index>()) {
        let bytes = written(&entries, true);
        let at = at.index(bytes.len());
        let (found, end) = read(&bytes[..at]);
        prop_assert!(entries.starts_with(&found));
        let whole_head = at >= HEAD_BYTES;
        prop_assert!(matches!(end, Err(TraceError::Unfinished { .. })) == whole_head, "{end:?} at {at}");
    }

    /// Chunks whose checksums are right, so that the bytes of entries themselves are what is wrong.
    #[test]
    fn bytes_that_nobody_wrote_are_no_entries_or_sound_ones(
        payload in vec(prop_oneof![3 => 0..4u8, 1 => any::<u8>()], 1..200), entries in 1..8u32,
    ) {
        let mut bytes = written(&[], true);
        bytes.truncate(HEAD_BYTES);
        bytes.extend(u32::try_from(payload.len()).expect("short").to_le_bytes());
        bytes.extend(entries.to_le_bytes());
        bytes.extend(media::codec::checksum(seed(0, entries), &payload).to_le_bytes());
        bytes.extend(&payload);
        let (found, end) = read(&bytes);
        prop_assert!(end.is_err(), "there is no end mark");
        prop_assert!(found.len() <= entries as usize);
        for entry in found {
            prop_assert!(crate::record::check(&entry).is_ok());
        }
    }

    #[test]
    fn any_bytes_are_an_error_or_a_recording(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(read(&bytes).1.is_err());
    }
}

#[test]
fn a_plain_command_takes_about_a_dozen_bytes_and_chunks_are_bounded() {
    let entries = plain(100_000);
    let bytes = written(&entries, false);
    assert!(bytes.len() < 1_200_000, "{}", bytes.len());
    let (found, end) = read(&bytes);
    end.expect("sound");
    assert_eq!(found, entries);
    let first = u32::from_le_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]);
    assert!((CHUNK_BYTES..CHUNK_BYTES + 64).contains(&(first as usize)), "{first}");
}

#[test]
fn data_is_left_out_where_the_recording_has_none() {
    let with = |data| Entry::Command(Record { opcode: 1, data, ..Record::default() });
    let (found, end) = read(&written(&[with(Some(vec![7; 4096]))], false));
    end.expect("sound");
    assert_eq!(found, [with(None)]);
    assert!(!Reader::open(&written(&[], false)[..]).expect("sound").with_data());
    assert!(Reader::open(&written(&[], true)[..]).expect("sound").with_data());
}

#[test]
fn errors_say_what_and_where() {
    let text = |bytes: &[u8]| read(bytes).1.expect_err("refused").to_string();
    let good = written(&plain(10), false);
    assert_eq!(text(b"short"), "byte 0: too short for a recording of brownout");
    assert_eq!(text(&[b'x'; 100]), "byte 0: not a recording of brownout");
    let mut newer = good.clone();
    newer[8] = 2;
    assert_eq!(text(&newer), "byte 8: version 2 of a recording, and only version 1 is known here");
    let mut damaged = good.clone();
    damaged[60] ^= 1;
    assert_eq!(text(&damaged), "byte 24: a chunk that is not what was written: the recording is damaged");
    let mut longer = good.clone();
    longer.push(0);
    assert!(text(&longer).ends_with("something lies behind the end"));
    let cut = text(&good[..good.len() - 16]);
    assert_eq!(cut, "it ends after 11 entries without the mark that ends a recording: what wrote it did not finish");
    let unit = |namespace| written(&[Entry::Namespace(namespace)], false);
    let odd = unit(Namespace { nsid: 3, block_bytes: 520, name: String::new() });
    assert!(text(&odd).ends_with("entry 0: namespace 3 with blocks of 520 bytes"), "{}", text(&odd));
}

#[test]
fn chunks_cannot_change_places() {
    let bytes = written(&plain(20_000), false);
    let length = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize + 16;
    let (first, second) = (24..24 + length(24), 24 + length(24)..24 + length(24) + length(24 + length(24)));
    let mut swapped = bytes[..24].to_vec();
    swapped.extend(&bytes[second.clone()]);
    swapped.extend(&bytes[first]);
    swapped.extend(&bytes[second.end..]);
    assert_eq!(read(&swapped).0.len(), 0);
}

/// A submission queue entry: opcode, identifier, namespace, first block, dword 12.
fn command(opcode: u8, cid: u16, first: u64, dword_12: u32) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[0] = opcode;
    bytes[2..4].copy_from_slice(&cid.to_le_bytes());
    bytes[4] = 1;
    bytes[40..48].copy_from_slice(&first.to_le_bytes());
    bytes[48..52].copy_from_slice(&dword_12.to_le_bytes());
    bytes
}

fn completion(queue: u16, cid: u16, status: u16) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[10..12].copy_from_slice(&queue.to_le_bytes());
    bytes[12..14].copy_from_slice(&cid.to_le_bytes());
    bytes[14..].copy_from_slice(&(status << 1 | 1).to_le_bytes());
    bytes
}

#[test]
fn a_recorder_makes_one_entry_of_each_command() {
    let mut recorder = Recorder::new(Writer::create(Vec::new(), true).expect("memory"));
    recorder.namespace(1, 4096).expect("memory");
    let mut begin = |time_ns, queue, command: [u8; 64], data: Option<&[u8]>| {
        let begun = Begun { time_ns, controller: 0, queue, command: &command, data };
        recorder.command_begun(&begun).expect("memory");
    };
    begin(5, 0, command(6, 1, 0, 0), None);
    begin(10, 1, command(1, 7, 100, 1 << 30 | 7), Some(&[9; 3]));
    begin(11, 2, command(2, 7, 200, 0), None);
    let mut ranges = [0; 32];
    ranges[4] = 8;
    ranges[8] = 40;
    ranges[20] = 16;
    ranges[24] = 80;
    let mut deallocate = command(9, 8, 1, 0);
    deallocate[44] = 4;
    begin(12, 1, deallocate, Some(&ranges));
    begin(13, 1, command(0, 9, 0, 0), None);
    let mut end = |time_ns, completion: [u8; 16], data: Option<&[u8]>| {
        recorder.command_ended(&Ended { time_ns, controller: 0, completion: &completion, data }).expect("memory");
    };
    end(20, completion(2, 7, 0), Some(&[1, 2]));
    end(21, completion(1, 7, 0x4080), None);
    end(22, completion(1, 8, 0), None);
    end(23, completion(1, 99, 0), None);
    assert_eq!(recorder.commands(), 3);
    let bytes = recorder.finish().expect("memory");

    let (found, ended) = read(&bytes);
    ended.expect("sound");
    let of = |begin_ns, end_ns, queue, cid, opcode, extent: (u64, u32)| Record {
        begin_ns,
        end_ns,
        queue,
        cid,
        opcode,
        nsid: 1,
        extent: Extent { first: extent.0, blocks: extent.1 },
        ..Record::default()
    };
    let expected = [
        Record { data: Some(vec![1, 2]), ..of(11, Some(20), 2, 7, 2, (200, 1)) },
        Record { data: Some(vec![9; 3]), flags: Flags::FUA, status: 0x4080, ..of(10, Some(21), 1, 7, 1, (100, 8)) },
        Record {
            flags: Flags::DEALLOCATE,
            ranges: vec![Extent { first: 80, blocks: 16 }],
            data: Some(ranges.to_vec()),
            ..of(12, Some(22), 1, 8, 9, (40, 8))
        },
        of(13, None, 1, 9, 0, (0, 0)),
    ];
    assert_eq!(found[1..], expected.map(Entry::Command));
}

#[test]
fn commands_of_a_controller_that_forgot_them_never_ended() {
    let mut recorder = Recorder::new(Writer::create(Vec::new(), false).expect("memory"));
    for (controller, cid) in [(0, 3), (0, 2), (1, 3), (0, 3)] {
        let begun =
            Begun { time_ns: u64::from(cid), controller, queue: 1, command: &command(2, cid, 0, 0), data: None };
        recorder.command_begun(&begun).expect("memory");
    }
    assert_eq!(recorder.commands(), 1, "the identifier was used again");
    recorder.forgotten(0).expect("memory");
    assert_eq!(recorder.commands(), 3);
    let ended = Ended { time_ns: 9, controller: 1, completion: &completion(1, 3, 0), data: None };
    recorder.command_ended(&ended).expect("memory");
    let (found, end) = read(&recorder.finish().expect("memory"));
    end.expect("sound");
    let ends = found.iter().map(|entry| match entry {
        Entry::Command(record) => (record.controller, record.cid, record.end_ns),
        _ => panic!("only commands were told of"),
    });
    assert_eq!(ends.collect::<Vec<_>>(), [(0, 3, None), (0, 2, None), (0, 3, None), (1, 3, Some(9))]);
}
