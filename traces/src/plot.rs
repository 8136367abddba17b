//! Figures: lines over an axis, and bars in groups, as SVG and as PNG.
//!
//! A figure is data; `render` makes bytes of it, the same bytes each time: the font comes with the program, and neither a clock nor a
//! hash decides anything. The legend stands beside the field, so that it never covers what is drawn.
//!
//! Map: `axis` turns values into places and labels, `frame` draws title, axes and legend, `lines` and `bars` what stands in
//! them, `canvas` knows the two formats.

mod axis;
mod bars;
mod canvas;
mod frame;
mod lines;

pub use axis::{Axis, Numbers, Scale, bytes_text};
pub use bars::{BarChart, Group};
pub use canvas::{Format, HEIGHT, PlotError, WIDTH};
pub use lines::{Line, LineChart, Stroke};

/// What the axis of every figure of write amplification says.
pub const AMPLIFICATION: &str = "write amplification (NAND bytes ÷ host bytes)";
/// As many lines as are told apart by colour.
pub const COLOURS_MAX: usize = canvas::COLOURS.len();
