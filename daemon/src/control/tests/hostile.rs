//! Peers that misbehave: each is dropped, and nobody else notices.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use serde_json::json;

use super::{Peer, Running};
use crate::control::framing::MESSAGE_BYTES_MAX;
use crate::control::peer::{Peer as Served, UNSENT_MAX};
use crate::control::server::PEERS_MAX;

/// The device and another peer are as well as before.
fn assert_well(bystander: &mut Peer) {
    assert_eq!(bystander.ask("query-status", json!({})).expect("a status")["running"], true);
}

/// Sends as much as is taken, and gives back everything that was said until the end of the connection.
fn last_words(mut stream: UnixStream, bytes: &[u8]) -> String {
    // It may be ended before all is sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    String::from_utf8(said).expect("text")
}

#[test]
fn garbage_ends_its_sender_with_a_reason() {
    let device = Running::start();
    let mut bystander = device.peer();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0\0\0\0", b"]", b"42\n", b"\"text\"", b"\xff\xfe{}"] {
        let said = last_words(UnixStream::connect(device.path()).expect("a socket"), garbage);
        assert!(said.contains("a message is a JSON object"), "{said}");
        assert_well(&mut bystander);
    }
}

#[test]
fn megabytes_without_an_end_end_their_sender() {
    let device = Running::start();
    let mut bystander = device.peer();
    let endless = [b"{\"execute\": \"".to_vec(), vec![b'x'; 4 << 20]].concat();
    let deep = [b"{\"a\": ".to_vec(), vec![b'['; 4 << 20]].concat();
    let nested = format!("{{\"a\": {}{}}}", "[".repeat(30_000), "]".repeat(30_000)).into_bytes();
    for (bytes, why) in [(endless, "at most 65536 bytes"), (deep, "at most 65536 bytes"), (nested, "recursion limit")] {
        let stream = UnixStream::connect(device.path()).expect("a socket");
        let mut reader = stream.try_clone().expect("a copy");
        // Somebody must read meanwhile: a reset may swallow the last words of a connection with bytes unread.
        let said = std::thread::spawn(move || {
            let mut said = Vec::new();
            let _ = reader.read_to_end(&mut said);
            String::from_utf8(said).expect("text")
        });
        last_words(stream, &bytes);
        let said = said.join().expect("a reader");
        assert!(said.contains(why) || !said.contains("return"), "{said}");
        assert_well(&mut bystander);
    }
    const { assert!(MESSAGE_BYTES_MAX < 4 << 20) };
}

#[test]
fn a_peer_may_leave_in_the_middle_of_anything() {
    let device = Running::start();
    let mut bystander = device.peer();
    for half in ["", "{", "{\"execute\": \"qmp_capabil", "{\"execute\": \"qmp_capabilities\"}{\"execute\": \"query-me"]
    {
        drop(device.connect());
        let mut peer = device.connect();
        peer.send(half);
        drop(peer);
        assert_well(&mut bystander);
    }
    for _ in 0..100 {
        let mut peer = device.peer();
        peer.send(r#"{"execute": "query-schema"}{"execute": "query-media"}"#);
        drop(peer);
    }
    assert_well(&mut bystander);
}

#[test]
fn who_asks_without_reading_is_no_longer_heard_and_hinders_nobody() {
    let device = Running::start();
    let mut bystander = device.peer();
    let mut greedy = device.peer();
    let stream = greedy.stream.get_mut();
    stream.set_nonblocking(true).expect("a socket");
    let mut sent = 0;
    // Until the socket is full in both directions: the device has stopped to listen.
    let mut refusals = 0;
    while refusals < 1_000 && sent < 64 << 20 {
        match stream.write(br#"{"execute": "query-schema"}"#) {
            Ok(count) => sent += count,
            Err(_) => {
                refusals += 1;
                assert_well(&mut bystander);
            }
        }
    }
    assert!(sent < 64 << 20, "somebody takes everything");
    assert_well(&mut bystander);
}

#[test]
fn who_does_not_read_is_dropped_when_too_much_is_unread() {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    ours.set_nonblocking(true).expect("a socket");
    let mut peer = Served::new(ours);
    let event = format!("{}\r\n", "x".repeat(1_000));
    let mut sent = 0;
    while !peer.is_over() {
        peer.send(&event);
        sent += event.len();
        assert!(sent < 16 * UNSENT_MAX, "it is never dropped");
    }
    assert!(sent > UNSENT_MAX, "what a short pause leaves unread is no reason");
    drop(theirs);
}

#[test]
fn one_long_answer_is_no_reason_to_be_dropped() {
    let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
    ours.set_nonblocking(true).expect("a socket");
    let mut peer = Served::new(ours);
    let answer = format!("{}\r\n", "x".repeat(4 * UNSENT_MAX));
    peer.send(&answer);
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        theirs.read_to_end(&mut said).expect("all of it");
        said
    });
    while peer.interest().contains(rustix::event::PollFlags::OUT) {
        peer.flush();
        std::thread::yield_now();
    }
    assert!(!peer.is_over());
    drop(peer);
    assert!(reader.join().expect("a reader").ends_with(answer.as_bytes()));
}

#[test]
fn thousands_of_connections_leave_room_for_one_that_means_it() {
    let device = Running::start();
    let mut bystander = device.peer();
    let mut silent = std::collections::VecDeque::new();
    for _ in 0..3_000 {
        silent.push_back(UnixStream::connect(device.path()).expect("a socket"));
        if silent.len() > 4 * PEERS_MAX {
            silent.pop_front();
        }
    }
    assert_well(&mut bystander);
    let mut newcomer = device.peer();
    assert_well(&mut newcomer);
    assert_well(&mut bystander);
}

#[test]
fn who_comes_when_all_places_are_taken_is_told_so() {
    let device = Running::start();
    let mut peers: Vec<Peer> = (0..PEERS_MAX).map(|_| device.peer()).collect();
    let mut late = Peer::new(UnixStream::connect(device.path()).expect("a socket"));
    late.hear().expect("a greeting");
    let told = late.hear().expect("a reason");
    assert!(told["error"]["desc"].as_str().is_some_and(|why| why.contains("32 peers")), "{told}");
    assert!(late.hear().is_none());
    drop(peers.pop());
    // The place is free as soon as the device has seen that it is.
    assert_well(&mut peers[0]);
    peers.push(device.peer());
    peers.iter_mut().for_each(assert_well);
}
