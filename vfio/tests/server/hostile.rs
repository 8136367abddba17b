//! Clients that send what they should not. After each of them the server answers as before.

use std::io::{Read, Write};
use std::os::fd::AsFd;

use vfio::Doorbells;
use vfio::message::{Command, Errno, FLAG_NO_REPLY, Header, MESSAGE_BYTES_MAX, SKIPPED_BYTES_MAX};

use crate::common::{RawClient, Rig, access, event, memory_file, numbers, pause};

fn alive(client: &mut RawClient) {
    assert_eq!(client.read(7, 0, 4), Ok(vec![0xf4, 0x1a, 0xf0, 0x10]));
}

/// The server has closed the connection: what it sent before may come first.
fn closed(client: &mut RawClient) -> bool {
    let mut rest = Vec::new();
    match client.stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn every_command_is_answered_and_unknown_ones_keep_the_stream() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.ready_client();
    for command in (0..40).chain([255, 0x7fff, 0xffff]) {
        for length in [0, 1, 4, 16, 32, 100] {
            let answer = client.call(Command(command), &vec![0; length]);
            let offered = [1, 2, 3, 4, 5, 7, 8, 9, 10, 13].contains(&command);
            assert!(offered || answer == Err(Errno::NOTSUP), "command {command}: {answer:?}");
        }
    }
    alive(&mut client);
}

/// E38.
#[test]
fn region_descriptors_are_not_offered_for_any_index() {
    let rig = Rig::new(Doorbells::Mapped);
    let mut client = rig.ready_client();
    for index in 0..256 {
        let answer = client.call(Command::DEVICE_GET_REGION_IO_FDS, &numbers(&[16, 0, index, 0], &[]));
        assert_eq!(answer, Err(Errno::NOTSUP));
    }
}

#[test]
fn versions_that_cannot_be_are_refused_and_may_be_followed_by_one_that_can() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.client();
    assert_eq!(client.read(7, 0, 4), Err(Errno::INVAL), "nothing before VERSION");
    let refused: [&[u8]; 9] = [
        b"",
        b"\0\0\0",
        b"\x01\0\0\0",
        b"\0\0\0\0{",
        b"\0\0\0\0[]\0",
        b"\0\0\0\0{\"capabilities\":7}\0",
        b"\0\0\0\0{\"capabilities\":{\"max_msg_fds\":-1}}\0",
        b"\0\0\0\0{\"capabilities\":{\"max_msg_fds\":\"many\"}}\0",
        b"\0\0\0\0\xff\xfe\0",
    ];
    for payload in refused {
        assert_eq!(client.call(Command::VERSION, payload), Err(Errno::INVAL), "{payload:?}");
    }
    let deep = [&[0; 4][..], &[b'['; 40_000]].concat();
    assert_eq!(client.call(Command::VERSION, &deep), Err(Errno::INVAL), "nested without end");
    client.call(Command::VERSION, b"\0\0\xff\xff{\"capabilities\":{\"twin_socket\":true}}").expect("a version");
    assert_eq!(client.call(Command::VERSION, &[0; 4]), Err(Errno::INVAL), "once");
    alive(&mut client);
}

/// E30, E18.
#[test]
fn accesses_outside_of_a_region_are_refused() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.ready_client();
    for region in 0..9 {
        let size: u64 = [0x4000, 0, 0, 0, 0, 0, 0, 0x1000, 0][region as usize];
        let refused = [
            (0, 0),
            (size, 1),
            (size.saturating_sub(1), 2),
            (u64::MAX - 3, 8),
            (u64::MAX, u32::MAX),
            (0, u32::MAX),
            (1 << 63, 1),
            (0, 0x4001),
        ];
        for (offset, count) in refused {
            assert_eq!(client.call(Command::REGION_READ, &access(region, offset, count)), Err(Errno::INVAL));
            let write = [&access(region, offset, count)[..], &[0; 64]].concat();
            assert_eq!(client.call(Command::REGION_WRITE, &write), Err(Errno::INVAL));
        }
    }
    for region in [9, 10, u32::MAX] {
        assert_eq!(client.read(region, 0, 4), Err(Errno::INVAL));
    }
    let short = [&access(0, 0x14, 8)[..], &[0; 7]].concat();
    assert_eq!(client.call(Command::REGION_WRITE, &short), Err(Errno::INVAL), "fewer bytes than it says");
    for offset in [0, 1, 0xffd, 0x1ff9, 0x1fff, 0x2ffd, 0x3ff0] {
        for count in [1, 2, 3, 5, 8, 16] {
            client.write(0, offset, &vec![0xa5; count as usize]).expect("any width anywhere");
            client.read(0, offset, count).expect("any width anywhere");
        }
    }
    assert_eq!(client.read(0, 0, 0x4000).expect("all of it").len(), 0x4000);
}

