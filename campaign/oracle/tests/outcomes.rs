//! The outcome table of our contract (C3), row by row: of all images that an interrupted command could leave, which the checker takes.
//! The rows are those of the table; its letters are `Outcome`.

use oracle::checker::{Image, judge};
use oracle::history::{CommandId, History, Namespace, Verb};
use oracle::parameters::{Blocks, Fields, Parameters};
use oracle::stamp::{Found, Stamp};

/// What a command may leave of its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// N: all blocks new.
    New,
    /// O: no block of this command.
    Old,
    /// A: all or none.
    Whole,
    /// P: all or none of each window.
    Windows,
    /// X: each block by itself.
    Blocks,
}

use Outcome::{Blocks as X, New as N, Old as O, Whole as A, Windows as P};

/// Where the command lies: inside the unit of 4 blocks, across a boundary in the multiple mode, above the unit without a boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Fit,
    Split,
    Over,
}

impl Size {
    const ALL: [Self; 3] = [Self::Fit, Self::Split, Self::Over];

    fn blocks(self) -> Blocks {
        match self {
            Self::Fit => Blocks::new(4, 4),
            Self::Split => Blocks::new(2, 4),
            Self::Over => Blocks::new(1, 6),
        }
    }

    fn parameters(self) -> Parameters {
        let fields = Fields { nsabp: true, nawupf_z: 3, nacwu_z: 3, ..Fields::default() };
        Parameters::from(match self {
            Self::Split => Fields { mam: true, nabspf_z: 3, ..fields },
            Self::Fit | Self::Over => fields,
        })
    }
}

/// A pass over two namespaces of 12 blocks that hold what an earlier pass wrote.
fn begin(parameters: Parameters, cached: bool) -> History {
    let initial = |nsid: u32| (0..12).map(|lba| Found::Stamp(Stamp { command: 1, pass: 4, nsid, lba })).collect();
    let namespace = |nsid| Namespace { parameters, cached, initial: initial(nsid) };
    History::new(5, vec![namespace(1), namespace(2)], true)
}

fn untouched(history: &History) -> Image {
    history.namespaces.iter().map(|(nsid, namespace)| (*nsid, namespace.initial.clone())).collect()
}

/// The blocks of the first namespace.
fn first(image: &mut Image) -> &mut Vec<Found> {
    image.get_mut(&1).expect("namespace 1")
}

/// Every choice of blocks of the command that show it.
fn choices(blocks: Blocks) -> impl Iterator<Item = Vec<u64>> {
    (0_u32..1 << blocks.count())
        .map(move |bits| blocks.each().filter(|block| bits >> (block - blocks.start) & 1 == 1).collect())
}

fn is_expected(outcome: Outcome, blocks: Blocks, shown: &[u64]) -> bool {
    let all_or_none = |from: u64, to: u64| {
        let count = shown.iter().filter(|block| (from..to).contains(*block)).count() as u64;
        count == 0 || count == to - from
    };
    match outcome {
        N => shown.len() as u64 == blocks.count(),
        O => shown.is_empty(),
        A => all_or_none(blocks.start, blocks.end),
        P => all_or_none(blocks.start, 4) && all_or_none(4, blocks.end),
        X => true,
    }
}

fn check(row: &str, size: Size, outcome: Outcome, history: &History, write: CommandId) {
    let blocks = size.blocks();
    for shown in choices(blocks) {
        let mut image = untouched(history);
        for &block in &shown {
            first(&mut image)[usize::try_from(block).unwrap()] = Found::Stamp(history.stamp(write, 1, block));
        }
        let judged = judge(history, &image);
        let expected = is_expected(outcome, blocks, &shown);
        assert_eq!(judged.is_ok(), expected, "row {row}, {size:?}, {outcome:?}: blocks {shown:?} new: {judged:?}");
    }
}

/// A row: with or without a cache, forced or not, what happened, and the outcome by size.
fn row(
    name: &str,
    cached: &[bool],
    forces: &[bool],
    outcomes: [Outcome; 3],
    happens: impl Fn(&mut History, Blocks, bool) -> CommandId,
) {
    for (size, outcome) in Size::ALL.into_iter().zip(outcomes) {
        for &cached in cached {
            for &force in forces {
                let mut history = begin(size.parameters(), cached);
                let write = happens(&mut history, size.blocks(), force);
                check(name, size, outcome, &history, write);
            }
        }
    }
}

const BOTH: &[bool] = &[false, true];
const NONE: Blocks = Blocks { start: 0, end: 0 };

