//! `qmp_capabilities`: the server carries it out itself, before there are commands.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Device, Execute, Nothing, Refusal};

/// Ends the negotiation of capabilities, and comes before any other command.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QmpCapabilities {
    /// Capabilities to switch on. The greeting offers none.
    #[serde(default)]
    #[expect(dead_code, reason = "there is nothing to switch on: reading it is checking it")]
    enable: Vec<Capability>,
}

/// A capability of the protocol: there is none yet.
#[derive(Debug, Deserialize, JsonSchema)]
enum Capability {}

impl Execute for QmpCapabilities {
    const NAME: &'static str = "qmp_capabilities";
    type Answer = Nothing;

    fn execute(self, _device: &mut Device<'_>) -> Result<Nothing, Refusal> {
        Err(Refusal::new("capabilities were negotiated already"))
    }
}
