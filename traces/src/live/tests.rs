//! Every form over a controller in this process, driven by a host: what is written is what happened.

use controller::ControllerId;
use std::io;
use std::sync::{Arc, Mutex};

use controller::config::{DeviceOptions, Interleave};
use controller::watch::TraceEvent;
use machine::{Machine, MachineOptions};
use nvme_host::{Host, Setup as HostSetup};
use serde_json::{Value, json};

use super::*;
use crate::record::{Entry, Extent, Kind, Record, Trace};
use crate::recording::Reader;

/// A file in memory that can be read while it is written.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().expect("nobody panicked").clone()
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A host whose device is traced.
struct Traced {
    host: Host<Machine>,
    sink: Box<dyn Sink>,
    file: Memory,
}

impl Traced {
    fn new(format: Format, data: bool) -> Self {
        Self::with(DeviceOptions::default(), format, data)
    }

    fn with(device: DeviceOptions, format: Format, data: bool) -> Self {
        let mut machine = Machine::new(&MachineOptions { device, ..MachineOptions::default() }).expect("a machine");
        let mut selection = Selection::default();
        selection.apply("pci_nvme_*").expect("known");
        let facts = Facts::of(&machine.subsystem, ControllerId::FIRST);
        let setup = Setup { format, selection, timestamps: true, data, process: 7, origin_ns: 1_000_000_000, facts };
        machine.controller_mut().listen(setup.needs().expect("something"));
        machine.controller_mut().listen_to_data(data);
        let file = Memory::default();
        let sink = open(&setup, file.clone()).expect("memory");
        let memory = HostSetup::new(machine.memory.first_range());
        let mut host = Host::enable(machine, memory).expect("enabled");
        host.create_queue_pair(1, 16, Some(1)).expect("made");
        Self { host, sink, file }
    }

    /// Hands over what happened.
    fn look(&mut self) {
        let controller = self.host.port_mut().controller_mut();
        let (events, data) = (controller.take_traced(), controller.take_traced_data());
        let mut data = data.into_iter();
        for traced in events {
            let tells_data = matches!(traced.event, TraceEvent::Data { .. });
            let data = if tells_data { data.next() } else { None };
            self.sink.event(&traced, data.as_deref()).expect("memory");
        }
        assert_eq!(data.next(), None, "data without an event");
    }

    fn end(mut self) -> Vec<u8> {
        self.look();
        self.sink.close().expect("memory");
        self.file.bytes()
    }
}

/// The commands of a recording.
fn records(bytes: &[u8]) -> Vec<Record> {
    let mut reader = Reader::open(bytes).expect("sound");
    let mut records = Vec::new();
    while let Some(entry) = reader.next().expect("sound") {
        if let Entry::Command(record) = entry {
            records.push(record);
        }
    }
    records
}

/// Bytes that differ from block to block.
fn pattern(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|index| u8::try_from(index / 512 % 251).expect("a byte") ^ seed).collect()
}

#[test]
fn a_recording_has_what_commands_wrote_and_read() {
    let mut traced = Traced::new(Format::Recording, true);
    let written = pattern(3, 65536);
    traced.host.write(1, 8, &written, false).expect("answered");
    let (_, read) = traced.host.read(1, 8, 4).expect("answered");
    traced.host.deallocate(1, &[(100, 8), (200, 4)]).expect("answered");
    traced.host.copy(1, &[(8, 2), (10, 1)], 300, false).expect("answered");
    let records = records(&traced.end());
    let kinds: Vec<Kind> = records.iter().map(Record::kind).collect();
    assert_eq!(kinds, [Kind::Write, Kind::Read, Kind::Deallocate, Kind::Copy]);
    assert!(records[0].data.as_ref() == Some(&written) && records[1].data.as_ref() == Some(&read));
    assert_eq!(records[2].extent, Extent { first: 100, blocks: 8 });
    assert_eq!(records[2].ranges, [Extent { first: 200, blocks: 4 }]);
    assert_eq!(records[3].ranges, [Extent { first: 8, blocks: 2 }, Extent { first: 10, blocks: 1 }]);
    assert!(records.iter().all(|record| record.end_ns >= Some(record.begin_ns) && record.status == 0));
}

#[test]
fn ranges_are_known_without_data() {
    let mut traced = Traced::new(Format::Recording, false);
    traced.host.write(1, 8, &pattern(3, 4096), false).expect("answered");
    traced.host.deallocate(1, &[(100, 8), (200, 4)]).expect("answered");
    let records = records(&traced.end());
    assert_eq!(records[0].data, None);
    assert_eq!(records[1].ranges, [Extent { first: 200, blocks: 4 }]);
}

