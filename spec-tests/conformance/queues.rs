//! Queues: made, used, filled and deleted (rules B32–B46, B51, B52, B57, B58; NVMe Base 2.1 sections 3.3, 4.2, 5.2.1 to 5.2.4).

use controller::config::DeviceOptions;
use media::Nanoseconds;
use nvme_host::Host;
use nvme_host::admin::admin_command;
use nvme_host::doorbell::Doorbell;
use nvme_spec::feature::FeatureId;
use nvme_spec::opcode::AdminOpcode;
use nvme_spec::register::ControllerStatus;
use nvme_spec::{Command, Status};
use spec_tests::random::{Random, seed};
use spec_tests::rig::{Build, Rig};

use crate::support::{
    Access, CONTIGUOUS, INVALID_FIELD, INVALID_QUEUE_IDENTIFIER, LAST_PAGE, NOWHERE, SUCCESS, admin_kind,
    create_completion, create_submission, delete_queue, flush, queue_dword, reap_all, recorded_step, slow_down,
};

const INVALID_QUEUE_SIZE: (u8, u8) = (1, 0x02);
const DELETE_SUBMISSION: AdminOpcode = AdminOpcode::DELETE_SUBMISSION_QUEUE;
const DELETE_COMPLETION: AdminOpcode = AdminOpcode::DELETE_COMPLETION_QUEUE;

fn with_pairs(pairs: u16) -> Build {
    Build { device: DeviceOptions { max_ioqpairs: pairs, ..DeviceOptions::default() }, ..Build::default() }
}

/// B32: a completion names its command and its queue, its head is a position behind the command, and the phase turns with every
/// round. (The host notes whatever it cannot explain.)
#[test]
fn completions_say_what_they_answer_through_many_rounds() {
    let mut host = Build::default().admin_host();
    for (qid, entries) in [(1, 2), (2, 3), (3, 64)] {
        host.create_queue_pair(qid, entries, None).expect("a queue pair");
        for round in 0..200_u32 {
            let cid = host.submit(qid, flush()).expect("submitted");
            let completion = host.wait(qid, cid).expect("answered");
            assert_eq!(u32::from(completion.sq_head.get()), (round + 1) % entries);
            assert_eq!((completion.sqid.get(), completion.cid.get()), (qid, cid));
            assert_eq!((completion.dw0.get(), completion.dw1.get()), (0, 0));
        }
    }
    assert!(host.surprises().is_empty());
}

/// B32, E47: the quadword with the phase is stored after the rest of the entry, and nothing of it is stored twice.
#[test]
fn the_phase_is_written_last() {
    let mut host = Build::default().with_registers().host();
    let base = host.completion_queue(1).expect("made").base;
    for _ in 0..3 {
        host.submit_quietly(1, flush()).expect("submitted");
    }
    host.ring(1).expect("rung");
    let accesses = recorded_step(host.port_mut());
    let writes: Vec<_> = accesses.into_iter().filter(|access| matches!(access, Access::Write(..))).collect();
    assert_eq!(writes, (0..6).map(|half| Access::Write(base + 8 * half, 8)).collect::<Vec<_>>());
}

/// B33, B40, B42, E13: the four queue commands with identifiers that are the admin queue's, beyond what is granted, taken, or not
/// there.
#[test]
fn identifiers_that_cannot_be_used_are_refused() {
    let mut host = with_pairs(4).admin_host();
    let base = host.allocate(4096).expect("memory");
    host.create_queue_pair(1, 8, None).expect("a queue pair");
    for id in [0, 1, 5, 6, 511, 512, 1023, 1024, 0x7fff, 0x8000, 0xffff] {
        let made = admin_kind(&mut host, create_completion(id, 7, base));
        assert_eq!(made, INVALID_QUEUE_IDENTIFIER, "completion queue {id}");
        let made = admin_kind(&mut host, create_submission(id, 7, base, 1));
        assert_eq!(made, INVALID_QUEUE_IDENTIFIER, "submission queue {id}");
    }
    for id in [0, 2, 4, 5, 511, 512, 1024, 0xffff] {
        for opcode in [DELETE_SUBMISSION, DELETE_COMPLETION] {
            assert_eq!(admin_kind(&mut host, delete_queue(opcode, id)), INVALID_QUEUE_IDENTIFIER, "{opcode:?} {id}");
        }
    }
    assert_eq!(host.flush(1), Ok(Status::SUCCESS));
    host.identify_controller().expect("the admin queue is still there");
}

