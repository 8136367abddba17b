//! Traces whose numbers are known beforehand.

use std::collections::VecDeque;

use super::*;
use crate::import;
use crate::plot::Format;
use crate::record::{Extent, Namespace};
use crate::recording::{Reader, Recorder, Writer};
use crate::watched::{Begun, Ended};

const KIB: u64 = 1024;

struct List(VecDeque<Entry>);

impl Trace for List {
    fn next(&mut self) -> Result<Option<Entry>, TraceError> {
        Ok(self.0.pop_front())
    }
}

fn units(bytes: &[u64]) -> Vec<IndirectionUnit> {
    bytes.iter().map(|&bytes| IndirectionUnit::new(bytes).expect("tests use powers of two")).collect()
}

fn analysis_of(entries: impl IntoIterator<Item = Entry>) -> Analysis {
    let mut analysis = Analysis::new(&units(&[4 * KIB, 16 * KIB]), 0.07);
    analysis.take(List(entries.into_iter().collect())).expect("sound");
    analysis
}

fn namespace(nsid: u32, block_bytes: u32) -> Entry {
    Entry::Namespace(Namespace { nsid, block_bytes, name: String::new() })
}

/// A command of blocks of 4 KiB, times in microseconds.
fn command(opcode: u8, time_us: (u64, u64), first: u64, blocks: u32) -> Record {
    let (begin_ns, end_ns) = (time_us.0 * 1000, Some(time_us.1 * 1000));
    Record { begin_ns, end_ns, opcode, nsid: 1, queue: 1, extent: Extent { first, blocks }, ..Record::default() }
}

fn text(ratio: crate::waf::Ratio) -> String {
    ratio.to_string()
}

#[test]
fn twenty_kib_at_twelve_on_sixteen_is_one_point_six_in_a_recorded_trace() {
    let mut recorder = Recorder::new(Writer::create(Vec::new(), false).expect("memory"));
    recorder.namespace(1, 4096).expect("memory");
    let mut write = [0; 64];
    // Five blocks of 4 KiB from the third on.
    (write[0], write[4], write[40], write[48]) = (1, 1, 3, 4);
    let mut completion = [0; 16];
    completion[10] = 1;
    for time_ns in [1000, 2000] {
        let begun = Begun { time_ns, controller: 0, queue: 1, command: &write, data: None };
        recorder.command_begun(&begun).expect("memory");
        let ended = Ended { time_ns: time_ns + 500, controller: 0, completion: &completion, data: None };
        recorder.command_ended(&ended).expect("memory");
    }
    let file = recorder.finish().expect("memory");
    let mut analysis = Analysis::new(&units(&[16 * KIB]), 0.07);
    analysis.take(Reader::open(&file[..]).expect("sound")).expect("sound");
    let [cost] = analysis.costs()[..] else { panic!("one unit was asked for") };
    assert_eq!([cost.commands, cost.joined, cost.worst].map(text), ["1.6", "1.6", "1.6"]);
    // 1.6 times what theory has for 7 % of spare.
    assert!((cost.predicted(0.07) - 1.6 * 7.817).abs() < 0.01, "{}", cost.predicted(0.07));
    assert_eq!((analysis.commands(Kind::Write), analysis.bytes(Kind::Write)), (2, 40 * KIB));
    assert!(analysis.to_string().contains(" 1.6 "), "{analysis}");
    assert_eq!(analysis.json()["write-amplification"][0]["commands"]["exact"], serde_json::json!([8, 5]));
}

#[test]
fn commands_that_follow_each_other_are_joined_and_failed_ones_were_not_written() {
    let write = |number: u64, first: u64| command(1, (number * 10, number * 10 + 5), first, 1);
    let failed = Record { status: 0x4080, ..write(9, 1000) };
    let writes = [write(0, 0), write(1, 1), write(2, 2), write(3, 3), write(4, 100), failed];
    let analysis = analysis_of(std::iter::once(namespace(1, 4096)).chain(writes.map(Entry::Command)));
    let costs = analysis.costs();
    assert_eq!([costs[0].commands, costs[0].joined].map(text), ["1", "1"]);
    // Five writes touch a unit of four blocks each; joined they touch two.
    assert_eq!([costs[1].commands, costs[1].joined, costs[1].worst].map(text), ["4", "1.6", "4"]);
    let json = analysis.json();
    assert_eq!(json["kinds"]["write"]["sequential"], 3);
    assert_eq!((&json["kinds"]["write"]["failed"], &json["kinds"]["write"]["commands"]), (&1.into(), &6.into()));
}

