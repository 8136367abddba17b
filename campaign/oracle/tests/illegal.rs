//! One image of each illegal kind, made by hand, and what is said about it: the rule, the commands, the blocks.

use oracle::checker::{
    Answer, Image, is_mixed, judge, judge_answer, judge_damage, judge_read, unchanged, unsafe_shutdowns,
};
use oracle::history::{CommandId, History, Namespace, Verb};
use oracle::parameters::{Blocks, Fields, Parameters};
use oracle::stamp::{Found, Stamp};
use oracle::verdict::{Rule, Violation};

const NONE: Blocks = Blocks { start: 0, end: 0 };

/// Two namespaces of 8 blocks of zeroes, atomic units of 4 blocks, a cache.
fn begin() -> History {
    let fields = Fields { nsabp: true, nawupf_z: 3, nawun_z: 3, ..Fields::default() };
    let namespace = Namespace { parameters: Parameters::from(fields), cached: true, initial: vec![Found::Zeroes; 8] };
    History::new(9, vec![namespace.clone(), namespace], true)
}

fn zeroes() -> Image {
    (1..=2).map(|nsid| (nsid, vec![Found::Zeroes; 8])).collect()
}

/// The blocks of the first namespace.
fn first(image: &mut Image) -> &mut Vec<Found> {
    image.get_mut(&1).expect("namespace 1")
}

fn write(history: &mut History, start: u64, count: u64) -> CommandId {
    let write = history.submit(Verb::Write, 1, Blocks::new(start, count), false);
    history.end(write, true);
    write
}

fn flush(history: &mut History) {
    let flush = history.submit(Verb::Flush, 1, NONE, false);
    history.end(flush, true);
}

fn show(image: &mut Image, history: &History, id: CommandId, blocks: impl IntoIterator<Item = u64>) {
    for block in blocks {
        first(image)[usize::try_from(block).unwrap()] = Found::Stamp(history.stamp(id, 1, block));
    }
}

#[track_caller]
fn rejected(judged: Result<(), Violation>, rule: Rule, commands: &[CommandId], blocks: &[u64]) {
    let violation = judged.expect_err("an illegal image");
    assert_eq!(
        (violation.rule, &violation.commands[..], &violation.blocks[..]),
        (rule, commands, blocks),
        "{violation}"
    );
    let text = violation.to_string();
    assert!(text.starts_with(rule.text()) && text.contains(&format!("commands {commands:?}")), "{text}");
    assert!(text.contains(&format!("blocks {blocks:?}")), "{text}");
}

#[test]
fn garbage_is_rejected_whoever_wrote() {
    let mut history = begin();
    let id = write(&mut history, 2, 1);
    let mut image = zeroes();
    first(&mut image)[2] = Found::Garbage;
    rejected(judge(&history, &image), Rule::Garbage, &[id], &[2]);
}

#[test]
fn metadata_of_another_version_is_rejected() {
    let mut history = begin();
    let id = write(&mut history, 2, 1);
    let mut image = zeroes();
    first(&mut image)[2] = Found::WrongMetadata(history.stamp(id, 1, 2));
    rejected(judge(&history, &image), Rule::Metadata, &[id], &[2]);
}

#[test]
fn a_block_that_cannot_be_read_back_is_rejected() {
    let history = begin();
    let mut image = zeroes();
    first(&mut image)[5] = Found::Unreadable;
    rejected(judge(&history, &image), Rule::Unreadable, &[], &[5]);
}

#[test]
fn a_misdirected_write_is_rejected_by_block_and_by_namespace() {
    let mut history = begin();
    let id = write(&mut history, 2, 1);
    for stamp in [history.stamp(id, 1, 3), history.stamp(id, 2, 2)] {
        let mut image = zeroes();
        first(&mut image)[2] = Found::Stamp(stamp);
        rejected(judge(&history, &image), Rule::Misdirected, &[id], &[2]);
    }
}

#[test]
fn a_version_of_a_command_that_was_never_rung_is_rejected() {
    let mut history = begin();
    let id = history.queue(Verb::Write, 1, Blocks::new(0, 1), false);
    let mut image = zeroes();
    show(&mut image, &history, id, [0]);
    rejected(judge(&history, &image), Rule::Unsubmitted, &[id], &[0]);
    // And of one that never was.
    show(&mut image, &history, 77, [0]);
    rejected(judge(&history, &image), Rule::Unsubmitted, &[77], &[0]);
}