/// B42: a queue can be deleted once.
#[test]
fn a_queue_is_deleted_once() {
    let mut host = Build::default().host();
    for opcode in [DELETE_SUBMISSION, DELETE_COMPLETION] {
        assert_eq!(admin_kind(&mut host, delete_queue(opcode, 1)), SUCCESS);
        assert_eq!(admin_kind(&mut host, delete_queue(opcode, 1)), INVALID_QUEUE_IDENTIFIER);
    }
}

/// B34, E14, E15: a queue has at least two entries and at most MQES + 1.
#[test]
fn sizes_of_queues_have_limits() {
    let mut host = Build::default().admin_host();
    let mqes_z = host.capabilities().mqes_z();
    let base = host.allocate(64 * 2048).expect("memory");
    for size_z in [0, mqes_z + 1, 0x7fff, 0xffff] {
        assert_eq!(admin_kind(&mut host, create_completion(1, size_z, base)), INVALID_QUEUE_SIZE, "{size_z}");
    }
    host.create_completion_queue(1, 8, None).expect("made");
    for size_z in [0, mqes_z + 1, 0x7fff, 0xffff] {
        assert_eq!(admin_kind(&mut host, create_submission(1, size_z, base, 1)), INVALID_QUEUE_SIZE, "{size_z}");
    }
    for (id, size_z) in [(2, 1), (3, mqes_z)] {
        assert_eq!(admin_kind(&mut host, create_completion(id, size_z, base)), SUCCESS);
        assert_eq!(admin_kind(&mut host, create_submission(id, size_z, base, id)), SUCCESS);
    }
}

/// E14: with the largest MQES that CAP can say, a queue of 65536 entries wraps as any other does.
#[test]
fn the_largest_queue_wraps() {
    let device = DeviceOptions { mqes: 0xffff, ..DeviceOptions::default() };
    let mut host = Build { device, ..Build::default() }.admin_host();
    host.create_queue_pair(1, 65536, None).expect("a queue pair");
    for _ in 0..140 {
        let cids: Vec<u16> = (0..500).map(|_| host.submit_quietly(1, flush()).expect("submitted")).collect();
        host.ring(1).expect("rung");
        host.port_mut().run_until_idle();
        assert_eq!(reap_all(&mut host, 1).len(), cids.len());
    }
    assert!(host.surprises().is_empty());
}

/// B35: vectors end with the table. A host that polls names them without ever switching messages on (SPDK does).
#[test]
fn vectors_beyond_the_table_are_refused() {
    for (mode, allowed) in [
        (controller::InterruptMode::MsiX, 65),
        (controller::InterruptMode::Pin, 65),
        (controller::InterruptMode::Pin, 1),
    ] {
        let mut build = Build::default();
        build.device.msix_qsize = allowed;
        let mut host = build.admin_host();
        host.port_mut().controller_mut().set_interrupt_mode(mode);
        let base = host.allocate(4096).expect("memory");
        for vector in [allowed, allowed + 1, 2047, 0xffff] {
            let create = Command {
                cdw11: (CONTIGUOUS | 1 << 1 | u32::from(vector) << 16).into(),
                ..create_completion(1, 7, base)
            };
            assert_eq!(admin_kind(&mut host, create), (1, 0x08), "{mode:?} {vector}");
        }
        host.create_completion_queue(1, 8, Some(allowed - 1)).expect("the last vector");
    }
}