fn done(history: &mut History, verb: Verb, nsid: u32) {
    let id = history.submit(verb, nsid, NONE, false);
    history.end(id, true);
}

fn written(history: &mut History, blocks: Blocks, force: bool) -> CommandId {
    let write = history.submit(Verb::Write, 1, blocks, force);
    history.end(write, true);
    write
}

#[test]
fn row_1_an_entry_without_its_doorbell_leaves_nothing() {
    row("1", BOTH, BOTH, [O, O, O], |history, blocks, force| history.queue(Verb::Write, 1, blocks, force));
}

#[test]
fn rows_2_to_4_a_command_in_flight_leaves_its_pieces_or_not() {
    row("2h, 3, 4", BOTH, BOTH, [A, P, X], |history, blocks, force| history.submit(Verb::Write, 1, blocks, force));
}

#[test]
fn row_5_a_completed_write_without_a_cache_is_there() {
    row("5", &[false], BOTH, [N, N, N], written);
    row("5, switched off", &[true], BOTH, [N, N, N], |history, blocks, force| {
        done(history, Verb::SetCache(false), 0);
        written(history, blocks, force)
    });
}

#[test]
fn row_6_a_completed_forced_write_is_there() {
    row("6", &[true], &[true], [N, N, N], written);
}

#[test]
fn row_7_a_completed_cached_write_leaves_its_pieces_or_not() {
    row("7", &[true], &[false], [A, P, X], written);
}

#[test]
fn row_8_a_flush_that_did_not_complete_promises_nothing() {
    row("8", &[true], &[false], [A, P, X], |history, blocks, force| {
        let write = written(history, blocks, force);
        history.submit(Verb::Flush, 1, NONE, false);
        write
    });
}

#[test]
fn row_9_a_flush_submitted_after_the_completion_makes_the_write_durable() {
    for verb in [Verb::Flush, Verb::FlushAll] {
        row("9", &[true], &[false], [N, N, N], |history, blocks, force| {
            let write = written(history, blocks, force);
            done(history, verb, 1);
            write
        });
    }
}

#[test]
fn row_10_a_flush_submitted_before_the_completion_promises_nothing_of_it() {
    row("10", &[true], &[false], [A, P, X], |history, blocks, force| {
        let write = history.submit(Verb::Write, 1, blocks, force);
        let flush = history.submit(Verb::Flush, 1, NONE, false);
        history.end(write, true);
        history.end(flush, true);
        write
    });
}

#[test]
fn row_11_a_flush_that_failed_or_was_of_another_namespace_promises_nothing() {
    row("11, other namespace", &[true], &[false], [A, P, X], |history, blocks, force| {
        let write = written(history, blocks, force);
        done(history, Verb::Flush, 2);
        write
    });
    row("11, failed", &[true], &[false], [A, P, X], |history, blocks, force| {
        let write = written(history, blocks, force);
        let flush = history.submit(Verb::Flush, 1, NONE, false);
        history.end(flush, false);
        write
    });
}

#[test]
fn rows_12_and_13_a_shutdown_counts_when_it_is_complete() {
    row("12", &[true], &[false], [N, N, N], |history, blocks, force| {
        let write = written(history, blocks, force);
        done(history, Verb::Shutdown, 0);
        write
    });
    row("13", &[true], &[false], [A, P, X], |history, blocks, force| {
        let write = written(history, blocks, force);
        history.submit(Verb::Shutdown, 0, NONE, false);
        write
    });
}

#[test]
fn row_14_a_command_that_failed_leaves_its_pieces_or_not() {
    row("14", BOTH, BOTH, [A, P, X], |history, blocks, force| {
        let write = history.submit(Verb::Write, 1, blocks, force);
        history.end(write, false);
        write
    });
}

// Rows 15 and 16, a reset without a power loss: what a read submitted afterwards may return.
#[test]
fn rows_15_and_16_a_reset_takes_nothing_away_that_had_completed() {
    for (completed, outcome) in [(true, N), (false, A)] {
        let blocks = Size::Fit.blocks();
        for shown in choices(blocks) {
            let parameters = Parameters::from(Fields { nsabp: true, nawun_z: 3, nawupf_z: 3, ..Fields::default() });
            let mut history = begin(parameters, true);
            let write = history.submit(Verb::Write, 1, blocks, false);
            if completed {
                history.end(write, true);
            }
            let read = history.submit(Verb::Read, 1, blocks, false);
            history.end(read, true);
            let found: Vec<Found> = (blocks.each())
                .map(|block| {
                    let pass = if shown.contains(&block) { (write, 5) } else { (1, 4) };
                    Found::Stamp(Stamp { command: pass.0, pass: pass.1, nsid: 1, lba: block })
                })
                .collect();
            let judged = oracle::checker::judge_read(&history, read, &found);
            assert_eq!(judged.is_ok(), is_expected(outcome, blocks, &shown), "{shown:?}: {judged:?}");
        }
    }
}

