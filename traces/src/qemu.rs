//! QEMU's names for what an NVMe controller does: the trace events `pci_nvme_*`, so that a driver's author reads this device's trace, or
//! feeds it to scripts, as if it were QEMU's.
//!
//! Map: `table` has the events, [`UNAVAILABLE`] those that are QEMU's alone; [`Selection`] is which of them are wanted, by patterns;
//! [`Mapping`] turns events of the controller into them. `view` writes what comes out.

mod mapping;
mod selection;
mod table;
#[cfg(test)]
mod tests;
mod unavailable;

pub use mapping::Mapping;
pub use selection::{Selection, State, UnknownPattern, matches, names};
pub use table::{Description, EVENTS, Emitted, Name, PREFIX, Type};
pub use unavailable::UNAVAILABLE;
