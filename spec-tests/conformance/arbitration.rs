//! Whose turn it is (rules B53, B54; NVMe Base 2.1 section 3.4.4).

use media::Nanoseconds;
use nvme_host::Host;
use nvme_host::admin::admin_command;
use nvme_spec::feature::FeatureId;
use nvme_spec::opcode::AdminOpcode;
use nvme_spec::{Status, register};
use spec_tests::rig::{Build, Rig};

use crate::support::{flush, reap_all, slow_down};

const QUEUES: u16 = 8;

/// Eight full queues on one completion queue, with an arbitration burst of `2^exponent` commands.
fn eight_full_queues(exponent: u32) -> Host<Rig> {
    let mut host = Build::default().admin_host();
    host.set_feature(FeatureId::ARBITRATION, exponent).expect("set");
    host.create_completion_queue(1, 1024, None).expect("made");
    for sqid in 1..=QUEUES {
        host.create_submission_queue(sqid, 64, 1, 0).expect("made");
    }
    for sqid in 1..=QUEUES {
        for _ in 0..63 {
            host.submit(sqid, flush()).expect("submitted");
        }
    }
    host
}

fn order(host: &mut Host<Rig>) -> Vec<u16> {
    host.port_mut().run_until_idle();
    reap_all(host, 1).iter().map(|completion| completion.sqid.get()).collect()
}

/// B53: with a burst of n, each of eight full queues has its turn before any has given n more.
#[test]
fn full_queues_have_their_turns_in_bursts() {
    for exponent in [0, 1, 3] {
        let burst = 1 << exponent;
        let order = order(&mut eight_full_queues(exponent));
        assert_eq!(order.len(), 8 * 63);
        // While all of them are full: whole turns only.
        for turn in order.chunks(8 * burst).take(63 / burst) {
            for sqid in 1..=QUEUES {
                let given = turn.iter().filter(|given| **given == sqid).count();
                assert_eq!(given, burst, "queue {sqid} in {turn:?}");
            }
        }
    }
}

/// B53: a queue with one command is served within a round although its neighbours are refilled without end.
#[test]
fn no_queue_starves() {
    let mut host = eight_full_queues(0);
    let lonely = QUEUES;
    assert_eq!(order(&mut host).len(), 8 * 63);
    for round in 0..20 {
        for sqid in 1..lonely {
            for _ in 0..63 {
                host.submit(sqid, flush()).expect("submitted");
            }
        }
        host.submit(lonely, flush()).expect("submitted");
        let place = order(&mut host).iter().position(|sqid| *sqid == lonely).expect("answered");
        assert!(place < usize::from(QUEUES), "it had to wait for {place} commands in round {round}");
    }
}

/// B53: CAP.AMS offers round robin alone; that the others do not come up is in the chapter on reset.
#[test]
fn only_round_robin_is_offered() {
    let host = Build::default().admin_host();
    assert_eq!(host.capabilities().0 >> 17 & 0b11, 0);
    assert_eq!(register::CAP, 0);
}

/// B54: slow commands of an I/O queue hold up neither the admin queue nor quick commands behind them.
#[test]
fn commands_overtake_each_other() {
    let mut host = Build::default().host();
    slow_down(&host, Nanoseconds(10_000_000));
    let slow = host.submit(1, flush()).expect("submitted");
    host.port_mut().run_until_idle();
    host.port_mut().behaviour.borrow_mut().latency = None;
    assert_eq!(host.flush(1), Ok(Status::SUCCESS));
    host.admin(admin_command(AdminOpcode::KEEP_ALIVE)).expect("answered");
    assert_eq!(host.poll(1, slow), None);
    assert_eq!(host.wait(1, slow).expect("answered").status(), Status::SUCCESS);
}

/// B54: a full I/O completion queue does not hold up the admin queue or other I/O queues.
#[test]
fn a_full_completion_queue_is_its_own_problem() {
    let mut host = Build::default().host();
    host.create_completion_queue(2, 2, None).expect("made");
    host.create_submission_queue(2, 16, 2, 0).expect("made");
    for _ in 0..10 {
        host.submit(2, flush()).expect("submitted");
    }
    host.port_mut().run_until_idle();
    for _ in 0..100 {
        assert_eq!(host.flush(1), Ok(Status::SUCCESS));
        host.admin(admin_command(AdminOpcode::KEEP_ALIVE)).expect("answered");
    }
}
