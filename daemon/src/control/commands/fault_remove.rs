//! `fault-remove`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::faults::{BLOCKS_MAX, Fault, UNREADABLE_BITS, place};
use super::{Device, Execute, Refusal};

/// Lifts a fault of the device by its number, one of the media that was not met yet, or all of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultRemove {
    /// The number of a fault of the device.
    id: Option<u32>,
    /// The fault of the media, described as `query-faults` does.
    fault: Option<Fault>,
    /// All faults, of device and media.
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
        let given = usize::from(self.id.is_some()) + usize::from(self.fault.is_some()) + usize::from(self.all);
        match given {
            0 => return Err(Refusal::new("give id or fault, as `query-faults` shows it, or all=true")),
            1 => {}
            _ => return Err(Refusal::new("give one of id, fault and all=true, and not both")),
        }
        if let Some(id) = self.id {
            return remove_of_device(device, id);
        }
        let removed = match self.fault {
            None => return remove_all(device),
            Some(Fault::Controller(spec)) => match spec.id {
                Some(id) => return remove_of_device(device, id),
                None => return Err(Refusal::new("a fault of the device is removed by its number: give id")),
            },
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

fn remove_of_device(device: &mut Device<'_>, id: u32) -> Result<Removed, Refusal> {
    if device.controller_mut().fault_remove(id) {
        return Ok(Removed { removed: 1 });
    }
    Err(Refusal::new(format!("id={id}: there is no such fault: `query-faults` lists those that there are")))
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
    let numbers: Vec<u32> = device.controller().faults().iter().filter_map(|fault| fault.spec.id).collect();
    let removed = numbers.into_iter().filter(|id| device.controller_mut().fault_remove(*id)).count() as u64;
    let Ok(monitor) = device.monitor() else { return Ok(Removed { removed }) };
    let pending = monitor.faults();
    let removed = removed + (pending.reads.len() + pending.programs.len() + pending.erases.len()) as u64;
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
