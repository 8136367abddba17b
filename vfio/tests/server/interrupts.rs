//! DEVICE_SET_IRQS in all its forms, as clients see it.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vfio::message::Errno;
use vfio::{Doorbells, InterruptMode};

use crate::common::{RawClient, Rig, event, signals};

const NONE: u32 = 1;
const BOOL: u32 = 2;
const EVENT: u32 = 4;
const MASK: u32 = 8;
const UNMASK: u32 = 16;
const TRIGGER: u32 = 32;
const PIN: u32 = 0;
const MSIX: u32 = 2;

fn set_pin(rig: &Rig, asserted: bool) {
    rig.with(move |server, device| {
        device.pin = asserted;
        server.set_pin(asserted);
    });
}

/// The device has stepped, and its pin is as it was: what the daemon says after each step.
fn step(rig: &Rig) {
    rig.with(|server, device| server.set_pin(device.pin));
}

/// Whether the daemon's loop would sleep now: a descriptor that stays readable for ever would keep it awake.
fn idle(rig: &Rig) -> bool {
    rig.with(|server, _| {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(server, PollFlags::IN)], Some(&now)) == Ok(0)
    })
}

#[test]
fn the_pin_is_silent_after_a_signal_until_it_is_unmasked() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.ready_client();
    let fd = event();
    set_pin(&rig, true);
    client.set_irqs([EVENT | TRIGGER, PIN, 0, 1], &[], &[&fd]).expect("attach");
    step(&rig);
    assert_eq!(signals(&fd), 1, "it was asserted before");
    set_pin(&rig, false);
    set_pin(&rig, true);
    assert_eq!(signals(&fd), 0, "automasked");
    client.set_irqs([NONE | UNMASK, PIN, 0, 1], &[], &[]).expect("unmask");
    assert_eq!(signals(&fd), 0, "the device may not have seen yet what the guest did before it unmasked");
    step(&rig);
    assert_eq!(signals(&fd), 1, "still asserted");
    set_pin(&rig, false);
    client.set_irqs([NONE | UNMASK, PIN, 0, 1], &[], &[]).expect("unmask");
    assert_eq!(signals(&fd), 0, "nothing is wrong any more");
    set_pin(&rig, true);
    assert_eq!(signals(&fd), 1);
    assert_eq!(client.read(7, 6, 2), Ok(vec![0x18, 0]), "and the status register shows it");
}

/// What QEMU does under KVM.
#[test]
fn the_pin_is_unmasked_by_a_descriptor() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.ready_client();
    let (fd, unmask) = (event(), event());
    client.set_irqs([EVENT | TRIGGER, PIN, 0, 1], &[], &[&fd]).expect("attach");
    client.set_irqs([NONE | MASK, PIN, 0, 1], &[], &[]).expect("mask");
    client.set_irqs([EVENT | UNMASK, PIN, 0, 1], &[], &[&unmask]).expect("attach");
    set_pin(&rig, true);
    assert_eq!(signals(&fd), 0, "masked");
    for _ in 0..3 {
        rustix::io::write(&unmask, &1_u64.to_ne_bytes()).expect("unmask");
        let mut seen = 0;
        for _ in 0..2000 {
            step(&rig);
            seen += signals(&fd);
            if seen > 0 {
                break;
            }
            crate::common::pause();
        }
        assert_eq!(seen, 1);
    }
    client.set_irqs([EVENT | UNMASK, PIN, 0, 1], &[], &[]).expect("detach");
    rustix::io::write(&unmask, &1_u64.to_ne_bytes()).expect("nobody listens");
    client.set_irqs([NONE | MASK, PIN, 0, 1], &[], &[]).expect("a round trip");
    assert_eq!(signals(&fd), 0);
    assert!(idle(&rig), "and nobody watches it");
    assert_eq!(signals(&unmask), 1);
    assert_eq!(client.set_irqs([EVENT | MASK, PIN, 0, 1], &[], &[&unmask]), Err(Errno::NOTSUP));

    client.set_irqs([EVENT | UNMASK, PIN, 0, 1], &[], &[&unmask]).expect("attach");
    drop(client);
    rig.wait_until_free();
    rustix::io::write(&unmask, &1_u64.to_ne_bytes()).expect("from a client that is gone");
    assert!(idle(&rig), "the loop may sleep");
}

#[test]
fn the_pin_obeys_the_command_register_and_msix() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.ready_client();
    let fd = event();
    client.set_irqs([EVENT | TRIGGER, PIN, 0, 1], &[], &[&fd]).expect("attach");
    client.write(7, 4, &0x0400_u16.to_le_bytes()).expect("pin off");
    set_pin(&rig, true);
    assert_eq!(signals(&fd), 0);
    client.write(7, 4, &[0, 0]).expect("pin on");
    step(&rig);
    assert_eq!(signals(&fd), 1, "it is a level");
    client.write(7, 0x52, &0x8000_u16.to_le_bytes()).expect("MSI-X on");
    client.set_irqs([NONE | UNMASK, PIN, 0, 1], &[], &[]).expect("unmask");
    assert_eq!(signals(&fd), 0, "MSI-X takes its place");
    client.set_irqs([NONE | TRIGGER, PIN, 0, 1], &[], &[]).expect("fire");
    client.set_irqs([BOOL | TRIGGER, PIN, 0, 1], &[1], &[]).expect("fire");
    client.set_irqs([BOOL | TRIGGER, PIN, 0, 1], &[0], &[]).expect("do not");
    assert_eq!(signals(&fd), 2, "loopback");
    client.set_irqs([NONE | TRIGGER, PIN, 0, 0], &[], &[]).expect("disable");
    client.write(7, 0x52, &[0, 0]).expect("MSI-X off");
    assert_eq!(signals(&fd), 0);
}

