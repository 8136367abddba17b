//! Computations about I/O, and figures of them.
//!
//! Map: [`record`] is an I/O command of a trace, [`recording`] our own file format, [`import`] and [`export`] the formats of others,
//! [`ordered`] sorts a trace by time; [`watched`] is what a listener hears of a controller, and [`view`] writes it as files that other
//! tools show; [`analysis`] describes a trace, and [`replay`] runs it on a drive; [`waf`] is the exact arithmetic of writes on a drive
//! whose indirection unit is larger than they are; [`experiments`] measures the drive itself and compares it with theory; [`plot`] turns
//! numbers into SVG and PNG. All are functions of their arguments: no clock, no socket, no font of the machine they run on.

#![forbid(unsafe_code)]

pub mod analysis;
mod distribution;
pub mod experiments;
pub mod export;
pub mod facts;
pub mod import;
pub mod live;
pub mod ordered;
pub mod plot;
pub mod qemu;
pub mod record;
pub mod recording;
pub mod replay;
pub mod view;
pub mod waf;
pub mod watched;
