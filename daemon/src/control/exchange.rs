//! What the control socket's thread and the device's thread exchange: commands one way, answers and events the other.

use std::time::Duration;

use serde_json::Value;

use super::commands::{Job, Refusal};
use super::event::Event;

/// Which peer of the socket; no number is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerId(pub u64);

/// A command to carry out.
pub struct PeerCommand {
    /// Who wants it.
    pub peer: PeerId,
    /// The peer's name for it.
    pub id: Option<Value>,
    /// What to do.
    pub job: Job,
}

/// What the peers are to hear.
pub enum ToPeers {
    /// The answer to a command.
    Answer {
        /// Whose it was.
        peer: PeerId,
        /// The peer's name for it.
        id: Option<Value>,
        /// How it went.
        result: Result<Value, Refusal>,
    },
    /// An event, and its time since 1970.
    Happened(Event, Duration),
}
