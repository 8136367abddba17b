//! The control socket: QMP, the protocol of QEMU's monitor, for a device instead of a machine (QEMU 11.1, docs/interop/qmp-spec).
//!
//! Map: [`framing`] cuts what a peer sends into messages, [`message`] gives messages their form in both directions, `peer` is one
//! connection with its bounds, `server` the thread that serves them all,
//! [`dispatcher`] what hands commands from that thread to the device's, and answers and events back.
//! A command is one file in [`commands`] and one row in its table; it runs on the device's thread, between two steps. [`watcher`] sees
//! what becomes an event, and [`warnings`] is how peers read what is wrong with the media.
//!
//! Nothing that a peer does reaches further than its own connection: the device's thread only ever sees commands whose arguments are
//! right, one of each peer at a time, and it never waits for the thread that serves the peers.

pub mod commands;
pub mod dispatcher;
pub mod event;
mod exchange;
pub mod framing;
pub mod message;
mod peer;
mod server;
#[cfg(test)]
mod tests;
pub mod warnings;
pub mod watcher;

pub use commands::Device;
pub use dispatcher::Dispatcher;
pub use event::Event;
pub use watcher::Watcher;
