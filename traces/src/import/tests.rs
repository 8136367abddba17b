//! One example of each format, of our own making, with counts that are known; and lines that are wrong, by their number.

use super::*;
use crate::record::{Entry, Flags, Kind, Record};

/// What an example holds.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    reads: u64,
    writes: u64,
    flushes: u64,
    deallocations: u64,
    read_bytes: u64,
    written_bytes: u64,
    volumes: &'static [&'static str],
    last_begin_ns: u64,
    ended: u64,
}

fn example(name: &str) -> Vec<u8> {
    let path = format!("{}/examples-data/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn entries(format: Option<Format>, bytes: &[u8]) -> Result<(Format, Vec<Entry>), TraceError> {
    let (format, mut trace) = open(format, bytes)?;
    let mut entries = Vec::new();
    while let Some(entry) = trace.next()? {
        entries.push(entry);
    }
    assert!(trace.next().is_ok_and(|next| next.is_none()), "the end stays the end");
    Ok((format, entries))
}

fn records(entries: &[Entry]) -> Vec<&Record> {
    let records = entries.iter().filter_map(|entry| match entry {
        Entry::Command(record) => Some(record),
        Entry::Namespace(_) | Entry::Sample(_) => None,
    });
    records.collect()
}

fn check(name: &str, format: Format, expected: &Counts) {
    let (found, entries) = entries(None, &example(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(found, format, "{name}");
    let records = records(&entries);
    let count = |kind: Kind| records.iter().filter(|record| record.kind() == kind).count() as u64;
    let bytes = |kind: Kind| {
        let of_kind = records.iter().filter(|record| record.kind() == kind);
        of_kind.flat_map(|record| record.bytes(BLOCK_BYTES)).map(|(_, length)| length).sum::<u64>()
    };
    let volumes: Vec<&str> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Namespace(namespace) => Some(namespace.name.as_str()),
            Entry::Command(_) | Entry::Sample(_) => None,
        })
        .collect();
    let counts = [Kind::Read, Kind::Write, Kind::Flush, Kind::Deallocate].map(count);
    let wanted = [expected.reads, expected.writes, expected.flushes, expected.deallocations];
    assert_eq!((counts, records.len() as u64), (wanted, wanted.iter().sum()), "{name}");
    assert_eq!((bytes(Kind::Read), bytes(Kind::Write)), (expected.read_bytes, expected.written_bytes), "{name}");
    assert_eq!(volumes, expected.volumes, "{name}");
    assert_eq!(records.iter().map(|record| record.begin_ns).max(), Some(expected.last_begin_ns), "{name}");
    assert_eq!(records.iter().filter(|record| record.end_ns.is_some()).count() as u64, expected.ended, "{name}");
    let write = records.iter().find(|record| record.kind() == Kind::Write).expect("each has a write");
    assert_eq!(write.bytes(BLOCK_BYTES).next(), Some((12 << 10, 20 << 10)), "{name}");
}

const fn counts(reads: u64, writes: u64, bytes: (u64, u64), volumes: &'static [&'static str]) -> Counts {
    let (read_bytes, written_bytes) = bytes;
    let (flushes, deallocations, last_begin_ns, ended) = (0, 0, 0, 0);
    Counts { reads, writes, flushes, deallocations, read_bytes, written_bytes, volumes, last_begin_ns, ended }
}

#[test]
fn each_example_is_recognised_and_holds_what_its_maker_put_there() {
    const DISK: &[&str] = &["/dev/nvme0n1"];
    let fio = counts(1, 2, (4096, 20992), &["/dev/nvme0n1", "my data"]);
    check("fio-v2.txt", Format::Fio, &Counts { flushes: 2, deallocations: 1, last_begin_ns: 1_250_000, ..fio });
    let fio = Counts { flushes: 1, deallocations: 1, last_begin_ns: 1_301_000, ..counts(2, 1, (8192, 20480), DISK) };
    check("fio-v3.txt", Format::Fio, &fio);
    let linux = counts(2, 2, (8192, 20992), &["8,0", "8,16"]);
    let linux = Counts { flushes: 1, deallocations: 1, last_begin_ns: 3_996_000, ended: 4, ..linux };
    check("blkparse.txt", Format::Blkparse, &Counts { last_begin_ns: 4_000_000 - 4_000, ..linux });
    let linux = counts(1, 2, (4096, 24576), &["8,0"]);
    let linux = Counts { flushes: 1, deallocations: 1, last_begin_ns: 596_000, ended: 4, ..linux };
    check("blktrace-little.bin", Format::Blktrace, &linux);
    check("blktrace-big.bin", Format::Blktrace, &linux);
    let msr = counts(2, 2, (36864, 24576), &["src1.0", "src1.1"]);
    check("msr.csv", Format::Msr, &Counts { last_begin_ns: 1_000_000_100, ended: 4, ..msr });
    let systor = counts(3, 2, (4096 + 8192 + 512, 24576), &["0", "3"]);
    check("systor.csv", Format::Systor, &Counts { last_begin_ns: 548_967_934, ended: 4, ..systor });
    let alibaba = counts(2, 2, (20480, 24576), &["419", "725"]);
    check("alibaba.csv", Format::Alibaba, &Counts { last_begin_ns: 639_234_000, ..alibaba });
    let tencent = counts(2, 2, (4096 + 65536, 24576), &["1063", "1064"]);
    check("tencent.csv", Format::Tencent, &Counts { last_begin_ns: 3_000_000_000, ..tencent });
    let spc = counts(2, 2, (12288, 24576), &["0", "1"]);
    check("spc.csv", Format::Spc, &Counts { last_begin_ns: 554_041_000, ..spc });
    let mqsim = counts(2, 3, (12288, 28672), &["0", "1"]);
    check("mqsim.trace", Format::Mqsim, &Counts { last_begin_ns: 999_000, ..mqsim });
}

