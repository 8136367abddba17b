//! F1 to F18: commands and completions.

use controller::fault::{Action, CidChoice, FaultSpec, HexBytes, Matching, Order, When, Whose};
use media::Nanoseconds;
use nvme_host::admin::{LogArguments, admin_command};
use nvme_host::io::nvm_command;
use nvme_spec::Status;
use nvme_spec::feature::FeatureId;
use nvme_spec::identify::Cns;
use nvme_spec::log::LogId;
use nvme_spec::opcode::{AdminOpcode, NvmOpcode};
use spec_tests::rig::Build;

use super::{add, begin_read, blocks, builds, entries, hits, listen, of_reads, prepared, reads, told, writes};
use crate::support::{SUCCESS, admin_kind, reap_all};
use crate::verbs::Verbs as _;

const MILLISECOND: u64 = 1_000_000;

fn status(sct: u8, sc: u8) -> Action {
    Action::Status { sct, sc, dnr: false, more: false, crd: 0, carried_out: false }
}

fn drop_it() -> Action {
    Action::Drop { abortable: false, carried_out: false }
}

/// F1: the status is the one asked for, with DNR, More and CRD; once; the command was not carried out; More means an entry in the error
/// log, and an event tells that it was a fault.
#[test]
fn f1_a_command_is_answered_with_any_status() {
    for build in builds() {
        let mut host = prepared(&build);
        listen(&mut host);
        let action = Action::Status { sct: 2, sc: 0x81, dnr: true, more: true, crd: 0, carried_out: false };
        let id = add(&mut host, of_reads(action));
        let errors = host.error_log().len();
        let (failed, _) = host.read(1, 3, 1).expect("answered");
        assert_eq!((failed.kind(), failed.do_not_retry(), failed.more()), ((2, 0x81), true, true));
        assert_eq!(host.read(1, 3, 1), Ok((Status::SUCCESS, blocks(3, 1))), "once");
        let log = host.error_log();
        assert_eq!((log.len(), log[0].sqid.get(), log[0].nsid.get()), (errors + 1, 1, 1));
        assert_eq!((hits(&host, id), told(&mut host)), (1, vec![id]));

        let retry = Action::Status { sct: 0, sc: 0x22, dnr: false, more: false, crd: 2, carried_out: false };
        add(&mut host, FaultSpec::new(retry).matching(writes()));
        let failed = host.write(1, 3, &[9; 512], false).expect("answered");
        assert_eq!(
            (failed.kind(), failed.do_not_retry(), failed.more(), failed.0 >> 11 & 3),
            ((0, 0x22), false, false, 2)
        );
        assert_eq!(host.read(1, 3, 1), Ok((Status::SUCCESS, blocks(3, 1))), "it was not written");
        let done = Action::Status { sct: 0, sc: 6, dnr: false, more: false, crd: 0, carried_out: true };
        add(&mut host, FaultSpec::new(done).matching(writes()));
        assert_eq!(host.write(1, 3, &[9; 512], false).map(Status::kind), Ok((0, 6)));
        assert_eq!(
            host.read(1, 3, 1),
            Ok((Status::SUCCESS, vec![9; 512])),
            "it was, and the host hears that it failed"
        );
    }
}

/// F2: the answer comes when the time is over and not before; others are not held up.
#[test]
fn f2_an_answer_is_late() {
    for build in builds() {
        let mut host = prepared(&build);
        let id = add(&mut host, of_reads(Action::Delay { delay_ns: 5 * MILLISECOND }));
        let (late, address) = begin_read(&mut host, 1);
        let (other, _) = begin_read(&mut host, 2);
        host.port_mut().run_until_idle();
        assert!(host.poll(1, late).is_none() && host.poll(1, other).is_some());
        host.port_mut().wait(Nanoseconds(4 * MILLISECOND));
        host.port_mut().run_until_idle();
        assert!(host.poll(1, late).is_none());
        assert_eq!(host.port_mut().step().then_some(()), None, "nothing is left to do until then");
        host.port_mut().wait(Nanoseconds(MILLISECOND));
        host.port_mut().run_until_idle();
        assert!(host.poll(1, late).is_some_and(|answer| answer.status().is_success()));
        assert_eq!((host.read_memory(address, 512), hits(&host, id)), (blocks(1, 1), 1));
    }
}

