//! What came out, as figures.

use super::Analysis;
use crate::plot::{
    AMPLIFICATION, Axis, BarChart, Format, Group, Line, LineChart, Numbers, PlotError, Scale, Stroke, bytes_text,
};
use crate::record::Kind;

/// Sizes beside each other.
const SIZES: usize = 10;

/// What is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Figure {
    /// Write amplification over the indirection unit.
    #[default]
    Amplification,
    /// Commands under way over time.
    Depth,
    /// The sizes of reads and writes.
    Sizes,
}

impl Figure {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Amplification, Self::Depth, Self::Sizes];
    /// Their names, in the same order.
    pub const NAMES: [&'static str; 3] = ["waf", "depth", "sizes"];

    /// The figure of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().position(|known| *known == name).map(|index| Self::ALL[index])
    }
}

impl Analysis {
    /// Why a figure would show nothing.
    #[must_use]
    pub fn lacks(&self, figure: Figure) -> Option<&'static str> {
        match figure {
            Figure::Amplification if self.amplification.all().is_empty() => Some("nothing was written"),
            Figure::Depth if self.mean_depth().is_none() => Some("no command says when it ended"),
            Figure::Sizes if self.sizes().is_empty() => Some("nothing was read or written"),
            _ => None,
        }
    }

    /// Draws a figure.
    ///
    /// # Errors
    /// If the drawing library fails.
    ///
    /// # Panics
    /// If [`Analysis::lacks`] says that there is nothing to draw.
    pub fn render(&self, figure: Figure, format: Format) -> Result<Vec<u8>, PlotError> {
        match figure {
            Figure::Amplification => self.amplification_chart().render(format),
            Figure::Depth => self.depth_chart().render(format),
            Figure::Sizes => self.sizes_chart().render(format),
        }
    }

    fn amplification_chart(&self) -> LineChart {
        let costs = self.amplification.all();
        let line = |name: &str, colour, stroke, value: fn(&super::UnitCost) -> f64| Line {
            name: name.to_owned(),
            colour,
            stroke,
            points: costs.iter().map(|cost| (cost.unit.bytes() as f64, value(cost))).collect(),
        };
        let mut lines = vec![
            line("each command", 0, Stroke::Solid, |cost| cost.commands.to_f64()),
            line("joined", 1, Stroke::Dashed, |cost| cost.joined.to_f64()),
        ];
        if let Some(measured) = self.measured() {
            let points = vec![(f64::from(measured.unit_bytes), measured.ledger.amplification(false))];
            lines.push(Line { name: "measured".to_owned(), colour: 2, stroke: Stroke::Triangles, points });
        }
        LineChart {
            title: "What the writes of a trace cost by indirection unit".to_owned(),
            x: Axis { label: "indirection unit".to_owned(), scale: Scale::Log2, numbers: Numbers::Bytes },
            y: Axis { label: AMPLIFICATION.to_owned(), scale: Scale::Log2, numbers: Numbers::Plain },
            lines,
        }
    }

    fn depth_chart(&self) -> LineChart {
        let mut points = self.depth.over_time(self.duration_ns());
        // The last part ends with the trace, and a line needs two points.
        let end = points.last().map_or(0.0, |(_, depth)| *depth);
        points.push((self.duration_ns() as f64 / 1e9, end));
        LineChart {
            title: "Queue depth over time".to_owned(),
            x: Axis { label: "seconds".to_owned(), scale: Scale::Linear, numbers: Numbers::Plain },
            y: Axis { label: "commands under way".to_owned(), scale: Scale::Linear, numbers: Numbers::Plain },
            lines: vec![Line { name: "mean of a while".to_owned(), colour: 0, stroke: Stroke::Solid, points }],
        }
    }

    /// The most frequent sizes, ascending, with the share of reads and of writes that have them.
    fn sizes(&self) -> Vec<(u64, [f64; 2])> {
        let shapes = [Kind::Read, Kind::Write].map(|kind| self.kinds.get(&kind).map(|of_kind| &of_kind.shape));
        let mut sizes: Vec<(u64, u64)> = Vec::new();
        for (size, count) in shapes.iter().flatten().flat_map(|shape| shape.frequent(SIZES)) {
            match sizes.iter_mut().find(|(known, _)| *known == size) {
                Some((_, sum)) => *sum += count,
                None => sizes.push((size, count)),
            }
        }
        sizes.sort_by_key(|(size, count)| (std::cmp::Reverse(*count), *size));
        sizes.truncate(SIZES);
        sizes.sort_unstable();
        let share = |size: u64| {
            shapes.map(|shape| {
                let Some(shape) = shape.filter(|shape| shape.accesses() != 0) else { return 0.0 };
                let count = shape.sizes().0.find(|(known, _)| *known == size).map_or(0, |(_, count)| count);
                (count as f64 * 1000.0 / shape.accesses() as f64).round() / 10.0
            })
        };
        sizes.into_iter().map(|(size, _)| (size, share(size))).collect()
    }

    fn sizes_chart(&self) -> BarChart {
        let groups =
            self.sizes().into_iter().map(|(size, shares)| Group { name: bytes_text(size), values: shares.to_vec() });
        BarChart {
            title: "Sizes of reads and writes".to_owned(),
            y: Axis { label: "percent of commands".to_owned(), scale: Scale::Linear, numbers: Numbers::Plain },
            series: vec!["reads".to_owned(), "writes".to_owned()],
            groups: groups.collect(),
        }
    }
}