/// B36: queues begin on a page; B37: they are contiguous, as CAP.CQR demands.
#[test]
fn queues_begin_on_a_page_and_are_contiguous() {
    let mut host = Build::default().admin_host();
    let base = host.allocate(8192).expect("memory");
    host.create_completion_queue(2, 8, None).expect("made");
    for offset in [1, 4, 16, 64, 2048, 4095] {
        assert_eq!(admin_kind(&mut host, create_completion(1, 7, base + offset)), (0, 0x13), "{offset}");
        assert_eq!(admin_kind(&mut host, create_submission(1, 7, base + offset, 2)), (0, 0x13), "{offset}");
    }
    let scattered = Command { cdw11: 0.into(), ..create_completion(1, 7, base) };
    assert_eq!(admin_kind(&mut host, scattered), INVALID_FIELD);
    let scattered = Command { cdw11: (2 << 16).into(), ..create_submission(1, 7, base, 2) };
    assert_eq!(admin_kind(&mut host, scattered), INVALID_FIELD);
}

/// B40, E46: the completion queue of a submission queue: never 0, not beyond what is granted, and it exists. The last of the three has
/// status code 00h of another type, which is no success.
#[test]
fn a_submission_queue_needs_an_existing_completion_queue() {
    let mut host = with_pairs(4).admin_host();
    let base = host.allocate(4096).expect("memory");
    for cqid in [0, 5, 6, 0x100, 0xffff] {
        assert_eq!(admin_kind(&mut host, create_submission(1, 7, base, cqid)), INVALID_QUEUE_IDENTIFIER, "{cqid}");
    }
    for cqid in [1, 4] {
        let status = host.execute(0, create_submission(1, 7, base, cqid)).expect("answered").status();
        assert_eq!((status.kind(), status.is_success()), ((1, 0x00), false), "{cqid}");
    }
}

/// B41, E17: several submission queues share a completion queue, which cannot be deleted before the last of them.
#[test]
fn submission_queues_share_a_completion_queue() {
    let mut host = Build::default().admin_host();
    host.create_completion_queue(7, 16, None).expect("made");
    for sqid in [1, 2, 9] {
        host.create_submission_queue(sqid, 8, 7, 0).expect("made");
    }
    for round in 0..100 {
        let sent = [1, 2, 9].map(|sqid| (sqid, host.submit(sqid, flush()).expect("submitted")));
        for (sqid, cid) in sent {
            assert_eq!(host.wait(sqid, cid).expect("answered").sqid.get(), sqid, "round {round}");
        }
    }
    assert!(host.surprises().is_empty());
    for sqid in [2, 1, 9] {
        assert_eq!(admin_kind(&mut host, delete_queue(DELETE_COMPLETION, 7)), (1, 0x0c));
        host.delete_submission_queue(sqid).expect("deleted");
    }
    host.delete_completion_queue(7).expect("nobody uses it any more");
}

/// B43, E7: a submission queue is deleted while the media has its commands: each of them is answered once, with Command Aborted due
/// to SQ Deletion, and before the deletion is; afterwards nothing comes, and other queues do not notice.
#[test]
fn commands_of_a_deleted_queue_are_answered_before_the_deletion() {
    let mut host = Build::default().host();
    host.create_queue_pair(2, 8, None).expect("a queue pair");
    slow_down(&host, Nanoseconds(1_000_000));
    let cids: Vec<u16> = (0..40).map(|_| host.submit(1, flush()).expect("submitted")).collect();
    let other = host.submit(2, flush()).expect("submitted");
    host.port_mut().run_until_idle();
    let deletion = host.submit(0, delete_queue(DELETE_SUBMISSION, 1)).expect("submitted");
    let accesses = recorded_step(host.port_mut());
    let queues = [0, 1].map(|cqid| host.completion_queue(cqid).expect("there").base);
    let place = |base: u64| {
        let inside = |access: &Access| matches!(access, Access::Write(at, _) if (base..base + 4096).contains(at));
        (accesses.iter().position(inside), accesses.iter().rposition(inside))
    };
    let ((first_admin, _), (_, last_io)) = (place(queues[0]), place(queues[1]));
    assert!(last_io.expect("aborted") < first_admin.expect("deleted"), "{accesses:?}");
    for cid in cids {
        assert_eq!(host.poll(1, cid).expect("answered").status().kind(), (0, 0x08));
    }
    assert_eq!(host.poll(0, deletion).expect("answered").status(), Status::SUCCESS);
    assert_eq!(host.wait(2, other).expect("answered").status(), Status::SUCCESS);
    host.port_mut().wait(Nanoseconds(2_000_000));
    host.port_mut().run_until_idle();
    assert!(host.reap(1).is_none() && host.surprises().is_empty());
    host.delete_completion_queue(1).expect("deleted");
}