/// F6: a command that is begun late moves its data late, into memory that is somebody else's by then; it can be aborted before, and its
/// queue can be deleted.
#[test]
fn f6_a_command_is_begun_after_the_host_gave_up() {
    for build in builds() {
        let mut host = prepared(&build);
        let postpone = || of_reads(Action::Postpone { delay_ns: 5 * MILLISECOND });
        add(&mut host, postpone());
        let (late, address) = begin_read(&mut host, 1);
        assert!(entries(&mut host).is_empty());
        assert_eq!(host.read_memory(address, 512), [0; 512]);
        host.port_mut().wait(Nanoseconds(5 * MILLISECOND));
        assert_eq!(entries(&mut host).iter().map(|entry| entry.cid.get()).collect::<Vec<_>>(), [late]);
        assert_eq!(host.read_memory(address, 512), blocks(1, 1));

        add(&mut host, postpone());
        let (aborted, address) = begin_read(&mut host, 1);
        host.port_mut().run_until_idle();
        assert_eq!(host.abort(1, aborted), Ok(true));
        assert_eq!(host.poll(1, aborted).map(|answer| answer.status().kind()), Some((0, 0x07)));
        let id = add(&mut host, postpone());
        let (early, _) = begin_read(&mut host, 2);
        assert!(entries(&mut host).is_empty());
        assert!(host.port_mut().controller_mut().fault_remove(id));
        assert_eq!(entries(&mut host).iter().map(|entry| entry.cid.get()).collect::<Vec<_>>(), [early]);
        add(&mut host, postpone());
        begin_read(&mut host, 1);
        host.port_mut().run_until_idle();
        host.delete_submission_queue(1).expect("deleted");
        assert_eq!(reap_all(&mut host, 1).iter().map(|entry| entry.status().kind()).collect::<Vec<_>>(), [(0, 0x08)]);
        host.port_mut().wait(Nanoseconds(10 * MILLISECOND));
        host.port_mut().run_until_idle();
        assert_eq!(host.read_memory(address, 512), [0; 512], "what was aborted is not begun");
    }
}

/// F3: never answered, whatever the time; the queue's other commands are; an Abort finds nothing to abort; a reset ends it, and what was
/// not carried out can be sent again.
#[test]
fn f3_a_command_is_never_answered() {
    for build in builds() {
        let mut host = prepared(&build);
        let id = add(&mut host, FaultSpec::new(drop_it()).matching(writes()).when(When::nth(2)));
        assert_eq!(host.write(1, 40, &[1; 512], false), Ok(Status::SUCCESS), "the first is not hit");
        let data = host.allocate(4096).expect("room");
        host.write_memory(data, &[2; 512]);
        let write =
            nvme_spec::Command { prp1: data.into(), ..nvme_host::io::block_command(NvmOpcode::WRITE, 1, 40, 1) };
        let lost = host.submit(1, write).expect("room");
        host.port_mut().wait(Nanoseconds(60_000 * MILLISECOND));
        host.port_mut().run_until_idle();
        assert!(host.poll(1, lost).is_none());
        assert_eq!(host.read(1, 40, 1), Ok((Status::SUCCESS, vec![1; 512])));
        assert_eq!(host.abort(1, lost), Ok(false), "it is not aborted");
        assert_eq!(hits(&host, id), 1);
        host.start().expect("reset and enabled");
        host.create_queue_pair(1, 64, Some(1)).expect("queues");
        assert_eq!(host.write(1, 40, &[2; 512], false), Ok(Status::SUCCESS));
        assert_eq!(host.read(1, 40, 1), Ok((Status::SUCCESS, vec![2; 512])));
    }
}

