//! The two formats, the font and the colours. Everything is drawn as SVG; a PNG is made of that.

use std::error::Error;
use std::path::Path;
use std::sync::LazyLock;

use plotters::coord::Shift;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::{DrawingArea, DrawingBackend, IntoDrawingArea as _, RGBColor, SVGBackend};
use plotters::style::{FontStyle, IntoFont as _, TextStyle, WHITE, register_font};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg;
use thiserror::Error;

/// Width of a figure in pixels.
pub const WIDTH: u32 = 1000;
/// Height of a figure in pixels.
pub const HEIGHT: u32 = 600;

/// A viewer of an SVG takes its own font of this name; in a PNG, and where widths are measured, it is the one that comes with us.
const FONT: &str = "sans-serif";
/// Told apart by most people, whatever colours they see (Okabe and Ito, 2008), dark enough for thin lines.
pub const COLOURS: [RGBColor; 14] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
    // The first seven again, so much darker or lighter that they are others.
    RGBColor(0, 52, 92),
    RGBColor(120, 46, 0),
    RGBColor(0, 84, 60),
    RGBColor(118, 44, 88),
    RGBColor(128, 86, 0),
    RGBColor(176, 222, 246),
    RGBColor(140, 140, 140),
];

/// What a figure is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Lines and text: scales, and can be searched.
    Svg,
    /// Pixels: goes anywhere.
    Png,
}

impl Format {
    /// What the ending of a file's name says; none if it says something else.
    pub fn of_path(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?;
        let formats = [("svg", Self::Svg), ("png", Self::Png)];
        formats.into_iter().find(|(name, _)| ending.eq_ignore_ascii_case(name)).map(|(_, format)| format)
    }
}

/// A figure could not be drawn. What a figure holds does not lead here; a library that fails does.
#[derive(Debug, Error)]
#[error("cannot draw the figure: {0}")]
pub struct PlotError(String);

impl PlotError {
    fn new(error: &impl Error) -> Self {
        Self(error.to_string())
    }
}

impl<E: Error + Send + Sync> From<DrawingAreaErrorKind<E>> for PlotError {
    fn from(error: DrawingAreaErrorKind<E>) -> Self {
        Self::new(&error)
    }
}

/// Where something is drawn, in pixels.
pub(super) type Area<DB> = DrawingArea<DB, Shift>;

/// What can be drawn, whatever it is drawn on.
pub(super) trait Draw {
    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Result<(), PlotError>;
}

/// The bytes of a file.
pub(super) fn render(figure: &impl Draw, format: Format) -> Result<Vec<u8>, PlotError> {
    LazyLock::force(&FONT_IS_KNOWN);
    match format {
        Format::Svg => svg(figure).map(String::into_bytes),
        Format::Png => png(figure),
    }
}

/// The drawing library keeps fonts by name for the whole process.
static FONT_IS_KNOWN: LazyLock<()> = LazyLock::new(|| {
    let known = register_font(FONT, FontStyle::Normal, dejavu::sans::regular());
    assert!(known.is_ok(), "the font that comes with the program is one");
});

fn svg(figure: &impl Draw) -> Result<String, PlotError> {
    let mut text = String::new();
    paint(figure, SVGBackend::with_string(&mut text, (WIDTH, HEIGHT)))?;
    Ok(text)
}

fn png(figure: &impl Draw) -> Result<Vec<u8>, PlotError> {
    let mut options = usvg::Options::default();
    let fonts = options.fontdb_mut();
    fonts.load_font_data(dejavu::sans::regular().to_vec());
    fonts.set_sans_serif_family("DejaVu Sans");
    let tree = usvg::Tree::from_str(&svg(figure)?, &options).map_err(|error| PlotError::new(&error))?;
    let mut pixels = Pixmap::new(WIDTH, HEIGHT).expect("a figure is neither empty nor larger than memory");
    resvg::render(&tree, Transform::identity(), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| PlotError::new(&error))
}

fn paint(figure: &impl Draw, backend: impl DrawingBackend) -> Result<(), PlotError> {
    let area = backend.into_drawing_area();
    area.fill(&WHITE)?;
    figure.draw(&area)?;
    Ok(area.present()?)
}

/// Text of this many pixels.
pub(super) fn text(pixels: u32) -> TextStyle<'static> {
    (FONT, pixels).into_font().into()
}

/// A colour for each index; they repeat.
pub(super) fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}
