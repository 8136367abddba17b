//! Small runs of the experiments: short, the same each time, and without a clock.

use media::Nanoseconds;
use traces::experiments::{Size, card, grid, maps, recovery, theory, wear};
use traces::plot::Format;

fn theory_results(seed: u64) -> Vec<f64> {
    theory::cases(Size::Coarse).iter().map(|case| case.run(seed)).collect()
}

#[test]
fn small_drives_come_near_theory_and_repeat_from_their_seed() {
    let results = theory_results(1);
    for (case, measured) in theory::cases(Size::Coarse).iter().zip(&results) {
        assert!((1.0..9.0).contains(measured), "{case}: {measured}");
    }
    // FIFO is the sharpest oracle: lines of 32 units are enough for it to be within a few percent.
    for (measured, spare) in results[8..].iter().zip([0.07, 0.125, 0.25, 0.28]) {
        let deviation = measured / theory::closed_form(1.0 + spare) - 1.0;
        assert!(deviation.abs() < 0.05, "FIFO at {spare}: {measured}, {deviation}");
    }
    assert_eq!(results, theory_results(1));
    assert_ne!(results, theory_results(2));
}

#[test]
fn the_figure_of_theory_has_its_points_over_its_curves() {
    let table = theory::Table::new(Size::Coarse, &theory_results(1));
    let svg = String::from_utf8(table.figure().render(Format::Svg).expect("a figure")).expect("SVG is text");
    // A series of rings and one of triangles, and a sample of each in the legend.
    assert_eq!(svg.matches("<circle ").count(), 4 + 1);
    assert_eq!(svg.matches("<polygon ").count(), 4 + 1);
    for name in ["uniform, FIFO", "uniform, greedy", "uniform, theory", "90/10, cost-benefit", "90/10, two ideal pools"]
    {
        assert_eq!(svg.matches(name).count(), 1, "{name}");
    }
}

#[test]
fn a_card_has_three_levels_and_a_second_open_unit_absorbs_one_change() {
    let results: Vec<card::Cost> = card::cases(Size::Full).iter().map(card::Case::run).collect();
    let table = card::Table::new(Size::Full, &results);
    assert!(table.holds(), "{table}");
    let (streaming, fifth, every) = (results[0], results[2], results[4]);
    assert!(streaming.time_ns * 50.0 < fifth.time_ns && fifth.time_ns * 4.0 < every.time_ns, "{table}");
    let svg = String::from_utf8(table.figure().render(Format::Svg).expect("a figure")).expect("SVG is text");
    assert!(svg.contains("2 open units") && svg.contains("3 places, every"));
}

#[test]
fn the_drive_programs_what_the_formula_says_for_every_offset_and_length() {
    let comparison = grid::compare();
    assert!(comparison.holds(), "{comparison}");
    assert!(comparison.to_string().contains("on a unit of 16 KiB: WAF 1.6\n"), "{comparison}");
}

#[test]
fn maps_keep_their_bars_at_any_size() {
    let memory = maps::count();
    assert!(memory.holds(), "{memory}");
    assert!(memory.to_string().contains("1024 GiB  4.000"), "{memory}");
}

#[test]
fn levelled_lines_are_erased_evenly() {
    let [levelled, plain] = wear::cases(Size::Coarse).map(|case| case.run(1));
    let mean = levelled.erases.sum as f64 / f64::from(levelled.erases.lines);
    assert!(f64::from(levelled.spread()) <= mean * 0.25 + 2.0, "{levelled:?}");
    assert!(levelled.spread() <= plain.spread(), "{levelled:?} {plain:?}");
}

#[test]
fn a_recovery_is_timed_by_the_callers_clock_and_replays_what_no_checkpoint_holds() {
    let mut ticks = 0;
    let mut clock = || {
        ticks += 1_000_000_000;
        recovery::Moment { time: Nanoseconds(ticks), processor: Nanoseconds(ticks / 2) }
    };
    for case in recovery::cases(Size::Coarse) {
        let recovered = case.run(1, &mut clock);
        assert_eq!((recovered.time, recovered.processor), (Nanoseconds(1_000_000_000), Nanoseconds(500_000_000)));
        assert!(recovered.replayed > 0 && recovered.lines_scanned > 0, "{recovered:?}");
        assert!(recovered.holds(), "a second is always enough: {recovered}");
    }
    assert!(recovery::full_drive(0).is_none() && recovery::full_drive(4095).is_none());
    assert!(recovery::full_drive(1 << 60).is_none(), "a map has 2^32 units");
}
