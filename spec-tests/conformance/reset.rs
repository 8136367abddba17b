//! Enable and reset (rules B7–B14, B20, B21; NVMe Base 2.1 sections 3.5 and 3.7).

use controller::ControllerId;
use controller::config::{DeviceOptions, Doorbells};
use media::Nanoseconds;
use nvme_host::admin::admin_command;
use nvme_host::doorbell::Doorbell;
use nvme_host::{Host, HostError, Port};
use nvme_spec::feature::{FeatureId, select};
use nvme_spec::opcode::AdminOpcode;
use nvme_spec::register::{self, Configuration, ControllerStatus};
use nvme_spec::{Command, Status};
use spec_tests::random::{Random, seed};
use spec_tests::rig::{Build, MEMORY, Rig};

use crate::support::{LAST_PAGE, NOWHERE, flush, read_block, recorded_step, slow_down};

const SECOND: u64 = 1_000_000_000;

fn ready(host: &mut Host<Rig>) -> bool {
    host.status().contains(ControllerStatus::READY)
}

/// B7: a controller reset keeps AQA, ASQ and ACQ, and CC reads 0; the controller comes up again without their being written.
#[test]
fn a_controller_reset_keeps_the_admin_queue_registers() {
    let mut host = Build::default().host();
    let kept = [register::AQA, register::ASQ, register::ASQ + 4, register::ACQ, register::ACQ + 4];
    let before = kept.map(|offset| host.port_mut().register_read_32(offset));
    let configuration = host.port_mut().register_read_32(register::CC);
    host.disable().expect("disabled");
    assert_eq!(host.port_mut().register_read_32(register::CC), 0);
    assert_eq!(kept.map(|offset| host.port_mut().register_read_32(offset)), before);
    host.port_mut().register_write_32(register::CC, configuration);
    host.port_mut().run_until_idle();
    assert!(ready(&mut host));
}

/// B7: a reset of the function clears them.
#[test]
fn a_function_reset_clears_every_register() {
    let mut host = Build::default().host();
    host.port_mut().controller_mut().reset_function();
    host.port_mut().run_until_idle();
    for offset in [register::CC, register::CSTS, register::AQA, register::ASQ, register::ASQ + 4, register::ACQ] {
        assert_eq!(host.port_mut().register_read_32(offset), 0, "at {offset:#x}");
    }
    host.start().expect("it comes up again");
}

/// B8: after a reset the queues lie where ASQ and ACQ say now, both doorbells are 0 and the phase is 1 again; the old place is left
/// alone.
#[test]
fn a_new_admin_queue_begins_at_its_beginning() {
    let mut host = Build::default().admin_host();
    for _ in 0..40 {
        host.identify_controller().expect("past the end of the queue, so that the phase has turned");
    }
    let old = host.port_mut().register_read_64(register::ACQ);
    host.disable().expect("disabled");
    // Another place for everything: the first pages are taken.
    host.port_mut().memory.poke(old, &[0xee; 4096]);
    let rig = host.into_port();
    let setup = nvme_host::Setup::new(MEMORY.start + 0x10_0000..MEMORY.end);
    let mut host = Host::enable(rig, setup).expect("enabled");
    assert_ne!(host.port_mut().register_read_64(register::ACQ), old);
    for _ in 0..40 {
        host.identify_controller().expect("the new queue works");
    }
    assert!(host.surprises().is_empty());
    assert_eq!(host.read_memory(old, 4096), [0xee; 4096]);
}

