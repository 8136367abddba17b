//! Admin commands as such, Abort and Keep Alive (rules B59–B62, B68–B72; NVMe Base 2.1 sections 4.1, 5.1.1, 5.1.14).

use controller::config::DeviceOptions;
use media::Nanoseconds;
use nvme_host::Host;
use nvme_host::admin::{LogArguments, admin_command, set_feature_command};
use nvme_host::io::nvm_command;
use nvme_spec::feature::FeatureId;
use nvme_spec::identify::{AdminCommands, Cns};
use nvme_spec::log::{COMMAND_EFFECTS_BYTES, COMMAND_EFFECTS_IO_OFFSET, LogId};
use nvme_spec::opcode::{AdminOpcode, NvmOpcode};
use nvme_spec::register::ControllerStatus;
use nvme_spec::{Command, Status};
use spec_tests::random::{Random, seed};
use spec_tests::rig::{Build, Rig};

use crate::support::{
    Access, INVALID_FIELD, LAST_PAGE, NOWHERE, SUCCESS, admin_kind, delete_queue, flush, reap_all, recorded_step,
    slow_down,
};

const INVALID_OPCODE: (u8, u8) = (0, 0x01);
const KEEP_ALIVE: AdminOpcode = AdminOpcode::KEEP_ALIVE;

fn supported(log: &[u8], opcode: u8) -> bool {
    log[usize::from(opcode) * 4] & 1 != 0
}

fn effects(host: &mut Host<Rig>) -> Vec<u8> {
    host.get_log(LogId::COMMAND_EFFECTS, COMMAND_EFFECTS_BYTES, LogArguments::default()).expect("read")
}

/// B59, B91, B58, E5: of all 256 admin opcodes, those that the effects log names are not refused as opcodes and all others are; each is
/// answered exactly once, but for the event request, which waits. With Doorbell Buffer Config offered or not.
#[test]
fn admin_opcodes_agree_with_the_effects_log() {
    for dbcs in [false, true] {
        let device = DeviceOptions { dbcs, ..DeviceOptions::default() };
        let mut host = Build { device, ..Build::default() }.admin_host();
        let log = effects(&mut host);
        for opcode in 0..=255 {
            let cid = host.submit(0, admin_command(AdminOpcode(opcode))).expect("submitted");
            host.port_mut().run_until_idle();
            let answers = reap_all(&mut host, 0);
            if AdminOpcode(opcode) == AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST {
                assert!(answers.is_empty() && supported(&log, opcode));
                assert!(host.abort(0, cid).expect("answered"));
                assert!(host.poll(0, cid).is_some());
                continue;
            }
            assert_eq!(answers.iter().map(|answer| answer.cid.get()).collect::<Vec<_>>(), [cid], "{opcode:#x}");
            let refused = answers[0].status().kind() == INVALID_OPCODE;
            assert_eq!(refused, !supported(&log, opcode), "{opcode:#x}: {:?}", answers[0].status());
        }
        let dbbuf = AdminOpcode::DOORBELL_BUFFER_CONFIG.0;
        assert_eq!(supported(&log, dbbuf), dbcs, "B81: what is not offered is not there");
        let oacs = host.identify_controller().expect("identified").oacs.get();
        assert_eq!(AdminCommands::from_bits_retain(oacs).contains(AdminCommands::DOORBELL_BUFFER), dbcs);
        assert!(host.surprises().is_empty());
    }
}

/// B59, B91: the same for the opcodes of I/O queues.
#[test]
fn io_opcodes_agree_with_the_effects_log() {
    let mut host = Build::default().host();
    let log = effects(&mut host).split_off(COMMAND_EFFECTS_IO_OFFSET);
    for opcode in 0..=255 {
        let status = host.execute(1, nvm_command(NvmOpcode(opcode), 1)).expect("answered").status();
        assert_eq!(status.kind() == INVALID_OPCODE, !supported(&log, opcode), "{opcode:#x}: {status:?}");
        assert!(host.reap(1).is_none());
    }
}

