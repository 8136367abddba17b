//! The two kinds of queues.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whose commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum QueueKind {
    /// The admin queue's.
    Admin,
    /// Those of I/O queues.
    Io,
}