/// F3: the queues of a command that is never answered can be deleted, and it is not answered then either.
#[test]
fn f3_a_queue_with_a_dropped_command_can_be_deleted() {
    let mut host = prepared(&Build::default());
    add(&mut host, of_reads(drop_it()).always());
    for _ in 0..20 {
        begin_read(&mut host, 1);
    }
    assert!(entries(&mut host).is_empty());
    host.delete_submission_queue(1).expect("deleted");
    assert!(reap_all(&mut host, 1).is_empty());
    host.delete_completion_queue(1).expect("deleted");
    host.assert_alive();
}

/// F4: the Abort says that it aborted, and the command is answered with Command Abort Requested.
#[test]
fn f4_a_command_hangs_until_it_is_aborted() {
    for build in builds() {
        let mut host = prepared(&build);
        add(&mut host, of_reads(Action::Drop { abortable: true, carried_out: false }));
        let (hangs, _) = begin_read(&mut host, 1);
        host.port_mut().run_until_idle();
        assert!(host.poll(1, hangs).is_none());
        assert_eq!(host.abort(1, hangs), Ok(true));
        let aborted = host.poll(1, hangs).expect("answered before the Abort").status();
        assert_eq!((aborted.kind(), aborted.do_not_retry()), ((0, 0x07), false));
        assert_eq!(host.read(1, 1, 1), Ok((Status::SUCCESS, blocks(1, 1))), "tried again");
    }
}

/// F5: the Abort is refused, or itself never answered.
#[test]
fn f5_an_abort_fails_or_hangs() {
    let mut host = prepared(&Build::default());
    add(&mut host, of_reads(drop_it()));
    let (hangs, _) = begin_read(&mut host, 1);
    host.port_mut().run_until_idle();
    let abort = nvme_spec::Command { cdw10: (1 | u32::from(hangs) << 16).into(), ..admin_command(AdminOpcode::ABORT) };
    let aborts = Matching::admin_opcode(AdminOpcode::ABORT.0);
    add(&mut host, FaultSpec::new(status(1, 0x03)).matching(aborts.clone()));
    assert_eq!(admin_kind(&mut host, abort), (1, 0x03));
    add(&mut host, FaultSpec::new(drop_it()).matching(aborts));
    let lost = host.submit(0, abort).expect("room");
    host.port_mut().run_until_idle();
    assert!(host.poll(0, lost).is_none());
    host.assert_alive();
}

/// F6: a host that gave up hears of the command all the same, but not when it has reset the controller meanwhile.
#[test]
fn f6_an_answer_comes_after_the_host_gave_up_but_not_after_a_reset() {
    for reset in [false, true] {
        let mut host = prepared(&Build::default());
        add(&mut host, of_reads(Action::Delay { delay_ns: 90_000 * MILLISECOND }));
        let (late, _) = begin_read(&mut host, 1);
        host.port_mut().run_until_idle();
        if reset {
            host.start().expect("reset and enabled");
            host.create_queue_pair(1, 64, Some(1)).expect("queues");
        }
        host.port_mut().wait(Nanoseconds(100_000 * MILLISECOND));
        let came: Vec<u16> = entries(&mut host).iter().map(|entry| entry.cid.get()).collect();
        assert_eq!(came, if reset { vec![] } else { vec![late] });
    }
}

/// F7: one more entry for the same command, each with its slot; where the queue has none, none comes.
#[test]
fn f7_a_command_is_answered_twice() {
    for build in builds() {
        let mut host = prepared(&build);
        add(&mut host, of_reads(Action::Duplicate { copies: 2 }));
        let (twice, _) = begin_read(&mut host, 1);
        let came: Vec<u16> = entries(&mut host).iter().map(|entry| entry.cid.get()).collect();
        assert_eq!(came, [twice; 3]);
        add(&mut host, of_reads(Action::Duplicate { copies: 1000 }));
        begin_read(&mut host, 1);
        host.port_mut().run_until_idle();
        let came = std::iter::from_fn(|| host.reap_quietly(1)).count();
        assert_eq!(came, 63, "as many as the queue holds");
        host.ring_completion(1).expect("rung");
        assert_eq!(host.read(1, 1, 1), Ok((Status::SUCCESS, blocks(1, 1))));
    }
}