#[test]
fn a_version_of_an_earlier_pass_that_was_gone_is_rejected() {
    let history = begin();
    let mut image = zeroes();
    first(&mut image)[1] = Found::Stamp(Stamp { command: 3, pass: 8, nsid: 1, lba: 1 });
    rejected(judge(&history, &image), Rule::Resurrected, &[0], &[1]);
}

#[test]
fn a_guaranteed_version_that_is_missing_is_rejected() {
    let mut history = begin();
    let id = write(&mut history, 2, 1);
    flush(&mut history);
    rejected(judge(&history, &zeroes()), Rule::Lost, &[id], &[2]);
}

#[test]
fn an_older_version_under_a_guaranteed_one_is_rejected() {
    let mut history = begin();
    let older = write(&mut history, 2, 1);
    let newer = write(&mut history, 2, 1);
    flush(&mut history);
    let mut image = zeroes();
    show(&mut image, &history, older, [2]);
    rejected(judge(&history, &image), Rule::Lost, &[newer], &[2]);
}

#[test]
fn zeroes_that_nobody_wrote_are_rejected() {
    let mut history = begin();
    history.namespaces.get_mut(&1).expect("namespace 1").initial[6] =
        Found::Stamp(Stamp { command: 1, pass: 8, nsid: 1, lba: 6 });
    rejected(judge(&history, &zeroes()), Rule::Bystander, &[], &[6]);
}

#[test]
fn a_torn_piece_is_rejected() {
    let mut history = begin();
    let id = history.submit(Verb::Write, 1, Blocks::new(1, 4), false);
    let mut image = zeroes();
    show(&mut image, &history, id, [1, 2]);
    rejected(judge(&history, &image), Rule::Torn, &[id], &[3, 4]);
}

#[test]
fn two_writes_that_each_cover_the_other_are_rejected() {
    let mut history = begin();
    let one = history.submit(Verb::Write, 1, Blocks::new(0, 4), false);
    let two = history.submit(Verb::Write, 1, Blocks::new(0, 4), false);
    let mut image = zeroes();
    show(&mut image, &history, one, [0, 2]);
    show(&mut image, &history, two, [1, 3]);
    rejected(judge(&history, &image), Rule::Unserialisable, &[one, two], &[0, 1]);
    show(&mut image, &history, two, [0, 2]);
    assert_eq!(judge(&history, &image), Ok(()));
}

// Block 1 shows two over one, block 4 three over two, and three had ended before one began.
#[test]
fn a_cycle_through_real_time_is_rejected() {
    let mut history = begin();
    let two = history.submit(Verb::Write, 1, Blocks::new(1, 4), false);
    let three = history.submit(Verb::Write, 1, Blocks::new(4, 4), false);
    history.end(three, true);
    let one = history.submit(Verb::Write, 1, Blocks::new(0, 2), false);
    let mut image = zeroes();
    show(&mut image, &history, one, [0]);
    show(&mut image, &history, two, 1..4);
    show(&mut image, &history, three, 4..8);
    rejected(judge(&history, &image), Rule::Unserialisable, &[two, three, one], &[1, 4]);
    show(&mut image, &history, one, [1]);
    assert_eq!(judge(&history, &image), Ok(()));
}

#[test]
fn a_block_that_reads_otherwise_the_second_time_is_rejected() {
    let mut second = zeroes();
    second.get_mut(&2).expect("namespace 2")[4] = Found::Garbage;
    rejected(unchanged(&zeroes(), &second, "a second read"), Rule::Unstable, &[], &[4]);
    assert_eq!(unchanged(&second, &second, "a second read"), Ok(()));
}

#[test]
fn an_unsafe_shutdown_is_counted_exactly_when_the_end_was_not_orderly() {
    assert_eq!(unsafe_shutdowns(3, 4, false), Ok(()));
    assert_eq!(unsafe_shutdowns(3, 3, true), Ok(()));
    rejected(unsafe_shutdowns(3, 3, false), Rule::Counter, &[], &[]);
    rejected(unsafe_shutdowns(3, 4, true), Rule::Counter, &[], &[]);
}

