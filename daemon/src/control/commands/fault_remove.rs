//! `fault-remove`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::faults::{BLOCKS_MAX, Fault, UNREADABLE_BITS, place};
use super::{Device, Execute, Refusal};

/// Lifts a fault of the media that was not met yet, or all of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultRemove {
    /// The fault, described as `query-faults` does.
    fault: Option<Fault>,
    /// All faults.
    #[serde(default)]
    all: bool,
}

/// What was lifted.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Removed {
    /// Faults that are gone; a faulty block is one.
    removed: u64,
}

impl Execute for FaultRemove {
    const NAME: &'static str = "fault-remove";
    type Answer = Removed;

    fn execute(self, device: &mut Device<'_>) -> Result<Removed, Refusal> {
        let removed = match self.fault {
            Some(_) if self.all => return Err(Refusal::new("give fault, or all=true, and not both")),
            None if self.all => return remove_all(device),
            None => return Err(Refusal::new("give fault, as `query-faults` shows it, or all=true")),
            Some(Fault::UnrecoveredRead { nsid, lba, blocks }) => lift(device, nsid, lba, blocks, UNREADABLE_BITS)?,
            Some(Fault::BitFlips { nsid, lba, blocks, bits }) => lift(device, nsid, lba, blocks, bits)?,
            Some(Fault::ProgramFailure { nth }) => u64::from(device.monitor()?.spare_program(nth)),
            Some(Fault::EraseFailure { nth, .. }) => u64::from(device.monitor()?.spare_erase(nth)),
        };
        if removed == 0 {
            return Err(Refusal::new("there is no such fault: `query-faults` lists those that there are"));
        }
        Ok(Removed { removed })
    }
}

/// Lifts the faults of just this many bits.
fn lift(device: &mut Device<'_>, nsid: u32, lba: u64, blocks: u64, bits: u32) -> Result<u64, Refusal> {
    let (volume, range) = place(device, nsid, lba, blocks)?;
    let monitor = device.monitor()?;
    let within = |lba: u64| lba >= range.start.0 && lba - range.start.0 < range.blocks.min(BLOCKS_MAX);
    let meant = monitor.faults().reads.into_iter();
    let meant: Vec<_> = meant.filter(|(of, lba, has)| *of == volume && within(lba.0) && *has == bits).collect();
    for (volume, lba, _) in &meant {
        monitor.flip_bits(*volume, media::LbaRange::new(*lba, 1), 0);
    }
    Ok(meant.len() as u64)
}

fn remove_all(device: &mut Device<'_>) -> Result<Removed, Refusal> {
    let monitor = device.monitor()?;
    let pending = monitor.faults();
    let removed = (pending.reads.len() + pending.programs.len() + pending.erases.len()) as u64;
    for (volume, lba, _) in pending.reads {
        monitor.flip_bits(volume, media::LbaRange::new(lba, 1), 0);
    }
    for nth in pending.programs {
        monitor.spare_program(nth);
    }
    for (nth, _) in pending.erases {
        monitor.spare_erase(nth);
    }
    Ok(Removed { removed })
}