/// F8: the identifier of another command, of none, of an event request, or any number.
#[test]
fn f8_an_answer_has_another_identifier() {
    for build in builds() {
        let mut host = prepared(&build);
        add(&mut host, of_reads(drop_it()));
        let (under_way, _) = begin_read(&mut host, 1);
        host.port_mut().run_until_idle();
        let event = host.async_event_request().expect("it waits");
        host.port_mut().run_until_idle();
        for (choice, expected) in [
            (CidChoice::Number(0xfff0), Some(0xfff0)),
            (CidChoice::Whose(Whose::InFlight), Some(under_way)),
            (CidChoice::Whose(Whose::Event), Some(event)),
            (CidChoice::Whose(Whose::Free), None),
        ] {
            add(&mut host, of_reads(Action::WrongCid { cid: choice }));
            let (own, _) = begin_read(&mut host, 2);
            let came: Vec<u16> = entries(&mut host).iter().map(|entry| entry.cid.get()).collect();
            match expected {
                Some(cid) => assert_eq!(came, [cid]),
                None => assert!(came.len() == 1 && !came.contains(&own) && !came.contains(&under_way), "{came:?}"),
            }
        }
    }
}

/// F9: another submission queue, another head.
#[test]
fn f9_an_answer_has_another_queue_or_head() {
    for build in builds() {
        let mut host = prepared(&build);
        add(&mut host, of_reads(Action::WrongSqid { sqid: 77 }));
        add(&mut host, of_reads(Action::WrongSqHead { head: 0xfffe }));
        begin_read(&mut host, 2);
        let came = entries(&mut host);
        assert_eq!((came.len(), came[0].sqid.get(), came[0].sq_head.get()), (1, 77, 0xfffe));
    }
}

/// F10: an entry with the old phase is none to a host that looks at phases; its content is there. Those behind it are written where they
/// belong, also around the end.
#[test]
fn f10_an_answer_has_the_old_phase() {
    for build in builds() {
        let mut host = prepared(&build);
        for round in 0..3 {
            let place = host.completion_queue(1).expect("there").clone();
            add(&mut host, of_reads(Action::OldPhase {}));
            let (unseen, _) = begin_read(&mut host, 2);
            assert!(entries(&mut host).is_empty());
            let at = place.base + u64::from(place.head) * 16;
            let bytes = host.read_memory(at, 16);
            assert_eq!(u16::from_le_bytes([bytes[12], bytes[13]]), unseen, "it is there");
            let (next, _) = begin_read(&mut host, 2);
            host.port_mut().run_until_idle();
            let bytes = host.read_memory(place.base + u64::from((place.head + 1) % 64) * 16, 16);
            assert_eq!(u16::from_le_bytes([bytes[12], bytes[13]]), next);
            // A host that looks again finds both once the phase is right.
            let phase = host.read_memory(at + 14, 1)[0];
            host.write_memory(at + 14, &[phase ^ 1]);
            assert_eq!(entries(&mut host).len(), 2, "round {round}");
            for _ in 0..62 {
                assert_eq!(host.read(1, 1, 1), Ok((Status::SUCCESS, blocks(1, 1))));
            }
        }
    }
}

/// F10: the phase is there before the rest of the entry.
#[test]
fn f10_the_phase_comes_before_the_rest() {
    for build in builds() {
        let mut host = prepared(&build);
        let place = host.completion_queue(1).expect("there").clone();
        let at = place.base + u64::from(place.head) * 16;
        add(&mut host, of_reads(Action::EarlyPhase { delay_ns: MILLISECOND }));
        let (own, _) = begin_read(&mut host, 2);
        host.port_mut().run_until_idle();
        let early = host.read_memory(at, 16);
        assert_eq!((early[14] & 1, u16::from_le_bytes([early[12], early[13]])), (1, 0), "a new phase, an old entry");
        host.port_mut().wait(Nanoseconds(MILLISECOND));
        host.port_mut().run_until_idle();
        let came = entries(&mut host);
        assert_eq!((came.len(), came[0].cid.get()), (1, own));
    }
}

