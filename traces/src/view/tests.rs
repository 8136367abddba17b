//! What the files hold, read again by those who define them where that can be had: a JSON parser with the rules of the trace format, QEMU's
//! layout typed by hand, and Wireshark's own decoder.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::*;
use crate::watched::{Begun, Ended, Watcher};

const READ: u8 = 0x02;
const WRITE: u8 = 0x01;

/// A submission queue entry.
fn command(opcode: u8, cid: u16, first: u64, dword_12: u32) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[0] = opcode;
    bytes[2..4].copy_from_slice(&cid.to_le_bytes());
    bytes[4] = 1;
    bytes[24..32].copy_from_slice(&0x0010_0000_u64.to_le_bytes());
    bytes[40..48].copy_from_slice(&first.to_le_bytes());
    bytes[48..52].copy_from_slice(&dword_12.to_le_bytes());
    bytes
}

/// A completion queue entry; `status` without the phase bit.
fn completion(queue: u16, cid: u16, status: u16) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[10..12].copy_from_slice(&queue.to_le_bytes());
    bytes[12..14].copy_from_slice(&cid.to_le_bytes());
    bytes[14..].copy_from_slice(&(status << 1 | 1).to_le_bytes());
    bytes
}

/// Identify Controller, with a serial number in it.
fn identify() -> ([u8; 64], Vec<u8>) {
    let mut identify = command(0x06, 3, 0, 0);
    identify[40] = 1;
    let mut data = vec![0; 4096];
    data[4..24].copy_from_slice(b"BROWNOUT-SERIAL     ");
    (identify, data)
}

/// Two I/O queues and the admin queue: a Write with data in its capsule, one with more, a Read that fails, and Identify.
fn feed(view: &mut impl Watcher) {
    let begin = |view: &mut dyn Watcher, time_us: u64, queue, command: &[u8; 64], data: Option<&[u8]>| {
        view.begun(&Begun { time_ns: time_us * 1000, controller: 0, queue, command, data }).expect("memory");
    };
    let end = |view: &mut dyn Watcher, time_us: u64, completion: &[u8; 16], data: Option<&[u8]>| {
        view.ended(&Ended { time_ns: time_us * 1000, controller: 0, completion, data }).expect("memory");
    };
    let (identify, page) = identify();
    begin(view, 1_000_000, 0, &identify, None);
    end(view, 1_000_100, &completion(0, 3, 0), Some(&page));
    begin(view, 1_000_200, 1, &command(WRITE, 7, 0x1234_5678_9abc, 1 << 30 | 7), Some(&[0x5a; 4096]));
    begin(view, 1_000_300, 2, &command(READ, 7, 99, 0), None);
    begin(view, 1_000_350, 1, &command(WRITE, 8, 500, 255), Some(&[0xa5; 131_072]));
    end(view, 1_001_400, &completion(1, 7, 0), None);
    // LBA Out of Range, with Do Not Retry.
    end(view, 1_001_500, &completion(2, 7, 0x4080), None);
    end(view, 1_001_600, &completion(1, 8, 0), None);
    end(view, 1_001_700, &completion(1, 99, 0), None);
}

fn events(chrome: Chrome<Vec<u8>>) -> Vec<Value> {
    let bytes = chrome.finish().expect("memory");
    let mut whole: Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!(whole["displayTimeUnit"], "ns");
    serde_json::from_value(whole["traceEvents"].take()).expect("a list")
}