#[test]
fn the_msix_table_reads_back_and_pending_bits_read_zero() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.ready_client();
    client.write(0, 0x1ff8, &[7; 16]).expect("across doorbells and table");
    assert_eq!(client.read(0, 0x1ff8, 16), Ok(vec![7; 16]));
    client.write(0, 0x2000 + 65 * 16 - 4, &[7; 8]).expect("across the table's end");
    assert_eq!(client.read(0, 0x2000 + 65 * 16 - 4, 8), Ok([[7; 4], [0; 4]].concat()));
    client.write(0, 0x2ffc, &[7; 8]).expect("across table and pending bits");
    assert_eq!(client.read(0, 0x2ffc, 8), Ok(vec![0; 8]));
    client.call(Command::DEVICE_RESET, &[]).expect("reset");
    assert_eq!(client.read(0, 0x2000, 8), Ok(vec![0; 8]));
}

#[test]
fn too_long_messages_are_skipped_and_refused() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.ready_client();
    let file = memory_file(4096);
    for length in [MESSAGE_BYTES_MAX - 15, MESSAGE_BYTES_MAX, 2 * MESSAGE_BYTES_MAX - 17, SKIPPED_BYTES_MAX - 16] {
        let message = client.message(Command::REGION_WRITE, 0, &vec![0; length]);
        client.send_with(&message[..100], &[file.as_fd(); 16]);
        client.send_raw(&message[100..]);
        let reply = client.receive();
        assert_eq!((reply.header.flags, reply.header.error, reply.header.size), (0x21, 22, 16));
        alive(&mut client);
        assert_eq!(
            client.map(3, 0, 0, 4096, None),
            Ok(()),
            "the descriptors of the long one are not those of the next"
        );
        assert_eq!(rig.with(|server, _| server.memory().extent()), (1, 0));
        client.unmap(0, 0, 4096).expect("unmap");
    }
}

#[test]
fn a_size_that_no_message_has_ends_the_connection() {
    let rig = Rig::new(Doorbells::Trapped);
    for size in [0, 1, 15, u32::try_from(SKIPPED_BYTES_MAX).expect("small") + 1, u32::MAX] {
        let mut client = rig.ready_client();
        let header = Header { id: 1, command: Command::REGION_READ, size, flags: 0, error: 0 };
        client.send_raw(&header.encode());
        assert!(closed(&mut client), "size {size}");
        rig.wait_until_free();
    }
    alive(&mut rig.ready_client());
}

/// E36, E37: replies that nobody asked for, with odd errors; types that do not exist.
#[test]
fn what_is_not_a_command_gets_no_answer() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.ready_client();
    for flags in 1..16 {
        for error in [0, 1, u32::MAX] {
            let header = Header { id: 9, command: Command(11), size: 20, flags: flags | 0x20, error };
            client.send_raw(&[&header.encode()[..], &[0; 4]].concat());
        }
    }
    alive(&mut client);
}

#[test]
fn no_reply_is_honoured_by_every_command() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.ready_client();
    for command in 0..20 {
        for length in [0, 16, 32] {
            let message = client.message(Command(command), FLAG_NO_REPLY, &vec![0; length]);
            client.send_raw(&message);
        }
    }
    alive(&mut client);
}

#[test]
fn messages_arrive_in_any_pieces() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.ready_client();
    let write = client.message(Command::REGION_WRITE, 0, &[&access(0, 0x14, 4)[..], &[1, 2, 3, 4]].concat());
    for byte in write {
        client.send_raw(&[byte]);
        pause();
    }
    assert_eq!(client.receive().header.flags, 1);
    let mut burst = Vec::new();
    for _ in 0..500 {
        burst.extend(client.message(Command::REGION_READ, 0, &access(0, 0x14, 4)));
    }
    client.send_raw(&burst);
    for _ in 0..500 {
        assert_eq!(client.receive().payload[16..], [1, 2, 3, 4]);
    }
}

#[test]
fn a_second_client_is_closed_and_the_first_is_not() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut first = rig.ready_client();
    for _ in 0..20 {
        let mut second = rig.client();
        assert!(closed(&mut second));
        alive(&mut first);
    }
    drop(first);
    rig.wait_until_free();
    alive(&mut rig.ready_client());
}

