//! What all figures have: title, axes with their labels, and the legend beside the field.

use std::ops::Range;

use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::element::{Circle, Cross, DashedPathElement, PathElement, Rectangle, Text, TriangleMarker};
use plotters::prelude::{Cartesian2d, DrawingArea, DrawingBackend, RGBColor};
use plotters::style::Color as _;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Ruler;
use super::canvas::{Area, PlotError, text};

/// How wide a line is drawn.
pub(super) const LINE_PIXELS: u32 = 2;
/// A dash, and the gap behind it.
pub(super) const DASH_PIXELS: (i32, i32) = (7, 5);
/// From the middle of a mark to its edge.
pub(super) const MARK_PIXELS: u32 = 7;

const TITLE_PIXELS: u32 = 24;
const TEXT_PIXELS: u32 = 17;
const SMALL_PIXELS: u32 = 15;
const MARGIN: i32 = 16;
/// From one name of the legend to the next.
const LEGEND_ROW: i32 = 26;
/// How long the sample before a name is.
const SAMPLE: i32 = 34;

const AXIS: RGBColor = RGBColor(60, 60, 60);
const GRID: RGBColor = RGBColor(222, 222, 222);

/// The field between the axes.
pub(super) type Field<'a, DB> = ChartContext<'a, DB, Cartesian2d<Coordinate, Coordinate>>;

/// A ruler as the drawing library wants it.
pub(super) struct Coordinate {
    pixels: RangedCoordf64,
    ruler: Ruler,
}

impl Coordinate {
    fn new(ruler: &Ruler) -> Self {
        Self { pixels: (ruler.begin..ruler.end).into(), ruler: ruler.clone() }
    }
}

impl Ranged for Coordinate {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, limit: (i32, i32)) -> i32 {
        self.pixels.map(place, limit)
    }

    /// The labelled places, however many the library would like: they were counted when the ruler was made.
    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        let only_bold = !hint.weight().allow_light_points();
        self.ruler.ticks.iter().filter(|_| only_bold).map(|tick| tick.place).collect()
    }

    fn range(&self) -> Range<f64> {
        self.ruler.begin..self.ruler.end
    }
}

impl ValueFormatter<f64> for Coordinate {
    fn format_ext(&self, place: &f64) -> String {
        self.ruler.label_at(*place)
    }
}

/// What stands before a name in the legend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sample {
    /// A line.
    Solid,
    /// A broken line.
    Dashed,
    /// A ring.
    Ring,
    /// A cross.
    Cross,
    /// A triangle.
    Triangle,
    /// A bar.
    Filled,
}

/// A row of the legend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub name: &'a str,
    pub colour: RGBColor,
    pub sample: Sample,
}

/// Everything around the field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub title: &'a str,
    pub x: &'a Ruler,
    pub y: &'a Ruler,
    /// Whether lines rise from the labels of the x axis.
    pub x_grid: bool,
    pub legend: &'a [Entry<'a>],
}

impl Frame<'_> {
    /// Draws it, and gives the field.
    pub fn draw<'a, DB: DrawingBackend + 'a>(&self, area: &Area<DB>) -> Result<Field<'a, DB>, PlotError> {
        let area = area.margin(MARGIN, MARGIN, MARGIN, MARGIN);
        let (head, area) = area.split_vertically(TITLE_PIXELS * 2);
        let middle = pixels(head.dim_in_pixel().0) / 2;
        let centred = text(TITLE_PIXELS).pos(Pos::new(HPos::Center, VPos::Top));
        head.draw(&Text::new(self.title.to_owned(), (middle, 0), centred))?;
        let area = if self.legend.is_empty() {
            area
        } else {
            let names = self.legend.iter().map(|entry| width(&area, entry.name, TEXT_PIXELS));
            let column = names.max().unwrap_or(0) + SAMPLE + 2 * MARGIN;
            let (area, side) = area.split_horizontally(pixels(area.dim_in_pixel().0) - column);
            self.draw_legend(&side)?;
            area
        };
        self.draw_axes(&area)
    }

    fn draw_legend<DB: DrawingBackend>(&self, side: &Area<DB>) -> Result<(), PlotError> {
        for (entry, top) in self.legend.iter().zip((0..).map(|row| row * LEGEND_ROW + LEGEND_ROW / 2)) {
            let (left, right) = (MARGIN, MARGIN + SAMPLE - 8);
            let stroke = entry.colour.stroke_width(LINE_PIXELS);
            let line = [(left, top), (right, top)];
            match entry.sample {
                Sample::Solid => side.draw(&PathElement::new(line, stroke))?,
                Sample::Dashed => {
                    side.draw(&DashedPathElement::new(line, DASH_PIXELS.0, DASH_PIXELS.1, stroke))?;
                }
                Sample::Ring => side.draw(&Circle::new((i32::midpoint(left, right), top), MARK_PIXELS, stroke))?,
                Sample::Cross => side.draw(&Cross::new((i32::midpoint(left, right), top), MARK_PIXELS, stroke))?,
                Sample::Triangle => {
                    let middle = (i32::midpoint(left, right), top);
                    side.draw(&TriangleMarker::new(middle, MARK_PIXELS, entry.colour.filled()))?;
                }
                Sample::Filled => {
                    side.draw(&Rectangle::new([(left, top - 6), (right, top + 6)], entry.colour.filled()))?;
                }
            }
            let style = text(TEXT_PIXELS).pos(Pos::new(HPos::Left, VPos::Center));
            side.draw(&Text::new(entry.name.to_owned(), (MARGIN + SAMPLE, top), style))?;
        }
        Ok(())
    }

    fn draw_axes<'a, DB: DrawingBackend + 'a>(&self, area: &Area<DB>) -> Result<Field<'a, DB>, PlotError> {
        let labels = self.y.ticks.iter().map(|tick| width(area, &tick.label, SMALL_PIXELS));
        let beside = labels.max().unwrap_or(0) + pixels(TEXT_PIXELS) + MARGIN;
        let below = pixels(SMALL_PIXELS + TEXT_PIXELS) + MARGIN;
        let mut field = ChartBuilder::on(area)
            // Half of the last label of the x axis stands right of the field.
            .margin_right(MARGIN)
            .margin_top(MARGIN / 2)
            .x_label_area_size(below)
            .y_label_area_size(beside)
            .build_cartesian_2d(Coordinate::new(self.x), Coordinate::new(self.y))?;
        let mut mesh = field.configure_mesh();
        mesh.x_desc(self.x.label.as_str())
            .y_desc(self.y.label.as_str())
            .label_style(text(SMALL_PIXELS))
            .axis_desc_style(text(TEXT_PIXELS))
            .axis_style(AXIS)
            .bold_line_style(GRID)
            .max_light_lines(0);
        if !self.x_grid {
            mesh.disable_x_mesh();
        }
        mesh.draw()?;
        Ok(field)
    }
}

fn width<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, label: &str, size: u32) -> i32 {
    // A label that cannot be measured cannot be drawn either, and drawing it says why.
    area.estimate_text_size(label, &text(size)).map_or(0, |(width, _)| pixels(width))
}

/// The drawing library counts sizes without a sign and places with one.
fn pixels(size: u32) -> i32 {
    i32::try_from(size).expect("a figure is some thousand pixels wide")
}