#[test]
fn depth_is_what_was_under_way() {
    // Two all the time, three for the first half.
    let commands = [command(2, (0, 100), 0, 1), command(2, (0, 100), 8, 1), command(1, (0, 50), 16, 1)];
    let mut entries: Vec<Entry> = commands.map(Entry::Command).to_vec();
    entries.reverse();
    entries.insert(0, namespace(1, 4096));
    let analysis = analysis_of(entries);
    assert_eq!((analysis.duration_ns(), analysis.mean_depth()), (100_000, Some(2.5)));
    let json = analysis.json();
    let over_time = json["depth"]["over-time"].as_array().expect("a list");
    assert_eq!(over_time.len(), 100);
    let depth = |part: usize| over_time[part][1].as_f64().expect("a number");
    assert_eq!((depth(0), depth(49), depth(50), depth(99)), (3.0, 3.0, 2.0, 2.0));
    assert_eq!(
        (&json["depth"]["at-submission"]["max"], &json["depth"]["at-submission"]["count"]),
        (&3.into(), &3.into())
    );
    let latency = &json["kinds"]["read"]["latency-ns"];
    assert_eq!(latency["count"], 2);
    assert!((latency["mean"].as_f64().expect("a number") / 100_000.0 - 1.0).abs() < 0.01, "{latency}");
}

#[test]
fn parts_of_the_time_double_and_keep_what_they_hold() {
    let commands = (0..2000).map(|number| Entry::Command(command(2, (number * 10, number * 10 + 10), number, 1)));
    let analysis = analysis_of(std::iter::once(namespace(1, 4096)).chain(commands));
    let over_time = analysis.depth.over_time(analysis.duration_ns());
    assert!((256..=512).contains(&over_time.len()), "{}", over_time.len());
    assert!(over_time.iter().all(|(_, depth)| (depth - 1.0).abs() < 1e-9), "{over_time:?}");
}

#[test]
fn sizes_and_alignment_are_counted() {
    let commands =
        [command(2, (0, 1), 4, 4), command(2, (1, 2), 5, 1), command(2, (2, 3), 2, 2), command(2, (3, 4), 8, 4)];
    let analysis = analysis_of(std::iter::once(namespace(1, 4096)).chain(commands.map(Entry::Command)));
    let json = analysis.json();
    let reads = &json["kinds"]["read"];
    assert_eq!(reads["sizes"], serde_json::json!({ "4096": 1, "8192": 1, "16384": 2 }));
    let aligned = |bytes: &str| reads["aligned-to"][bytes].as_u64();
    assert_eq!(
        [aligned("512"), aligned("4096"), aligned("8192"), aligned("16384"), aligned("32768")],
        [Some(4), Some(4), Some(3), Some(2), Some(0)]
    );
    let table = analysis.to_string();
    assert!(table.contains("read sizes: 16KiB 50.0 %, 4KiB 25.0 %, 8KiB 25.0 %"), "{table}");
    assert!(table.contains("read aligned to: 4KiB 100.0 %, 8KiB 75.0 %, 16KiB 50.0 %"), "{table}");
    assert!(table.contains("nothing was written"), "{table}");
}