/// B59: an unknown opcode is not worth a retry.
#[test]
fn an_unknown_opcode_is_not_to_be_retried() {
    let mut host = Build::default().host();
    for qid in [0, 1] {
        let status = host.execute(qid, Command { opcode: 0xff, ..Command::default() }).expect("answered").status();
        assert_eq!((status.kind(), status.do_not_retry()), (INVALID_OPCODE, true));
    }
}

fn commands_with_and_without_data(host: &mut Host<Rig>) -> Vec<Command> {
    let page = host.allocate(4096).expect("memory");
    vec![
        Command { prp1: page.into(), cdw10: 1.into(), ..admin_command(AdminOpcode::IDENTIFY) },
        Command { prp1: page.into(), cdw10: (127 << 16 | 1).into(), ..admin_command(AdminOpcode::GET_LOG_PAGE) },
        set_feature_command(FeatureId::ARBITRATION, 3),
        Command { cdw10: 0xffff_0000.into(), ..admin_command(AdminOpcode::ABORT) },
        admin_command(KEEP_ALIVE),
    ]
}

/// B60, B128, E17: data of admin commands is described by PRPs; any other PSDT is an invalid field.
#[test]
fn admin_commands_take_no_sgl() {
    let mut host = Build::default().admin_host();
    for command in commands_with_and_without_data(&mut host) {
        assert_eq!(admin_kind(&mut host, command), SUCCESS, "{:#x}", command.opcode);
        for psdt in 1..=3 {
            let kind = admin_kind(&mut host, Command { flags: psdt << 6, ..command });
            assert_eq!(kind, INVALID_FIELD, "{:#x} with PSDT {psdt}", command.opcode);
        }
    }
}

/// B61: admin commands are not fused.
#[test]
fn no_admin_command_is_fused() {
    let mut host = Build::default().host();
    for fuse in 1..=3 {
        for command in commands_with_and_without_data(&mut host) {
            assert_eq!(admin_kind(&mut host, Command { flags: fuse, ..command }), INVALID_FIELD);
        }
    }
}

/// B62: reserved bits are ignored.
#[test]
fn reserved_fields_do_no_harm() {
    let mut host = Build::default().admin_host();
    for command in commands_with_and_without_data(&mut host) {
        let strange = Command {
            flags: 0b0011_1100,
            cdw2: 0xffff_ffff.into(),
            cdw3: 0xffff_ffff.into(),
            mptr: u64::MAX.into(),
            cdw15: 0xffff_ffff.into(),
            ..command
        };
        let kind = admin_kind(&mut host, strange);
        assert!(matches!(kind, SUCCESS | INVALID_FIELD), "{:#x}: {kind:?}", command.opcode);
    }
    host.identify_controller().expect("still alive");
}

/// B68, E23: Identify data begins at any dword of its first page and goes on in the second, the same bytes everywhere; B70: nothing
/// around them is touched.
#[test]
fn identify_data_begins_at_any_dword() {
    let mut host = Build::default().admin_host();
    let expected = host.identify(Cns::CONTROLLER, Default::default()).expect("identified");
    let buffer = host.allocate(4 * 4096).expect("memory");
    for offset in (0..4096).step_by(4) {
        host.write_memory(buffer, &[0xee; 4 * 4096]);
        let at = buffer + 4096 + offset;
        let command = Command {
            prp1: at.into(),
            prp2: if offset == 0 { NOWHERE } else { buffer + 2 * 4096 }.into(),
            cdw10: 1.into(),
            ..admin_command(AdminOpcode::IDENTIFY)
        };
        assert_eq!(admin_kind(&mut host, command), SUCCESS, "{offset}");
        assert!(host.read_memory(at, 4096) == expected, "{offset}");
        let before = usize::try_from(at - buffer).expect("small");
        assert!(host.read_memory(buffer, before).iter().all(|byte| *byte == 0xee), "{offset}");
        let behind = 4 * 4096 - before - 4096;
        assert!(host.read_memory(at + 4096, behind).iter().all(|byte| *byte == 0xee), "{offset}");
    }
}