/// F11: an entry for a command that nobody submitted.
#[test]
fn f11_a_stray_answer_comes() {
    for build in builds() {
        let mut host = prepared(&build);
        add(&mut host, of_reads(Action::Stray { cid: CidChoice::Number(999) }));
        let (own, _) = begin_read(&mut host, 2);
        let came: Vec<u16> = entries(&mut host).iter().map(|entry| entry.cid.get()).collect();
        assert_eq!(came, [own, 999]);
    }
}

/// F12: success without data, with some of it, with bits flipped, with other blocks.
#[test]
fn f12_data_are_missing_short_flipped_or_of_other_blocks() {
    for build in builds() {
        let mut host = prepared(&build);
        let read = |host: &mut crate::verbs::TestHost, action| {
            let id = add(host, of_reads(action));
            let got = host.read(1, 4, 4).expect("answered");
            assert_eq!((got.0, hits(host, id)), (Status::SUCCESS, 1));
            got.1
        };
        let right = blocks(4, 4);
        assert_eq!(read(&mut host, Action::NoData {}), vec![0; 2048]);
        assert_eq!(read(&mut host, Action::ShortData { blocks: 1 }), [&right[..512], &[0; 1536]].concat());
        let flip = Action::Patch { offset: 700, bytes: HexBytes(vec![0x81, 0xff]), xor: true };
        let flipped = read(&mut host, flip);
        let differences: Vec<usize> = (0..2048).filter(|index| flipped[*index] != right[*index]).collect();
        assert_eq!((differences, flipped[700] ^ right[700]), (vec![700, 701], 0x81));
        assert_eq!(read(&mut host, Action::OtherBlock { lba: 12 }), blocks(12, 4));
        assert_eq!(host.read(1, 4, 4), Ok((Status::SUCCESS, right.clone())), "the media is right");

        add(&mut host, FaultSpec::new(Action::NoData {}).matching(writes()));
        assert_eq!(host.write(1, 4, &[1; 2048], true), Ok(Status::SUCCESS));
        assert_eq!(host.read(1, 4, 4), Ok((Status::SUCCESS, right)), "the write was lost");
        add(&mut host, FaultSpec::new(Action::OtherBlock { lba: 20 }).matching(writes()));
        assert_eq!(host.write(1, 4, &[1; 512], true), Ok(Status::SUCCESS));
        assert_eq!(host.read(1, 20, 1), Ok((Status::SUCCESS, vec![1; 512])), "it went elsewhere");
    }
}

/// F13: answers wait for each other and come in another order, each with its own data; those that stay alone come when their time is over.
#[test]
fn f13_answers_are_held_and_come_in_another_order() {
    for build in builds() {
        for order in [Order::Same, Order::Reversed, Order::Shuffled] {
            let mut host = prepared(&build);
            let hold = Action::Hold { commands: 8, most_ns: 5 * MILLISECOND, order };
            let id = add(&mut host, of_reads(hold).always());
            let sent: Vec<(u16, u64)> = (0..7).map(|lba| begin_read(&mut host, lba)).collect();
            assert!(entries(&mut host).is_empty(), "one is missing");
            let last = begin_read(&mut host, 7);
            let came: Vec<u16> = entries(&mut host).iter().map(|entry| entry.cid.get()).collect();
            let all: Vec<u16> = sent.iter().chain([&last]).map(|(cid, _)| *cid).collect();
            let mut sorted = came.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, all);
            match order {
                Order::Same => assert_eq!(came, all),
                Order::Reversed => assert!(came.iter().rev().eq(&all)),
                Order::Shuffled => assert_ne!(came, all, "one order of 40,320, from the fault's number"),
            }
            for (lba, (_, address)) in (0..).zip(sent.iter().chain([&last])) {
                assert_eq!(host.read_memory(*address, 512), blocks(lba, 1));
            }
            let (alone, _) = begin_read(&mut host, 1);
            assert!(entries(&mut host).is_empty());
            host.port_mut().wait(Nanoseconds(5 * MILLISECOND));
            assert_eq!(entries(&mut host).iter().map(|entry| entry.cid.get()).collect::<Vec<_>>(), [alone]);
            assert_eq!(hits(&host, id), 9);
        }
    }
}

