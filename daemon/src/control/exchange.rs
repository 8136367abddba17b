//! What a server's thread, such as the control socket's, and the device's thread exchange: commands one way, answers and events the other.

use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use serde_json::Value;

use super::commands::{Job, Refusal};
use super::event::Event;
use crate::watch::Watch;

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

/// The server's side.
pub struct ServerEnds {
    /// Signalled when there is something to hear.
    pub watch: Watch,
    /// Where commands go.
    pub commands: Sender<PeerCommand>,
    /// To be called when there are some.
    pub wake_device: Box<dyn Fn() + Send>,
    /// What the device's thread says.
    pub to_hear: Receiver<ToPeers>,
}
