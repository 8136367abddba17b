//! What the commands that change namespaces have in common: sizes as people write them, and refusals in words.

use controller::changes::ChangeError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Device, Refusal};
use crate::options::Bytes;

/// Bytes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "give a number of bytes, or a size such as 512MiB, 2GiB, 1GB or 4096B")]
pub enum Size {
    /// A number of bytes.
    Number(u64),
    /// With a unit, such as 512MiB, 2GiB, 1GB or 4096B.
    Text(String),
}

impl Size {
    /// In bytes.
    ///
    /// # Errors
    /// It is no size; `name` is the argument's.
    pub fn bytes(&self, name: &str) -> Result<Bytes, Refusal> {
        match self {
            Self::Number(bytes) => Ok(Bytes(*bytes)),
            Self::Text(text) => text.parse().map_err(|remedy| Refusal::new(format!("{name}={text}: {remedy}"))),
        }
    }
}

/// What a namespace is like now.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Sized {
    /// NSZE.
    size_blocks: u64,
    /// The same in bytes.
    size_bytes: u64,
}

impl Sized {
    /// Of a namespace.
    pub fn of(device: &Device<'_>, nsid: u32) -> Self {
        let data = device.subsystem.identify_namespace(nsid);
        let size_blocks = data.map_or(0, |data| data.nsze.get());
        Self { size_blocks, size_bytes: size_blocks << block_shift(device, nsid).unwrap_or(0) }
    }
}

/// log2 of a namespace's block size.
pub fn block_shift(device: &Device<'_>, nsid: u32) -> Option<u32> {
    device.subsystem.identify_namespace(nsid).map(|data| data.format().lbads.into())
}

/// Which namespaces there are, in words.
pub fn known(device: &Device<'_>) -> String {
    let known: Vec<String> = device.subsystem.namespaces().map(|namespace| namespace.nsid.to_string()).collect();
    if known.is_empty() { "there are none".to_owned() } else { format!("the namespaces are {}", known.join(", ")) }
}

/// How the change has ended that was begun; `None` while it is under way. Its identifier, where a namespace was made.
pub fn ended(device: &mut Device<'_>, nsid: u32) -> Option<Result<u32, Refusal>> {
    let ended = device.subsystem.changed()?;
    Some(ended.map_err(|error| refusal(device, nsid, error)))
}

/// Why a change was not made, in the words of these commands.
pub fn refusal(device: &Device<'_>, nsid: u32, error: ChangeError) -> Refusal {
    let shift = block_shift(device, nsid).unwrap_or(0);
    Refusal::new(match error {
        ChangeError::Size { blocks, most } => {
            let (asked, most) = (Bytes(blocks << shift), Bytes(most << shift));
            format!(
                "size={asked}: namespace {nsid} can have at most {most}, and at least a block; one that is made with \
                 size_max has room to grow"
            )
        }
        ChangeError::Capacity { needed, free } => {
            format!("size={}: {} are free", Bytes(needed), Bytes(free))
        }
        ChangeError::NoSuchNamespace(_) => format!("there is no namespace {nsid}: {}", known(device)),
        ChangeError::NoPower => "power is off: `power-restore` brings it back".to_owned(),
        other => other.to_string(),
    })
}
