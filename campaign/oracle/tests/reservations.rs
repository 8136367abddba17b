//! Histories of registrations, made by hand: what may be answered and reported, and what may be there after a power loss. Each that must be
//! rejected stands beside one that differs from it in little and is legal.

use std::collections::BTreeMap;

use oracle::checker::{Answer, Image, judge, judge_answer};
use oracle::history::{CommandId, History, Namespace, Verb};
use oracle::parameters::{Blocks, Fields, Parameters};
use oracle::reservations::{Access, Act, Action, Ending, Held, Host, Kind, Knowledge, Needs, Registrations};
use oracle::stamp::Found;
use oracle::verdict::Rule;

const A: Host = Host::Named(1);
const B: Host = Host::Named(2);
const NOBODY: Host = Host::Unnamed(0);
const READS: Needs = Needs { read: true, write: false };
const WRITES: Needs = Needs { read: false, write: true };
const EXCLUSIVE: Kind = Kind(1);

fn register(new: u64, persistence: Option<bool>) -> Act {
    Act::Register { action: Action::Register, ignores_key: false, key: 0, new, persistence }
}

fn unregister(key: u64) -> Act {
    Act::Register { action: Action::Unregister, ignores_key: false, key, new: 0, persistence: None }
}

/// Persist Through Power Loss goes off.
fn forget(key: u64) -> Act {
    Act::Register { action: Action::Replace, ignores_key: false, key, new: key, persistence: Some(false) }
}

/// A command alone, which ends well.
fn done(knowledge: &mut Knowledge, host: Host, act: Act) {
    knowledge.begin(99, host, act);
    assert_eq!(knowledge.end(99, &Ending::Done), Ok(()), "{act:?}");
}

fn state(keys: &[(Host, u64)], held: Option<(u8, Host)>, generation: u32, persists: bool) -> Registrations {
    let held = held.map(|(kind, by)| Held { kind: Kind(kind), by: Some(by) });
    Registrations { keys: keys.iter().copied().collect(), held, generation, persists }
}

fn nothing() -> Registrations {
    Registrations::default()
}

/// Whether this can be reported after a power loss.
fn may_follow(knowledge: &Knowledge, seen: &Registrations) -> bool {
    let mut after = knowledge.clone();
    after.lose_power();
    after.settle(seen).is_ok()
}

/// RES15: what was answered is there as a whole, with generation, keys, holder and type.
#[test]
fn what_was_answered_and_persists_is_there_after_a_power_loss() {
    let mut knowledge = Knowledge::new(true);
    done(&mut knowledge, A, register(5, Some(true)));
    done(&mut knowledge, B, register(6, None));
    done(&mut knowledge, A, Act::Acquire { key: 5, kind: EXCLUSIVE });
    let right = state(&[(A, 5), (B, 6)], Some((1, A)), 2, true);
    assert!(may_follow(&knowledge, &right));
    for wrong in [
        nothing(),
        state(&[(A, 5), (B, 6)], None, 2, true),
        state(&[(A, 5), (B, 6)], Some((2, A)), 2, true),
        state(&[(A, 5), (B, 6)], Some((1, B)), 2, true),
        state(&[(A, 5)], Some((1, A)), 2, true),
        state(&[(A, 5), (B, 7)], Some((1, A)), 2, true),
        state(&[(A, 5), (B, 6)], Some((1, A)), 1, true),
        state(&[(A, 5), (B, 6)], Some((1, A)), 2, false),
    ] {
        assert!(!may_follow(&knowledge, &wrong), "{wrong:?}");
    }
}

/// RES15, RES10: without persistence nothing is.
#[test]
fn what_does_not_persist_is_gone_after_a_power_loss() {
    let mut knowledge = Knowledge::new(true);
    done(&mut knowledge, A, register(5, None));
    assert!(may_follow(&knowledge, &nothing()));
    assert!(!may_follow(&knowledge, &state(&[(A, 5)], None, 1, false)));
    done(&mut knowledge, A, register(5, Some(true)));
    assert!(!may_follow(&knowledge, &nothing()), "it persists from then on");
    done(&mut knowledge, A, forget(5));
    assert!(may_follow(&knowledge, &nothing()));
    assert!(!may_follow(&knowledge, &state(&[(A, 5)], None, 2, true)), "that it does no longer is durable, too");
}

/// RES1: where nothing can persist, nothing else is changed by who asks for it.
#[test]
fn persistence_is_refused_where_there_is_none() {
    let mut knowledge = Knowledge::new(false);
    knowledge.begin(1, A, register(5, Some(true)));
    assert_eq!(knowledge.clone().end(1, &Ending::Done), Err(vec![Ending::Invalid]));
    assert_eq!(knowledge.end(1, &Ending::Invalid), Ok(()));
    assert_eq!(knowledge.likely(), &nothing());
}

