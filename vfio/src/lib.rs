//! A vfio-user server: it puts one device, which is a value ([`Device`]), into a stock virtual machine monitor by way of a unix
//! socket, shared memory and event file descriptors. It serves QEMU 10.1 and later, SPDK's host driver and rust-vmm's client.
//!
//! What lies where, from the wire inwards:
//!
//! | module | owns | must not know |
//! |---|---|---|
//! | [`message`] | framing and layouts, as pure functions over bytes | descriptors, the device |
//! | `connection` | one client's socket: bytes and descriptors in, replies out, never blocking | what a message means |
//! | [`server`] | the listener, the life of a client | layouts |
//! | `session` | what each command does | sockets |
//! | [`dma`] | DMA_MAP and DMA_UNMAP as changes of the table of guest memory | sockets |
//! | [`page`] | the doorbell page that the guest stores to | who reads it |
//! | [`pci`] | the 4 KiB of configuration space, as a value | everything else |
//! | [`client`] | the other side, for replays and tests: rust-vmm's client over memory that both share | everything else |
//! | [`interrupt`] | event descriptors, masks, the pin's level semantics | why there is an interrupt |
//!
//! Guest memory and descriptors of a client are `guest-memory`'s. Nothing here reads a clock or blocks: the daemon's loop calls
//! [`Server::service`] when [`Server`]'s descriptor is readable, or whenever it likes. Whatever a client sends ends in a reply, in an error
//! reply, or in the end of that client; the server then frees all that the client brought and listens again.

#![forbid(unsafe_code)]

pub mod client;
pub mod config;
mod connection;
mod device;
pub mod dma;
pub mod interrupt;
pub mod message;
pub mod page;
pub mod pci;
pub mod server;
mod session;
pub mod socket;
#[doc(hidden)]
pub mod testing;
mod watch;

pub use config::{Doorbells, ServerConfig};
pub use device::{Device, Function, InterruptMode};
pub use page::Page;
pub use server::{Progress, Server};
pub use watch::Watched;
