//! Power loss as a host meets it: a controller that answers nothing and touches nothing, and after it comes back one that is as at
//! power-on, over namespaces that hold what was promised (rule B29 and the outcome table of the contract across a power loss).

use controller::ControllerId;
use controller::fault::{Action, FaultSpec, Matching};
use controller::power::{Change, FateName, Observable, PowerReport};
use media::power::{Arming, CommandMatch, Cut, CutPolicy, Step};
use media::{Lba, LbaRange, Nanoseconds};
use nvme_host::admin::LogArguments;
use nvme_host::io::{block_command, nvm_command};
use nvme_host::{Host, Port, Shutdown};
use nvme_spec::log::{LogId, Smart};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::register::{self, ControllerStatus};
use nvme_spec::{Command, Status};
use spec_tests::golden::parsed;
use spec_tests::rig::{Build, MEMORY, Rig, small_drive};

use crate::support::registers;

const BLOCK: usize = 4096;

/// A drive of 4 MiB in blocks and units of 4 KiB that keeps four blocks together.
fn build() -> Build {
    let drive = small_drive(4 << 20, 4096);
    Build { namespaces: vec![(4096, 1024)], drive: Some(drive), ..Build::default() }
}

fn fill(blocks: usize, byte: u8) -> Vec<u8> {
    vec![byte; blocks * BLOCK]
}

fn smart(host: &mut Host<Rig>) -> Smart {
    parsed(&host.get_log(LogId::SMART, 512, LogArguments::default()).expect("mandatory"))
}

fn guest_memory(rig: &Rig) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(MEMORY.end - MEMORY.start).expect("it fits")];
    rig.memory_read(MEMORY.start, &mut bytes);
    bytes
}

/// Brings power and the host back.
fn restore(host: &mut Host<Rig>) {
    host.port_mut().subsystem.power_restore(None).expect("the drive recovers");
    let status = host.port_mut().register_read_32(register::CSTS);
    assert_eq!(ControllerStatus::from_bits_retain(status), ControllerStatus::empty(), "as at power-on");
    host.start().expect("the controller comes up");
    host.create_queue_pair(1, 64, Some(1)).expect("the queues are free again");
}

fn first_byte(host: &mut Host<Rig>, lba: u64) -> u8 {
    let (status, bytes) = host.read(1, lba, 1).expect("carried");
    assert_eq!(status, Status::SUCCESS);
    assert!(bytes.iter().all(|byte| *byte == bytes[0]), "a torn block");
    bytes[0]
}

/// Without power registers read as all ones, writes go nowhere, and a step does nothing whatever the host rings.
#[test]
fn without_power_nothing_answers_and_nothing_is_touched() {
    let mut host = build().host();
    let command = Command { prp1: (MEMORY.start + 0x8000).into(), ..block_command(NvmOpcode::READ, 1, 0, 1) };
    host.submit(1, command).expect("there is room");
    host.port_mut().subsystem.power_cut(&Cut::default());
    let before = guest_memory(host.port());
    host.port_mut().take_vectors();
    let rig = host.port_mut();
    assert!(registers(rig).iter().all(|dword| *dword == u32::MAX));
    assert_eq!(rig.register_read_64(register::CAP), u64::MAX);
    rig.register_write_32(register::CC, 0);
    host.ring(1).expect("a store to nowhere");
    let rig = host.port_mut();
    assert!(!rig.step() && !rig.step());
    assert_eq!(
        rig.machine.subsystem.step(ControllerId::FIRST, rig.machine.now, &rig.machine.memory, None).next_event,
        None
    );
    assert!(rig.take_vectors().is_empty());
    assert!(guest_memory(rig) == before, "no completion and no data");
    assert!(!rig.subsystem.power_is_on());
}

