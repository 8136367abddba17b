//! RES8: Preempt and Abort ends only when every command of the preempted hosts on the namespace has ended.

use media::Nanoseconds;
use nvme_host::Port;
use nvme_host::io::block_command;
use nvme_host::reservation::acquire_command;
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::reservation::{AcquireData, acquire_action};
use nvme_spec::{Command, Status, register};
use zerocopy::IntoBytes;

use super::{CONFLICT, EA, OK, Party, TYPES, acquire, build, name, preempt, register, some, summary};
use crate::verbs::bare;

const LATENCY: Nanoseconds = Nanoseconds(1_000_000);

fn slow_down(host: &Party) {
    host.port().world().behaviour.borrow_mut().latency = Some(LATENCY);
}

fn pass(host: &Party) {
    let mut world = host.port().world();
    world.now = world.now.plus(LATENCY);
    world.run_until_idle();
}

/// Submits a Write of one block, filled with `byte`; its identifier.
fn write(host: &mut Party, nsid: u32, lba: u64, byte: u8) -> u16 {
    let page = host.allocate(4096).expect("room");
    host.write_memory(page, &[byte; 4096]);
    let command = Command { prp1: page.into(), ..block_command(NvmOpcode::WRITE, nsid, lba, 1) };
    host.submit(1, command).expect("room")
}

/// Submits a Preempt and Abort; its identifier.
fn preempt_and_abort(host: &mut Party, [key, preempted]: [u64; 2]) -> u16 {
    let page = host.allocate(4096).expect("room");
    let data = AcquireData { crkey: key.into(), prkey: preempted.into() };
    host.write_memory(page, data.as_bytes());
    let command = acquire_command(1, acquire_action::PREEMPT_AND_ABORT, EA);
    host.submit(1, Command { prp1: page.into(), ..command }).expect("room")
}

fn status(host: &mut Party, cid: u16) -> Option<Status> {
    let answer = host.poll(1, cid)?;
    assert_eq!(answer.dw0.get(), 0);
    Some(bare(answer.status()))
}

/// 256 Writes of two controllers are under way: each ends before the answer, and none lands after it.
#[test]
fn no_command_of_a_preempted_host_lands_after_the_answer() {
    let mut hosts = build().hosts(3);
    for (host, number) in hosts.iter_mut().zip([1, 2, 2]) {
        host.create_queue_pair(1, 256, Some(1)).expect("room");
        host.set_host_identifier(&name(number)).expect("once");
    }
    let [mut one, mut two, mut same] = <[Party; 3]>::try_from(hosts).unwrap_or_else(|_| unreachable!("three"));
    assert_eq!([register(&mut one, 1), register(&mut two, 2), acquire(&mut two, 2, TYPES[2])], [OK; 3]);
    slow_down(&one);
    let mut under_way = Vec::new();
    for lba in 0..128 {
        under_way.push((true, write(&mut two, 1, lba, 2)));
        under_way.push((false, write(&mut same, 1, 128 + lba, 2)));
    }
    let elsewhere = write(&mut two, 2, 0, 2);
    // Commands of the host that preempts wait for each other meanwhile, and are none of this.
    let own = [0; 2].map(|_| write(&mut one, 2, 7, 1));
    two.port().world().run_until_idle();
    let abort = preempt_and_abort(&mut one, [1, 2]);
    one.port().world().run_until_idle();
    assert_eq!(status(&mut one, abort), Some(OK));
    for (first, cid) in under_way {
        let ended = status(if first { &mut two } else { &mut same }, cid);
        assert_eq!(ended, Some(Status::ABORTED_PREEMPT), "before the answer");
    }
    assert_eq!(status(&mut two, elsewhere), None, "another namespace is not preempted");
    one.port().world().behaviour.borrow_mut().latency = None;
    let before = one.read(1, 0, 256).expect("answered").1;
    pass(&one);
    assert_eq!(one.read(1, 0, 256).expect("answered").1, before, "nothing lands");
    assert_eq!(status(&mut two, elsewhere), Some(OK));
    pass(&one);
    assert_eq!(own.map(|cid| status(&mut one, cid)), [Some(OK); 2]);
    assert_eq!(bare(two.write(1, 0, &[2; 512], false).expect("answered")), CONFLICT);
    assert_eq!(summary(&mut one), (2, vec![(0, 1, true)]));
}

/// The answer waits for a controller that has not come to its step, and for nothing else.
#[test]
fn the_answer_waits_for_every_controller_of_the_host() {
    let [mut one, mut two, mut same] = some([1, 2, 2]);
    assert_eq!((register(&mut one, 1), register(&mut two, 2)), (OK, OK));
    let ids = [&one, &two, &same].map(|host| host.port().id);
    let abort = preempt_and_abort(&mut one, [1, 2]);
    for id in [0, 1, 0, 0] {
        one.port().world().step_one(ids[id]);
        assert_eq!(status(&mut one, abort), None, "the third controller may have commands");
    }
    one.port().world().step_one(ids[2]);
    one.port().world().step_one(ids[0]);
    assert_eq!(status(&mut one, abort), Some(OK));
    let [kind] = [&mut same].map(super::notifications::heard);
    assert_eq!(kind, [1], "and its host hears of it");
}