/// B43, E7, E44: the same with a completion queue that is full, so that the rest of the commands was never taken: they end with
/// their queue, silently, and the completion queue goes on to serve others.
#[test]
fn a_queue_that_waits_for_completion_slots_can_be_deleted() {
    let mut host = Build::default().admin_host();
    host.create_completion_queue(1, 4, None).expect("made");
    host.create_submission_queue(1, 64, 1, 0).expect("made");
    host.create_submission_queue(2, 8, 1, 0).expect("made");
    for _ in 0..40 {
        host.submit(1, flush()).expect("submitted");
    }
    host.port_mut().run_until_idle();
    assert_eq!(admin_kind(&mut host, delete_queue(DELETE_SUBMISSION, 1)), SUCCESS);
    assert_eq!(reap_all(&mut host, 1).len(), 3, "what was in the queue before");
    let cid = host.submit(2, flush()).expect("submitted");
    assert_eq!(host.wait(2, cid).expect("answered").status(), Status::SUCCESS);
    assert!(host.reap(1).is_none());
    host.delete_submission_queue(2).expect("deleted");
    host.delete_completion_queue(1).expect("deleted");
}

/// B44: a pair that is made again under its identifier begins at 0 with phase 1, whatever the old one left.
#[test]
fn a_queue_made_again_begins_at_its_beginning() {
    let mut host = Build::default().host();
    for entries in [64, 5, 64, 2, 17] {
        for _ in 0..entries + 3 {
            assert_eq!(host.flush(1), Ok(Status::SUCCESS));
        }
        host.delete_queue_pair(1).expect("deleted");
        host.create_queue_pair(1, entries, None).expect("made again");
        host.port_mut().run_until_idle();
        assert!(host.reap(1).is_none(), "no stale entry is taken");
    }
    assert!(host.surprises().is_empty());
}

/// B45, E21, E44: submission queues far deeper than their completion queue: nothing is overwritten, and all is answered once the host
/// moves the head, at each head it may choose.
#[test]
fn a_full_completion_queue_loses_nothing() {
    for (slots, batch) in [(2, 1), (3, 2), (5, 1), (5, 4)] {
        let mut host = Build::default().admin_host();
        host.create_completion_queue(1, slots, None).expect("made");
        for sqid in 1..=3 {
            host.create_submission_queue(sqid, 64, 1, 0).expect("made");
            for _ in 0..63 {
                host.submit_quietly(sqid, flush()).expect("submitted");
            }
            host.ring(sqid).expect("rung");
        }
        let mut answers = 0;
        while answers < 3 * 63 {
            host.port_mut().run_until_idle();
            let seen = (0..batch).filter(|_| host.reap_quietly(1).is_some()).count();
            assert_ne!(seen, 0, "after {answers} of them");
            answers += seen;
            host.ring_completion(1).expect("rung");
        }
        host.port_mut().run_until_idle();
        assert!(host.reap(1).is_none() && host.surprises().is_empty());
        assert!((1..=3).all(|sqid| host.submission_queue(sqid).expect("there").outstanding() == 0));
    }
}

/// B45: a full admin completion queue holds up the admin queue and no other, and is as patient.
#[test]
fn a_full_admin_completion_queue_loses_nothing() {
    let mut host = Build::default().host();
    let keep_alive = admin_command(AdminOpcode::KEEP_ALIVE);
    let mut seen = 0;
    for _ in 0..2 {
        for _ in 0..31 {
            host.submit(0, keep_alive).expect("submitted");
        }
        host.port_mut().run_until_idle();
        seen += (0..3).filter(|_| host.reap_quietly(0).is_some()).count();
        for _ in 0..3 {
            host.submit(0, keep_alive).expect("submitted");
        }
        host.port_mut().run_until_idle();
        assert_eq!(host.flush(1), Ok(Status::SUCCESS));
        while host.reap_quietly(0).is_some() {
            seen += 1;
            host.ring_completion(0).expect("rung");
            host.port_mut().run_until_idle();
        }
    }
    assert_eq!(seen, 2 * 34);
    assert!(host.surprises().is_empty());
}

