//! The curve of worst-case WAF against the length of a write, as a figure.

use super::{Grid, IndirectionUnit, Point};
use crate::plot::{AMPLIFICATION, Axis, Line, LineChart, Numbers, Scale, Stroke, bytes_text};

/// Worst case (solid) and mean (dashed) for each unit, over the lengths of the grid up to `length_max`.
///
/// # Panics
/// Without a unit, or if `length_max` holds no two lengths of the grid: there is no curve then.
pub fn figure(units: &[IndirectionUnit], grid: Grid, length_max: u64) -> LineChart {
    assert!(!units.is_empty(), "a figure of no unit");
    assert!(length_max / grid.bytes() >= 2, "a curve through less than two points");
    let curves: Vec<(IndirectionUnit, Vec<Point>)> =
        units.iter().map(|&unit| (unit, unit.curve(grid, length_max).collect())).collect();
    LineChart {
        title: format!("What a write costs by indirection unit (IU), at multiples of {}", bytes_text(grid.bytes())),
        x: Axis { label: "length of the write".to_owned(), scale: Scale::Log2, numbers: Numbers::Bytes },
        y: Axis { label: AMPLIFICATION.to_owned(), scale: Scale::Log2, numbers: Numbers::Plain },
        lines: curves.iter().enumerate().flat_map(|(colour, (unit, points))| lines(colour, *unit, points)).collect(),
    }
}

fn lines(colour: usize, unit: IndirectionUnit, points: &[Point]) -> [Line; 2] {
    let line = |name: &str, stroke: Stroke, value: fn(&Point) -> f64| Line {
        name: format!("IU {}, {name}", bytes_text(unit.bytes())),
        colour,
        stroke,
        points: points.iter().map(|point| (point.length.get() as f64, value(point))).collect(),
    };
    [
        line("worst offset", Stroke::Solid, |point| point.worst.to_f64()),
        line("mean of all", Stroke::Dashed, |point| point.mean.to_f64()),
    ]
}
