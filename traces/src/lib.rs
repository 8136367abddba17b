//! What is computed about I/O, and the figures that are drawn of it.
//!
//! Map: [`record`] is what a trace of I/O consists of, [`recording`] our own file of it, [`import`] and [`export`] those of others,
//! [`ordered`] puts one in the order of time; [`watched`] is
//! what a controller that is watched tells, and [`view`] makes files of it for the tools of others to show; [`analysis`] says what a trace
//! is like, and [`replay`] gives it to a drive; [`waf`] is the arithmetic of
//! writes on a drive whose indirection unit is larger than they are, exact; [`experiments`] measures the drive itself and holds it against
//! theory; [`plot`] turns numbers into SVG and PNG. All are functions of their arguments: no clock, no socket, no font of the machine they
//! run on.

#![forbid(unsafe_code)]

pub mod analysis;
mod distribution;
pub mod experiments;
pub mod export;
pub mod import;
pub mod ordered;
pub mod plot;
pub mod record;
pub mod recording;
pub mod replay;
pub mod view;
pub mod waf;
pub mod watched;
