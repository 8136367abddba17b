//! Files in which the tools of others show what a controller did: [`Chrome`] for Perfetto and chrome://tracing, [`Pcap`] for Wireshark, and
//! [`Simple`] for whoever has scripts for QEMU's binary traces. Each is a stream: what is in memory is bounded by the commands under way.

mod chrome;
mod packet;
mod pcap;
mod simple;
#[cfg(test)]
mod tests;

pub use chrome::{Chrome, Work};
pub use pcap::Pcap;
pub use simple::{Argument, Simple};
