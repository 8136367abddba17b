//! `tape-stop`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Device, LongCommand, Nothing, Refusal};

/// Ends the tape, and answers when its file is complete.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TapeStop {}

impl LongCommand for TapeStop {
    const NAME: &'static str = "tape-stop";
    type Answer = Nothing;

    fn begin(&self, device: &mut Device<'_>) -> Result<(), Refusal> {
        if device.tape.is_some_and(tape::Marker::stop) {
            return Ok(());
        }
        Err(Refusal::new("there is no tape: `tape-start` begins one"))
    }

    fn ended(&self, device: &mut Device<'_>) -> Option<Result<Nothing, Refusal>> {
        let tape = device.tape?;
        tape.look();
        let outcome = tape.take_outcome()?;
        Some(outcome.map(|()| Nothing {}).map_err(|error| Refusal::new(format!("the tape is not complete: {error}"))))
    }
}
