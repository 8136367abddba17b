//! A chart of lines.

use plotters::element::{Circle, Cross, TriangleMarker};
use plotters::prelude::DrawingBackend;
use plotters::series::{DashedLineSeries, LineSeries};
use plotters::style::Color as _;

use super::axis::{Axis, Ruler, Span};
use super::canvas::{self, Area, Draw, Format, PlotError, colour};
use super::frame::{DASH_PIXELS, Entry, Field, Frame, LINE_PIXELS, MARK_PIXELS, Sample};

/// Lines over an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct LineChart {
    /// What it shows.
    pub title: String,
    /// The horizontal axis, which ends where the data ends.
    pub x: Axis,
    /// The vertical axis, which begins at zero if it is linear.
    pub y: Axis,
    /// In the order of the legend; the first is drawn last, on top of the others.
    pub lines: Vec<Line>,
}

/// A line of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What the legend says.
    pub name: String,
    /// Lines that belong together share a colour; there are [`super::COLOURS_MAX`].
    pub colour: usize,
    /// How it is drawn.
    pub stroke: Stroke,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stroke {
    /// As one.
    Solid,
    /// With gaps.
    Dashed,
    /// Not at all: each point stands by itself, as a ring that leaves what lies under it to be seen.
    Rings,
    /// As rings, but crosses: two that lie on each other can be told apart.
    Crosses,
    /// As rings, but filled triangles.
    Triangles,
}

impl LineChart {
    /// The bytes of a file.
    ///
    /// # Errors
    /// If the drawing library fails, for which the chart is not to blame.
    ///
    /// # Panics
    /// If there is no point, or one that has no place: not finite, or not above zero on a logarithmic axis.
    pub fn render(&self, format: Format) -> Result<Vec<u8>, PlotError> {
        canvas::render(self, format)
    }
}

impl Draw for LineChart {
    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Result<(), PlotError> {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x = Ruler::fit(&self.x, Span::Data, points().map(|point| point.0));
        let y = Ruler::fit(&self.y, Span::Feet, points().map(|point| point.1));
        let legend: Vec<Entry<'_>> = self.lines.iter().map(Line::entry).collect();
        let frame = Frame { title: &self.title, x: &x, y: &y, x_grid: true, legend: &legend };
        let mut field = frame.draw(area)?;
        for line in self.lines.iter().rev() {
            let places = line.points.iter().map(|point| (x.place(point.0), y.place(point.1)));
            line.draw(&mut field, places)?;
        }
        Ok(())
    }
}

impl Line {
    fn draw<DB: DrawingBackend>(
        &self,
        field: &mut Field<'_, DB>,
        places: impl Iterator<Item = (f64, f64)>,
    ) -> Result<(), PlotError> {
        let stroke = colour(self.colour).stroke_width(LINE_PIXELS);
        match self.stroke {
            Stroke::Solid => field.draw_series(LineSeries::new(places, stroke))?,
            Stroke::Dashed => {
                let places: Vec<(f64, f64)> = places.collect();
                field.draw_series(DashedLineSeries::new(places, DASH_PIXELS.0, DASH_PIXELS.1, stroke))?
            }
            Stroke::Rings => field.draw_series(places.map(|place| Circle::new(place, MARK_PIXELS, stroke)))?,
            Stroke::Triangles => {
                let filled = colour(self.colour).filled();
                field.draw_series(places.map(|place| TriangleMarker::new(place, MARK_PIXELS, filled)))?
            }
            Stroke::Crosses => field.draw_series(places.map(|place| Cross::new(place, MARK_PIXELS, stroke)))?,
        };
        Ok(())
    }

    fn entry(&self) -> Entry<'_> {
        let sample = match self.stroke {
            Stroke::Solid => Sample::Solid,
            Stroke::Dashed => Sample::Dashed,
            Stroke::Rings => Sample::Ring,
            Stroke::Crosses => Sample::Cross,
            Stroke::Triangles => Sample::Triangle,
        };
        Entry { name: &self.name, colour: colour(self.colour), sample }
    }
}
