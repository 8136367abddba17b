//! Interrupts: messages, the pin, coalescing (rules B18, B22, B39, B55; PCIe Transport 1.1 section 3.5, NVMe Base 2.1 sections 5.1.25.2.5
//! and 5.1.25.2.6). What MSI-X masks and holds pending is the transport's.

use controller::{ControllerId, Effect, InterruptMode};
use media::Nanoseconds;
use nvme_host::admin::{admin_command, set_feature_command};
use nvme_host::{Host, Port};
use nvme_spec::feature::FeatureId;
use nvme_spec::opcode::AdminOpcode;
use nvme_spec::{Status, register};
use spec_tests::rig::{Build, Rig};

use crate::support::{INVALID_FIELD, admin_kind, flush, reap_all, slow_down};

const MILLISECOND: Nanoseconds = Nanoseconds(1_000_000);

/// A host that is interrupted by the pin.
fn pin_host() -> Host<Rig> {
    let build = Build::default();
    let mut rig = build.rig();
    rig.controller_mut().set_interrupt_mode(InterruptMode::Pin);
    let mut host = Host::enable(rig, build.setup).expect("enabled");
    host.create_queue_pair(1, 64, Some(0)).expect("a queue pair");
    host.create_queue_pair(2, 64, Some(0)).expect("another");
    host.port_mut().run_until_idle();
    host
}

/// Where the pin went since the last look.
fn levels(host: &mut Host<Rig>) -> Vec<bool> {
    host.port_mut().run_until_idle();
    let level = |effect: Effect| match effect {
        Effect::Pin { asserted } => asserted,
        Effect::Message { .. } | Effect::EventReported(_) => panic!("no messages in pin mode, and no events"),
    };
    std::mem::take(&mut host.port_mut().effects).into_iter().map(level).collect()
}

/// B39: a completion queue without interrupts never interrupts, by message or by pin.
#[test]
fn polled_queues_never_interrupt() {
    for mode in [InterruptMode::MsiX, InterruptMode::Pin] {
        let mut host = Build::default().admin_host();
        host.port_mut().controller_mut().set_interrupt_mode(mode);
        host.create_queue_pair(1, 64, None).expect("a queue pair");
        host.port_mut().run_until_idle();
        host.port_mut().effects.clear();
        slow_down(&host, Nanoseconds(2_000));
        for _ in 0..40 {
            host.submit(1, flush()).expect("submitted");
            host.port_mut().run_until_idle();
        }
        host.port_mut().wait(MILLISECOND);
        host.port_mut().run_until_idle();
        assert_eq!(reap_all(&mut host, 1).len(), 40);
        assert_eq!(host.port().effects, []);
    }
}

/// A batch of completions in one step is told by one message, on the vector of the queue.
#[test]
fn a_batch_is_one_message() {
    let mut host = Build::default().host();
    host.create_queue_pair(2, 64, Some(7)).expect("a queue pair");
    host.port_mut().take_vectors();
    for qid in [1, 2] {
        for _ in 0..20 {
            host.submit_quietly(qid, flush()).expect("submitted");
        }
        host.ring(qid).expect("rung");
    }
    host.port_mut().run_until_idle();
    assert_eq!(host.port_mut().take_vectors(), [1, 7]);
}

/// While the host has not taken what the last message told of, it needs no further one: it will find the new entries too. Once it moves
/// its head, what came since is told; and after a while without, in case it takes entries and moves no head.
#[test]
fn a_message_waits_for_the_answer_to_the_last_one() {
    let mut host = Build::default().host();
    host.port_mut().take_vectors();
    let after_one_more = |host: &mut Host<Rig>| {
        host.submit(1, flush()).expect("submitted");
        host.port_mut().run_until_idle();
        host.port_mut().take_vectors()
    };
    assert_eq!(after_one_more(&mut host), [1]);
    assert_eq!(after_one_more(&mut host), [0_u16; 0]);
    assert!(host.reap(1).is_some());
    host.port_mut().run_until_idle();
    assert_eq!(host.port_mut().take_vectors(), [1], "the second was not taken");
    assert_eq!(reap_all(&mut host, 1).len(), 1);
    host.port_mut().run_until_idle();
    assert_eq!(host.port_mut().take_vectors(), [0_u16; 0], "everything was taken");
    assert_eq!(after_one_more(&mut host), [1], "no message was open");

    assert_eq!(after_one_more(&mut host), [0_u16; 0]);
    let rig = &mut host.port_mut().machine;
    let due = rig.subsystem.step(ControllerId::FIRST, rig.now, &rig.memory, None).next_event.expect("a message waits");
    assert!((1..=200_000).contains(&(due.0 - rig.now.0)));
    rig.wait(Nanoseconds(due.0 - rig.now.0));
    rig.run_until_idle();
    assert_eq!(host.port_mut().take_vectors(), [1], "a host that moves no head is told again");
}

