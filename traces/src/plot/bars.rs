//! A chart of bars in groups.

use plotters::element::{Rectangle, Text};
use plotters::prelude::DrawingBackend;
use plotters::style::Color as _;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::{Axis, Ruler, Scale, Span};
use super::canvas::{self, Area, Draw, Format, PlotError, colour, text};
use super::frame::{Entry, Field, Frame, Sample};

/// What of a group's width its bars take; the rest tells groups apart.
const FILLED: f64 = 0.8;
const VALUE_PIXELS: u32 = 14;

/// Bars in groups: in each group one bar of each series.
#[derive(Clone, Debug, PartialEq)]
pub struct BarChart {
    /// What it shows.
    pub title: String,
    /// The vertical axis, which begins at zero if it is linear.
    pub y: Axis,
    /// What the legend says of the bars of a group, from left to right. A single one needs no legend and may be empty.
    pub series: Vec<String>,
    /// From left to right.
    pub groups: Vec<Group>,
}

/// Bars that stand together.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// What stands below them.
    pub name: String,
    /// A value for each series.
    pub values: Vec<f64>,
}

impl BarChart {
    /// The bytes of a file.
    ///
    /// # Errors
    /// If the drawing library fails, for which the chart is not to blame.
    ///
    /// # Panics
    /// If there is no group, if one has more or fewer values than there are series, or if a value has no place: not finite, or not above
    /// zero on a logarithmic axis.
    pub fn render(&self, format: Format) -> Result<Vec<u8>, PlotError> {
        for group in &self.groups {
            assert_eq!(group.values.len(), self.series.len(), "{} needs a value for each series", group.name);
        }
        canvas::render(self, format)
    }

    fn draw_bars<DB: DrawingBackend>(&self, field: &Field<'_, DB>, y: &Ruler) -> Result<(), PlotError> {
        let above = text(VALUE_PIXELS).pos(Pos::new(HPos::Center, VPos::Bottom));
        // A bar of a linear axis stands on zero, which need not be the lowest place; that of a logarithmic one on the lowest.
        let foot = if self.y.scale == Scale::Linear { 0.0 } else { y.begin };
        for (group, left) in self.groups.iter().zip((0..).map(|index: u32| f64::from(index))) {
            let bar_width = FILLED / self.series.len() as f64;
            let lefts = (0..).map(|index: u32| left + (1.0 - FILLED) / 2.0 + f64::from(index) * bar_width);
            for ((index, value), left) in group.values.iter().enumerate().zip(lefts) {
                let head = y.place(*value);
                let corners = [(left, foot), (left + bar_width * 0.94, head)];
                field.plotting_area().draw(&Rectangle::new(corners, colour(index).filled()))?;
                let middle = (left + bar_width * 0.47, head.max(foot));
                field.plotting_area().draw(&Text::new(self.y.numbers.text(*value), middle, above.clone()))?;
            }
        }
        Ok(())
    }
}

impl Draw for BarChart {
    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Result<(), PlotError> {
        let x = Ruler::of_names(self.groups.iter().map(|group| group.name.as_str()));
        let y = Ruler::fit(&self.y, Span::Feet, self.groups.iter().flat_map(|group| group.values.iter().copied()));
        let entries = self.series.iter().enumerate();
        let entries = entries.map(|(index, name)| Entry { name, colour: colour(index), sample: Sample::Filled });
        let legend: Vec<Entry<'_>> = entries.filter(|_| self.series.len() > 1).collect();
        let frame = Frame { title: &self.title, x: &x, y: &y, x_grid: false, legend: &legend };
        self.draw_bars(&frame.draw(area)?, &y)
    }
}