/// P1, RES15: a preemption that was not answered leaves the old state or the new one, and no mixture.
#[test]
fn what_was_not_answered_has_happened_as_a_whole_or_not() {
    let mut knowledge = Knowledge::new(true);
    done(&mut knowledge, A, register(5, Some(true)));
    done(&mut knowledge, B, register(6, None));
    done(&mut knowledge, A, Act::Acquire { key: 5, kind: EXCLUSIVE });
    knowledge.begin(1, B, Act::Preempt { key: 6, preempted: 5, kind: Kind(4), abort: false });
    let (old, new) = (state(&[(A, 5), (B, 6)], Some((1, A)), 2, true), state(&[(B, 6)], Some((4, B)), 3, true));
    assert!(may_follow(&knowledge, &old) && may_follow(&knowledge, &new));
    for wrong in [
        state(&[(A, 5), (B, 6)], Some((4, B)), 3, true),
        state(&[(B, 6)], None, 3, true),
        state(&[(B, 6)], Some((1, B)), 3, true),
        state(&[(B, 6)], Some((4, B)), 2, true),
        nothing(),
    ] {
        assert!(!may_follow(&knowledge, &wrong), "{wrong:?}");
    }
    assert_eq!(knowledge.end(1, &Ending::Done), Ok(()));
    assert!(may_follow(&knowledge, &new) && !may_follow(&knowledge, &old), "and answered it is the new one");
}

/// What an answer builds upon is durable with it, though it was not answered itself.
#[test]
fn an_answer_keeps_what_came_before_it() {
    let mut knowledge = Knowledge::new(true);
    done(&mut knowledge, A, register(5, Some(true)));
    knowledge.begin(1, A, unregister(5));
    knowledge.begin(2, B, register(6, None));
    // A report has shown that A is gone, while B is not there yet.
    knowledge.begin(3, B, Act::Report);
    assert_eq!(knowledge.end(3, &Ending::Shown(state(&[], None, 2, true))), Ok(()));
    let (first, none, second) =
        (state(&[(A, 5)], None, 1, true), state(&[], None, 2, true), state(&[(B, 6)], None, 3, true));
    assert!(
        [&first, &none, &second].iter().all(|state| may_follow(&knowledge, state)),
        "what was only seen may be lost"
    );
    assert_eq!(knowledge.end(2, &Ending::Done), Ok(()));
    assert!(may_follow(&knowledge, &second));
    assert!(!may_follow(&knowledge, &first) && !may_follow(&knowledge, &none));
    assert!(!may_follow(&knowledge, &state(&[(A, 5), (B, 6)], None, 2, true)), "it was gone before");
}

/// What is answered while nothing persists keeps nothing.
#[test]
fn an_answer_without_persistence_keeps_nothing() {
    let mut knowledge = Knowledge::new(true);
    done(&mut knowledge, A, register(5, Some(true)));
    knowledge.begin(1, A, forget(5));
    knowledge.begin(2, B, Act::Report);
    assert_eq!(knowledge.end(2, &Ending::Shown(state(&[(A, 5)], None, 2, false))), Ok(()));
    done(&mut knowledge, B, register(6, None));
    assert!(may_follow(&knowledge, &nothing()) && may_follow(&knowledge, &state(&[(A, 5)], None, 1, true)));
    assert!(!may_follow(&knowledge, &state(&[(A, 5), (B, 6)], None, 2, true)));
    assert_eq!(knowledge.end(1, &Ending::Done), Ok(()));
    assert!(!may_follow(&knowledge, &state(&[(A, 5)], None, 1, true)));
}

/// A controller that was reset answers no more: what it had taken has happened, or never will.
#[test]
fn what_a_reset_has_cut_off_has_happened_or_never_will() {
    let mut knowledge = Knowledge::new(true);
    done(&mut knowledge, A, register(5, Some(true)));
    knowledge.begin(1, A, Act::Acquire { key: 5, kind: EXCLUSIVE });
    knowledge.abandon(1);
    let (free, held) = (state(&[(A, 5)], None, 1, true), state(&[(A, 5)], Some((1, A)), 1, true));
    assert!(may_follow(&knowledge, &free) && may_follow(&knowledge, &held));
    knowledge.begin(2, A, Act::Report);
    assert_eq!(knowledge.end(2, &Ending::Shown(free.clone())), Ok(()));
    assert!(!may_follow(&knowledge, &held), "it had not, and will not");
}

/// NVMe Base 2.3 section 5.2.26.1.32: hosts without a name leave nothing, neither after a power loss nor after a reset.
#[test]
fn who_has_no_name_leaves_nothing_behind() {
    let mut knowledge = Knowledge::new(true);
    done(&mut knowledge, NOBODY, register(5, Some(true)));
    done(&mut knowledge, B, register(6, None));
    done(&mut knowledge, NOBODY, Act::Acquire { key: 5, kind: EXCLUSIVE });
    assert!(may_follow(&knowledge, &state(&[(B, 6)], None, 2, true)));
    assert!(!may_follow(&knowledge, &state(&[(NOBODY, 5), (B, 6)], Some((1, NOBODY)), 2, true)));
    knowledge.begin(1, NOBODY, Act::Leave);
    knowledge.ask(2, B, WRITES);
    assert!(knowledge.clone().answer(2, Access::Refused) && knowledge.clone().answer(2, Access::Granted));
    assert_eq!(knowledge.end(1, &Ending::Done), Ok(()));
    assert!(!{
        knowledge.ask(3, B, WRITES);
        knowledge.answer(3, Access::Refused)
    });
}