#[test]
fn a_mixed_read_inside_the_unit_is_rejected_and_one_above_it_is_not() {
    for (count, torn) in [(4, true), (5, false)] {
        let mut history = begin();
        let id = history.submit(Verb::Write, 1, Blocks::new(0, count), false);
        let read = history.submit(Verb::Read, 1, Blocks::new(0, count), false);
        history.end(read, true);
        let mut found = vec![Found::Zeroes; usize::try_from(count).unwrap()];
        found[0] = Found::Stamp(history.stamp(id, 1, 0));
        let judged = judge_read(&history, read, &found);
        if torn {
            rejected(judged, Rule::Torn, &[id], &[1, 2, 3]);
        } else {
            assert_eq!(judged, Ok(()));
        }
    }
}

#[test]
fn a_read_that_misses_a_completed_write_is_rejected() {
    let mut history = begin();
    let id = write(&mut history, 3, 1);
    let read = history.submit(Verb::Read, 1, Blocks::new(3, 1), false);
    history.end(read, true);
    rejected(judge_read(&history, read, &[Found::Zeroes]), Rule::Lost, &[id], &[3]);
}

/// A Compare, or with `write` a pair, that was rung.
fn compare(history: &mut History, start: u64, expected: Vec<Found>, write: bool) -> CommandId {
    let blocks = Blocks::new(start, expected.len() as u64);
    let id = history.queue_compare(0, 1, blocks, false, expected, write);
    history.ring(id);
    if write {
        history.ring(id + 1);
    }
    id
}

/// How a command ended, judged.
fn answered(history: &mut History, id: CommandId, answer: Answer) -> Result<(), Violation> {
    history.end(id, answer == Answer::Success);
    if answer != Answer::Success && history.command(id).is_some_and(|command| command.verb == Verb::Compare) {
        history.partner(id).into_iter().for_each(|write| history.undo(write));
    }
    judge_answer(history, id, answer, &[])
}

fn stamped(history: &History, id: CommandId, blocks: impl IntoIterator<Item = u64>) -> Vec<Found> {
    blocks.into_iter().map(|block| Found::Stamp(history.stamp(id, 1, block))).collect()
}

#[test]
fn a_compare_that_misses_a_completed_write_is_rejected() {
    let mut history = begin();
    let id = write(&mut history, 3, 1);
    let outdated = compare(&mut history, 3, vec![Found::Zeroes], false);
    rejected(answered(&mut history, outdated, Answer::Success), Rule::Lost, &[id], &[3]);
    let right = stamped(&history, id, [3]);
    let blind = compare(&mut history, 3, right.clone(), false);
    rejected(answered(&mut history, blind, Answer::Differs), Rule::Compared, &[blind], &[3]);
    let good = compare(&mut history, 3, right, false);
    assert_eq!(answered(&mut history, good, Answer::Success), Ok(()));
    let good = compare(&mut history, 3, vec![Found::Zeroes], false);
    assert_eq!(answered(&mut history, good, Answer::Differs), Ok(()));
}

#[test]
fn a_compare_beside_a_write_may_find_it_or_not_but_not_a_part() {
    for (expected, legal) in [([0, 0], true), ([1, 1], true), ([0, 1], false)] {
        let mut history = begin();
        let id = history.submit(Verb::Write, 1, Blocks::new(2, 2), false);
        let both = [vec![Found::Zeroes; 2], stamped(&history, id, 2..4)];
        let expected = vec![both[expected[0]][0], both[expected[1]][1]];
        let compare = compare(&mut history, 2, expected, false);
        let mut other = history.clone();
        assert_eq!(answered(&mut other, compare, Answer::Differs), Ok(()));
        let judged = answered(&mut history, compare, Answer::Success);
        if legal {
            assert_eq!(judged, Ok(()));
        } else {
            rejected(judged, Rule::Torn, &[id], &[2]);
        }
    }
}

#[test]
fn halves_of_a_pair_that_end_otherwise_are_rejected() {
    for (one, other) in [(Answer::Differs, Answer::Success), (Answer::Success, Answer::PartnerFailed)] {
        let mut history = begin();
        let never = stamped(&history, 77, [0]);
        let expected = if one == Answer::Success { vec![Found::Zeroes] } else { never };
        let pair = compare(&mut history, 0, expected, true);
        assert_eq!(answered(&mut history, pair, one), Ok(()));
        rejected(answered(&mut history, pair + 1, other), Rule::Pair, &[pair + 1], &[0]);
    }
}