#[test]
fn both_orders_of_bytes_of_blktrace_say_the_same() {
    let of = |name| entries(None, &example(name)).expect("sound").1;
    assert_eq!(of("blktrace-little.bin"), of("blktrace-big.bin"));
}

#[test]
fn latencies_queues_and_force_unit_access_are_kept() {
    let (_, entries) = entries(None, &example("blkparse.txt")).expect("sound");
    let records = records(&entries);
    let write = records.iter().find(|record| record.kind() == Kind::Write).expect("a write");
    assert_eq!((write.latency_ns(), write.queue, write.cid, write.flags), (Some(200_000), 3, 697, Flags::empty()));
    let forced = records.iter().find(|record| record.flags.contains(Flags::FUA)).expect("a forced write");
    assert_eq!((forced.latency_ns(), forced.extent.first, forced.nsid), (Some(500_000), 128, 2));
    let (_, entries) = self::entries(None, &example("msr.csv")).expect("sound");
    assert_eq!(self::records(&entries)[0].latency_ns(), Some(133_100));
}

/// What is said of a text in a format.
fn refusal(format: Format, text: &str) -> String {
    entries(Some(format), text.as_bytes()).expect_err("refused").to_string()
}

#[test]
fn wrong_lines_are_named_by_number_and_say_what_is_wrong() {
    let good = "419,W,12288,20480,1577808144360767\n";
    let alibaba = |line: &str| refusal(Format::Alibaba, &format!("{good}\n{line}\n"));
    assert_eq!(
        alibaba("419,W,12288,20480"),
        "line 3: 4 fields instead of 5: device, R or W, offset, length, timestamp"
    );
    assert_eq!(alibaba("419,X,0,512,1577808144360767"), "line 3: \"X\" is neither a read nor a write");
    assert_eq!(alibaba("419,W,100,512,1577808144360767"), "line 3: offset 100 is not a multiple of 512 bytes");
    assert_eq!(alibaba("419,W,-1,512,1577808144360767"), "line 3: offset \"-1\" is not a whole number that fits");
    assert!(alibaba("419,W,0,4611686018427387904,1577808144360767").contains("more than one command takes"));
    assert!(alibaba("419,W,18446744073709551104,1024,1577808144360767").contains("the last byte that 64 bits"));
    assert!(alibaba("419,W,0,512,99999999999999999999").contains("is not a whole number that fits"));
    assert!(alibaba(&"9".repeat(5000)).contains("line 3: a line of 4096 bytes or more"));
    let letters = |text: &str| refusal(Format::Blkparse, text);
    assert_eq!(letters("8,0 3 1 0.0 697 D WQ 1 + 1 [x]\n"), "line 1: \"WQ\" is no kind of request");
    assert_eq!(letters("8-0 3 1 0.0 697 D W 1 + 1 [x]\n"), "line 1: \"8-0\" is not a device such as 8,0");
    assert_eq!(letters("8,0 3 1 0.0\n"), "line 1: no process: the line is too short");
    assert_eq!(letters("8,0 3 1 1e3 697 D W 1 + 1 [x]\n"), "line 1: time \"1e3\" is not a time in seconds");
    assert_eq!(refusal(Format::Tencent, "1,0,8,2,7\n"), "line 1: \"2\" is neither 0 for a read nor 1 for a write");
    assert_eq!(refusal(Format::Mqsim, "1 0 8 8 2\n"), "line 1: \"2\" is neither 0 for a write nor 1 for a read");
    assert_eq!(
        refusal(Format::Fio, "fio version 1 iolog\n"),
        "line 1: \"fio version 1 iolog\" is not the head of an iolog of version 2 or 3"
    );
    let fio = |text: &str| refusal(Format::Fio, &format!("fio version 3 iolog\n{text}\n"));
    assert_eq!(fio("7 f wait 5 5"), "line 2: \"wait\" is no action of an iolog");
    assert_eq!(fio("7 f"), "line 2: \"f\" is not a file, an action, an offset and a length");
    assert_eq!(refusal(Format::Fio, ""), "line 1: it is empty");
    let control = refusal(Format::Msr, "\u{1b}[2Jx\n");
    assert!(!control.contains('\u{1b}'), "{control}");
    let no_text = entries(Some(Format::Spc), b"0,24,\xff\xff,W,1\n").expect_err("refused").to_string();
    assert_eq!(no_text, "line 1: it is no text");
}

