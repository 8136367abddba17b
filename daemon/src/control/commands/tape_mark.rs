//! `tape-mark`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Device, Execute, Nothing, Refusal};

/// Puts a mark on the tape: what was acknowledged to somebody by now. Whoever checks the images of the tape is given the marks.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TapeMark {
    /// A line of text.
    text: String,
}

impl Execute for TapeMark {
    const NAME: &'static str = "tape-mark";
    type Answer = Nothing;

    fn execute(self, device: &mut Device<'_>) -> Result<Nothing, Refusal> {
        let no_tape = "there is no tape: `tape-start` begins one, or start the drive with --tape FILE";
        let tape = device.tape.filter(|tape| tape.is_on()).ok_or_else(|| Refusal::new(no_tape))?;
        if self.text.contains('\n') {
            return Err(Refusal::new("text: give one line"));
        }
        tape.mark(&self.text)
            .map(|()| Nothing {})
            .map_err(|_lost| Refusal::new("the tape has ended: its disk is full, failed or was too slow"))
    }
}
