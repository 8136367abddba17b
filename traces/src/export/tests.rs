//! What is written is read again by the importer of the same format, and says the same.

use super::*;
use crate::import::{Format, open};
use crate::record::{Extent, Flags, Namespace};

struct List(Vec<Entry>);

impl Trace for List {
    fn next(&mut self) -> Result<Option<Entry>, TraceError> {
        Ok(if self.0.is_empty() { None } else { Some(self.0.remove(0)) })
    }
}

fn of(opcode: u8, begin_us: u64, extent: (u64, u32)) -> Record {
    let (first, blocks) = extent;
    let (begin_ns, end_ns) = (begin_us * 1000, Some(begin_us * 1000 + 80_500));
    let place = Record { queue: 2, cid: u16::try_from(begin_us).expect("short"), nsid: 1, ..Record::default() };
    Record { begin_ns, end_ns, opcode, extent: Extent { first, blocks }, ..place }
}

/// In the order in which they end, as a recorder has them.
fn trace() -> List {
    let ranges = vec![Extent { first: 64, blocks: 2 }];
    let list = [
        of(2, 10, (0, 1)),
        of(1, 0, (3, 5)),
        Record { flags: Flags::FUA, ..of(1, 20, (16, 1)) },
        of(0, 30, (0, 0)),
        Record { flags: Flags::DEALLOCATE, ranges, ..of(9, 40, (32, 8)) },
        of(5, 50, (0, 1)),
        Record { end_ns: None, ..of(2, 60, (1, 1)) },
    ];
    let namespace = Namespace { nsid: 1, block_bytes: 4096, name: String::new() };
    List(std::iter::once(Entry::Namespace(namespace)).chain(list.map(Entry::Command)).collect())
}

fn again(target: Target, format: Format) -> (Converted, Vec<Record>, String) {
    let mut bytes = Vec::new();
    let converted = convert(trace(), target, false, &mut bytes).expect("memory takes everything");
    let (found, mut trace) = open(None, &bytes[..]).expect("recognised");
    assert_eq!(found, format);
    let mut records = Vec::new();
    while let Some(entry) = trace.next().expect("sound") {
        if let Entry::Command(record) = entry {
            records.push(record);
        }
    }
    drop(trace);
    records.sort_by_key(|record| record.begin_ns);
    (converted, records, String::from_utf8_lossy(&bytes).into_owned())
}

/// Times in microseconds, opcodes and bytes.
fn said(records: &[Record]) -> Vec<(u64, u8, u64, u64)> {
    let said = records.iter().flat_map(|record| {
        record.bytes(512).map(|(offset, length)| (record.begin_ns / 1000, record.opcode, offset, length))
    });
    said.collect()
}

const SAID: [(u64, u8, u64, u64); 7] = [
    (0, 1, 12288, 20480),
    (10, 2, 0, 4096),
    (20, 1, 65536, 4096),
    (30, 0, 0, 0),
    (40, 9, 131_072, 32768),
    (40, 9, 262_144, 8192),
    (60, 2, 4096, 4096),
];

#[test]
fn fio_reads_what_was_written_for_it() {
    let (converted, records, text) = again(Target::Fio, Format::Fio);
    assert_eq!(said(&records), SAID);
    assert_eq!((converted.commands, converted.left_out), (6, BTreeMap::from([(Kind::Compare, 1)])));
    assert!(text.starts_with("fio version 3 iolog\n0 ns1 add\n0 ns1 open\n0 ns1 write 12288 20480\n"), "{text}");
    assert!(text.ends_with("\n60 ns1 close\n"), "{text}");
}

#[test]
fn what_blkparse_would_print_has_both_ends_of_each_command() {
    let (converted, records, text) = again(Target::Blkparse, Format::Blkparse);
    assert_eq!(said(&records), SAID);
    assert_eq!(converted.commands, 6);
    let first = &records[0];
    assert_eq!((first.queue, first.cid, first.latency_ns()), (2, 0, Some(80_500)));
    assert_eq!((records[2].flags, records[6].end_ns), (Flags::FUA, None));
    let times: Vec<&str> = text.lines().map(|line| line.split_whitespace().nth(3).expect("a time")).collect();
    assert!(times.is_sorted(), "{text}");
    assert!(text.starts_with("259,1     2        1     0.000000000     0  D   W 24 + 40 [brownout]\n"), "{text}");
}

#[test]
fn a_recording_of_a_recording_is_the_same() {
    let (converted, records, _) = again(Target::Recording, Format::Recording);
    assert_eq!((converted.commands, converted.left_out.len()), (7, 0));
    let mut all: Vec<Record> = trace().0.into_iter().filter_map(command).collect();
    all.sort_by_key(|record| record.begin_ns);
    assert_eq!(records, all);
}

#[test]
fn chrome_json_has_a_slice_for_each_command_of_a_trace() {
    let mut bytes = Vec::new();
    let converted = convert(trace(), Target::Chrome, false, &mut bytes).expect("memory takes everything");
    assert_eq!((converted.commands, converted.left_out.len()), (7, 0));
    let whole: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    let events = whole["traceEvents"].as_array().expect("a list");
    let of = |phase: &str| events.iter().filter(|event| event["ph"] == phase).collect::<Vec<_>>();
    assert_eq!((of("b").len(), of("e").len()), (7, 6), "one has no end");
    let names: Vec<_> = of("b").iter().map(|event| event["name"].as_str().expect("text")).collect();
    assert_eq!(names, ["Write", "Read", "Write", "Flush", "Dataset Management", "Compare", "Read"]);
    assert_eq!((&of("b")[2]["args"]["slba"], &of("b")[2]["args"]["fua"]), (&16.into(), &true.into()));
    assert_eq!(of("e")[0]["ts"], 80.5);
}

#[test]
fn commands_that_overlap_under_one_identifier_get_their_own_in_a_capture() {
    let overlapping = |_| Record { cid: 7, queue: 0, ..of(1, 5, (0, 8)) };
    let namespace = Namespace { nsid: 1, block_bytes: 4096, name: String::new() };
    let commands = (0..3).map(overlapping).map(Entry::Command);
    let trace = List(std::iter::once(Entry::Namespace(namespace)).chain(commands).collect());
    let mut bytes = Vec::new();
    let converted = convert(trace, Target::Pcap, false, &mut bytes).expect("memory takes everything");
    assert_eq!(converted.commands, 3);
    // A capsule of a Write: the head of its PDU, then opcode, flags and identifier.
    let capsule = |cid: u8| [4, 0, 72, 0, 72, 0, 0, 0, 1, 0, cid, 0, 1];
    for cid in 7..10 {
        let found = bytes.windows(13).filter(|window| *window == capsule(cid)).count();
        assert_eq!(found, 1, "{cid}");
    }
}

fn command(entry: Entry) -> Option<Record> {
    if let Entry::Command(record) = entry { Some(record) } else { None }
}
