//! `query-faults`.

use controller::fault::FaultState;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::faults::{Fault, list};
use super::{Device, Execute, Refusal};

/// The faults that there are: those of the device, with what they did, and those that the media will meet. One of the media that was met, or
/// lifted by a write, is no longer there.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryFaults {}

/// A fault.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listed {
    #[serde(flatten)]
    fault: Fault,
    /// How many a fault of the device has met: all its conditions held, its time too.
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<u64>,
    /// How many of these it has hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    hits: Option<u64>,
}

impl Execute for QueryFaults {
    const NAME: &'static str = "query-faults";
    type Answer = Vec<Listed>;

    fn execute(self, device: &mut Device<'_>) -> Result<Vec<Listed>, Refusal> {
        let nsids: Vec<_> = device.subsystem.namespaces().map(|namespace| namespace.nsid).collect();
        let volumes: Vec<_> = nsids.iter().map(|nsid| device.subsystem.volume_of(*nsid)).collect();
        let nsid_of = |volume: media::VolumeId| {
            volumes.iter().position(|other| *other == Some(volume)).map_or(0, |index| nsids[index])
        };
        let of_device = |FaultState { spec, met, hits }| Listed {
            fault: Fault::Controller(Box::new(spec)),
            met: Some(met),
            hits: Some(hits),
        };
        let mut faults: Vec<Listed> = device.controller().faults().into_iter().map(of_device).collect();
        if let Ok(monitor) = device.monitor() {
            faults.extend(list(monitor, nsid_of).into_iter().map(|fault| Listed { fault, met: None, hits: None }));
        }
        Ok(faults)
    }
}