/// B46, B184, E48: each entry of a submission queue is read once, whole.
#[test]
fn an_entry_is_read_once() {
    let mut host = Build::default().with_registers().host();
    let base = host.submission_queue(1).expect("made").base;
    let mut read = Vec::new();
    for _ in 0..20 {
        host.submit(1, flush()).expect("submitted");
        let accesses = recorded_step(host.port_mut());
        read.extend(accesses.into_iter().filter(|access| matches!(access, Access::Read(..))));
    }
    assert_eq!(read, (0..20).map(|slot| Access::Read(base + slot * 64, 64)).collect::<Vec<_>>());
}

/// B51: Number of Queues grants zero-based numbers up to what there is, refuses FFFFh, and comes before the first I/O queue.
#[test]
fn number_of_queues_grants_what_there_is() {
    let mut host = with_pairs(4).admin_host();
    for (asked, granted) in [(0, 0), (0x0001_0002, 0x0001_0002), (0x00ff_0000, 0x0003_0000), (0xfffe_fffe, 0x0003_0003)]
    {
        assert_eq!(host.set_feature(FeatureId::NUMBER_OF_QUEUES, asked), Ok(granted), "{asked:#x}");
        assert_eq!(host.get_feature(FeatureId::NUMBER_OF_QUEUES, 0), Ok(granted), "{asked:#x}");
    }
    let set = |value| nvme_host::admin::set_feature_command(FeatureId::NUMBER_OF_QUEUES, value);
    for bad in [0xffff, 0xffff_0000, 0xffff_ffff] {
        assert_eq!(admin_kind(&mut host, set(bad)), INVALID_FIELD, "{bad:#x}");
    }
    host.create_completion_queue(1, 8, None).expect("made");
    assert_eq!(admin_kind(&mut host, set(0)), (0, 0x0c));
    host.delete_completion_queue(1).expect("deleted");
    assert_eq!(admin_kind(&mut host, set(0)), SUCCESS);
}

/// B52: everything that was granted can be had at the same time, and not one more; of each kind as many as were granted of it.
#[test]
fn granted_queues_can_all_be_made_and_no_more() {
    for (pairs, submission, completion) in [(4, 4, 4), (8, 2, 4), (8, 4, 2), (511, 511, 511)] {
        let mut host = with_pairs(pairs).admin_host();
        let asked = queue_dword(submission - 1, completion - 1);
        assert_eq!(host.set_feature(FeatureId::NUMBER_OF_QUEUES, asked), Ok(asked));
        (1..=completion).for_each(|cqid| host.create_completion_queue(cqid, 4, None).expect("granted"));
        (1..=submission)
            .for_each(|sqid| host.create_submission_queue(sqid, 4, 1 + sqid % completion, 0).expect("granted"));
        let base = host.allocate(4096).expect("memory");
        let more = admin_kind(&mut host, create_completion(completion + 1, 3, base));
        assert_eq!(more, INVALID_QUEUE_IDENTIFIER, "completion queue {completion} + 1 of {pairs}");
        let more = admin_kind(&mut host, create_submission(submission + 1, 3, base, 1));
        assert_eq!(more, INVALID_QUEUE_IDENTIFIER, "submission queue {submission} + 1 of {pairs}");
        for sqid in 1..=submission {
            let cid = host.submit(sqid, flush()).expect("submitted");
            assert_eq!(host.wait(sqid, cid).expect("answered").status(), Status::SUCCESS);
        }
    }
}

/// B57: identifier FFFFh works, and two commands of one identifier in flight are answered twice.
#[test]
fn identifiers_of_commands_are_the_hosts_business() {
    let mut host = Build::default().host();
    slow_down(&host, Nanoseconds(10_000));
    for cid in [0xffff, 7, 7, 0xffff] {
        host.submit_as_is(1, &Command { cid: cid.into(), ..flush() }).expect("submitted");
    }
    host.ring(1).expect("rung");
    host.port_mut().wait(Nanoseconds(10_000));
    host.port_mut().run_until_idle();
    host.port_mut().wait(Nanoseconds(10_000));
    host.port_mut().run_until_idle();
    let mut answered: Vec<u16> = reap_all(&mut host, 1).iter().map(|completion| completion.cid.get()).collect();
    answered.sort_unstable();
    assert_eq!(answered, [7, 7, 0xffff, 0xffff]);
}