/// B69, E2, B120: data that needs a second page which is crooked, absent or in the device's own BAR is no success.
#[test]
fn a_bad_second_page_is_no_success() {
    let mut host = Build::default().admin_host();
    let page = host.allocate(4096).expect("memory");
    for (prp2, expected) in [(page + 8, (0, 0x13)), (NOWHERE, (0, 0x04)), (0, (0, 0x04)), (LAST_PAGE, (0, 0x04))] {
        let command = Command {
            prp1: (page + 4).into(),
            prp2: prp2.into(),
            cdw10: 1.into(),
            ..admin_command(AdminOpcode::IDENTIFY)
        };
        assert_eq!(admin_kind(&mut host, command), expected, "{prp2:#x}");
    }
    for prp1 in [NOWHERE, 0, LAST_PAGE] {
        let command = Command { prp1: prp1.into(), cdw10: 1.into(), ..admin_command(AdminOpcode::IDENTIFY) };
        assert_eq!(admin_kind(&mut host, command), (0, 0x04), "{prp1:#x}");
    }
}

/// B71: a command that the media has is aborted with Command Abort Requested, and its completion is written before the Abort's.
#[test]
fn an_aborted_command_is_answered_before_the_abort() {
    let mut host = Build::default().with_registers().host();
    slow_down(&host, Nanoseconds(1_000_000));
    let kept = host.submit(1, flush()).expect("submitted");
    let cid = host.submit(1, flush()).expect("submitted");
    host.port_mut().run_until_idle();
    let abort = Command { cdw10: (1 | u32::from(cid) << 16).into(), ..admin_command(AdminOpcode::ABORT) };
    let abort = host.submit(0, abort).expect("submitted");
    let writes: Vec<u64> = (recorded_step(host.port_mut()).into_iter())
        .filter_map(|access| if let Access::Write(at, _) = access { Some(at) } else { None })
        .collect();
    let [admin, io] = [0, 1].map(|cqid| host.completion_queue(cqid).expect("there").slot());
    assert_eq!(writes, [io, io + 8, admin, admin + 8]);
    assert_eq!(host.poll(1, cid).expect("answered").status().kind(), (0, 0x07));
    assert_eq!(host.poll(0, abort).expect("answered").dw0.get(), 0);
    assert_eq!(host.wait(1, kept).expect("answered").status(), Status::SUCCESS);
    host.port_mut().wait(Nanoseconds(2_000_000));
    host.port_mut().run_until_idle();
    assert!(host.reap(1).is_none() && host.surprises().is_empty());
}

/// B71, E20: an abort of what does not wait is a success that says so: a finished command, an unknown one, one of a queue that is
/// gone or never was, the Abort itself.
#[test]
fn aborts_of_what_does_not_wait_abort_nothing() {
    let mut host = Build::default().host();
    slow_down(&host, Nanoseconds(1_000_000));
    host.create_queue_pair(2, 8, None).expect("a queue pair");
    let cid = host.submit(2, flush()).expect("submitted");
    host.port_mut().run_until_idle();
    assert_eq!(admin_kind(&mut host, delete_queue(AdminOpcode::DELETE_SUBMISSION_QUEUE, 2)), SUCCESS);
    for (sqid, cid) in [(2, cid), (1, 0), (1, 0xffff), (0, 0xffff), (3, 0), (64, 1), (0xffff, 0xffff)] {
        assert_eq!(host.abort(sqid, cid), Ok(false), "{cid} of {sqid}");
    }
    let itself = Command { cid: 77.into(), cdw10: (77 << 16).into(), ..admin_command(AdminOpcode::ABORT) };
    host.submit_as_is(0, &itself).expect("submitted");
    host.ring(0).expect("rung");
    let answer = host.wait(0, 77).expect("answered");
    assert_eq!((answer.status(), answer.dw0.get()), (Status::SUCCESS, 1));
    host.port_mut().run_until_idle();
    assert!(host.reap(0).is_none(), "once");
}

/// B71: an identifier is one of its queue: that of another queue is left alone.
#[test]
fn an_abort_means_one_queue() {
    let mut host = Build::default().host();
    host.create_queue_pair(2, 8, None).expect("a queue pair");
    slow_down(&host, Nanoseconds(1_000_000));
    for qid in [1, 2] {
        host.submit_as_is(qid, &Command { cid: 5.into(), ..flush() }).expect("submitted");
        host.ring(qid).expect("rung");
    }
    host.port_mut().run_until_idle();
    assert_eq!(host.abort(2, 5), Ok(true));
    assert_eq!(host.poll(2, 5).expect("aborted").status().kind(), (0, 0x07));
    assert_eq!(host.wait(1, 5).expect("answered").status(), Status::SUCCESS);
}

