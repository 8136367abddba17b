//! What users of a drive see of it: requests and their guarantees ([`volume`], with the units in [`mod@unit`]), power losses
//! ([`power`]), warnings that a drive raises by itself ([`warning`]), and its state and faults ([`monitor`]). Knows nothing of the
//! drive behind it, only the data that describes one.

pub mod monitor;
pub mod power;
pub mod unit;
pub mod volume;
pub mod warning;
