//! `trace-start`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use traces::live::Format;

use super::{Device, Execute, Refusal};
use crate::tracer::order::{Order, select};

/// Starts to write a trace of what a controller does. The file is made in the folder that `--trace-folder` names.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TraceStart {
    /// Events, as QEMU names them: `*` and `?` stand for others, a leading `-` switches off. For log and simple only.
    #[serde(default)]
    patterns: Vec<String>,
    /// A name without a folder, which no file has yet; without it, a log goes to the device's standard error.
    #[serde(default)]
    file: Option<String>,
    /// In which form.
    #[serde(default)]
    format: FormatName,
    /// Lines of a log begin with the time.
    #[serde(default)]
    timestamp: bool,
    /// A capture or a recording holds the data of commands.
    #[serde(default)]
    data: bool,
}

/// The form of a trace.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FormatName {
    /// Lines, as in QEMU's log.
    #[default]
    Log,
    /// QEMU's binary form.
    Simple,
    /// JSON for Perfetto.
    Chrome,
    /// A capture for Wireshark.
    Pcap,
    /// For `brownout trace`.
    Recording,
}

impl From<FormatName> for Format {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Log => Self::Log,
            FormatName::Simple => Self::Simple,
            FormatName::Chrome => Self::Chrome,
            FormatName::Pcap => Self::Pcap,
            FormatName::Recording => Self::Recording,
        }
    }
}

impl From<Format> for FormatName {
    fn from(format: Format) -> Self {
        match format {
            Format::Log => Self::Log,
            Format::Simple => Self::Simple,
            Format::Chrome => Self::Chrome,
            Format::Pcap => Self::Pcap,
            Format::Recording => Self::Recording,
        }
    }
}

/// A trace that was started.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Started {
    /// The number by which `trace-stop` ends it.
    id: u32,
    /// The file with its folder; none where it goes to standard error.
    path: Option<String>,
}

impl Execute for TraceStart {
    const NAME: &'static str = "trace-start";
    type Answer = Started;

    fn execute(self, device: &mut Device<'_>) -> Result<Started, Refusal> {
        let format = Format::from(self.format);
        if !format.has_events() && !self.patterns.is_empty() {
            return Err(Refusal::new(format!("{} has every command: leave the patterns out", format.name())));
        }
        let selection = select(self.patterns.iter().map(String::as_str)).map_err(Refusal::new)?;
        let file = self.file.map(PathBuf::from);
        let order =
            Order { controller: device.id, format, selection, timestamps: self.timestamp, data: self.data, file };
        let order = order.check().map_err(Refusal::new)?;
        let id = device.audience.tracers.start(order, device.subsystem, device.now).map_err(Refusal::new)?;
        device.audience.listen(device.subsystem);
        let path = device.audience.tracers.path(id).map(|path| path.display().to_string());
        Ok(Started { id, path })
    }
}