/// Submits this many commands, one each 40 microseconds, and looks in between; returns how many were submitted at each message.
fn told_while_submitting(host: &mut Host<Rig>, qid: u16, commands: usize) -> Vec<usize> {
    let mut told = Vec::new();
    for submitted in 1..=commands {
        host.submit(qid, flush()).expect("submitted");
        for _ in 0..20 {
            host.port_mut().wait(Nanoseconds(1_000));
            host.port_mut().step();
            told.extend(host.port_mut().take_vectors().iter().map(|_| submitted));
        }
    }
    told
}

/// A host with four commands under way, that has shown it: it took four at once.
fn deep_host() -> Host<Rig> {
    let mut host = Build::default().host();
    host.create_queue_pair(2, 64, Some(2)).expect("a queue pair");
    host.port_mut().take_vectors();
    for qid in [1, 2] {
        assert_eq!(told_while_submitting(&mut host, qid, 4), [1], "the first is told, and the others are taken along");
        assert_eq!(reap_all(&mut host, qid).len(), 4);
        host.port_mut().step();
    }
    host
}

/// A host that took several entries at once is told when as many came again: it goes on submitting and needs no message for each.
#[test]
fn a_host_that_goes_on_submitting_is_told_once() {
    let mut host = deep_host();
    for _ in 0..3 {
        assert_eq!(told_while_submitting(&mut host, 1, 4), [4]);
        assert_eq!(reap_all(&mut host, 1).len(), 4);
        host.port_mut().step();
    }
}

/// When it pauses it is told of what there is, and one that goes on with one command at a time is soon told of each at once.
#[test]
fn a_host_that_pauses_is_told() {
    let mut host = deep_host();
    assert_eq!(told_while_submitting(&mut host, 1, 2), [0_usize; 0]);
    let rig = &mut host.port_mut().machine;
    let due = rig.subsystem.step(ControllerId::FIRST, rig.now, &rig.memory, None).next_event.expect("a message waits");
    assert!((100_000..250_000).contains(&(due.0 - rig.now.0)), "a few times the gap of 40 µs: {}", due.0 - rig.now.0);
    rig.now = due;
    rig.step();
    assert_eq!(rig.take_vectors(), [1]);
    assert_eq!(reap_all(&mut host, 1).len(), 2);
    let mut waited = 0;
    for _ in 0..6 {
        host.port_mut().step();
        host.submit(1, flush()).expect("submitted");
        host.port_mut().step();
        let at_once = host.port_mut().take_vectors().len();
        waited = if at_once == 1 { 0 } else { waited + 1 };
        host.port_mut().wait(MILLISECOND);
        host.port_mut().step();
        assert_eq!(at_once + host.port_mut().take_vectors().len(), 1, "told once");
        assert_eq!(reap_all(&mut host, 1).len(), 1);
    }
    assert_eq!(waited, 0, "the last one was told at once");
}

/// However slowly it goes on, the first completion waits no longer than a millisecond.
#[test]
fn gathering_has_an_end() {
    let mut host = deep_host();
    let begin = host.port().now;
    host.submit(1, flush()).expect("submitted");
    while host.port_mut().take_vectors().is_empty() {
        host.port_mut().wait(Nanoseconds(1_000));
        host.port_mut().step();
        assert!(host.port().now.0 - begin.0 <= MILLISECOND.0 + 20_000);
    }
}

/// Interrupt Vector Configuration (09h) with CD set: nothing gathers.
#[test]
fn a_vector_that_says_so_gathers_nothing() {
    let mut host = deep_host();
    host.set_feature(FeatureId::INTERRUPT_VECTOR, 2 | 1 << 16).expect("vector 2 is not coalesced");
    host.port_mut().take_vectors();
    assert_eq!(told_while_submitting(&mut host, 2, 1), [1]);
    assert_eq!(told_while_submitting(&mut host, 1, 1), [0_usize; 0]);
}

/// What the host has taken by itself it need not be told.
#[test]
fn what_was_taken_meanwhile_is_not_told() {
    let mut host = deep_host();
    assert_eq!(told_while_submitting(&mut host, 1, 2), [0_usize; 0]);
    assert_eq!(reap_all(&mut host, 1).len(), 2);
    host.port_mut().wait(MILLISECOND);
    host.port_mut().run_until_idle();
    assert_eq!(host.port_mut().take_vectors(), [0_u16; 0]);
}