#[test]
fn what_a_drive_programmed_is_measured_between_the_first_and_the_last_sample() {
    let sample = |time_ns, host, collected| {
        let ledger = Ledger { programs: host + collected, host, collected, ..Ledger::default() };
        Entry::Sample(Sample { time_ns, unit_bytes: 4096, ledger })
    };
    let measured = |samples: &[Entry]| analysis_of(samples.iter().cloned()).measured();
    let found = measured(&[sample(9, 3000, 1000), sample(1, 1000, 0), sample(5, 2000, 900)]).expect("measured");
    assert_eq!((found.ledger.host, found.ledger.collected), (2000, 1000));
    assert!((found.ledger.amplification(true) - 1.5).abs() < 1e-12);
    assert_eq!(measured(&[]), None);
    assert_eq!(measured(&[sample(1, 5, 0)]), None, "one sample measures nothing");
    assert_eq!(measured(&[sample(1, 5, 0), sample(2, 4, 0)]), None, "another drive");
    let table = analysis_of([
        sample(1, 1000, 0),
        sample(9, 3000, 1000),
        namespace(1, 4096),
        Entry::Command(command(1, (0, 1), 0, 1)),
    ]);
    assert!(table.to_string().contains("measured: 1.5000, with metadata 1.5000 (IU 4KiB"), "{table}");
}

#[test]
fn hostile_commands_are_counted_and_break_nothing() {
    let far = Record { extent: Extent { first: u64::MAX, blocks: u32::MAX }, ..command(1, (0, 1), 0, 0) };
    let backwards = Record { end_ns: Some(0), begin_ns: 500, ..command(1, (0, 0), 7, 1) };
    let late = Record { begin_ns: u64::MAX, end_ns: Some(u64::MAX), ..command(2, (0, 0), 7, 1) };
    let never = Record { end_ns: None, ..command(2, (5, 0), 7, 1) };
    let unknown = Record { nsid: 9, ..command(2, (5, 6), 7, 1) };
    let entries = [far, backwards, late, never, unknown].map(Entry::Command);
    let analysis = analysis_of(std::iter::once(namespace(1, 65536)).chain(entries));
    let json = analysis.json();
    assert_eq!((analysis.all(), &json["unfinished"], &json["of-unknown-namespaces"]), (5, &1.into(), &1.into()));
    assert!(analysis.to_string().contains("1 name a namespace"), "{analysis}");
    for (figure, name) in Figure::ALL.into_iter().zip(Figure::NAMES) {
        assert_eq!((Figure::named(name), analysis.lacks(figure)), (Some(figure), None));
        assert!(analysis.render(figure, Format::Svg).expect("drawn").starts_with(b"<svg"), "{name}");
    }
}

#[test]
fn nothing_is_an_analysis_too() {
    let analysis = analysis_of([]);
    assert!(analysis.to_string().starts_with("0 commands in 0.000000 s"), "{analysis}");
    assert_eq!(analysis.json()["depth"], serde_json::Value::Null);
    assert!(Figure::ALL.iter().all(|figure| analysis.lacks(*figure).is_some()));
}

#[test]
fn each_example_has_the_counts_that_its_maker_says() {
    let folder = format!("{}/examples-data", env!("CARGO_MANIFEST_DIR"));
    let counts = |name: &str| {
        let bytes = std::fs::read(format!("{folder}/{name}")).expect("an example");
        let (_, trace) = import::open(None, &bytes[..]).expect("recognised");
        let mut analysis = Analysis::new(&units(&[16 * KIB]), 0.07);
        analysis.take(trace).expect("sound");
        let [cost] = analysis.costs()[..] else { panic!("one unit") };
        (analysis.commands(Kind::Read), analysis.commands(Kind::Write), analysis.all(), text(cost.commands))
    };
    // Of 16 KiB units: two for the 20 KiB, and one for each of the others. 48 KiB over 20.5, over 24, and 64 over 28.
    assert_eq!(counts("fio-v2.txt"), (1, 2, 6, "2.341 (96/41)".to_owned()));
    assert_eq!(counts("fio-v3.txt"), (2, 1, 5, "1.6".to_owned()));
    assert_eq!(counts("blkparse.txt"), (2, 2, 6, "2.341 (96/41)".to_owned()));
    for name in ["blktrace-little.bin", "blktrace-big.bin"] {
        assert_eq!(counts(name), (1, 2, 5, "2".to_owned()));
    }
    for name in ["msr.csv", "alibaba.csv", "tencent.csv", "spc.csv"] {
        assert_eq!(counts(name), (2, 2, 4, "2".to_owned()), "{name}");
    }
    assert_eq!(counts("systor.csv"), (3, 2, 5, "2".to_owned()));
    assert_eq!(counts("mqsim.trace"), (2, 3, 5, "2.286 (16/7)".to_owned()));
}
