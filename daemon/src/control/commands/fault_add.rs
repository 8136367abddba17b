//! `fault-add`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::faults::{FAULTS_MAX, Fault, UNREADABLE_BITS, place};
use super::{Device, Execute, Refusal};

/// Makes the media or the device suffer from a fault. Where blocks of the media have one already, the new one takes its place.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct FaultAdd(Fault);

/// What was added.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Added {
    /// The number of a fault of the device, by which `fault-remove` takes it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u32>,
}

impl Execute for FaultAdd {
    const NAME: &'static str = "fault-add";
    type Answer = Added;

    fn execute(self, device: &mut Device<'_>) -> Result<Added, Refusal> {
        match self.0 {
            Fault::Controller(spec) => {
                let added = device.controller_mut().fault_add(*spec);
                added.map(|id| Added { id: Some(id) }).map_err(|error| Refusal::new(error.to_string()))
            }
            of_media => add_to_media(device, &of_media).map(|()| Added::default()),
        }
    }
}

fn add_to_media(device: &mut Device<'_>, fault: &Fault) -> Result<(), Refusal> {
    let pending = device.monitor()?.faults();
    let present = (pending.reads.len() + pending.programs.len() + pending.erases.len()) as u64;
    let more = match fault {
        Fault::UnrecoveredRead { blocks, .. } | Fault::BitFlips { blocks, .. } => *blocks,
        Fault::ProgramFailure { .. } | Fault::EraseFailure { .. } | Fault::Controller(_) => 1,
    };
    if present.saturating_add(more) > FAULTS_MAX {
        return Err(Refusal::new(format!("there are {present} faults already, of at most {FAULTS_MAX}")));
    }
    match *fault {
        Fault::UnrecoveredRead { nsid, lba, blocks } => flip(device, nsid, lba, blocks, UNREADABLE_BITS)?,
        Fault::BitFlips { bits: 0, .. } => {
            return Err(Refusal::new("bits=0: give at least 1; `fault-remove` lifts a fault"));
        }
        Fault::BitFlips { nsid, lba, blocks, bits } => {
            flip(device, nsid, lba, blocks, bits.min(UNREADABLE_BITS - 1))?;
        }
        Fault::ProgramFailure { nth } => {
            let nth = ordinal(nth)?;
            device.monitor()?.fail_program(nth);
        }
        Fault::EraseFailure { nth, plane } => {
            let nth = ordinal(nth)?;
            let monitor = device.monitor()?;
            let planes = monitor.geometry().planes;
            if plane >= planes {
                return Err(Refusal::new(format!("plane={plane}: the planes are 0 to {}", planes - 1)));
            }
            monitor.fail_erase(nth, plane);
        }
        Fault::Controller(_) => {}
    }
    Ok(())
}

fn flip(device: &mut Device<'_>, nsid: u32, lba: u64, blocks: u64, bits: u32) -> Result<(), Refusal> {
    let (volume, range) = place(device, nsid, lba, blocks)?;
    device.monitor()?.flip_bits(volume, range, bits);
    Ok(())
}

/// Counted from 1, and not so far that the count of a long life could not reach it.
fn ordinal(nth: u64) -> Result<u64, Refusal> {
    const NTH_MAX: u64 = 1 << 48;
    if (1..=NTH_MAX).contains(&nth) { Ok(nth) } else { Err(Refusal::new(format!("nth={nth}: give 1 to {NTH_MAX}"))) }
}
