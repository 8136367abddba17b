//! `namespace-add`.

use controller::ana::{ANA_GROUP_FIRST, ANA_GROUPS_MAX};
use controller::changes::{Change, NewNamespace};
use controller::{ControllerId, ControllerSet, Format};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::namespace_change::{Size, ended, refusal};
use super::{Device, LongCommand, Refusal};
use crate::options::Bytes;

/// Makes a namespace on a drive that has a capacity of its own (`--media capacity=SIZE`), and attaches it: hosts are told. It is answered
/// when that is durable; a power loss before leaves all of it, or nothing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NamespaceAdd {
    /// Its size: a multiple of the block size.
    size: Size,
    /// Logical block size; 512 bytes if it is not given.
    lba: Option<Size>,
    /// Bytes of metadata beside each block: 0, 8, 16 or 64.
    #[serde(default)]
    ms: u32,
    /// Where the metadata is in guest memory: 0 in a buffer of its own, 1 behind each block.
    #[serde(default)]
    mset: u8,
    /// Whether several controllers may have it at the same time.
    #[serde(default = "yes")]
    shared: bool,
    /// The controllers that have it, such as 0:2; otherwise all, or the first where it is not shared. An empty text is none.
    controllers: Option<String>,
    /// Its ANA group, 1 to 32; 1 if it is not given. Needs `--device ana=on`.
    anagrpid: Option<u32>,
}

const fn yes() -> bool {
    true
}

/// The new namespace.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Added {
    /// Its identifier: the lowest that was free.
    nsid: u32,
}

impl NamespaceAdd {
    fn group(&self, device: &Device<'_>) -> Result<u32, Refusal> {
        let Some(given) = self.anagrpid else { return Ok(ANA_GROUP_FIRST) };
        if !device.subsystem.config().ana {
            return Err(Refusal::new(format!("anagrpid={given}: there are groups with --device ana=on only")));
        }
        let remedy = || Refusal::new(format!("anagrpid={given}: give 1 to {ANA_GROUPS_MAX}"));
        Some(given).filter(|group| (1..=ANA_GROUPS_MAX).contains(group)).ok_or_else(remedy)
    }

    fn attached(&self) -> Result<ControllerSet, Refusal> {
        match self.controllers.as_deref() {
            None if self.shared => Ok(ControllerSet::ALL),
            None => Ok(ControllerSet::one(ControllerId::FIRST)),
            Some("") => Ok(ControllerSet::NONE),
            Some(text) => ControllerSet::parse(text).ok_or_else(|| {
                Refusal::new(format!("controllers={text}: give identifiers from 0 to 63, ascending, such as 0:2"))
            }),
        }
    }
}

impl LongCommand for NamespaceAdd {
    const NAME: &'static str = "namespace-add";
    type Answer = Added;

    fn begin(&self, device: &mut Device<'_>) -> Result<(), Refusal> {
        let Bytes(bytes) = self.size.bytes("size")?;
        let format = format(self.lba.as_ref(), self.ms)?;
        let lba = u64::from(format.block_bytes);
        if !bytes.is_multiple_of(lba) {
            let block = Bytes(lba);
            return Err(Refusal::new(format!("size={}: give a multiple of the block size, {block}", Bytes(bytes))));
        }
        let attached = self.attached()?;
        let new = NewNamespace {
            format,
            extended: extended(self.mset)?,
            blocks: bytes / lba,
            shared: self.shared,
            attached,
            anagrpid: self.group(device)?,
        };
        device.subsystem.change(Change::Create(new)).map_err(|error| refusal(device, 0, error))
    }

    fn ended(&self, device: &mut Device<'_>) -> Option<Result<Added, Refusal>> {
        Some(ended(device, 0)?.map(|nsid| Added { nsid }))
    }
}

/// The LBA format that is meant.
///
/// # Errors
/// There can be no such blocks.
pub fn format(lba: Option<&Size>, ms: u32) -> Result<Format, Refusal> {
    let Bytes(lba) = lba.map_or(Ok(Bytes(512)), |lba| lba.bytes("lba"))?;
    let block_bytes = u32::try_from(lba).ok().filter(|lba| lba.is_power_of_two() && (512..=65536).contains(lba));
    let refusal = || Refusal::new(format!("lba={}: give a power of two from 512 to 65536", Bytes(lba)));
    Ok(Format { block_bytes: block_bytes.ok_or_else(refusal)?, metadata_bytes: ms })
}

/// Whether metadata follows each block.
///
/// # Errors
/// It is neither yes nor no.
pub fn extended(mset: u8) -> Result<bool, Refusal> {
    let remedy = "give 0 for metadata in a buffer of its own, 1 for metadata behind each block";
    if mset > 1 { Err(Refusal::new(format!("mset={mset}: {remedy}"))) } else { Ok(mset == 1) }
}