/// A monitor that is restarted in a loop: the server must not take it for a second client because it has not noticed the end of the
/// first, whatever the first left unread.
#[test]
fn a_client_that_comes_right_after_another_is_let_in() {
    let rig = Rig::new(Doorbells::Trapped);
    for round in 0..300 {
        let mut client = rig.ready_client();
        // At most 15 replies of 16 KiB: fewer bytes than a client may leave unread, however fast the server answers.
        for _ in 0..round % 16 {
            let message = client.message(Command::REGION_READ, 0, &access(0, 0, 0x4000));
            client.send_raw(&message);
        }
    }
    alive(&mut rig.ready_client());
}

/// Requests without end, and never a reply read: it must not cost us memory or time.
#[test]
fn a_deaf_client_is_dropped() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.ready_client();
    let message = client.message(Command::REGION_READ, 0, &access(0, 0, 0x4000));
    // More than the socket holds, so that the last ones wait for the server to read or to hang up, however late it is.
    let outcome = (0..100_000).try_for_each(|_| client.stream.write_all(&message));
    assert!(outcome.is_err(), "the server hangs up");
    rig.wait_until_free();
    alive(&mut rig.ready_client());
}

/// A slow reader is not a deaf one: what did not fit the socket goes out later, whole and in order.
#[test]
fn replies_wait_for_a_slow_client() {
    let rig = Rig::new(Doorbells::Mapped);
    let mut client = rig.ready_client();
    let mut expected = Vec::new();
    for index in 0..300_u32 {
        let count = 1000 + index;
        let message = client.message(Command::REGION_READ, 0, &access(0, 0, count));
        client.send_raw(&message);
        expected.push(count as usize + 16);
    }
    let last = client.message(Command::DEVICE_GET_REGION_INFO, 0, &numbers(&[64, 0, 0, 0], &[0, 0]));
    client.send_raw(&last);
    rig.wait("everything is read", |server, device| {
        let _ = server.service(device, 1000);
        true
    });
    let sizes: Vec<_> = (0..300).map(|_| client.receive().payload.len()).collect();
    assert_eq!(sizes, expected);
    assert_eq!(client.receive().descriptors.len(), 1);
    alive(&mut client);
}

/// E31 and more: every number that a DEVICE_SET_IRQS could get wrong.
#[test]
fn interrupts_outside_of_an_index_are_refused() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.ready_client();
    let fd = event();
    for index in [0, 1, 2, 3, 4, 5, u32::MAX] {
        let refused = [(u32::MAX, 2), (0, u32::MAX), (65, 1), (64, 2), (1, u32::MAX), (66, 0), (u32::MAX, u32::MAX)];
        for (start, count) in refused {
            for flags in [0x21, 0x22, 0x24, 0x09, 0x12] {
                assert_eq!(client.set_irqs([flags, index, start, count], &[1; 8], &[&fd]), Err(Errno::INVAL));
            }
        }
    }
    for (count, descriptors) in [(1, 2), (2, 1), (3, 16), (0, 1)] {
        let all = vec![&fd; descriptors];
        assert_eq!(client.set_irqs([0x24, 2, 0, count], &[], &all), Err(Errno::INVAL), "{count} with {descriptors}");
    }
    assert_eq!(client.set_irqs([0x21, 2, 0, 1], &[], &[&fd]), Err(Errno::INVAL), "a descriptor for no data");
    let ordinary = memory_file(4096);
    assert_eq!(client.set_irqs([0x24, 2, 0, 1], &[], &[&ordinary]), Err(Errno::INVAL), "not an event");
    alive(&mut client);
}

/// More descriptors than a message may have: the kernel drops what does not fit, and so the message is not to be trusted.
#[test]
fn too_many_descriptors_are_refused_and_closed() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.ready_client();
    let fd = event();
    let many = vec![&fd; 40];
    assert_eq!(client.set_irqs([0x24, 2, 0, 40], &[], &many), Err(Errno::INVAL));
    let all = vec![&fd; 16];
    assert_eq!(client.set_irqs([0x24, 2, 0, 16], &[], &all), Ok(()), "as many as may");
    let message = client.message(Command::DMA_MAP, 0, &numbers(&[32, 3], &[0, 0, 4096]));
    for byte in message {
        client.send_with(&[byte], &[fd.as_fd(); 16]);
    }
    assert_eq!(client.receive().header.error, 22);
    alive(&mut client);
}