/// What was promised is there, what was not is not, and the host is told: unsafe shutdowns and power cycles count one more.
#[test]
fn after_a_cut_what_was_promised_is_there_and_the_unsafe_shutdown_is_counted() {
    let mut host = build().host();
    assert_eq!(host.write(1, 0, &fill(1, 1), true), Ok(Status::SUCCESS));
    assert_eq!(host.write(1, 1, &fill(1, 2), false), Ok(Status::SUCCESS));
    assert_eq!(host.flush(1), Ok(Status::SUCCESS));
    assert_eq!(host.write(1, 2, &fill(2, 3), false), Ok(Status::SUCCESS));
    let before = smart(&mut host);
    let report = host.port_mut().subsystem.power_cut(&Cut::default());
    assert_eq!((report.step, report.not_durable.len()), (None, 1));
    let lost = &report.not_durable[0];
    assert_eq!((lost.namespace, lost.range.first, lost.range.blocks), (1, 2, 2));
    assert_eq!((lost.change, lost.fate, lost.observable), (Change::Write, FateName::Lost, Observable::Either));
    assert!(lost.completed);
    assert_eq!(lost.command.map(|command| command.queue), Some(1));
    assert_eq!(lost.command.map(|command| command.ordinal), Some(report.commands - 1), "only Get Log came after it");
    restore(&mut host);
    assert_eq!([0, 1, 2, 3].map(|lba| first_byte(&mut host, lba)), [1, 2, 0, 0]);
    let after = smart(&mut host);
    assert_eq!(after.unsafe_shutdowns.get(), before.unsafe_shutdowns.get() + 1);
    assert_eq!(after.power_cycles.get(), before.power_cycles.get() + 1);
    assert_eq!(host.port().subsystem.crash(), Some(&report), "the report stays");
}

/// NVMe Base 2.1 section 3.6: a power loss after a shutdown that completed is not an unsafe one, and loses nothing.
#[test]
fn a_cut_after_a_shutdown_is_no_crash() {
    for kind in [Shutdown::Normal, Shutdown::Abrupt] {
        let mut host = build().host();
        assert_eq!(host.write(1, 0, &fill(4, 7), false), Ok(Status::SUCCESS));
        let before = smart(&mut host);
        host.shutdown(kind).expect("it completes");
        let report = host.port_mut().subsystem.power_cut(&Cut::default());
        assert!(report.not_durable.is_empty(), "{report:?}");
        restore(&mut host);
        assert_eq!(first_byte(&mut host, 3), 7);
        let after = smart(&mut host);
        assert_eq!(after.unsafe_shutdowns, before.unsafe_shutdowns);
        assert_eq!(after.power_cycles.get(), before.power_cycles.get() + 1);
    }
}

/// Arms a step, writes four blocks of 2 over four of 1 until power is gone or the write is answered, and looks.
fn crash_at(step: Step, cut: Cut) -> (Host<Rig>, PowerReport, Vec<u8>) {
    let mut host = build().host();
    assert_eq!(host.write(1, 0, &fill(4, 1), true), Ok(Status::SUCCESS));
    host.port_mut().subsystem.crash_arm(Arming::Hit(step, 1), cut);
    let address = host.allocate(4 * BLOCK).expect("there is room");
    host.port_mut().memory_write(address, &fill(4, 2));
    let mapping = host.map(address, 4 * BLOCK).expect("a list");
    let command = mapping.on(block_command(NvmOpcode::WRITE, 1, 0, 4));
    host.submit(1, command).expect("there is room");
    host.port_mut().run_until_idle();
    let report = host.port().subsystem.crash().cloned().unwrap_or_else(|| panic!("{step:?} was not reached"));
    assert!(!host.port().subsystem.power_is_on());
    let memory = guest_memory(host.port());
    (host, report, memory)
}

/// Rows 2 to 7 of the outcome table: whatever the step, the write is whole or undone, and the report says which.
#[test]
fn at_every_step_of_a_write_it_is_whole_or_undone_as_reported() {
    let before_it_was_taken = [Step::DoorbellSeen, Step::CommandFetched, Step::CommandAccepted, Step::RequestTaken];
    let during = [Step::DataTransferred, Step::UnitStaged];
    let after = [
        Step::GroupStaged,
        Step::CommandSubmitted,
        Step::CompletionQueued,
        Step::CompletionWritten,
        Step::CompletionsPublished,
        Step::InterruptRaised,
    ];
    for step in before_it_was_taken.into_iter().chain(during).chain(after) {
        for (policy, survives) in [(CutPolicy::NoneSurvive, false), (CutPolicy::AllSurvive, true)] {
            let (mut host, report, _) = crash_at(step, policy.into());
            assert_eq!(report.step, Some(step.name()));
            let written = step >= Step::CompletionWritten && step.is_of_controller();
            assert_eq!(
                host.reap(1).is_some(),
                written && step != Step::DoorbellSeen && !before_it_was_taken.contains(&step),
                "{step:?}"
            );
            let vectors = host.port_mut().take_vectors();
            // The forced write before has raised one.
            assert_eq!(
                vectors.iter().filter(|vector| **vector == 1).count(),
                1 + usize::from(step == Step::InterruptRaised),
                "{step:?}"
            );
            let entry = report.not_durable.first();
            if after.contains(&step) {
                let entry = entry.expect("the write was in the cache");
                assert_eq!((entry.range.first, entry.range.blocks), (0, 4));
                assert_eq!(entry.completed, written, "{step:?}");
                assert_eq!(entry.fate, if survives { FateName::Survived } else { FateName::Lost });
                assert_eq!(entry.observable, Observable::Either);
            } else if during.contains(&step) {
                assert_eq!(entry.map(|entry| (entry.fate, entry.observable)), Some((FateName::Lost, Observable::Old)));
            } else {
                assert_eq!(entry, None, "{step:?}");
            }
            restore(&mut host);
            let expected = if survives && after.contains(&step) { 2 } else { 1 };
            assert_eq!([0, 1, 2, 3].map(|lba| first_byte(&mut host, lba)), [expected; 4], "{step:?} {survives}");
        }
    }
}