/// What the trace format asks of each kind of event.
fn check_schema(events: &[Value]) {
    let mut open: BTreeMap<String, Value> = BTreeMap::new();
    let mut last = 0.0;
    for event in events {
        let has = |field: &str, is: fn(&Value) -> bool| assert!(is(&event[field]), "{field} of {event}");
        has("name", Value::is_string);
        has("ts", Value::is_number);
        has("pid", Value::is_u64);
        has("tid", Value::is_u64);
        has("args", Value::is_object);
        let phase = event["ph"].as_str().expect("a phase");
        if phase != "M" {
            let time = event["ts"].as_f64().expect("a time");
            assert!(time >= last, "{event} goes back");
            last = time;
        }
        let key = || format!("{} {}", event["cat"], event["id"]);
        match phase {
            "b" => {
                has("cat", Value::is_string);
                has("id", Value::is_string);
                assert!(open.insert(key(), event["name"].clone()).is_none(), "{event} is open already");
            }
            "e" => assert_eq!(open.remove(&key()), Some(event["name"].clone()), "{event} ends nothing"),
            "X" => has("dur", Value::is_number),
            "C" => assert!(event["args"].as_object().expect("an object").values().all(Value::is_number), "{event}"),
            "i" => assert!(["g", "p", "t"].contains(&event["s"].as_str().expect("a scope")), "{event}"),
            "M" => {
                let name = event["name"].as_str().expect("text");
                assert!(
                    ["process_name", "thread_name"].contains(&name) && event["args"]["name"].is_string(),
                    "{event}"
                );
            }
            other => panic!("no phase {other}"),
        }
    }
    assert!(open.is_empty(), "{open:?} did not end");
}

fn of_phase<'a>(events: &'a [Value], phase: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["ph"] == phase).collect()
}

#[test]
fn chrome_json_has_a_slice_for_each_command_and_keeps_the_schema() {
    let mut chrome = Chrome::create(Vec::new()).expect("memory");
    feed(&mut chrome);
    let moved = json!({ "moved": 12 });
    let work = |track, time_ns| Work {
        time_ns,
        duration_ns: 1500,
        controller: 0,
        track,
        name: "collect \"line\" 7\n",
        details: &moved,
    };
    chrome.work(&work("collection", 1_002_000_000)).expect("memory");
    chrome.work(&work("collection", 1_002_001_500)).expect("memory");
    chrome.counter(1_003_000_000, 0, "cache", &[("dirty bytes", 4096)]).expect("memory");
    chrome.mark(1_004_000_001, 0, "power lost", &Value::Null).expect("memory");
    let events = events(chrome);
    check_schema(&events);
    let (begun, ended) = (of_phase(&events, "b"), of_phase(&events, "e"));
    assert_eq!((begun.len(), ended.len()), (4, 4));
    let names: Vec<&str> = begun.iter().map(|event| event["name"].as_str().expect("text")).collect();
    assert_eq!(names, ["Identify", "Write", "Read", "Write"]);
    let write = begun[1];
    assert_eq!((&write["ts"], &write["tid"], &write["id"]), (&json!(1_000_200.0), &json!(1), &json!("0.1.7")));
    let details =
        json!({ "cid": 7, "nsid": 1, "opcode": "0x01", "slba": 0x1234_5678_9abc_u64, "blocks": 8, "fua": true });
    assert_eq!(write["args"], details);
    assert_eq!(ended[2]["args"], json!({ "status": "0/80h dnr" }));
    let marks = of_phase(&events, "i");
    assert_eq!((marks.len(), &marks[0]["ts"]), (1, &json!(1_004_000.001)));
    assert_eq!(of_phase(&events, "X")[0]["name"], "collect \"line\" 7\n");
    let depths = of_phase(&events, "C").into_iter().filter(|event| event["name"] == "depth of SQ 1");
    let depths: Vec<u64> = depths.map(|event| event["args"]["commands"].as_u64().expect("a count")).collect();
    assert_eq!(depths, [1, 2, 1, 0]);
    // A process, three queues and a track.
    assert_eq!(of_phase(&events, "M").len(), 5);
}

#[test]
fn slices_of_forgotten_commands_end() {
    let mut chrome = Chrome::create(Vec::new()).expect("memory");
    for controller in [0, 1] {
        let begun = Begun { time_ns: 5, controller, queue: 1, command: &command(READ, 1, 0, 0), data: None };
        chrome.command_begun(&begun).expect("memory");
    }
    chrome.forgotten(9, 0).expect("memory");
    let ended = Ended { time_ns: 10, controller: 1, completion: &completion(1, 1, 0), data: None };
    chrome.command_ended(&ended).expect("memory");
    let events = events(chrome);
    check_schema(&events);
    assert_eq!(of_phase(&events, "e")[0]["args"]["status"], "forgotten");
}