/// What the media has finished by then has ended as it did; a command that would go on slice by slice is aborted.
#[test]
fn a_command_that_was_done_is_answered_as_done() {
    let [mut one, mut two] = some([1, 2]);
    assert_eq!((register(&mut one, 1), register(&mut two, 2)), (OK, OK));
    slow_down(&one);
    let done = write(&mut two, 1, 0, 2);
    two.port().world().run_until_idle();
    {
        let mut world = one.port().world();
        world.now = world.now.plus(LATENCY);
    }
    let late = write(&mut two, 1, 1, 2);
    let abort = preempt_and_abort(&mut one, [1, 2]);
    let ids = [&one, &two].map(|host| host.port().id);
    one.port().world().step_one(ids[0]);
    one.port().world().run_until_idle();
    assert_eq!(status(&mut two, done), Some(OK));
    // It began after the host was unregistered, and nothing forbade it then, or the reservation did.
    pass(&one);
    assert!(matches!(status(&mut two, late), Some(OK | CONFLICT)));
    assert_eq!(status(&mut one, abort), Some(OK));
}

/// Several that wait do not take each other's answers.
#[test]
fn each_preempt_and_abort_waits_for_its_own() {
    let [mut one, mut two, mut three] = some([1, 2, 3]);
    assert_eq!([register(&mut one, 1), register(&mut two, 2), register(&mut three, 3)], [OK; 3]);
    let ids = [&one, &two, &three].map(|host| host.port().id);
    let [first, second] = [2, 3].map(|key| preempt_and_abort(&mut one, [1, key]));
    for id in [0, 2, 0] {
        one.port().world().step_one(ids[id]);
    }
    assert_eq!([first, second].map(|cid| status(&mut one, cid)), [None, Some(OK)]);
    for id in [1, 0] {
        one.port().world().step_one(ids[id]);
    }
    assert_eq!(status(&mut one, first), Some(OK));
}

/// RES13: a preemption that does not abort lets commands under way go on.
#[test]
fn a_preemption_alone_aborts_nothing() {
    let [mut one, mut two] = some([1, 2]);
    assert_eq!([register(&mut one, 1), register(&mut two, 2), acquire(&mut two, 2, EA)], [OK; 3]);
    slow_down(&one);
    let under_way = write(&mut two, 1, 0, 2);
    two.port().world().run_until_idle();
    assert_eq!(preempt(&mut one, [1, 2], EA), OK);
    two.port().world().run_until_idle();
    assert_eq!(status(&mut two, under_way), None);
    pass(&one);
    assert_eq!(status(&mut two, under_way), Some(OK));
}

/// Without a command of others, or with nobody on a controller, there is nothing to wait for.
#[test]
fn without_commands_of_others_the_answer_comes_at_once() {
    let [mut one, mut two] = some([1, 2]);
    assert_eq!((register(&mut one, 1), register(&mut two, 2)), (OK, OK));
    two.start().expect("reset and enabled: the host has left");
    let abort = preempt_and_abort(&mut one, [1, 2]);
    let id = one.port().id;
    one.port().world().step_one(id);
    assert_eq!(status(&mut one, abort), Some(OK));
    let own = preempt_and_abort(&mut one, [1, 1]);
    one.port().world().step_one(id);
    assert_eq!(status(&mut one, own), Some(OK), "its own commands go on");
}

/// A command that waits for others is withdrawn as any other: by Abort, with its queue, by a reset. The preempted host loses its rights all
/// the same.
#[test]
fn a_preempt_and_abort_that_waits_can_be_withdrawn() {
    for way in ["abort", "queue", "reset"] {
        let [mut one, mut two] = some([1, 2]);
        assert_eq!((register(&mut one, 1), register(&mut two, 2)), (OK, OK));
        let abort = preempt_and_abort(&mut one, [1, 2]);
        let id = one.port().id;
        one.port().world().step_one(id);
        match way {
            "abort" => {
                assert_eq!(one.abort(1, abort), Ok(true));
                assert_eq!(status(&mut one, abort), Some(Status::ABORT_REQUESTED));
            }
            "queue" => {
                one.delete_submission_queue(1).expect("there");
                assert_eq!(status(&mut one, abort), Some(Status::ABORTED_QUEUE_DELETION));
                one.create_submission_queue(1, 64, 1, 0).expect("room");
            }
            _ => {
                one.port_mut().register_write(register::CC, &0_u32.to_le_bytes());
                one.port().world().run_until_idle();
                one.start().expect("it comes up again");
                one.create_queue_pair(1, 64, Some(1)).expect("room");
            }
        }
        one.port().world().run_until_idle();
        assert_eq!(summary(&mut two).1.len(), 1, "{way}");
    }
}
