//! `query-features`.

use nvme_spec::feature::FeatureId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Device, Execute, Refusal};

/// Every feature that the host can set, and the value that is in force.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryFeatures {}

/// A value of a feature.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Feature {
    /// Feature identifier.
    id: u8,
    /// Its name in words.
    name: &'static str,
    /// The namespace that it is of, if it is of one.
    nsid: Option<u32>,
    /// Command dword 11 that selects this value, where the feature has several.
    selector: u32,
    /// What Get Features answers; of a data structure the first four bytes.
    value: u32,
}

impl Execute for QueryFeatures {
    const NAME: &'static str = "query-features";
    type Answer = Vec<Feature>;

    fn execute(self, device: &mut Device<'_>) -> Result<Vec<Feature>, Refusal> {
        let features = device.subsystem.features(device.id).into_iter();
        Ok(features
            .map(|feature| Feature {
                id: feature.id.0,
                name: name(feature.id),
                nsid: feature.nsid,
                selector: feature.selector,
                value: feature.value,
            })
            .collect())
    }
}

fn name(id: FeatureId) -> &'static str {
    match id {
        FeatureId::ARBITRATION => "arbitration",
        FeatureId::POWER_MANAGEMENT => "power-management",
        FeatureId::TEMPERATURE_THRESHOLD => "temperature-threshold",
        FeatureId::ERROR_RECOVERY => "error-recovery",
        FeatureId::VOLATILE_WRITE_CACHE => "volatile-write-cache",
        FeatureId::NUMBER_OF_QUEUES => "number-of-queues",
        FeatureId::INTERRUPT_COALESCING => "interrupt-coalescing",
        FeatureId::INTERRUPT_VECTOR => "interrupt-vector",
        FeatureId::WRITE_ATOMICITY => "write-atomicity-normal",
        FeatureId::ASYNCHRONOUS_EVENTS => "asynchronous-events",
        FeatureId::KEEP_ALIVE_TIMER => "keep-alive-timer",
        FeatureId::HOST_BEHAVIOR => "host-behavior",
        FeatureId::HOST_IDENTIFIER => "host-identifier",
        FeatureId::RESERVATION_NOTIFICATIONS => "reservation-notification-mask",
        FeatureId::RESERVATION_PERSISTENCE => "reservation-persistence",
        _ => "unnamed",
    }
}