/// B9, E41: a controller that is enabled with what it does not support touches no memory, never gets ready, reports CFS, and comes
/// up properly after EN was 0.
#[test]
fn an_impossible_setup_is_fatal_until_disabled() {
    let good = Configuration::usual(true, 0);
    let (attributes, base) = (0x001f_001f, MEMORY.start);
    let cases: [(&str, u32, u64, u64, Configuration); 11] = [
        ("submission queue of one entry", 0x001f_0000, base, base + 4096, good),
        ("completion queue of one entry", 0x0000_001f, base, base + 4096, good),
        ("page size above MPSMAX", attributes, base, base + 4096, good.with_mps(5)),
        ("ASQ below the page size", attributes, base + 4096, base, good.with_mps(1)),
        ("ACQ below the page size", attributes, base, base + 4096, good.with_mps(1)),
        ("command set 001b", attributes, base, base + 4096, Configuration::usual(true, 1)),
        ("command set 111b", attributes, base, base + 4096, Configuration::usual(true, 7)),
        ("weighted round robin", attributes, base, base + 4096, good.with_arbitration(1)),
        ("vendor's arbitration", attributes, base, base + 4096, good.with_arbitration(7)),
        ("ASQ with an offset in its page", attributes, base + 64, base + 4096, good),
        ("ACQ with an offset in its page", attributes, base, base + 4096 + 16, good),
    ];
    for (what, aqa, asq, acq, configuration) in cases {
        let mut rig = Build::default().rig();
        rig.register_write_32(register::AQA, aqa);
        rig.register_write_64(register::ASQ, asq);
        rig.register_write_64(register::ACQ, acq);
        rig.register_write_32(register::CC, configuration.0);
        for _ in 0..4 {
            assert_eq!(recorded_step(&mut rig), [], "{what}");
            rig.register_write_32(register::DOORBELLS, 1);
        }
        assert_eq!(rig.register_read_32(register::CSTS), ControllerStatus::FATAL.bits(), "{what}");
        let mut host = Host::enable(rig, Build::default().setup).expect(what);
        host.identify_controller().expect(what);
    }
}

/// B10, E41: doorbells that are rung while EN is 0, by message or in a shared page, count for nothing, and nothing reaches memory
/// or interrupts.
#[test]
fn doorbells_before_enable_are_ignored() {
    for doorbells in [Doorbells::Trapped, Doorbells::Mapped] {
        let device = DeviceOptions { doorbells, ..DeviceOptions::default() };
        let mut rig = Build { device, ..Build::default() }.rig();
        for offset in (0x1000..0x1040).step_by(4) {
            rig.register_write_32(offset, 3);
            assert_eq!(recorded_step(&mut rig), []);
        }
        assert_eq!(rig.effects, []);
        let mut host = Host::enable(rig, Build::default().setup).expect("enabled");
        host.port_mut().run_until_idle();
        assert_eq!(host.reap(0), None, "no command was taken from the zeroes in the queue ({doorbells:?})");
        let aer = host.async_event_request().expect("submitted");
        host.identify_controller().expect("answered");
        assert_eq!(host.poll(0, aer), None, "no bad doorbell is remembered ({doorbells:?})");
        assert!(host.surprises().is_empty());
    }
}

/// B11: once RDY reads 0 after a reset with commands in flight on eight queues, no completion, no data and no interrupt comes, ever:
/// what the host wrote over all of its memory stays.
#[test]
fn after_reset_nothing_is_written_and_nobody_is_interrupted() {
    for function in [false, true] {
        let mut host = Build::default().admin_host();
        for qid in 1..=8 {
            host.create_queue_pair(qid, 16, Some(qid)).expect("a queue pair");
        }
        slow_down(&host, Nanoseconds(SECOND));
        for qid in (1..=8).cycle().take(8 * 15) {
            let buffer = host.allocate(512).expect("memory");
            host.submit(qid, read_block(0, buffer)).expect("submitted");
        }
        for _ in 0..3 {
            host.async_event_request().expect("submitted");
        }
        host.port_mut().run_until_idle();
        let rig = host.port_mut();
        if function {
            rig.controller_mut().reset_function();
        } else {
            rig.register_write_32(register::CC, 0);
        }
        while rig.register_read_32(register::CSTS) & 1 != 0 {
            rig.step();
        }
        let canary = vec![0xc7; 0x20_0000];
        rig.memory.poke(MEMORY.start, &canary);
        rig.effects.clear();
        for _ in 0..4 {
            rig.wait(Nanoseconds(SECOND));
            assert_eq!(recorded_step(rig), []);
        }
        assert_eq!(rig.effects, []);
        assert!(host.read_memory(MEMORY.start, canary.len()) == canary);
    }
}