/// B71, B72, E20: a storm of aborts, more than ACL + 1 at a time, against commands that come and go: each command and each abort is
/// answered once, and an abort that says that it aborted has.
#[test]
fn a_storm_of_aborts_leaves_every_command_answered_once() {
    let mut random = Random::new(seed(72));
    let mut host = Build::default().host();
    slow_down(&host, Nanoseconds(8_000));
    for _ in 0..300 {
        let cids: Vec<u16> = (0..20).map(|_| host.submit(1, flush()).expect("submitted")).collect();
        for _ in 0..random.below(12) {
            host.port_mut().step();
        }
        let aborts: Vec<(u16, u16)> = (0..10)
            .map(|_| {
                let cid = cids[usize::try_from(random.below(20)).expect("small")];
                let command = Command { cdw10: (1 | u32::from(cid) << 16).into(), ..admin_command(AdminOpcode::ABORT) };
                (host.submit(0, command).expect("submitted"), cid)
            })
            .collect();
        let mut aborted: Vec<u16> = Vec::new();
        for (abort, cid) in aborts {
            let answer = host.wait(0, abort).expect("answered");
            assert_eq!(answer.status(), Status::SUCCESS);
            if answer.dw0.get() & 1 == 0 {
                aborted.push(cid);
            }
        }
        for cid in cids {
            let kind = host.wait(1, cid).expect("answered").status().kind();
            let expected = if aborted.contains(&cid) { (0, 0x07) } else { SUCCESS };
            assert_eq!(kind, expected);
        }
    }
    assert!(host.surprises().is_empty());
}

/// B71: an event request can be aborted, and is then answered before the Abort is.
#[test]
fn an_event_request_can_be_aborted() {
    let mut host = Build::default().admin_host();
    let [first, second] = [(); 2].map(|()| host.async_event_request().expect("submitted"));
    host.port_mut().run_until_idle();
    assert_eq!(host.abort(0, second), Ok(true));
    assert_eq!(host.poll(0, second).expect("answered").status().kind(), (0, 0x07));
    assert_eq!(host.abort(0, second), Ok(false), "once");
    assert_eq!(host.poll(0, first), None);
}

/// Keep Alive (Base 2.1 section 3.9): a host that set the timer and is silent is taken for dead, CFS; one that speaks is not; none is
/// expected at timer 0.
#[test]
fn a_silent_host_is_taken_for_dead() {
    let mut host = Build::default().admin_host();
    let second = Nanoseconds(1_000_000_000);
    assert_ne!(host.identify_controller().expect("identified").kas.get(), 0);
    let fatal = |host: &mut Host<Rig>| {
        host.port_mut().run_until_idle();
        host.status().contains(ControllerStatus::FATAL)
    };
    host.port_mut().wait(Nanoseconds(second.0 * 100));
    assert!(!fatal(&mut host), "no timer is set");
    host.set_feature(FeatureId::KEEP_ALIVE_TIMER, 3000).expect("set");
    for _ in 0..5 {
        host.port_mut().wait(Nanoseconds(second.0 * 2));
        assert!(!fatal(&mut host));
        host.admin(admin_command(KEEP_ALIVE)).expect("answered");
    }
    host.port_mut().wait(Nanoseconds(second.0 * 4));
    assert!(fatal(&mut host));
    host.start().expect("a reset brings it back");
    host.port_mut().wait(Nanoseconds(second.0 * 100));
    assert!(!fatal(&mut host), "and forgets the timer");
}

/// Keep Alive: the timer can be switched off.
#[test]
fn the_timer_can_be_switched_off() {
    let mut host = Build::default().admin_host();
    for milliseconds in [1, 0] {
        host.set_feature(FeatureId::KEEP_ALIVE_TIMER, milliseconds).expect("set");
    }
    host.port_mut().wait(Nanoseconds(100_000_000_000));
    host.port_mut().run_until_idle();
    assert!(!host.status().contains(ControllerStatus::FATAL));
}
