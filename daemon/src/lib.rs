//! An NVMe SSD as a value, for tests of drivers: no process, no socket, no thread, no clock. The binary `brownout` puts the same drive into
//! stock QEMU; this library is what a driver's own test suite links.
//!
//! ```toml
//! [dev-dependencies]
//! brownout = { git = "…", default-features = false }
//! ```
//!
//! A [`Machine`] is a controller, its guest's memory and its time. The driver under test reaches registers and memory through [`Port`]; the
//! example `driver_test` shows one from its first register access on. If you do not test a driver, use [`Host`], which is a working one:
//!
//! ```
//! use brownout::{Machine, MachineOptions};
//!
//! # fn main() -> Result<(), brownout::MachineError> {
//! let mut host = Machine::new(&MachineOptions::default())?.host()?;
//! let blocks: Vec<u8> = (0..8192).map(|byte: u32| (byte % 251) as u8).collect();
//! assert!(host.write(1, 10, &blocks, false)?.is_success());
//! let (status, read) = host.read(1, 10, 2)?;
//! assert!(status.is_success() && read == blocks);
//! # Ok(())
//! # }
//! ```
//!
//! A test can cut power at any point. A write that was not flushed may be lost then; a forced write (FUA) may not:
//!
//! ```
//! use brownout::{Cut, Machine, MachineOptions};
//!
//! # fn main() -> Result<(), brownout::MachineError> {
//! let mut host = Machine::new(&MachineOptions::default())?.host()?;
//! host.write(1, 0, &[1; 4096], true)?;
//! host.write(1, 1, &[2; 4096], false)?;
//!
//! let report = host.port_mut().cut_power(&Cut::default());
//! let lost = &report.not_durable[0];
//! assert_eq!(report.not_durable.len(), 1, "the forced write was durable");
//! assert!(lost.completed && lost.namespace == 1);
//!
//! host.port_mut().restore_power(None).expect("the drive recovers");
//! host.start()?;
//! host.create_queue_pair(1, 64, Some(1))?;
//! assert_eq!(host.read(1, 0, 1)?.1, [1; 4096]);
//! assert_eq!(host.read(1, 1, 1)?.1, [0; 4096], "it was in the volatile cache");
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

/// The controller, its options, and what it reports.
pub use controller;
/// The drive behind the controller: NAND, flash translation layer, power.
pub use media;
/// A working driver.
pub use nvme_host;
/// Layouts of registers, commands and data structures.
pub use nvme_spec;

pub use machine::{
    Arming, Cut, CutPolicy, Machine, MachineError, MachineNamespace, MachineOptions, PlainPage, PowerReport, Profile,
    SparseMemory,
};
pub use nvme_host::{Host, Port};
