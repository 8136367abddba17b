//! The curve of worst-case WAF against the length of a write, as a figure.

use super::{Grid, IndirectionUnit, Point};
use crate::plot::{Axis, Line, LineChart, Numbers, Scale, Stroke, bytes_text};

/// How much worse a worst case may be than a write of whole units before the lower curves lie flat on a linear axis.
const LINEAR_MAX: f64 = 20.0;

/// Worst case (solid) and mean (dashed) for each unit, over the lengths of the grid up to `length_max`.
///
/// # Panics
/// Without a unit, or if `length_max` holds no two lengths of the grid: there is no curve then.
pub fn figure(units: &[IndirectionUnit], grid: Grid, length_max: u64) -> LineChart {
    assert!(!units.is_empty(), "a figure of no unit");
    assert!(length_max / grid.bytes() >= 2, "a curve through less than two points");
    let curves: Vec<(IndirectionUnit, Vec<Point>)> =
        units.iter().map(|&unit| (unit, unit.curve(grid, length_max).collect())).collect();
    let highest = curves.iter().flat_map(|(_, points)| points).map(|point| point.worst.to_f64()).fold(1.0, f64::max);
    LineChart {
        title: format!("Write amplification by the indirection unit, offsets on a {} grid", bytes_text(grid.bytes())),
        x: Axis { label: "I/O length".to_owned(), scale: Scale::Log2, numbers: Numbers::Bytes },
        y: Axis {
            label: "WAF".to_owned(),
            scale: if highest > LINEAR_MAX { Scale::Log2 } else { Scale::Linear },
            numbers: Numbers::Plain,
        },
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
        line("worst", Stroke::Solid, |point| point.worst.to_f64()),
        line("mean", Stroke::Dashed, |point| point.mean.to_f64()),
    ]
}