/// F14: a queue is refused, and fewer are granted than asked for.
#[test]
fn f14_queues_are_refused_or_fewer() {
    let mut host = Build::default().admin_host();
    let sets = Matching::admin_opcode(AdminOpcode::SET_FEATURES.0);
    add(&mut host, FaultSpec::new(Action::FewerQueues { queues: 2 }).matching(sets));
    let granted = host.set_feature(FeatureId::NUMBER_OF_QUEUES, 7 << 16 | 7).expect("granted");
    assert_eq!(granted, 1 << 16 | 1);
    assert!(host.create_queue_pair(3, 8, None).is_err(), "no more than were granted");
    let creates = Matching::admin_opcode(AdminOpcode::CREATE_COMPLETION_QUEUE.0);
    add(&mut host, FaultSpec::new(status(1, 0x02)).matching(creates));
    assert!(host.create_completion_queue(1, 8, None).is_err());
    host.create_queue_pair(1, 8, None).expect("the second time");
    assert_eq!(host.read(1, 0, 1).map(|read| read.0), Ok(Status::SUCCESS));
}

fn identify(cns: Cns) -> Matching {
    let dword = controller::fault::Dword { number: 10, mask: 0xff, value: cns.0.into() };
    Matching { dwords: vec![dword], ..Matching::admin_opcode(AdminOpcode::IDENTIFY.0) }
}

fn patch(offset: u32, bytes: &[u8]) -> Action {
    Action::Patch { offset, bytes: HexBytes(bytes.to_vec()), xor: false }
}

/// F15: Identify says what cannot be: NN, MDTS, SQES, LBADS, NCAP. Only the structure that was meant.
#[test]
fn f15_identify_is_wrong() {
    let mut host = Build::default().admin_host();
    let of = |cns, action| FaultSpec::new(action).matching(identify(cns)).always();
    add(&mut host, of(Cns::CONTROLLER, patch(516, &[0xff; 4])));
    add(&mut host, of(Cns::CONTROLLER, patch(77, &[1])));
    add(&mut host, of(Cns::CONTROLLER, patch(512, &[0x77])));
    add(&mut host, of(Cns::NAMESPACE, patch(128 + 2, &[17])));
    add(&mut host, of(Cns::NAMESPACE, patch(8, &[0; 8])));
    let controller = host.identify_controller().expect("answered");
    assert_eq!((controller.nn.get(), controller.mdts, controller.sqes), (u32::MAX, 1, 0x77));
    let namespace = host.identify_namespace(1).expect("answered");
    assert_eq!((namespace.lbaf[0].lbads, namespace.ncap.get()), (17, 0));
    assert_ne!(namespace.nsze.get(), 0, "the rest is as it was");
}

/// F16, F17, F48: limits, identity and firmware are others after a reset, and not before.
#[test]
fn f16_f17_f48_identify_changes_over_a_reset() {
    let mut host = Build::default().admin_host();
    let before = host.identify_controller().expect("answered");
    let later = Matching { resets: 1, ..identify(Cns::CONTROLLER) };
    for (offset, bytes) in [(77, &[2][..]), (4, b"OTHER"), (64, b"2.0     ")] {
        add(&mut host, FaultSpec::new(patch(offset, bytes)).matching(later.clone()).always());
    }
    assert_eq!(host.identify_controller().expect("answered").sn, before.sn);
    host.start().expect("reset and enabled");
    let after = host.identify_controller().expect("answered");
    assert_eq!((after.mdts, &after.sn[..5], &after.fr), (2, &b"OTHER"[..], b"2.0     "));
    assert_eq!(after.mn, before.mn);
}

