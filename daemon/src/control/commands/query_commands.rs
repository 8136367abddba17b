//! `query-commands`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{COMMANDS, Refusal, Tell, to_value};

/// The names of all commands.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryCommands {}

/// A command.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Name {
    /// How it is called.
    name: &'static str,
}

impl Tell for QueryCommands {
    const NAME: &'static str = "query-commands";
    type Answer = Vec<Name>;

    fn tell(self) -> Result<Value, Refusal> {
        let names: Vec<Name> = COMMANDS.iter().map(|row| Name { name: row.name }).collect();
        Ok(to_value(&names))
    }
}
