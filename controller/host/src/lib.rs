//! The driver's half of NVMe: it brings a controller up, creates queues, submits commands and reaps completions. Tests, the simulator,
//! trace replay and the vhost front all drive the device through it. It accesses registers and memory only through [`Port`], so it
//! imports `nvme-spec` and nothing else of ours; in particular it does not know the controller that it tests.
//!
//! Everything is deterministic: nothing sleeps, every loop is bounded, and waiting means [`Port::relax`].
//!
//! Map of the crate: [`port`] is the interface to the outside; [`memory`] allocates guest addresses; [`prp`] and [`sgl`] describe
//! buffers; [`queue`] has the ring arithmetic; [`doorbell`] the addresses of the doorbells and the shadow rule; [`host`] ties them
//! together, with bring-up, admin and I/O commands and reservations in files of their own that extend [`Host`].

#![forbid(unsafe_code)]

pub mod admin;
pub mod bring_up;
pub mod doorbell;
pub mod host;
pub mod io;
pub mod memory;
pub mod port;
pub mod prp;
pub mod queue;
pub mod reservation;
pub mod setup;
pub mod sgl;
pub mod transfer;

pub use bring_up::Shutdown;
pub use host::{Host, HostError};
pub use memory::Memory;
pub use port::Port;
pub use prp::{DataPointer, PrpList};
pub use setup::{AdminDoorbells, Setup};
pub use sgl::Piece;
pub use transfer::{Mapping, SglMapping};
