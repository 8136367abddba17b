//! Computations about I/O, and figures of them.
//!
//! Map: [`waf`] is the exact arithmetic of writes on a drive whose indirection unit is larger than they are; [`experiments`] measures
//! the drive itself and compares it with theory; [`plot`] turns numbers into SVG and PNG. All are functions of their arguments: no
//! clock, no file, no font of the machine they run on.

#![forbid(unsafe_code)]

pub mod experiments;
pub mod plot;
pub mod waf;