fn attach(client: &mut RawClient, start: u32, count: usize) -> Vec<std::os::fd::OwnedFd> {
    let events: Vec<_> = (0..count).map(|_| event()).collect();
    let all: Vec<_> = events.iter().collect();
    let count = u32::try_from(count).expect("few");
    client.set_irqs([EVENT | TRIGGER, MSIX, start, count], &[], &all).expect("attach");
    events
}

fn seen(events: &[std::os::fd::OwnedFd]) -> Vec<u64> {
    events.iter().map(signals).collect()
}

#[test]
fn vectors_are_masked_detached_and_swapped_without_losing_an_interrupt() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.ready_client();
    let events = attach(&mut client, 10, 4);
    let fire = |vector| rig.with(move |server, _| server.signal_message(vector));
    fire(11);
    fire(11);
    fire(14);
    fire(1000);
    assert_eq!(seen(&events), [0, 2, 0, 0], "no such vector is no crash");

    client.set_irqs([BOOL | MASK, MSIX, 10, 4], &[1, 0, 1, 0], &[]).expect("mask two");
    for vector in 10..14 {
        fire(vector);
        fire(vector);
    }
    assert_eq!(seen(&events), [0, 2, 0, 2]);
    client.set_irqs([NONE | UNMASK, MSIX, 10, 4], &[], &[]).expect("unmask all");
    assert_eq!(seen(&events), [1, 0, 1, 0], "pending is one bit");

    client.set_irqs([EVENT | TRIGGER, MSIX, 10, 2], &[], &[]).expect("detach two");
    fire(10);
    fire(12);
    assert_eq!(seen(&events), [0, 0, 1, 0]);
    let fresh = attach(&mut client, 10, 1);
    assert_eq!(seen(&fresh), [1], "it came while nobody listened");

    client.set_irqs([BOOL | TRIGGER, MSIX, 10, 4], &[1, 1, 0, 1], &[]).expect("loopback");
    assert_eq!((seen(&fresh), seen(&events)), (vec![1], vec![0, 0, 0, 1]));
    client.set_irqs([NONE | TRIGGER, MSIX, 0, 0], &[], &[]).expect("disable");
    fire(12);
    let last = attach(&mut client, 11, 1);
    assert_eq!(seen(&last), [0], "disabling forgets what was pending");
    assert_eq!(client.set_irqs([EVENT | MASK, MSIX, 0, 1], &[], &[&fresh[0]]), Err(Errno::NOTSUP));
    assert_eq!(client.set_irqs([NONE | UNMASK, MSIX, 0, 0], &[], &[]), Err(Errno::INVAL), "an empty range");
}

/// A client could leave a blocking descriptor full; the loop must not wait for it to be read.
#[test]
fn a_full_blocking_descriptor_does_not_stop_the_server() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.ready_client();
    let blocking = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).expect("eventfd");
    client.set_irqs([EVENT | TRIGGER, MSIX, 0, 1], &[], &[&blocking]).expect("attach");
    rustix::io::write(&blocking, &(u64::MAX - 1).to_ne_bytes()).expect("fill");
    rig.with(|server, _| server.signal_message(0));
    assert_eq!(signals(&blocking), u64::MAX, "as the kernel's own devices leave it");
    rig.with(|server, _| server.signal_message(0));
    assert_eq!(signals(&blocking), 1);
}

#[test]
fn a_function_level_reset_resets_the_device_and_keeps_the_descriptors() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.ready_client();
    let events = attach(&mut client, 0, 1);
    client.write(7, 4, &[6, 0]).expect("bus master");
    client.write(7, 0x52, &0x8000_u16.to_le_bytes()).expect("MSI-X on");
    client.write(0, 0x14, &[1; 4]).expect("register");
    let resets =
        rig.with(|_, device| (device.bus_master && device.mode == InterruptMode::MsiX).then_some(device.resets));
    client.write(7, 0x68, &0xa810_u16.to_le_bytes()).expect("initiate");
    let after =
        rig.with(|_, device| (!device.bus_master && device.mode == InterruptMode::Pin).then_some(device.resets));
    assert_eq!(after, resets.map(|count| count + 1));
    assert_eq!(client.read(0, 0x14, 4), Ok(vec![0; 4]));
    assert_eq!(client.read(7, 0x68, 2), Ok(vec![0x10, 0x28]), "the bit reads as zero");
    rig.with(|server, _| server.signal_message(0));
    assert_eq!(seen(&events), [1]);
}

/// What was sent while the function was masked, or while the device slept, may never have reached the host.
#[test]
fn unmasking_all_vectors_asks_the_device_to_send_again() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.ready_client();
    client.write(7, 0x52, &0xc000_u16.to_le_bytes()).expect("MSI-X on, masked");
    let sent_again = || rig.with(|_, device| device.sent_again);
    assert_eq!(sent_again(), 0);
    client.write(7, 0x52, &0x8000_u16.to_le_bytes()).expect("unmasked");
    assert_eq!(sent_again(), 1);
    client.write(7, 0x52, &0x8000_u16.to_le_bytes()).expect("the same");
    assert_eq!(sent_again(), 1);
    client.write(7, 4, &[6, 0]).expect("bus master");
    client.write(7, 0x44, &[3]).expect("D3hot");
    assert!(rig.with(|_, device| !device.bus_master));
    client.write(7, 0x44, &[0]).expect("D0");
    assert!(rig.with(|_, device| device.bus_master), "which sends again by itself");
}