/// F12, F48: log pages and results of features are answers too.
#[test]
fn f12_logs_and_results_are_wrong() {
    let mut host = Build::default().admin_host();
    let logs = Matching::admin_opcode(AdminOpcode::GET_LOG_PAGE.0);
    add(&mut host, FaultSpec::new(patch(5, &[200])).matching(logs));
    let page = host.get_log(LogId::SMART, 512, LogArguments::default()).expect("answered");
    assert_eq!(page[5], 200);
    let gets = Matching::admin_opcode(AdminOpcode::GET_FEATURES.0);
    add(&mut host, FaultSpec::new(Action::Result { dword: 0x1234_5678 }).matching(gets));
    assert_eq!(host.get_feature(FeatureId::ARBITRATION, 0), Ok(0x1234_5678));
}

/// F18: nothing is fetched from the queue for a time; other queues go on; then everything is.
#[test]
fn f18_a_queue_is_not_fetched_for_a_time() {
    for build in builds() {
        let mut host = prepared(&build);
        host.create_queue_pair(2, 8, None).expect("another queue");
        let on_first = Matching { sqid: Some(1), ..Matching::default() };
        add(&mut host, FaultSpec::new(Action::Stall { for_ns: Some(MILLISECOND) }).matching(on_first.clone()));
        let sent: Vec<u16> = (0..5).map(|lba| begin_read(&mut host, lba).0).collect();
        assert_eq!(entries(&mut host).iter().map(|entry| entry.cid.get()).collect::<Vec<_>>(), sent[..1]);
        assert_eq!(host.execute(2, nvm_command(NvmOpcode::FLUSH, 1)).expect("answered").status().kind(), SUCCESS);
        host.port_mut().wait(Nanoseconds(MILLISECOND));
        assert_eq!(entries(&mut host).iter().map(|entry| entry.cid.get()).collect::<Vec<_>>(), sent[1..]);

        let id = add(&mut host, FaultSpec::new(Action::Stall { for_ns: None }).matching(on_first));
        let sent: Vec<u16> = (0..5).map(|lba| begin_read(&mut host, lba).0).collect();
        host.port_mut().wait(Nanoseconds(60_000 * MILLISECOND));
        assert_eq!(entries(&mut host).len(), 1);
        assert!(host.port_mut().controller_mut().fault_remove(id));
        assert_eq!(entries(&mut host).iter().map(|entry| entry.cid.get()).collect::<Vec<_>>(), sent[1..]);
    }
}

/// While no fault may meet them, commands keep to the fast path; while one may, none is on it.
#[test]
fn the_fast_path_is_left_only_for_faults_of_io_commands() {
    let [_, build] = builds();
    let mut host = prepared(&build);
    let fast = |host: &mut crate::verbs::TestHost| {
        let before = host.port().behaviour.borrow().fast;
        assert_eq!(host.read(1, 1, 1), Ok((Status::SUCCESS, blocks(1, 1))));
        host.port().behaviour.borrow().fast - before
    };
    assert_eq!(fast(&mut host), 1);
    let aborts = Matching::admin_opcode(AdminOpcode::ABORT.0);
    add(&mut host, FaultSpec::new(drop_it()).matching(aborts));
    add(
        &mut host,
        FaultSpec::new(Action::LoseInterrupt {}).matching(Matching { vector: Some(9), ..Matching::default() }),
    );
    assert_eq!(fast(&mut host), 1, "these meet none");
    let nowhere = Matching { lba: Some(1 << 40), ..reads() };
    let id = add(&mut host, FaultSpec::new(drop_it()).matching(nowhere));
    assert_eq!(fast(&mut host), 0, "each is looked at");
    assert!(host.port_mut().controller_mut().fault_remove(id));
    assert_eq!(fast(&mut host), 1);
    add(&mut host, of_reads(Action::Delay { delay_ns: 1 }));
    assert_eq!([fast(&mut host), fast(&mut host)], [0, 1], "spent");
}
