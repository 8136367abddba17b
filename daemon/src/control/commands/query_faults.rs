//! `query-faults`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::faults::{Fault, list};
use super::{Device, Execute, Refusal};

/// The faults that the media will meet. One that was met, or lifted by a write, is no longer there.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryFaults {}

impl Execute for QueryFaults {
    const NAME: &'static str = "query-faults";
    type Answer = Vec<Fault>;

    fn execute(self, device: &mut Device<'_>) -> Result<Vec<Fault>, Refusal> {
        let nsids: Vec<u32> = device.controller.config().namespaces.iter().map(|namespace| namespace.nsid).collect();
        let nsid_of = |volume: media::VolumeId| usize::try_from(volume.0).map_or(0, |index| nsids[index]);
        Ok(list(device.monitor()?, nsid_of))
    }
}
