//! A client that vanishes, at any moment, leaves nothing behind: no descriptor, no mapping, no thread. A test binary of its own,
//! with one test, because it counts what the process has.

#[path = "server/common.rs"]
#[expect(dead_code, reason = "the other test binary uses all of it")]
mod common;

use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};

use common::{RawClient, Rig, access, event, memory_file, numbers};
use guest_memory::descriptor::discard;
use vfio::Doorbells;
use vfio::message::Command;

/// Descriptors, mappings of shared memory, threads. What waits to be closed is closed first: in its turn, so that the end of a pipe tells.
fn census() -> [usize; 3] {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    discard(writer);
    assert_eq!(reader.read(&mut [0]).expect("the end"), 0);
    drop(reader);
    let entries = |path: &str| std::fs::read_dir(path).expect("procfs").count();
    let maps = std::fs::read_to_string("/proc/self/maps").expect("procfs");
    let shared = maps.lines().filter(|line| line.contains("memfd:")).count();
    [entries("/proc/self/fd"), shared, entries("/proc/self/task")]
}

/// What the clients have to give: made once, so that it is part of the baseline.
struct Things {
    memory: OwnedFd,
    events: Vec<OwnedFd>,
}

/// A session from beginning to end, as messages with how many descriptors go with each.
fn script(client: &mut RawClient) -> Vec<(Vec<u8>, Option<usize>)> {
    let write = |region, offset, data: &[u8]| {
        [&access(region, offset, u32::try_from(data.len()).expect("short"))[..], data].concat()
    };
    let steps: Vec<(Command, Vec<u8>, Option<usize>)> = vec![
        (Command::VERSION, vec![0; 4], None),
        (Command::DMA_MAP, numbers(&[32, 3], &[0, 0, 0x8000]), Some(0)),
        (Command::DMA_MAP, numbers(&[32, 3], &[0x8000, 0x10_0000, 0x8000]), Some(0)),
        (Command::DMA_MAP, numbers(&[32, 3], &[0, 0x20_0000, 0x1000]), None),
        (Command::DEVICE_GET_REGION_INFO, numbers(&[64, 0, 0, 0], &[0, 0]), None),
        (Command::DEVICE_SET_IRQS, numbers(&[20, 0x24, 0, 0, 1], &[]), Some(1)),
        (Command::DEVICE_SET_IRQS, numbers(&[20, 0x14, 0, 0, 1], &[]), Some(1)),
        (Command::DEVICE_SET_IRQS, numbers(&[20, 0x24, 2, 0, 16], &[]), Some(16)),
        (Command::REGION_WRITE, write(7, 4, &[6, 0]), None),
        (Command::REGION_WRITE, write(7, 0x52, &[0, 0x80]), None),
        (Command::REGION_WRITE, write(0, 0x1000, &[1, 0, 0, 0]), None),
        (Command::DMA_UNMAP, numbers(&[24, 0], &[0, 0x8000]), Some(0)),
        (Command::DEVICE_RESET, vec![], None),
        (Command(999), vec![0; 40], Some(16)),
        (Command::REGION_READ, access(0, 0, 0x4000), None),
    ];
    steps.into_iter().map(|(command, payload, given)| (client.message(command, 0, &payload), given)).collect()
}

impl Things {
    fn with(&self, given: Option<usize>) -> Vec<std::os::fd::BorrowedFd<'_>> {
        match given {
            None => Vec::new(),
            Some(0) => vec![self.memory.as_fd()],
            Some(count) => self.events.iter().cycle().take(count).map(AsFd::as_fd).collect(),
        }
    }

    /// Plays `whole` messages, then `bytes` of the next, and vanishes.
    fn play(&self, rig: &Rig, whole: usize, bytes: usize, read_replies: bool) {
        let mut client = rig.client();
        let script = script(&mut client);
        for (message, given) in &script[..whole] {
            client.send_with(message, &self.with(*given));
            if read_replies {
                client.receive();
            }
        }
        if let Some((message, given)) = script.get(whole)
            && bytes > 0
        {
            client.send_with(&message[..bytes.min(message.len())], &self.with(*given));
        }
        drop(client);
        rig.wait("the server has seen it come and go", |server, _| !server.client_connected());
    }
}

#[test]
fn a_client_that_vanishes_at_any_moment_leaves_nothing_behind() {
    let rig = Rig::new(Doorbells::Mapped);
    let things = Things { memory: memory_file(0x10000), events: (0..4).map(|_| event()).collect() };
    let length = script(&mut rig.client()).len();
    things.play(&rig, length, 0, true);
    let baseline = census();
    // After each message and in the middle of the next, a hundred times each.
    for round in 0..100 {
        for whole in 0..=length {
            things.play(&rig, whole, (round * 7) % 50, round % 2 == 0);
        }
    }
    // At each byte of each message.
    let lengths: Vec<usize> = script(&mut rig.client()).iter().map(|(message, _)| message.len()).collect();
    for (whole, bytes) in lengths.into_iter().enumerate() {
        for cut in 1..bytes {
            things.play(&rig, whole, cut, cut % 2 == 0);
        }
    }
    // The last client may still be waiting to be accepted when it is already gone.
    let mut last = rig.ready_client();
    assert!(last.read(7, 0, 4).is_ok(), "the server answers as ever");
    drop(last);
    rig.wait_until_free();
    assert_eq!(census(), baseline, "descriptors, mappings, threads");
    assert_eq!(rig.with(|server, _| server.memory().extent()), (0, 0));
}