/// B11, E46: the queues of before the reset do not exist after it, and their identifiers can be created again.
#[test]
fn io_queues_are_gone_after_reset() {
    let mut host = Build::default().host();
    slow_down(&host, Nanoseconds(SECOND));
    for _ in 0..20 {
        host.submit(1, flush()).expect("submitted");
    }
    host.port_mut().step();
    host.start().expect("reset and enabled");
    let opcode = admin_command(AdminOpcode::DELETE_SUBMISSION_QUEUE);
    let gone = host.execute(0, Command { cdw10: 1.into(), ..opcode }).expect("answered").status();
    assert_eq!(gone, Status::INVALID_QUEUE_IDENTIFIER.with_more());
    host.create_queue_pair(1, 64, Some(1)).expect("created again");
    host.port_mut().behaviour.borrow_mut().latency = None;
    assert_eq!(host.flush(1), Ok(Status::SUCCESS));
    host.port_mut().wait(Nanoseconds(2 * SECOND));
    host.port_mut().run_until_idle();
    assert!(host.reap(1).is_none() && host.surprises().is_empty());
}

/// B12, E8: features return to their defaults at a controller reset, since none is saved.
#[test]
fn features_return_to_their_defaults_at_reset() {
    let build = Build::default();
    let mut host = build.admin_host();
    host.port_mut().behaviour.borrow_mut().cache = Some(true);
    let features = [
        (FeatureId::ARBITRATION, 0x0102_0301),
        (FeatureId::TEMPERATURE_THRESHOLD, 400),
        (FeatureId::VOLATILE_WRITE_CACHE, 0),
        (FeatureId::NUMBER_OF_QUEUES, 0x0001_0001),
        (FeatureId::INTERRUPT_COALESCING, 0x0405),
        (FeatureId::WRITE_ATOMICITY, 1),
        (FeatureId::ASYNCHRONOUS_EVENTS, 2),
        (FeatureId::KEEP_ALIVE_TIMER, 5000),
    ];
    let get = |host: &mut Host<Rig>| features.map(|(feature, _)| host.get_feature(feature, select::CURRENT));
    let defaults = get(&mut host);
    for (index, (feature, value)) in features.into_iter().enumerate() {
        host.set_feature(feature, value).expect("set");
        assert_ne!(host.get_feature(feature, select::CURRENT), defaults[index], "{feature:?}");
    }
    host.start().expect("reset and enabled");
    assert_eq!(get(&mut host), defaults);
}

/// B12: Interrupt Vector Configuration is among them.
#[test]
fn coalescing_of_a_vector_returns_to_its_default_at_reset() {
    let mut host = Build::default().admin_host();
    let get = Command { cdw11: 3.into(), ..nvme_host::admin::get_feature_command(FeatureId::INTERRUPT_VECTOR, 0) };
    host.set_feature(FeatureId::INTERRUPT_VECTOR, 3 | 1 << 16).expect("set");
    assert_eq!(host.admin(get).expect("answered").dw0.get(), 3 | 1 << 16);
    host.start().expect("reset and enabled");
    assert_eq!(host.admin(get).expect("answered").dw0.get(), 3);
}

/// B13: completed writes survive a controller reset, a subsystem reset and a function reset.
#[test]
fn written_data_survives_every_reset() {
    let mut host = Build::default().host();
    assert_eq!(host.write(1, 5, &[0x5a; 1024], false), Ok(Status::SUCCESS));
    for reset in 0..3 {
        match reset {
            0 => host.disable().expect("disabled"),
            1 => host.port_mut().register_write_32(register::NSSR, register::NSSR_KEY),
            _ => host.port_mut().controller_mut().reset_function(),
        }
        host.port_mut().run_until_idle();
        host.start().expect("enabled");
        host.create_queue_pair(1, 8, None).expect("a queue pair");
        assert_eq!(host.read(1, 5, 2), Ok((Status::SUCCESS, vec![0x5a; 1024])), "reset {reset}");
    }
}