#[test]
fn wrong_events_of_blktrace_are_named_by_their_place() {
    let good = example("blktrace-little.bin");
    let text = |bytes: &[u8]| entries(Some(Format::Blktrace), bytes).expect_err("refused").to_string();
    assert_eq!(text(&good[..60]), "byte 52: an event that is cut short");
    assert_eq!(text(&good[..50]), "byte 0: an event whose data is cut short");
    let mut other = good.clone();
    other[52] = 6;
    assert_eq!(text(&other), "byte 52: an event of version 6, and only version 7 is known here");
    other[53] = 0;
    assert_eq!(text(&other), "byte 52: no event of blktrace");
}

#[test]
fn what_is_nothing_known_is_refused_with_the_names_of_formats() {
    for bytes in [&b""[..], b"hello, world\n", b"\0\0\0\0", b"1,2,3\n"] {
        let error = entries(None, bytes).expect_err("refused").to_string();
        assert!(error.contains("--format") && error.contains("alibaba"), "{error}");
    }
}

#[test]
fn a_trace_has_a_bounded_number_of_volumes() {
    let line = |number: u64| format!("\u{1b}{number},W,0,512,1\n");
    let text: String = (0..65_537).map(line).collect();
    let said = refusal(Format::Alibaba, &text);
    assert_eq!(said, "line 65537: \"\\u{1b}65536\" is one volume more than the 65536 that a trace may have");
}

#[test]
fn requests_that_never_come_back_do_not_gather_without_bound() {
    let line = |number: u64| format!("8,0 0 {number} {number}.0 1 D W {} + 8 [x]\n", number * 8);
    let text: String = (0..70_000).map(line).collect();
    let (_, entries) = entries(Some(Format::Blkparse), text.as_bytes()).expect("sound");
    assert_eq!(entries.len(), 70_001);
}

/// Mutations of the examples: whatever comes of them, it is entries or an error. The seed of a failure is in its message.
#[test]
fn damaged_examples_are_entries_or_an_error() {
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(format!("{}/examples-data", env!("CARGO_MANIFEST_DIR"))).expect("a folder") {
        names.push(entry.expect("a file").file_name().into_string().expect("a plain name"));
    }
    names.sort();
    let (mut sound, mut refused) = (0, 0);
    for seed in 0..400u64 {
        let mut random = media::power::Random::new(seed);
        let name = &names[usize::try_from(random.below(names.len() as u64)).expect("few")];
        let mut bytes = example(name);
        for _ in 0..=random.below(3) {
            let at = usize::try_from(random.below(bytes.len() as u64)).expect("small");
            bytes[at] = u8::try_from(random.below(256)).expect("a byte");
        }
        let format = (random.below(2) == 0).then(|| Format::ALL[usize::try_from(random.below(10)).expect("few")]);
        let outcome = std::panic::catch_unwind(|| entries(format, &bytes).is_ok());
        let ok = outcome.unwrap_or_else(|_| panic!("seed {seed}: {name} as {format:?}"));
        *(if ok { &mut sound } else { &mut refused }) += 1;
    }
    assert!(sound > 20 && refused > 20, "{sound} sound, {refused} refused");
}

#[test]
fn a_reader_that_gives_single_bytes_is_read_as_well() {
    struct Single<'a>(&'a [u8]);
    impl std::io::Read for Single<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let count = into.len().min(1);
            self.0.read(&mut into[..count])
        }
    }
    let bytes = example("blktrace-little.bin");
    let (_, mut trace) = open(Some(Format::Blktrace), std::io::BufReader::new(Single(&bytes))).expect("sound");
    let mut count = 0;
    while trace.next().expect("sound").is_some() {
        count += 1;
    }
    assert_eq!(count, 6);
}

#[test]
fn names_of_formats_are_distinct_and_lead_back() {
    for format in Format::ALL {
        assert_eq!(Format::named(format.name()), Some(format));
    }
    assert_eq!(Format::named("pcap"), None);
}
