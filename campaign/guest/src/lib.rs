//! Boots an unmodified Linux guest in stock QEMU, runs a shell script in it, and returns what it said.
//!
//! Owns: the guest's ingredients ([`Assets`]), one run of a machine ([`Machine`], [`Guest`], [`GuestReport`]), and the
//! process of the device under test ([`Brownout`]). Knows nothing about NVMe beyond the words a kernel log uses for
//! trouble: what must be true of the device is said by the scripts ([`scripts`]) and by the tests that use this crate.
//!
//! ```no_run
//! use guest_harness::{Brownout, Device, Kernel, Machine, scripts};
//!
//! # fn main() -> anyhow::Result<()> {
//! let brownout = Brownout::builder().namespace("size=256MiB,lba=512").start()?;
//! let report = Machine::new(Kernel::Debian612)
//!     .device(Device::VfioUser { socket: brownout.socket().to_owned() })
//!     .script(scripts::VERIFY)
//!     .run()?;
//! report.require_success()?;
//! assert!(report.nvme_complaints().is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! Every process started here dies with the test process, however that one ends.

mod archive;
mod assets;
mod boot;
mod brownout;
mod clock;
mod folder;
mod guest;
mod machine;
mod process;
mod report;
pub mod scripts;

pub use archive::Archive;
pub use assets::{Assets, Emulator, Kernel};
pub use boot::Firmware;
pub use brownout::{Brownout, BrownoutBuilder};
pub use folder::RunFolder;
pub use guest::{ASKED_EVERY, Guest};
pub use machine::{Accelerator, Device, Machine};
pub use report::{GuestReport, KernelLine};
