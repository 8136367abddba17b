//! `query-commands`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{COMMANDS, Device, Execute, Refusal};

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

impl Execute for QueryCommands {
    const NAME: &'static str = "query-commands";
    type Answer = Vec<Name>;

    fn execute(self, _device: &mut Device<'_>) -> Result<Vec<Name>, Refusal> {
        Ok(COMMANDS.iter().map(|row| Name { name: row.name }).collect())
    }
}