/// What the admin queue has to say does not wait, also on a vector that others have.
#[test]
fn the_admin_queue_waits_for_nobody() {
    let mut host = Build::default().admin_host();
    host.create_queue_pair(1, 64, Some(0)).expect("a queue pair");
    host.port_mut().run_until_idle();
    host.port_mut().take_vectors();
    host.submit(1, flush()).expect("submitted");
    host.port_mut().run_until_idle();
    assert_eq!(host.port_mut().take_vectors(), [0]);
    for _ in 0..3 {
        host.submit(0, admin_command(AdminOpcode::KEEP_ALIVE)).expect("submitted");
        host.port_mut().run_until_idle();
        assert_eq!(host.port_mut().take_vectors(), [0]);
    }
}

/// Queues may share a vector, and the admin queue has vector 0.
#[test]
fn queues_share_vectors() {
    let mut host = Build::default().admin_host();
    host.create_queue_pair(1, 64, Some(0)).expect("a queue pair");
    host.port_mut().take_vectors();
    host.submit(0, admin_command(AdminOpcode::KEEP_ALIVE)).expect("submitted");
    host.submit(1, flush()).expect("submitted");
    host.port_mut().step();
    assert_eq!(host.port_mut().take_vectors(), [0]);
}

/// B22: the pin is asserted while any completion queue with interrupts holds entries that the host has not taken, and only then.
#[test]
fn the_pin_is_held_until_all_queues_are_empty() {
    let mut host = pin_host();
    levels(&mut host);
    host.submit(1, flush()).expect("submitted");
    host.submit(2, flush()).expect("submitted");
    host.submit(2, flush()).expect("submitted");
    assert_eq!(levels(&mut host), [true]);
    for qid in [1, 2] {
        assert!(host.reap(qid).is_some());
        assert_eq!(levels(&mut host), [false; 0], "still asserted");
    }
    assert!(host.reap(2).is_some());
    assert_eq!(levels(&mut host), [false]);
    assert_eq!(host.flush(1), Ok(Status::SUCCESS));
    assert_eq!(levels(&mut host), [true, false]);
}

/// B18, B22: INTMS takes the level away and INTMC gives it back while there is something to see.
#[test]
fn the_mask_gates_the_level() {
    let mut host = pin_host();
    levels(&mut host);
    host.submit(1, flush()).expect("submitted");
    assert_eq!(levels(&mut host), [true]);
    host.port_mut().register_write_32(register::INTMS, 1);
    assert_eq!(levels(&mut host), [false]);
    host.submit(2, flush()).expect("submitted");
    assert_eq!(levels(&mut host), [false; 0]);
    host.port_mut().register_write_32(register::INTMC, 1);
    assert_eq!(levels(&mut host), [true]);
    host.port_mut().register_write_32(register::INTMS, 1);
    assert_eq!(levels(&mut host), [false]);
    assert!(host.reap(1).is_some() && host.reap(2).is_some());
    host.port_mut().register_write_32(register::INTMC, 1);
    assert_eq!(levels(&mut host), [false; 0], "there is nothing to see any more");
}

/// B18: only the bit of the pin's vector counts.
#[test]
fn other_bits_of_the_mask_do_not_gate_the_pin() {
    let mut host = pin_host();
    levels(&mut host);
    host.port_mut().register_write_32(register::INTMS, 0xffff_fffe);
    host.submit(1, flush()).expect("submitted");
    assert_eq!(levels(&mut host), [true]);
}

/// B10, B22: a reset lets the pin go and clears the mask, and deleting the queue that held it does too.
#[test]
fn reset_and_deletion_let_the_pin_go() {
    let mut host = pin_host();
    levels(&mut host);
    host.submit(1, flush()).expect("submitted");
    assert_eq!(levels(&mut host), [true]);
    host.port_mut().register_write_32(register::INTMS, 2);
    host.port_mut().register_write_32(register::CC, 0);
    assert_eq!(levels(&mut host), [false]);
    assert_eq!(host.port_mut().register_read_32(register::INTMS), 0);
    let mut host = pin_host();
    host.submit(1, flush()).expect("submitted");
    host.port_mut().run_until_idle();
    levels(&mut host);
    host.delete_queue_pair(1).expect("deleted");
    assert_eq!(levels(&mut host).last(), Some(&false));
}

/// Coalescing holds a message back until the threshold of completions is reached.
#[test]
fn coalescing_waits_for_the_threshold() {
    let mut host = Build::default().host();
    host.set_feature(FeatureId::INTERRUPT_COALESCING, 3 | 100 << 8).expect("four completions, 10 ms");
    host.port_mut().take_vectors();
    for _ in 0..3 {
        for _ in 0..3 {
            host.submit(1, flush()).expect("submitted");
            host.port_mut().run_until_idle();
            assert_eq!(host.port_mut().take_vectors(), [0u16; 0]);
        }
        host.submit(1, flush()).expect("submitted");
        host.port_mut().run_until_idle();
        assert_eq!(host.port_mut().take_vectors(), [1]);
        assert_eq!(reap_all(&mut host, 1).len(), 4);
    }
}

