//! Guest memory: what a virtual machine monitor shares with the device, over vfio-user and vhost-user alike. The regions, their bounds,
//! copies and atomic accesses are `vm-memory`'s; what it lacks is here.
//!
//! | module | owns | must not know |
//! |---|---|---|
//! | [`table`] | the table from guest address to mapping, its limits and its generation | sockets, messages |
//! | `table::lent` | the table as [`vm_memory::GuestMemory`], for crates that stand on it | who they are |
//! | [`mapping`] | a part of a file, mapped (`unsafe`) | guest addresses |
//! | `mapping::rescue` | surviving a file that is truncated (`unsafe`: the handler of SIGBUS) | what is copied |
//! | `mapping::caches` | non-temporal copies, prefetching (`unsafe`: the processor's instructions) | mappings |
//! | [`descriptor`] | which descriptors of a peer may be touched at all; closing the others | what they are for |
//! | [`event`] | signalling an event descriptor without blocking, by `vmm-sys-util`'s asynchronous I/O | interrupts |
//! | `give_back` | returning memory of our own to the system (`unsafe`: a system call) | whose it was |
//! | [`limit`] | how often a message is logged | its text |
//!
//! Nothing here reads a clock or blocks, and only one thread is started, to close what cannot be closed without blocking.

pub mod descriptor;
pub mod event;
mod give_back;
pub mod limit;
pub mod mapping;
pub mod table;

pub use descriptor::{GuestFiles, Vetting};
pub use event::Signal;
pub use give_back::give_back;
pub use limit::Limit;
pub use mapping::{FilePart, Lost, Mapping, copy_past_caches, watch};
pub use table::{MapError, MapRequest, Memory};
/// What the device may do with a range.
pub use vm_memory::Permissions;

/// Bytes of a page: what ranges of guest memory are multiples of.
pub const PAGE_BYTES: u64 = 4096;