/// B14 (ours): EN written at random, settled or not, with work under way or not: the last write wins, and the controller works.
#[test]
fn ten_thousand_random_toggles_of_enable_end_where_the_last_one_says() {
    let mut random = Random::new(seed(14));
    let mut host = Build::default().host();
    let configuration = host.port_mut().register_read_32(register::CC);
    let mut enabled = true;
    for _ in 0..10_000 {
        let rig = host.port_mut();
        match random.below(6) {
            0 => {
                for _ in 0..random.below(3) {
                    rig.step();
                }
            }
            1 => rig.register_write_32(register::DOORBELLS, u32::try_from(random.below(40)).expect("small")),
            2 => rig.behaviour.borrow_mut().latency = Some(Nanoseconds(random.below(5000))),
            3 => rig.run_until_idle(),
            _ => {
                enabled = random.below(2) == 1;
                rig.register_write_32(register::CC, if enabled { configuration } else { 0 });
            }
        }
        let state = host.status();
        assert!(!state.contains(ControllerStatus::FATAL));
    }
    host.port_mut().run_until_idle();
    assert_eq!(ready(&mut host), enabled);
    host.port_mut().behaviour.borrow_mut().latency = None;
    host.start().expect("enabled");
    host.create_queue_pair(1, 8, None).expect("a queue pair");
    assert_eq!(host.flush(1), Ok(Status::SUCCESS));
}

/// B20 (ours): an admin queue whose memory is gone for more than two seconds is fatal: CFS, no more accesses; EN = 0 clears it.
#[test]
fn an_admin_queue_without_memory_becomes_fatal_after_two_seconds() {
    let mut host = Build::default().with_registers().host();
    let mapped = host.port_mut().memory.unmap_all();
    host.submit(0, admin_command(AdminOpcode::KEEP_ALIVE)).expect("submitted");
    host.port_mut().run_until_idle();
    host.port_mut().wait(Nanoseconds(2 * SECOND - 100_000));
    host.port_mut().run_until_idle();
    assert!(!host.status().contains(ControllerStatus::FATAL), "patience");
    host.port_mut().wait(Nanoseconds(200_000));
    host.port_mut().run_until_idle();
    assert!(host.status().contains(ControllerStatus::FATAL));
    mapped.into_iter().for_each(|range| host.port_mut().memory.map(range));
    host.write_doorbell(Doorbell::SubmissionTail(1), 1);
    assert_eq!(recorded_step(host.port_mut()), [], "nothing is processed any more");
    host.start().expect("EN = 0 is the cure");
    assert!(!host.status().contains(ControllerStatus::FATAL));
    host.identify_controller().expect("it works");
}

/// B20: queues at an address where there is no memory, and completions that cannot be written, are fatal in the same way.
#[test]
fn an_admin_completion_queue_that_is_nowhere_becomes_fatal() {
    for (asq, acq) in [(MEMORY.start, NOWHERE), (NOWHERE, MEMORY.start), (LAST_PAGE, MEMORY.start)] {
        let mut rig = Build::default().rig();
        rig.register_write_32(register::AQA, 0x000f_000f);
        rig.register_write_64(register::ASQ, asq);
        rig.register_write_64(register::ACQ, acq);
        rig.register_write_32(register::CC, Configuration::usual(true, 0).0);
        rig.run_until_idle();
        rig.register_write_32(register::DOORBELLS, 1);
        rig.run_until_idle();
        rig.wait(Nanoseconds(3 * SECOND));
        rig.run_until_idle();
        assert_ne!(rig.register_read_32(register::CSTS) & ControllerStatus::FATAL.bits(), 0, "{asq:#x} {acq:#x}");
    }
}

/// B185: all memory goes away under live queues with commands in flight and comes back: work goes on, and every command is answered
/// once.
#[test]
fn memory_that_comes_back_under_live_queues_loses_nothing() {
    let mut host = Build::default().host();
    slow_down(&host, Nanoseconds(20_000));
    let cids: Vec<u16> = (0..30).map(|_| host.submit(1, flush()).expect("submitted")).collect();
    host.port_mut().step();
    let mapped = host.port_mut().memory.unmap_all();
    let more: Vec<u16> = (0..20).map(|_| host.submit(1, flush()).expect("submitted")).collect();
    let admin = host.submit(0, admin_command(AdminOpcode::KEEP_ALIVE)).expect("submitted");
    for _ in 0..10 {
        host.port_mut().wait(Nanoseconds(SECOND / 10));
        host.port_mut().run_until_idle();
    }
    assert_eq!(host.reap(1), None, "nothing can be answered");
    mapped.into_iter().for_each(|range| host.port_mut().memory.map(range));
    for cid in cids.into_iter().chain(more) {
        assert_eq!(host.wait(1, cid).expect("answered").status(), Status::SUCCESS);
    }
    host.wait(0, admin).expect("answered");
    host.port_mut().run_until_idle();
    assert!(host.reap(1).is_none() && host.surprises().is_empty());
}