#[test]
fn a_pair_is_refused_only_above_its_unit() {
    for (count, legal) in [(4, false), (5, true)] {
        let fields = Fields { nsabp: true, nacwu_z: 3, ..Fields::default() };
        let mut history = begin();
        history.namespaces.get_mut(&1).expect("namespace 1").parameters = Parameters::from(fields);
        let pair = compare(&mut history, 1, vec![Found::Zeroes; count], true);
        let judged = answered(&mut history, pair, Answer::TooLarge);
        assert_eq!(judged.map_err(|violation| violation.rule), if legal { Ok(()) } else { Err(Rule::Unanswered) });
    }
}

// The Compare found the initial zeroes, so the other write came after the pair; the image shows the pair's over it.
#[test]
fn a_write_between_the_halves_of_a_pair_is_rejected() {
    let mut history = begin();
    let pair = compare(&mut history, 2, vec![Found::Zeroes; 2], true);
    let other = history.submit(Verb::Write, 1, Blocks::new(3, 1), false);
    for (id, answer) in [(pair, Answer::Success), (pair + 1, Answer::Success), (other, Answer::Success)] {
        assert_eq!(answered(&mut history, id, answer), Ok(()));
    }
    flush(&mut history);
    let mut image = zeroes();
    show(&mut image, &history, pair + 1, 2..4);
    rejected(judge(&history, &image), Rule::Unserialisable, &[pair + 1, other], &[3]);
    show(&mut image, &history, other, [3]);
    assert_eq!(judge(&history, &image), Ok(()));
}

// The other write was over before the pair came, and the Compare found an older one that was under way all the time: that is newer.
#[test]
fn a_pair_orders_what_its_compare_found() {
    let mut history = begin();
    let found = history.submit(Verb::Write, 1, Blocks::new(2, 2), false);
    let other = write(&mut history, 2, 2);
    let expected = stamped(&history, found, [2]);
    let pair = compare(&mut history, 2, expected, true);
    for id in [pair, pair + 1, found] {
        assert_eq!(answered(&mut history, id, Answer::Success), Ok(()));
    }
    flush(&mut history);
    let mut image = zeroes();
    show(&mut image, &history, pair + 1, [2]);
    show(&mut image, &history, other, [3]);
    rejected(judge(&history, &image), Rule::Unserialisable, &[found, other, pair + 1], &[2, 3]);
    show(&mut image, &history, found, [3]);
    assert_eq!(judge(&history, &image), Ok(()));
}

#[test]
fn a_write_of_a_pair_whose_compare_could_not_succeed_is_rejected() {
    let mut history = begin();
    let id = write(&mut history, 0, 1);
    let pair = compare(&mut history, 0, vec![Found::Zeroes], true);
    let mut image = zeroes();
    show(&mut image, &history, pair + 1, [0]);
    rejected(judge(&history, &image), Rule::Lost, &[id], &[0]);
    show(&mut image, &history, id, [0]);
    assert_eq!(judge(&history, &image), Ok(()));
}

#[test]
fn a_bad_block_is_unreadable_until_it_is_written_and_readable_from_then_on() {
    let mut history = begin();
    let verify = |history: &mut History, answer| {
        let verify = history.submit(Verb::Verify, 1, Blocks::new(4, 2), false);
        answered(history, verify, answer).map_err(|violation| violation.rule)
    };
    assert_eq!(verify(&mut history, Answer::Unreadable), Err(Rule::Unreadable));
    let damage = history.submit(Verb::Damage, 1, Blocks::new(5, 1), false);
    history.end(damage, true);
    assert_eq!(verify(&mut history, Answer::Success), Err(Rule::Readable));
    assert_eq!(verify(&mut history, Answer::Unreadable), Ok(()));
    let blind = compare(&mut history, 5, vec![Found::Zeroes], false);
    rejected(answered(&mut history, blind, Answer::Success), Rule::Readable, &[blind], &[5]);
    // It differs from what nobody knows, or in a block that can be read.
    let never = Found::Stamp(Stamp { command: 77, pass: 1, nsid: 1, lba: 5 });
    let blind = compare(&mut history, 5, vec![never], false);
    rejected(answered(&mut history, blind, Answer::Differs), Rule::Compared, &[blind], &[5]);
    let before = compare(&mut history, 4, vec![never, Found::Zeroes], false);
    assert_eq!(answered(&mut history, before, Answer::Differs), Ok(()));
    rejected(judge_damage(&history, &zeroes()), Rule::Readable, &[], &[5]);
    let mut image = zeroes();
    first(&mut image)[5] = Found::Unreadable;
    assert_eq!(judge_damage(&history, &image), Ok(()));
    // A write under way may have healed it.
    let heals = history.submit(Verb::Write, 1, Blocks::new(5, 1), false);
    assert_eq!(judge_damage(&history, &image).and_then(|()| judge_damage(&history, &zeroes())), Ok(()));
    assert_eq!(verify(&mut history, Answer::Success).and_then(|()| verify(&mut history, Answer::Unreadable)), Ok(()));
    history.end(heals, true);
    rejected(judge_damage(&history, &image), Rule::Unreadable, &[], &[5]);
    assert_eq!(verify(&mut history, Answer::Unreadable), Err(Rule::Unreadable));
    assert_eq!(verify(&mut history, Answer::Success), Ok(()));
}