/// Pieces of a write go to the media one by one; the command is one.
#[test]
fn what_is_split_has_its_data_once() {
    let device = DeviceOptions { interleave: Interleave::Seeded, ..DeviceOptions::default() };
    let mut traced = Traced::with(device, Format::Recording, true);
    let written = pattern(9, 131_072);
    traced.host.write(1, 1, &written, false).expect("answered");
    let (_, read) = traced.host.read(1, 1, 8).expect("answered");
    let records = records(&traced.end());
    assert_eq!(records.len(), 2);
    assert!(records[0].data.as_ref() == Some(&written) && records[1].data.as_ref() == Some(&read));
}

#[test]
fn lines_have_their_time_and_say_what_is_missing() {
    let mut traced = Traced::new(Format::Log, false);
    traced.look();
    traced.sink.remark(&Remark::Dropped(7)).expect("memory");
    let mut selection = Selection::default();
    selection.apply("pci_nvme_flush_ns").expect("known");
    traced.sink.remark(&Remark::Selection(selection)).expect("memory");
    traced.host.write(1, 0, &pattern(0, 4096), false).expect("answered");
    traced.host.flush(1).expect("answered");
    let text = String::from_utf8(traced.end()).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.iter().all(|line| line.starts_with("1970-01-01T00:00:01.")), "{text}");
    let [.., missing, flushed] = lines.as_slice() else { panic!("{text}") };
    assert!(missing.ends_with("Z # 7 events were dropped here"), "{missing}");
    assert!(flushed.ends_with("Z pci_nvme_flush_ns nsid 0x1"), "{flushed}");
}

#[test]
fn records_of_qemus_binary_form_name_their_events() {
    let mut traced = Traced::new(Format::Simple, false);
    traced.look();
    traced.sink.remark(&Remark::Dropped(9)).expect("memory");
    let bytes = traced.end();
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    let half = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes")) as usize;
    let (mut at, mut names, mut events) = (24, Vec::new(), Vec::new());
    while at < bytes.len() {
        if word(at) == 0 {
            let length = half(at + 16);
            names.push(String::from_utf8(bytes[at + 20..at + 20 + length].to_vec()).expect("text"));
            at += 20 + length;
        } else {
            events.push(word(at + 8));
            at += 8 + half(at + 24);
        }
    }
    assert_eq!(names, crate::qemu::names());
    assert_eq!(events.pop(), Some(u64::MAX - 1), "what was dropped");
    let named = |name: &str| names.iter().position(|known| known == name).expect("known") as u64;
    let count = |name: &str| events.iter().filter(|event| **event == named(name)).count();
    assert_eq!((count("pci_nvme_create_sq"), count("pci_nvme_create_cq")), (1, 1));
}

#[test]
fn a_reset_and_what_is_remarked_are_marks_and_no_slice_stays_open() {
    let mut traced = Traced::new(Format::Chrome, false);
    traced.host.async_event_request().expect("sent");
    traced.host.flush(1).expect("answered");
    traced.host.disable().expect("disabled");
    traced.look();
    traced.sink.remark(&Remark::Dropped(3)).expect("memory");
    let mark = Remark::Mark { time_ns: 5, name: "H19 sq-overrun".to_owned(), details: json!({ "count": 2 }) };
    traced.sink.remark(&mark).expect("memory");
    let trace: Value = serde_json::from_slice(&traced.end()).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("a list");
    let of = |phase: &str| events.iter().filter(|event| event["ph"] == phase).collect::<Vec<_>>();
    assert_eq!(of("b").len(), of("e").len());
    let request = of("e").into_iter().find(|event| event["name"] == "Asynchronous Event Request").expect("it ends");
    assert_eq!(request["args"]["status"], "forgotten");
    let marks: Vec<&str> = of("i").iter().map(|event| event["name"].as_str().expect("text")).collect();
    assert_eq!(marks, ["enabled", "reset", "events dropped", "H19 sq-overrun"]);
}

#[test]
fn a_capture_has_the_data_where_it_is_wanted() {
    let capture = |data| {
        let mut traced = Traced::new(Format::Pcap, data);
        traced.host.write(1, 0, &pattern(77, 4096), false).expect("answered");
        traced.end()
    };
    let (with, without) = (capture(true), capture(false));
    let has = |bytes: &[u8], piece: &[u8]| bytes.windows(piece.len()).any(|window| window == piece);
    let written = &pattern(77, 4096)[..1024];
    assert!(has(&with, written) && !has(&without, written));
    // Identify brings data too.
    assert!(with.len() > without.len() + 4096 + 4096);
}
