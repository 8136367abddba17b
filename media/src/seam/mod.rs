//! What whoever uses a drive may know of it: the requests and what is promised of them ([`volume`], with the units in [`mod@unit`]), what
//! a power loss does ([`power`]), what a drive says by itself ([`warning`]), and its state and faults ([`monitor`]). Knows nothing of
//! the drive behind it, only the data that describes one.

pub mod monitor;
pub mod power;
pub mod unit;
pub mod volume;
pub mod warning;