// NAWUN is four blocks, NAWUPF two: with Disable Normal a read may show a part of the four, and never of the two.
#[test]
fn with_disable_normal_a_mixed_read_is_rejected_only_inside_the_power_fail_unit() {
    let fields = Fields { nsabp: true, nawun_z: 3, nawupf_z: 1, ..Fields::default() };
    for disabled in [None, Some(false), Some(true)] {
        for (count, disabled_torn) in [(2, true), (3, false)] {
            let mut history = begin();
            history.namespaces.get_mut(&1).expect("namespace 1").parameters = Parameters::from(fields);
            history.normal_disabled = disabled == Some(true);
            if disabled == Some(false) {
                let switch = history.submit(Verb::DisableNormal(true), 0, NONE, false);
                history.end(switch, true);
                let back = history.submit(Verb::DisableNormal(false), 0, NONE, false);
                history.end(back, true);
            }
            let id = history.submit(Verb::Write, 1, Blocks::new(0, count), false);
            let read = history.submit(Verb::Read, 1, Blocks::new(0, count), false);
            history.end(read, true);
            let mut found = vec![Found::Zeroes; usize::try_from(count).unwrap()];
            found[0] = Found::Stamp(history.stamp(id, 1, 0));
            let torn = disabled != Some(true) || disabled_torn;
            let judged = judge_read(&history, read, &found);
            assert_eq!(judged.map_err(|violation| violation.rule), if torn { Err(Rule::Torn) } else { Ok(()) });
            assert_eq!(is_mixed(&history, read, &found), disabled.is_some());
        }
    }
}

#[test]
fn a_write_uncorrectable_is_lost_torn_and_resurrected_as_any_write_is() {
    let mut history = begin();
    let marked = history.submit(Verb::Uncorrectable, 1, Blocks::new(2, 3), false);
    history.end(marked, true);
    let verify = |history: &mut History, answer| {
        let verify = history.submit(Verb::Verify, 1, Blocks::new(4, 2), false);
        answered(history, verify, answer).map_err(|violation| violation.rule)
    };
    assert_eq!(verify(&mut history, Answer::Unreadable), Ok(()));
    assert_eq!(verify(&mut history, Answer::Success), Err(Rule::Readable));
    let mut image = zeroes();
    assert_eq!(judge(&history, &image), Ok(()), "nothing made it durable");
    first(&mut image)[3] = Found::Unreadable;
    rejected(judge(&history, &image), Rule::Torn, &[marked], &[2, 4]);
    first(&mut image)[2..5].fill(Found::Unreadable);
    assert_eq!(judge(&history, &image), Ok(()));
    flush(&mut history);
    rejected(judge(&history, &zeroes()), Rule::Lost, &[marked], &[2]);
    let healed = write(&mut history, 2, 3);
    flush(&mut history);
    rejected(judge(&history, &image), Rule::Lost, &[healed], &[2]);
    assert_eq!(verify(&mut history, Answer::Unreadable), Err(Rule::Unreadable));
}

