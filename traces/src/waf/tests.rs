//! The formula against a count of units, and against the figures of the research note that the project is held to.

use super::*;

const KIB: u64 = 1024;

fn unit(bytes: u64) -> IndirectionUnit {
    IndirectionUnit::new(bytes).expect("tests use powers of two")
}

fn grid(bytes: u64) -> Grid {
    Grid::new(bytes).expect("tests use powers of two")
}

fn length(bytes: u64) -> NonZeroU64 {
    NonZeroU64::new(bytes).expect("tests write something")
}

fn ratio(numerator: u128, denominator: u64) -> Ratio {
    Ratio::new(numerator, length(denominator))
}

/// Walks over the write in pieces that cross no unit's boundary, and counts each unit that it comes to.
fn count_touched(unit_bytes: u64, piece_bytes: u64, offset: u64, length: u64) -> u128 {
    let mut units = 0;
    let mut last = None;
    let mut at = offset;
    while at < offset + length {
        let here = Some(at / unit_bytes);
        if here != last {
            (units, last) = (units + 1, here);
        }
        at += piece_bytes;
    }
    u128::from(unit_bytes) * units
}

fn compare_with_count(unit_bytes: u64, piece_bytes: u64) {
    let multiples = |from: u64| (from..=4 * unit_bytes / piece_bytes).map(move |count| count * piece_bytes);
    for length_bytes in multiples(1) {
        for offset in multiples(0) {
            let write = Write { offset, length: length(length_bytes) };
            let counted = count_touched(unit_bytes, piece_bytes, offset, length_bytes);
            assert_eq!(unit(unit_bytes).touched(write), counted, "{write:?} on {unit_bytes}");
            assert_eq!(unit(unit_bytes).waf(write), ratio(counted, length_bytes), "{write:?} on {unit_bytes}");
        }
    }
}

#[test]
fn the_formula_counts_units_for_every_sector_and_length_up_to_four_units() {
    for unit_kib in [4, 8, 16, 32, 64] {
        compare_with_count(unit_kib * KIB, 512);
    }
}

#[test]
fn the_formula_counts_units_for_every_byte_too() {
    for unit_bytes in [1, 2, 4, 8, 16, 32] {
        compare_with_count(unit_bytes, 1);
    }
}

#[test]
fn worst_and_mean_are_those_over_all_offsets() {
    for (unit_bytes, grid_bytes) in [(4, 4), (4, 8), (16, 4), (16, 16), (16, 512), (64, 4), (64, 32)] {
        let (unit, grid) = (unit(unit_bytes * KIB), grid(grid_bytes * KIB));
        for length_bytes in (1..=4 * unit_bytes * 2).map(|count| length(count * 512)) {
            let offsets = (0..unit_bytes * grid_bytes).map(|count| count * grid_bytes * KIB);
            let touched = offsets.map(|offset| unit.touched(Write { offset, length: length_bytes }));
            let (count, sum, most) =
                touched.fold((0, 0, 0), |(count, sum, most), bytes| (count + 1, sum + bytes, bytes.max(most)));
            let mean = Ratio::new(sum, length(length_bytes.get() * count));
            assert_eq!(unit.worst(length_bytes, grid), Ratio::new(most, length_bytes), "{length_bytes} on {unit:?}");
            assert_eq!(unit.mean(length_bytes, grid), mean, "{length_bytes} on {unit:?}");
        }
    }
}

#[test]
fn twenty_kib_at_twelve_on_sixteen_is_one_point_six() {
    let write = Write { offset: 12 * KIB, length: length(20 * KIB) };
    assert_eq!(unit(16 * KIB).touched(write), 32 * 1024);
    assert_eq!(unit(16 * KIB).waf(write), ratio(8, 5));
    assert_eq!(unit(16 * KIB).waf(write).to_string(), "1.6");
}

#[test]
fn the_published_table_comes_out() {
    let lengths = [4, 8, 12, 16, 32, 64, 128];
    let small = [("4", "4"), ("2.5", "4"), ("2", "2.667 (8/3)"), ("1.75", "2"), ("1.375", "1.5")];
    let small = small.into_iter().chain([("1.1875", "1.25"), ("1.09375", "1.125")]);
    let large = [("16", "16"), ("8.5", "16"), ("6", "10.667 (32/3)"), ("4.75", "8"), ("2.875", "4")];
    let large = large.into_iter().chain([("1.9375", "2"), ("1.46875", "1.5")]);
    let rows = lengths.into_iter().zip(small.map(|row| (16, row)));
    for (length_kib, (unit_kib, (mean, worst))) in rows.chain(lengths.into_iter().zip(large.map(|row| (64, row)))) {
        let (unit, length) = (unit(unit_kib * KIB), length(length_kib * KIB));
        let printed = (unit.mean(length, grid(4 * KIB)).to_string(), unit.worst(length, grid(4 * KIB)).to_string());
        assert_eq!(printed, (mean.to_owned(), worst.to_owned()), "{length_kib} KiB on {unit_kib} KiB");
    }
}

#[test]
fn the_ends_of_64_bits_do_not_overflow() {
    let (large, whole) = (unit(1 << 63), length(u64::MAX));
    assert_eq!(large.touched(Write { offset: u64::MAX, length: whole }), 3 << 63);
    for grid in [grid(1), grid(1 << 63)] {
        assert!(large.mean(whole, grid).to_f64() <= large.worst(whole, grid).to_f64());
    }
}

#[test]
fn the_curve_has_each_length_of_the_grid_once() {
    let points: Vec<Point> = unit(16 * KIB).curve(grid(4 * KIB), 64 * KIB + 1).collect();
    let lengths: Vec<u64> = points.iter().map(|point| point.length.get() / KIB).collect();
    assert_eq!(lengths, (1..=16).map(|count| count * 4).collect::<Vec<_>>());
    assert_eq!((points[0].worst, points[0].mean), (ratio(4, 1), ratio(4, 1)));
}

#[test]
fn only_powers_of_two_are_units_and_grids() {
    assert_eq!((IndirectionUnit::new(0), IndirectionUnit::new(3000)), (None, None));
    assert_eq!((Grid::new(0), Grid::new(12 * KIB)), (None, None));
}
