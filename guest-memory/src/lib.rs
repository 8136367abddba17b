//! Guest memory: what a virtual machine monitor shares with the device, over vfio-user and vhost-user alike. The regions, their bounds,
//! copies and atomic accesses are `vm-memory`'s; what it lacks is here.
//!
//! | module | owns | must not know |
//! |---|---|---|
//! | [`table`] | the table from guest address to mapping, its limits and its generation | sockets, messages |
//! | `table::lent` | the table as [`vm_memory::GuestMemory`], for crates that stand on it | who they are |
//! | [`mapping`] | a part of a file, mapped; copies past the caches (`unsafe`) | guest addresses |
//! | `mapping::rescue` | surviving a file that is cut short (`unsafe`: the handler of SIGBUS) | what is copied |
//! | `mapping::caches` | copies past the processor's caches (`unsafe`: its instructions) | mappings |
//! | [`descriptor`] | which descriptors of a peer may be touched at all; closing the others | what they are for |
//! | [`event`] | raising an event descriptor without waiting, by `vmm-sys-util`'s asynchronous I/O | interrupts |
//! | `give_back` | giving memory of our own back to the system (`unsafe`: a system call) | whose it was |
//! | [`limit`] | how often something is said | what |
//!
//! Nothing here reads a clock or waits, and one thread alone is started, for closing what cannot be closed without waiting.

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
pub use mapping::{FilePart, Lost, Mapping, watch};
pub use table::{MapError, MapRequest, Memory};
/// What the device may do with a range.
pub use vm_memory::Permissions;

/// Bytes of a page: what ranges of guest memory are multiples of.
pub const PAGE_BYTES: u64 = 4096;