#[test]
fn simple_records_have_qemus_layout() {
    let names = ["pci_nvme_io_cmd", "pci_nvme_irq_msix"];
    let mut simple = Simple::create(Vec::new(), 77, &names).expect("memory");
    simple.event(5, 1, &[Argument::Number(3)]).expect("memory");
    simple.event(6, 0, &[Argument::Number(1), Argument::Text("READ")]).expect("memory");
    simple.dropped(7, 9).expect("memory");
    let bytes = simple.finish().expect("memory");

    // Typed from QEMU's trace/simple.c, not from the code.
    let mut expected = vec![0xff; 8];
    expected.extend([0xb4, 0x29, 0xa4, 0x0a, 0xcb, 0x77, 0xb1, 0xf2]);
    expected.extend([4, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([[0; 8], [0; 8]].concat());
    expected.extend(b"\x0f\0\0\0pci_nvme_io_cmd");
    expected.extend([[0; 8], [1, 0, 0, 0, 0, 0, 0, 0]].concat());
    expected.extend(b"\x11\0\0\0pci_nvme_irq_msix");
    expected.extend(b"\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x20\0\0\0\x4d\0\0\0\x03\0\0\0\0\0\0\0");
    expected.extend(b"\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x28\0\0\0\x4d\0\0\0\x01\0\0\0\0\0\0\0");
    expected.extend(b"\x04\0\0\0READ");
    expected.extend(b"\x01\0\0\0\0\0\0\0\xfe\xff\xff\xff\xff\xff\xff\xff\x07\0\0\0\0\0\0\0\x20\0\0\0\x4d\0\0\0");
    expected.extend(b"\x09\0\0\0\0\0\0\0");
    assert_eq!(bytes, expected);
}

/// The packets of a capture: time in nanoseconds and bytes.
fn packets(capture: &[u8]) -> Vec<(u64, &[u8])> {
    assert_eq!(capture[..8], [0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0]);
    let mut rest = &capture[24..];
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let word = |at: usize| u32::from_le_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
        let (seconds, nanoseconds, length) = (u64::from(word(0)), u64::from(word(4)), word(8) as usize);
        assert_eq!(word(8), word(12));
        packets.push((seconds * 1_000_000_000 + nanoseconds, &rest[16..16 + length]));
        rest = &rest[16 + length..];
    }
    packets
}

fn capture() -> Vec<u8> {
    let mut pcap = Pcap::create(Vec::new()).expect("memory");
    feed(&mut pcap);
    pcap.finish().expect("memory")
}

#[test]
fn a_capture_has_a_connection_for_each_queue_without_a_gap() {
    let capture = capture();
    let packets = packets(&capture);
    let mut next: BTreeMap<(u16, u16), u32> = BTreeMap::new();
    for (_, bytes) in &packets {
        let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let sequence = u32::from_be_bytes([bytes[38], bytes[39], bytes[40], bytes[41]]);
        let expected = next.entry((port(34), port(36))).or_insert(sequence);
        assert_eq!(*expected, sequence);
        let opens = u32::from(bytes[47] & 0x02 != 0);
        *expected += opens + u32::try_from(bytes.len() - 54).expect("a packet is short");
    }
    assert_eq!(next.len(), 6, "three connections with two directions");
    assert!(packets.is_sorted_by_key(|(time, _)| *time));
}

#[test]
fn connections_end_with_a_reset_and_begin_anew() {
    let mut pcap = Pcap::create(Vec::new()).expect("memory");
    let begin = |pcap: &mut Pcap<Vec<u8>>, time_ns| {
        let begun = Begun { time_ns, controller: 0, queue: 1, command: &command(READ, 1, 0, 0), data: None };
        pcap.command_begun(&begun).expect("memory");
    };
    begin(&mut pcap, 1);
    pcap.forgotten(2, 0).expect("memory");
    begin(&mut pcap, 3);
    let capture = pcap.finish().expect("memory");
    let opened = packets(&capture).iter().filter(|(_, bytes)| bytes[47] == 0x02).count();
    assert_eq!(opened, 2);
}

/// Wireshark's own decoder: the program that `.ci/tshark` prints, or one in the path. A test that has none says so.
fn tshark() -> Option<PathBuf> {
    let program = std::env::var_os("BROWNOUT_TSHARK").map_or_else(|| PathBuf::from("tshark"), PathBuf::from);
    let runs = Command::new(&program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !runs {
        eprintln!("SKIPPED: there is no tshark (.ci/tshark prints the path of one, and BROWNOUT_TSHARK may name it)");
    }
    runs.then_some(program)
}

/// Values of fields, a row for each packet in which the filter finds something.
fn decoded(capture: &[u8], filter: &str, fields: &[&str]) -> Option<Vec<Vec<String>>> {
    let program = tshark()?;
    let folder = std::env::temp_dir().join(format!("brownout-pcap-{}-{}", std::process::id(), fields.len()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("commands.pcap");
    std::fs::write(&path, capture).expect("a file");
    let mut tshark = Command::new(program);
    tshark.arg("-r").arg(&path).args(["-Y", filter, "-T", "fields", "-E", "separator=|"]);
    tshark.args(fields.iter().flat_map(|field| ["-e", field]));
    let output = tshark.output().expect("it starts");
    std::fs::remove_dir_all(&folder).expect("it can be removed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    Some(text.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect())
}

/// A field as a number, however this version of the decoder writes it.
fn number(text: &str) -> Option<u64> {
    match text {
        "" => None,
        "True" => Some(1),
        "False" => Some(0),
        _ => match text.strip_prefix("0x") {
            Some(digits) => Some(u64::from_str_radix(digits, 16).expect("a number")),
            None => Some(text.parse().expect("a number")),
        },
    }
}

#[test]
fn wireshark_decodes_opcodes_blocks_status_and_latency() {
    let capture = capture();
    let fields = ["nvme.cmd.opc", "nvme.cmd.cid", "nvme.cmd.slba", "nvme.cmd.nlb", "nvme.cmd.fua"];
    let Some(commands) = decoded(&capture, "nvme.cmd.opc", &fields) else { return };
    let commands: Vec<Vec<Option<u64>>> =
        commands.iter().map(|row| row.iter().map(|text| number(text)).collect()).collect();
    let io = |opcode, cid, first, blocks, forced| [opcode, cid, first, blocks, forced].map(Some).to_vec();
    let expected = [
        vec![Some(0x06), Some(3), None, None, None],
        io(0x01, 7, 0x1234_5678_9abc, 8, 1),
        io(0x02, 7, 99, 1, 0),
        io(0x01, 8, 500, 256, 0),
    ];
    assert_eq!(commands, expected);

    let fields = ["nvme.cqe.cid", "nvme.cqe.sqid", "nvme.cqe.status.sc", "nvme.cqe.status.dnr", "nvme.cmd_latency"];
    let completions = decoded(&capture, "nvme.cmd_latency", &fields).expect("there was one just now");
    let milliseconds = |text: &str| text.parse::<f64>().expect("a latency");
    let completions: Vec<_> = completions
        .iter()
        .map(|row| (number(&row[0]), number(&row[1]), number(&row[2]), number(&row[3]), milliseconds(&row[4])))
        .collect();
    let ended = |cid, queue, status, final_, latency| (Some(cid), Some(queue), Some(status), Some(final_), latency);
    let expected = [ended(3, 0, 0, 0, 0.1), ended(7, 1, 0, 0, 1.2), ended(7, 2, 0x80, 1, 1.2), ended(8, 1, 0, 0, 1.25)];
    assert_eq!(completions, expected);

    let serial = decoded(&capture, "nvme.cmd.identify.ctrl.sn", &["nvme.cmd.identify.ctrl.sn"]).expect("as before");
    assert_eq!(serial.len(), 1, "{serial:?}");
    assert!(serial[0][0].starts_with("BROWNOUT-SERIAL"), "{serial:?}");
    let malformed =
        decoded(&capture, "_ws.malformed || tcp.analysis.lost_segment", &["frame.number"]).expect("as before");
    assert!(malformed.is_empty(), "{malformed:?}");
}