fn random_command(random: &mut Random, buffer: u64) -> Command {
    let mut dword = || u32::try_from(random.below(1 << 32)).expect("32 bits");
    let [opcode, flags, shape, ..] = dword().to_le_bytes();
    let addresses = [buffer, buffer + 0x1000, NOWHERE, LAST_PAGE, 0, buffer + 3];
    let pick = |byte: u8| addresses[usize::from(byte) % addresses.len()];
    let limit = if shape & 1 == 0 { 0xf } else { u32::MAX };
    Command {
        opcode: if shape & 2 == 0 { opcode & 0xf } else { opcode },
        flags: if shape & 12 == 0 { flags } else { 0 },
        nsid: [0, 1, 1, 1, 1, 2, u32::MAX, 1][usize::from(shape >> 5)].into(),
        prp1: pick(shape >> 4).into(),
        prp2: pick(flags).into(),
        cdw10: (dword() & limit).into(),
        cdw11: if shape & 16 == 0 { 0.into() } else { dword().into() },
        cdw12: (dword() & limit).into(),
        ..Command::default()
    }
}

/// B58, E16, E44: whatever an I/O command looks like, it is answered exactly once, in media that are fast, slow or failing.
#[test]
fn every_io_command_is_answered_exactly_once() {
    let mut random = Random::new(seed(58));
    let mut host: Host<Rig> = Build::default().host();
    // Reads land in a buffer of 2 MiB, more than any transfer.
    let buffer = host.allocate(2 << 20).expect("memory");
    let mut sent = 0;
    let mut answered = 0;
    for round in 0..20_000_u32 {
        if round.is_multiple_of(100) {
            let mut behaviour = host.port().behaviour.borrow_mut();
            behaviour.latency = (random.below(2) == 1).then_some(Nanoseconds(random.below(20_000)));
            behaviour.failure = (random.below(4) == 0).then_some(media::MediaError::Internal);
        }
        if host.submit(1, random_command(&mut random, buffer)).is_ok() {
            sent += 1;
        }
        host.port_mut().step();
        answered += reap_all(&mut host, 1).len();
    }
    host.port_mut().wait(Nanoseconds(1_000_000));
    host.port_mut().run_until_idle();
    answered += reap_all(&mut host, 1).len();
    assert_eq!((answered, host.surprises().len()), (sent, 0));
    assert!(sent > 10_000, "the queue was hardly ever full");
    host.port_mut().behaviour.borrow_mut().failure = None;
    host.identify_controller().expect("still alive");
    host.delete_queue_pair(1).expect("nothing is left behind");
}

/// E2, B120: I/O queues at an address where there is no memory (the device's own BAR is none): nothing is processed, nothing breaks, and
/// they can be deleted.
#[test]
fn queues_that_are_nowhere_harm_nobody() {
    let mut host = Build::default().host();
    let base = host.allocate(4096).expect("memory");
    for (id, submission, completion) in [(2, NOWHERE, base), (3, base, NOWHERE), (4, LAST_PAGE, LAST_PAGE)] {
        assert_eq!(admin_kind(&mut host, create_completion(id, 63, completion)), SUCCESS);
        assert_eq!(admin_kind(&mut host, create_submission(id, 63, submission, id)), SUCCESS);
        host.write_doorbell(Doorbell::SubmissionTail(id), 63);
        host.port_mut().run_until_idle();
        assert_eq!(host.flush(1), Ok(Status::SUCCESS));
    }
    host.port_mut().wait(Nanoseconds(5_000_000_000));
    host.port_mut().run_until_idle();
    assert!(!host.status().contains(ControllerStatus::FATAL));
    for id in [4, 3, 2] {
        assert_eq!(admin_kind(&mut host, delete_queue(DELETE_SUBMISSION, id)), SUCCESS);
        assert_eq!(admin_kind(&mut host, delete_queue(DELETE_COMPLETION, id)), SUCCESS);
    }
    host.identify_controller().expect("still alive");
}
