//! The control socket: QMP, the protocol of QEMU's monitor, for a device instead of a machine (QEMU 11.1, docs/interop/qmp-spec).
//!
//! Map: [`framing`] splits a peer's bytes into messages, [`message`] has the messages of both directions, `peer` is one connection with
//! its limits, `server` the thread that serves them all, and [`dispatcher`] passes commands from that thread to the device's, and
//! answers and events back. A command is one file in [`commands`] and one row in its table; it runs on the device's thread, between two
//! steps. [`watcher`] detects events, and [`warnings`] presents the media's warnings to peers.
//!
//! Nothing that a peer does affects more than its own connection: the device's thread only sees commands with valid arguments, one of
//! each peer at a time, and it never waits for the thread that serves the peers.

pub mod commands;
pub mod dispatcher;
pub mod event;
pub mod exchange;
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
