//! Everything that a drive is told to do, in the order in which it does it, on a tape: with data, with each outcome, and with marks. And
//! what a tape is for: every image that a conforming drive may leave if it loses power at some place of it.
//!
//! [`taped`] is a media that writes a tape of the one below it; it knows the seam of the media and no drive. [`entry`] is what lies on a
//! tape, [`writer`] and [`reader`] bring it to a file and back. [`history`] follows a tape: what is durable at a place, and which pieces
//! are not. [`images`] chooses which pieces survive, and makes the image; [`shrink`] finds the pieces that matter. [`stand`] is a media
//! that holds an image, for a checker that needs a drive. Checkers, processes and files for them are the business of whoever uses this.

#![forbid(unsafe_code)]

pub mod entry;
pub mod history;
pub mod images;
pub mod reader;
pub mod shrink;
pub mod stand;
pub mod taped;
pub mod writer;

pub use entry::{Change, Entry, Volume};
pub use history::{History, Piece};
pub use images::{Choices, Image};
pub use reader::{Reader, TapeError};
pub use stand::{Changer, Stand};
pub use taped::{Lost, Marker, Taped};
pub use writer::Writer;