#[test]
fn a_copy_shows_what_its_source_held_and_nothing_else() {
    let mut history = begin();
    let before = write(&mut history, 0, 2);
    let copy = history.submit(Verb::Copy { from: 0 }, 1, Blocks::new(4, 2), false);
    assert_eq!(answered(&mut history, copy, Answer::Success), Ok(()));
    let after = write(&mut history, 0, 2);
    flush(&mut history);
    let mut image = zeroes();
    show(&mut image, &history, after, [0, 1]);
    rejected(judge(&history, &image), Rule::Lost, &[copy], &[4]);
    let shown = |write, of: u64| Found::Stamp(history.stamp(write, 1, of));
    first(&mut image)[4] = shown(before, 0);
    first(&mut image)[5] = shown(before, 1);
    assert_eq!(judge(&history, &image), Ok(()));
    first(&mut image)[5] = shown(before, 0);
    rejected(judge(&history, &image), Rule::Misdirected, &[before], &[5]);
    first(&mut image)[5] = shown(after, 1);
    rejected(judge(&history, &image), Rule::Misdirected, &[after], &[5]);
}

/// FMT7, NSM6: whatever a deleted or formatted namespace held, no other one shows it.
#[test]
fn what_a_deleted_or_formatted_namespace_held_is_rejected_in_another() {
    let mut history = begin();
    let id = write(&mut history, 2, 1);
    let stamp = history.stamp(id, 1, 2);
    let made = history.namespace(2).clone();
    history.forget(1);
    history.add(3, made);
    let mut image = Image::from([(2, vec![Found::Zeroes; 8]), (3, vec![Found::Zeroes; 8])]);
    assert_eq!(judge(&history, &image), Ok(()));
    image.get_mut(&3).expect("made")[2] = Found::Stamp(stamp);
    rejected(judge(&history, &image), Rule::Reappeared, &[0], &[2]);
    // Of one that was there before the pass, too.
    image.get_mut(&3).expect("made")[2] = Found::Stamp(Stamp { command: 1, pass: 3, nsid: 77, lba: 2 });
    rejected(judge(&history, &image), Rule::Reappeared, &[0], &[2]);
}

/// FMT14: a Format that power went in leaves old blocks or erased ones; those that it had erased do not come back.
#[test]
fn an_erased_block_does_not_come_back() {
    let mut history = begin();
    let id = write(&mut history, 2, 2);
    flush(&mut history);
    let erase = history.submit(Verb::Erase, 1, Blocks::new(0, 8), true);
    let mut image = zeroes();
    assert_eq!(judge(&history, &image), Ok(()));
    show(&mut image, &history, id, [3]);
    assert_eq!(judge(&history, &image), Ok(()), "each block by itself");
    history.end(erase, true);
    rejected(judge(&history, &image), Rule::Lost, &[erase], &[3]);
    assert_eq!(judge(&history, &zeroes()), Ok(()));
}

/// NVM Command Set 1.1 section 3.2.4: a Flush of all namespaces is about those that are attached to its controller.
#[test]
fn a_flush_of_all_namespaces_promises_nothing_to_others() {
    let mut history = begin();
    let id = write(&mut history, 2, 1);
    let flush = history.submit(Verb::FlushAll, 1, NONE, false);
    history.limit_flush(flush, [2].into());
    history.end(flush, true);
    assert_eq!(judge(&history, &zeroes()), Ok(()));
    let flush = history.submit(Verb::FlushAll, 1, NONE, false);
    history.limit_flush(flush, [1, 2].into());
    history.end(flush, true);
    rejected(judge(&history, &zeroes()), Rule::Lost, &[id], &[2]);
}

/// B165: Disable Normal of a controller counts for what its own commands do and see, and for nobody else's.
#[test]
fn disable_normal_is_of_one_controller() {
    let parts = |controllers: [u16; 3]| {
        let mut history = begin();
        let disable = history.queue_at(controllers[0], Verb::DisableNormal(true), 0, NONE, false);
        history.ring(disable);
        history.end(disable, true);
        for namespace in history.namespaces.values_mut() {
            namespace.parameters.power.namespace = 1;
            namespace.parameters.power.controller = 1;
        }
        let write = history.queue_at(controllers[1], Verb::Write, 1, Blocks::new(0, 2), false);
        let read = history.queue_at(controllers[2], Verb::Read, 1, Blocks::new(0, 2), false);
        history.ring(write);
        history.ring(read);
        history.end(read, true);
        judge_read(&history, read, &[Found::Stamp(history.stamp(write, 1, 0)), Found::Zeroes])
    };
    assert_eq!(parts([1, 1, 0]), Ok(()));
    assert_eq!(parts([1, 0, 1]), Ok(()));
    rejected(parts([1, 0, 0]), Rule::Torn, &[2], &[1]);
}
