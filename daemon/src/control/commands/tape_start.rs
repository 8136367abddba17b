//! `tape-start`.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tape::{Marker, Writer};

use super::{Device, LongCommand, Refusal};

/// Begins a tape, for `crash --tape`. Everything is made durable first, and what the namespaces hold then is on the tape: the drive stands
/// still meanwhile. The file is made in the folder that `--trace-folder` names. A tape that has just ended is completed first.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TapeStart {
    /// A name without a folder, which no file has yet.
    file: PathBuf,
}

/// A tape that was begun.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Begun {
    /// The file with its folder.
    path: String,
}

impl LongCommand for TapeStart {
    const NAME: &'static str = "tape-start";
    type Answer = Begun;

    fn begin(&self, _device: &mut Device<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn ended(&self, device: &mut Device<'_>) -> Option<Result<Begun, Refusal>> {
        let free = !device.tape.is_some_and(Marker::is_ending);
        free.then(|| self.start(device))
    }
}

impl TapeStart {
    fn start(&self, device: &mut Device<'_>) -> Result<Begun, Refusal> {
        let no_folder = || Refusal::new("start the device with --trace-folder: it opens files there only");
        let tape = device.tape.filter(|_| device.audience.tracers.folder().is_some()).ok_or_else(no_folder)?;
        tape.check_room().map_err(Refusal::new)?;
        if !device.subsystem.power_is_on() {
            return Err(Refusal::new("power is off: `power-restore` brings it back"));
        }
        let (file, path) = device.audience.tracers.create(&self.file).map_err(Refusal::new)?;
        let begun = Writer::new(file).map_err(|error| error.to_string());
        let begun = begun.and_then(|writer| tape.begin(device.now, device.subsystem.media(), writer));
        begun.map_err(|why| refused(&path, &why))?;
        device.tape_file.replace(path.clone());
        Ok(Begun { path: path.display().to_string() })
    }
}

/// Nothing is left of a tape that did not begin, if that is allowed.
fn refused(path: &Path, why: &str) -> Refusal {
    let left = std::fs::remove_file(path).is_err();
    let left = if left { format!("; {} is empty", path.display()) } else { String::new() };
    Refusal::new(format!("{why}{left}"))
}