/// B20 (ours): each absence of the admin queue's memory has its own two seconds, and one that is over leaves no timer behind.
#[test]
fn an_absence_that_is_over_is_forgotten() {
    let mut host = Build::default().admin_host();
    for _ in 0..5 {
        let mapped = host.port_mut().memory.unmap_all();
        // A request that is not answered: nothing is written when the memory is back.
        let aer = host.async_event_request().expect("submitted");
        host.port_mut().run_until_idle();
        mapped.into_iter().for_each(|range| host.port_mut().memory.map(range));
        host.port_mut().run_until_idle();
        host.port_mut().wait(Nanoseconds(3 * SECOND));
        host.port_mut().run_until_idle();
        let rig = &mut host.port_mut().machine;
        let next = rig.subsystem.step(ControllerId::FIRST, rig.now, &rig.memory, None).next_event;
        assert_eq!(next, None, "nothing is due, so nobody needs to wake");
        let mapped = host.port_mut().memory.unmap_all();
        host.submit(0, admin_command(AdminOpcode::KEEP_ALIVE)).expect("submitted");
        host.port_mut().run_until_idle();
        assert!(!host.status().contains(ControllerStatus::FATAL), "a new absence");
        mapped.into_iter().for_each(|range| host.port_mut().memory.map(range));
        host.port_mut().run_until_idle();
        assert!(host.abort(0, aer).expect("answered"));
    }
}

/// B21: without bus mastering the device neither reads nor writes memory nor interrupts; doorbells and finished commands wait, and
/// everything goes on when it is back.
#[test]
fn without_bus_mastering_memory_is_left_alone() {
    let mut host = Build::default().host();
    slow_down(&host, Nanoseconds(5_000));
    let first = host.submit(1, flush()).expect("submitted");
    host.port_mut().step();
    host.port_mut().controller_mut().set_bus_master(false);
    host.port_mut().effects.clear();
    let second = host.submit(1, flush()).expect("submitted");
    for _ in 0..20 {
        assert_eq!(recorded_step(host.port_mut()), []);
    }
    assert_eq!(host.port().effects, []);
    assert_eq!(host.reap(1), None);
    host.port_mut().controller_mut().set_bus_master(true);
    for cid in [first, second] {
        assert_eq!(host.wait(1, cid).expect("answered").status(), Status::SUCCESS);
    }
    assert_eq!(host.port_mut().take_vectors(), [1, 1]);
}

/// B21: a host that resets a device without bus mastering gets it back (Linux's answer to its time-out).
#[test]
fn a_reset_without_bus_mastering_frees_everything() {
    let mut host = Build::default().host();
    host.port_mut().controller_mut().set_bus_master(false);
    host.submit(1, flush()).expect("submitted");
    host.port_mut().run_until_idle();
    assert!(matches!(host.disable(), Ok(())));
    host.port_mut().controller_mut().set_bus_master(true);
    host.start().expect("enabled");
    assert!(!matches!(host.submit(1, flush()), Ok(_) | Err(HostError::QueueFull(_))), "the queue is gone");
    host.create_queue_pair(1, 8, None).expect("a queue pair");
    assert_eq!(host.flush(1), Ok(Status::SUCCESS));
}

/// B11: what the media was asked before the reset does not answer a command of after it.
#[test]
fn an_outcome_of_before_the_reset_answers_nothing() {
    let mut host = Build::default().host();
    slow_down(&host, Nanoseconds(1_000_000));
    for _ in 0..5 {
        host.submit(1, flush()).expect("submitted");
    }
    host.port_mut().run_until_idle();
    host.start().expect("reset and enabled");
    host.create_queue_pair(1, 64, None).expect("a queue pair");
    slow_down(&host, Nanoseconds(100_000_000));
    let cids: Vec<u16> = (0..5).map(|_| host.submit(1, flush()).expect("submitted")).collect();
    host.port_mut().run_until_idle();
    host.port_mut().wait(Nanoseconds(2_000_000));
    host.port_mut().run_until_idle();
    assert!(host.reap(1).is_none(), "the media has only begun");
    for cid in cids {
        assert_eq!(host.wait(1, cid).expect("answered").status(), Status::SUCCESS);
    }
}