/// Coalescing holds a message back no longer than the aggregation time, and the device says when it must be stepped.
#[test]
fn coalescing_ends_with_the_time() {
    let mut host = Build::default().host();
    host.set_feature(FeatureId::INTERRUPT_COALESCING, 0xff | 10 << 8).expect("1 ms");
    host.port_mut().take_vectors();
    for _ in 0..3 {
        let begin = host.port().now;
        host.submit(1, flush()).expect("submitted");
        host.port_mut().run_until_idle();
        assert_eq!(host.port_mut().take_vectors(), [0u16; 0]);
        let rig = &mut host.port_mut().machine;
        let due = rig
            .subsystem
            .step(ControllerId::FIRST, rig.now, &rig.memory, None)
            .next_event
            .expect("a message is held back");
        assert!(begin.0 < due.0 && due.0 <= begin.0 + MILLISECOND.0 + 10_000);
        rig.now = due;
        rig.step();
        assert_eq!(rig.take_vectors(), [1]);
        rig.wait(MILLISECOND);
        rig.run_until_idle();
        assert_eq!(rig.take_vectors(), [0u16; 0], "once");
    }
}

/// B55: the admin queue is never held back, nor is a vector whose configuration (09h) disables coalescing.
#[test]
fn coalescing_spares_the_admin_queue_and_vectors_that_say_so() {
    let mut host = Build::default().host();
    host.create_queue_pair(2, 64, Some(2)).expect("a queue pair");
    host.set_feature(FeatureId::INTERRUPT_COALESCING, 0xff | 0xff << 8).expect("set");
    host.set_feature(FeatureId::INTERRUPT_VECTOR, 2 | 1 << 16).expect("vector 2 is not coalesced");
    host.port_mut().take_vectors();
    host.admin(admin_command(AdminOpcode::KEEP_ALIVE)).expect("answered");
    assert_eq!(host.port_mut().take_vectors(), [0]);
    for qid in [1, 2] {
        host.submit(qid, flush()).expect("submitted");
    }
    host.port_mut().run_until_idle();
    assert_eq!(host.port_mut().take_vectors(), [2]);
}

/// B55: a vector that does not exist has no configuration.
#[test]
fn vectors_that_do_not_exist_cannot_be_configured() {
    let mut host = Build::default().admin_host();
    for vector in [65, 66, 0x7fff, 0xffff] {
        let set = set_feature_command(FeatureId::INTERRUPT_VECTOR, vector);
        assert_eq!(admin_kind(&mut host, set), INVALID_FIELD, "{vector}");
    }
    host.set_feature(FeatureId::INTERRUPT_VECTOR, 64).expect("the last vector");
}

/// The switches on the way of a message, from which a host turns one off and on again.
const SWITCHES: [fn(&mut controller::Controller); 3] = [
    |controller| {
        controller.set_bus_master(false);
        controller.set_bus_master(true);
    },
    |controller| {
        controller.set_interrupt_mode(InterruptMode::Pin);
        controller.set_interrupt_mode(InterruptMode::MsiX);
    },
    controller::Controller::send_messages_again,
];

/// A message that was sent just before the host heard of it was lost on its way: when the way is open again, each vector is sent once more
/// whose queues hold entries that the host has not taken, at once, whatever waits for an answer to the lost message, and no other.
#[test]
fn a_message_that_met_a_closed_way_is_sent_again() {
    for switch in SWITCHES {
        let mut host = Build::default().host();
        host.create_queue_pair(2, 64, Some(7)).expect("a queue pair");
        host.create_queue_pair(3, 64, None).expect("a queue pair without interrupts");
        host.port_mut().take_vectors();
        for qid in [1, 2, 3] {
            host.submit(qid, flush()).expect("submitted");
        }
        host.port_mut().run_until_idle();
        assert_eq!(host.port_mut().take_vectors(), [1, 7]);
        assert_eq!(reap_all(&mut host, 2).len(), 1);
        for _ in 0..2 {
            switch(host.port_mut().controller_mut());
            host.port_mut().run_until_idle();
            assert_eq!(host.port_mut().take_vectors(), [1], "lost, and for all that we know lost again");
        }
        host.port_mut().run_until_idle();
        assert_eq!(host.port_mut().take_vectors(), [0_u16; 0], "once for each time");
        assert_eq!(reap_all(&mut host, 1).len(), 1);
        switch(host.port_mut().controller_mut());
        host.port_mut().run_until_idle();
        assert_eq!(host.port_mut().take_vectors(), [0_u16; 0], "nothing is owed");
        host.submit(1, flush()).expect("submitted");
        host.port_mut().run_until_idle();
        assert_eq!(host.port_mut().take_vectors(), [1], "and what comes next is told as ever");
    }
}
