//! What is computed about I/O, and the figures that are drawn of it.
//!
//! Map: [`waf`] is the arithmetic of writes on a drive whose indirection unit is larger than they are, exact; [`experiments`] measures
//! the drive itself and holds it against theory; [`plot`] turns numbers into SVG and PNG. All are functions of their arguments: no
//! clock, no file, no font of the machine they run on.

#![forbid(unsafe_code)]

pub mod experiments;
pub mod plot;
pub mod waf;
