//! `query-schema`: what is described is what the code reads and writes, because it comes from the same types.

use std::sync::LazyLock;

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{COMMANDS, Refusal, Tell, no_such_command, to_value, written_schema};
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

/// All of it, which is the same each time.
static WHOLE: LazyLock<Value> = LazyLock::new(|| describe(|_| true));

fn describe(wanted: impl Fn(&str) -> bool) -> Value {
    let described = COMMANDS.iter().filter(|row| wanted(row.name)).map(|row| CommandDescription {
        name: row.name,
        arguments: (row.arguments)(),
        returns: (row.answer)(),
    });
    to_value(&Description { commands: described.collect(), events: written_schema::<Event>() })
}

/// What a device of this program answers.
pub fn description() -> Value {
    WHOLE.clone()
}

impl Tell for QuerySchema {
    const NAME: &'static str = "query-schema";
    type Answer = Description;

    fn tell(self) -> Result<Value, Refusal> {
        match self.command {
            None => Ok(description()),
            Some(name) if COMMANDS.iter().any(|row| row.name == name) => Ok(describe(|command| command == name)),
            Some(name) => Err(Refusal::new(no_such_command(&name))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use crate::control::commands::{Prepared, prepare};

    #[test]
    fn what_asks_for_nothing_that_the_device_knows_is_answered_without_it() {
        for name in ["query-schema", "query-commands", "query-version"] {
            assert!(matches!(prepare(name, Map::new()), Ok(Prepared::Answered(Ok(_)))), "{name}");
        }
        assert!(matches!(prepare("query-status", Map::new()), Ok(Prepared::Job(_))));
    }
}