#[test]
fn row_17_a_fused_write_whose_compare_failed_leaves_nothing() {
    row("17", BOTH, BOTH, [O, O, O], |history, blocks, force| {
        let write = history.submit(Verb::Write, 1, blocks, force);
        history.commands[write as usize - 1].fused = true;
        history.commands[write as usize - 1].undone = true;
        history.end(write, false);
        write
    });
}

// The same, told by the Compare.
#[test]
fn row_17_follows_from_the_answer_to_the_compare() {
    row("17, answered", BOTH, BOTH, [O, O, O], |history, blocks, force| {
        let never = Found::Stamp(Stamp { command: 9, pass: 9, nsid: 1, lba: 0 });
        let expected = blocks.each().map(|_| never).collect();
        let compare = history.queue_compare(0, 1, blocks, force, expected, true);
        let write = history.partner(compare).expect("a pair");
        [compare, write].into_iter().for_each(|id| history.ring(id));
        history.end(compare, false);
        history.undo(write);
        write
    });
}

#[test]
fn row_18_in_flight_with_a_compare_that_cannot_succeed_leaves_nothing() {
    row("18, data differ", BOTH, BOTH, [O, O, O], |history, blocks, force| {
        let never = Found::Stamp(Stamp { command: 9, pass: 9, nsid: 1, lba: 0 });
        let expected = blocks.each().map(|_| never).collect();
        let compare = history.queue_compare(0, 1, blocks, force, expected, true);
        let write = history.partner(compare).expect("a pair");
        [compare, write].into_iter().for_each(|id| history.ring(id));
        write
    });
}

#[test]
fn row_18_a_fused_pair_in_flight_is_whole_inside_both_limits_and_knows_no_multiple_mode() {
    row("18", BOTH, BOTH, [A, X, X], |history, blocks, force| {
        let expected = blocks.each().map(|lba| Found::Stamp(Stamp { command: 1, pass: 4, nsid: 1, lba })).collect();
        let compare = history.queue_compare(0, 1, blocks, force, expected, true);
        let write = history.partner(compare).expect("a pair");
        [compare, write].into_iter().for_each(|id| history.ring(id));
        write
    });
}

#[test]
fn row_19_a_single_block_is_whole_or_not_there_whatever_happened() {
    let mut history = begin(Parameters::from(Fields::default()), true);
    let write = history.submit(Verb::Write, 1, Blocks::new(3, 1), false);
    assert_eq!(judge(&history, &untouched(&history)), Ok(()));
    let mut image = untouched(&history);
    first(&mut image)[3] = Found::Stamp(history.stamp(write, 1, 3));
    assert_eq!(judge(&history, &image), Ok(()));
    first(&mut image)[3] = Found::Garbage;
    assert!(judge(&history, &image).is_err());
}

#[test]
fn a_forced_read_after_the_completion_makes_the_blocks_durable_that_it_read() {
    row("2(e), part of a piece", &[true], &[false], [N, P, X], |history, blocks, force| {
        let write = written(history, blocks, force);
        if blocks == Size::Fit.blocks() {
            let read = history.submit(Verb::Read, 1, Blocks::new(blocks.start, 1), true);
            history.end(read, true);
        }
        write
    });
    row("2(e), not forced", &[true], &[false], [A, P, X], |history, blocks, force| {
        let write = written(history, blocks, force);
        let read = history.submit(Verb::Read, 1, blocks, false);
        history.end(read, true);
        write
    });
}

#[test]
fn switching_the_cache_off_after_the_completion_makes_the_write_durable() {
    row("2(f)", &[true], &[false], [N, N, N], |history, blocks, force| {
        let write = written(history, blocks, force);
        done(history, Verb::SetCache(false), 0);
        write
    });
    row("2(a), switched on meanwhile", &[true], &[false], [A, P, X], |history, blocks, force| {
        done(history, Verb::SetCache(false), 0);
        let on = history.submit(Verb::SetCache(true), 0, NONE, false);
        let write = written(history, blocks, force);
        history.end(on, true);
        write
    });
}
