//! How much of what happens is told.

use super::{DoorbellRefusal, TraceEvent};

/// How much a listener wants to hear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Accesses to registers, admin commands, changes of state, and whatever failed.
    #[default]
    Rare,
    /// Also doorbells and each hop of I/O commands.
    Commands,
    /// Also where their data is, and what the host does to queues while they are in use.
    Memory,
}

impl Detail {
    /// The least detail with which an event is told. Where several listen, each takes what it wants to hear.
    #[must_use]
    pub const fn of(event: &TraceEvent) -> Self {
        match event {
            TraceEvent::RegisterRead { .. }
            | TraceEvent::DoorbellRead { .. }
            | TraceEvent::Range { .. }
            | TraceEvent::Pointers { .. }
            | TraceEvent::Data { .. }
            | TraceEvent::MediaBegun { .. }
            | TraceEvent::MediaEnded { .. }
            | TraceEvent::Message { .. }
            | TraceEvent::Pin { .. }
            | TraceEvent::Doorbell { refused: None | Some(DoorbellRefusal::Nudge), .. } => Self::Commands,
            TraceEvent::Fetched { command, .. } if command.queue != 0 => Self::Commands,
            TraceEvent::Completed { command, status, .. } if command.queue != 0 && status.is_success() => {
                Self::Commands
            }
            TraceEvent::CompletionWritten { queue: 1.., .. } => Self::Commands,
            TraceEvent::Piece { .. } | TraceEvent::StaleCompletions { .. } | TraceEvent::EntryChanged { .. } => {
                Self::Memory
            }
            _ => Self::Rare,
        }
    }
}
