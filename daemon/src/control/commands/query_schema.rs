//! `query-schema`: what is described is what the code reads and writes, because it comes from the same types.

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use super::{COMMANDS, Device, Execute, Refusal, no_such_command, written_schema};
use crate::control::Event;

/// What every command takes and gives, and every event, as JSON Schema.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuerySchema {
    /// This command only.
    command: Option<String>,
}

/// All that can be said on this socket.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Description {
    commands: Vec<CommandDescription>,
    /// Any event, without its timestamp.
    events: Schema,
}

/// A command.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CommandDescription {
    /// How it is called.
    name: &'static str,
    /// What it takes.
    arguments: Schema,
    /// What it gives.
    returns: Schema,
}

impl Execute for QuerySchema {
    const NAME: &'static str = "query-schema";
    type Answer = Description;

    fn execute(self, _device: &mut Device<'_>) -> Result<Description, Refusal> {
        let wanted = |name: &str| self.command.as_deref().is_none_or(|command| command == name);
        let commands: Vec<CommandDescription> = COMMANDS
            .iter()
            .filter(|row| wanted(row.name))
            .map(|row| CommandDescription { name: row.name, arguments: (row.arguments)(), returns: (row.answer)() })
            .collect();
        match self.command {
            Some(name) if commands.is_empty() => Err(Refusal::new(no_such_command(&name))),
            _ => Ok(Description { commands, events: written_schema::<Event>() }),
        }
    }
}
