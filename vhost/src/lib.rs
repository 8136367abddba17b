//! A vhost-user block device: the same controller and media for every QEMU since 2.12, for other virtual machine monitors, and for
//! tools without a machine. Each virtio request becomes NVMe commands of a host in this process, whose SGLs name guest memory, so what
//! holds for a PCI guest (atomicity, faults, power loss, counters) holds here too.
//!
//! What lies where, from the wire inwards:
//!
//! | module | owns | must not know |
//! |---|---|---|
//! | [`wire`] | numbers and layouts of virtio | everything else |
//! | [`server`] | the listener, the life of a client | rings |
//! | `session` | what a client has negotiated and brought | sockets |
//! | `service` | the life of a request: taken, under way, given back | layouts |
//! | `channel` | the socket for messages that a client did not request | why |
//! | [`ring`], [`chain`], [`request`] | what a driver wrote: heads, descriptors, requests, as pure functions of memory | the disk |
//! | [`inflight`] | which requests are under way, in memory that outlives us | what they ask for |
//! | [`geometry`], [`offer`] | what the namespace is like, and what the driver is told of it | requests |
//! | [`plan`], [`outcome`] | a request as NVMe commands, and their end as its answer | rings |
//! | [`disk`] | the NVMe host: queue pairs, requests under way | virtio's rings |
//! | [`memory`] | guest memory, and beside it the window in which the host keeps its queues | who uses it |
//!
//! Nothing here starts a thread, reads a clock or waits. rust-vmm's `vhost` crate decodes and answers messages, its `virtio-queue` has
//! the rings; `vhost-user-backend` has threads of its own and refuses in-flight memory, so the device is ours (docs/virtio-front.md has
//! a table). Guest memory is `guest-memory`'s, whose accesses survive a file that a client truncates.

#![forbid(unsafe_code)]

pub mod chain;
mod channel;
pub mod disk;
pub mod error;
pub mod geometry;
pub mod inflight;
pub mod memory;
pub mod offer;
pub mod outcome;
pub mod plan;
pub mod request;
pub mod ring;
pub mod server;
mod service;
mod session;
pub mod testing;
pub mod wire;

pub use server::{Server, Step};