/// A read that power goes in the middle of has moved no data since.
#[test]
fn no_data_goes_to_the_host_after_the_cut() {
    for step in [Step::CommandFetched, Step::CommandAccepted, Step::RequestTaken, Step::FlushBegun] {
        let mut host = build().host();
        assert_eq!(host.write(1, 0, &fill(1, 9), false), Ok(Status::SUCCESS));
        host.port_mut().subsystem.crash_arm(Arming::Hit(step, 1), Cut::default());
        let address = host.allocate(BLOCK).expect("there is room");
        host.port_mut().memory_write(address, &fill(1, 0xaa));
        // FUA: the read makes what it returns durable first, and power may go in the middle of that.
        let force = Command { cdw12: (1_u32 << 30).into(), ..block_command(NvmOpcode::READ, 1, 0, 1) };
        host.submit(1, Command { prp1: address.into(), ..force }).expect("there is room");
        host.port_mut().run_until_idle();
        assert!(!host.port().subsystem.power_is_on(), "{step:?} was not reached");
        let mut there = fill(1, 0);
        host.port().memory_read(address, &mut there);
        assert_eq!(there, fill(1, 0xaa), "{step:?}");
        assert!(host.reap(1).is_none());
    }
}

/// A crash point may be a command: the n-th of the I/O queues, or one that touches certain blocks.
#[test]
fn a_crash_point_may_be_a_command_by_its_number_or_its_blocks() {
    let range = Some(LbaRange::new(Lba(6), 1));
    let wanted = CommandMatch { controller: Some(0), opcode: Some(NvmOpcode::WRITE.0), namespace: Some(1), range };
    for (arming, lost_at) in [(Arming::IoCommand(3), 2), (Arming::Match(wanted, 1), 6), (Arming::Program(1), 0)] {
        let mut host = build().host();
        host.port_mut().subsystem.crash_arm(arming, CutPolicy::AllSurvive.into());
        assert_eq!(host.port().subsystem.crash_armed(), Some(arming));
        let force = matches!(arming, Arming::Program(_));
        let answered = (0..8).take_while(|lba| host.write(1, *lba, &fill(1, 5), force).is_ok()).count();
        assert_eq!(answered, lost_at, "{arming:?}");
        let report = host.port().subsystem.crash().expect("it tripped").clone();
        assert_eq!(report.command.map(|command| command.queue), Some(1));
        assert_eq!(report.command.map(|command| command.ordinal), Some(report.commands));
        host.port_mut().subsystem.crash_disarm();
        restore(&mut host);
        let found = (0..8).filter(|lba| first_byte(&mut host, *lba) == 5).count();
        assert!(found == lost_at || (force && found == 1), "{arming:?}: {found}");
        assert_eq!(host.port().subsystem.crash_armed(), None);
    }
}

/// The answer to the n-th command of its kind that succeeded is the last thing that the host sees.
#[test]
fn a_crash_point_may_be_an_answer() {
    let mut host = build().host();
    let wanted = CommandMatch { opcode: Some(NvmOpcode::FLUSH.0), namespace: Some(1), ..CommandMatch::default() };
    host.port_mut().subsystem.crash_arm(Arming::Completed(wanted, 2), CutPolicy::NoneSurvive.into());
    for lba in 0..2 {
        assert_eq!(host.port().subsystem.crash_met(), lba);
        assert!(host.write(1, lba, &fill(1, 5), false).expect("answered").is_success());
        assert!(host.flush(1).expect("answered").is_success(), "the answer was written before power went");
    }
    assert!(!host.port().subsystem.power_is_on());
    let report = host.port().subsystem.crash().expect("it tripped").clone();
    assert_eq!(report.step, Some(Step::CompletionWritten.name()));
    assert_eq!(report.command.map(|command| (command.queue, command.ordinal)), Some((1, report.commands)));
    assert_eq!(report.not_durable, [], "a Flush that was answered keeps its promise");
    restore(&mut host);
    assert_eq!([0, 1].map(|lba| first_byte(&mut host, lba)), [5, 5]);
}