/// Two hosts that are told that they alone hold it.
#[test]
fn no_two_hosts_hold_a_reservation_of_one() {
    let mut knowledge = Knowledge::new(true);
    done(&mut knowledge, A, register(5, None));
    done(&mut knowledge, B, register(6, None));
    knowledge.begin(1, A, Act::Acquire { key: 5, kind: EXCLUSIVE });
    knowledge.begin(2, B, Act::Acquire { key: 6, kind: EXCLUSIVE });
    assert_eq!(knowledge.end(1, &Ending::Done), Ok(()));
    assert_eq!(knowledge.clone().end(2, &Ending::Done), Err(vec![Ending::Conflict]));
    assert_eq!(knowledge.end(2, &Ending::Conflict), Ok(()));
}

/// RES14: the table, for the holder, another registrant, and a host that has not registered.
#[test]
fn each_type_lets_in_whom_it_says() {
    let hosts = [A, B, Host::Named(3)];
    for (kind, readers, writers) in [(1, 3, 1), (2, 1, 1), (3, 3, 2), (4, 2, 2), (5, 3, 2), (6, 2, 2)] {
        let mut knowledge = Knowledge::new(true);
        done(&mut knowledge, A, register(5, None));
        done(&mut knowledge, B, register(6, None));
        done(&mut knowledge, A, Act::Acquire { key: 5, kind: Kind(kind) });
        for (place, host) in hosts.into_iter().enumerate() {
            for (needs, may) in [(READS, place < readers), (WRITES, place < writers)] {
                knowledge.ask(1, host, needs);
                assert_eq!(knowledge.clone().answer(1, Access::Granted), may, "type {kind}, {host:?}, {needs:?}");
                assert_eq!(knowledge.answer(1, Access::Refused), !may, "type {kind}, {host:?}, {needs:?}");
            }
        }
    }
}

/// RES13: a command that began beside an acquisition may have come before it or after it; one that began afterwards came after it.
#[test]
fn who_comes_beside_an_acquisition_may_be_let_in_or_refused() {
    let mut knowledge = Knowledge::new(true);
    done(&mut knowledge, A, register(5, None));
    knowledge.ask(1, B, WRITES);
    assert!(!knowledge.clone().answer(1, Access::Refused), "nothing is reserved");
    knowledge.begin(2, A, Act::Acquire { key: 5, kind: EXCLUSIVE });
    assert!(knowledge.clone().answer(1, Access::Refused));
    assert_eq!(knowledge.end(2, &Ending::Done), Ok(()));
    assert!(knowledge.answer(1, Access::Granted), "it may have come before");
    knowledge.ask(3, B, WRITES);
    assert!(!knowledge.answer(3, Access::Granted));
}

/// RES8: only who is preempted with an abort may be told so, and only by another host.
#[test]
fn nobody_is_aborted_by_himself() {
    let mut knowledge = Knowledge::new(true);
    done(&mut knowledge, A, register(5, None));
    done(&mut knowledge, B, register(6, None));
    for (abort, host, may) in [(true, B, true), (true, A, false), (false, B, false)] {
        let mut knowledge = knowledge.clone();
        knowledge.ask(1, host, READS);
        knowledge.begin(2, host, Act::Report);
        knowledge.begin(3, A, Act::Preempt { key: 5, preempted: 6, kind: EXCLUSIVE, abort });
        assert_eq!(knowledge.answer(1, Access::Aborted), may);
        assert_eq!(knowledge.abort(2).is_ok(), may);
    }
}

/// What was refused because of a reservation has changed no block.
#[test]
fn a_write_that_was_refused_is_not_there() {
    let parameters = Parameters::from(Fields::default());
    let namespace = Namespace { parameters, cached: false, initial: vec![Found::Zeroes; 4] };
    let mut history = History::new(3, vec![namespace], true);
    let id: CommandId = history.submit(Verb::Write, 1, Blocks::new(1, 1), true);
    history.end(id, false);
    history.undo(id);
    assert_eq!(judge_answer(&history, id, Answer::Refused, &[]), Ok(()));
    let image = |found| -> Image { BTreeMap::from([(1, vec![Found::Zeroes, found, Found::Zeroes, Found::Zeroes])]) };
    assert_eq!(judge(&history, &image(Found::Zeroes)), Ok(()));
    let shown = judge(&history, &image(Found::Stamp(history.stamp(id, 1, 1)))).expect_err("it was refused");
    assert_eq!((shown.rule, shown.blocks), (Rule::Unsubmitted, vec![1]));
}