/// An answer that a fault holds back is one when it is written; one that a reset took never is, and the next one counts in its place.
#[test]
fn a_crash_point_waits_for_an_answer_that_is_late() {
    for reset in [false, true] {
        let mut host = build().host();
        let wanted = CommandMatch { opcode: Some(NvmOpcode::FLUSH.0), namespace: Some(1), ..CommandMatch::default() };
        host.port_mut().subsystem.crash_arm(Arming::Completed(wanted, 1), CutPolicy::NoneSurvive.into());
        let late = FaultSpec::new(Action::Delay { delay_ns: 1_000_000 });
        let late = late.matching(Matching::io_opcode(NvmOpcode::FLUSH.0));
        host.port_mut().controller_mut().fault_add(late).expect("a possible fault");
        let flush = host.submit(1, nvm_command(NvmOpcode::FLUSH, 1)).expect("sent");
        host.port_mut().run_until_idle();
        assert_eq!((host.port().subsystem.power_is_on(), host.port().subsystem.crash_met()), (true, 0));
        if reset {
            host.start().expect("reset and enabled");
            host.create_queue_pair(1, 64, Some(1)).expect("queues");
            assert!(host.port().subsystem.power_is_on());
            assert!(host.flush(1).expect("answered").is_success());
        } else {
            host.port_mut().wait(Nanoseconds(1_000_000));
            host.port_mut().run_until_idle();
            assert!(host.poll(1, flush).is_some_and(|answer| answer.status().is_success()));
        }
        assert!(!host.port().subsystem.power_is_on());
    }
}

/// Power goes when there is something to lose: as many units as were asked for.
#[test]
fn a_crash_point_may_be_how_much_is_volatile() {
    let mut host = build().host();
    host.port_mut().subsystem.crash_arm(Arming::VolatileAtLeast(3), CutPolicy::NoneSurvive.into());
    let answered = (0..8).take_while(|lba| host.write(1, *lba, &fill(1, 5), false).is_ok()).count();
    assert_eq!(answered, 2, "power goes in the third");
    let report = host.port().subsystem.crash().expect("it tripped").clone();
    assert_eq!(report.not_durable.len(), 3, "{report:?}");
    restore(&mut host);
    assert!((0..8).all(|lba| first_byte(&mut host, lba) == 0));
}

/// Power may go again while it comes back; what survived the first time survives that.
#[test]
fn power_may_go_again_in_recovery() {
    for &step in Step::ALL.iter().filter(|step| step.is_of_recovery()) {
        let mut host = build().host();
        assert_eq!(host.write(1, 0, &fill(4, 3), false), Ok(Status::SUCCESS));
        let subsystem = &mut host.port_mut().subsystem;
        subsystem.power_cut(&CutPolicy::AllSurvive.into());
        let failed = subsystem.power_restore(Some(Arming::Hit(step, 1))).expect_err("power went again");
        assert_eq!(failed, format!("power went again at {}", step.name()));
        assert!(!subsystem.power_is_on());
        assert_eq!(subsystem.crash().and_then(|report| report.step), Some(step.name()));
        restore(&mut host);
        assert_eq!([0, 3].map(|lba| first_byte(&mut host, lba)), [3, 3], "{step:?}");
    }
}

/// Asking for what cannot be is an answer, and changes nothing.
#[test]
fn power_that_is_on_is_not_restored_and_power_that_is_off_is_not_cut_again() {
    let mut host = build().host();
    assert_eq!(host.port_mut().subsystem.power_restore(None), Err("power is on".to_owned()));
    assert_eq!(host.write(1, 0, &fill(1, 1), false), Ok(Status::SUCCESS));
    let subsystem = &mut host.port_mut().subsystem;
    let report = subsystem.power_cut(&Cut::default());
    assert_eq!(subsystem.power_cut(&CutPolicy::AllSurvive.into()), report, "the loss was resolved");
    subsystem.crash_arm(Arming::AnyStep(1), Cut::default());
    assert_eq!(subsystem.crash_armed(), None);
}
