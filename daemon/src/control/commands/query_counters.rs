//! `query-counters`.

use controller::inspect::{AnsweredState, ServiceTimes};
use nvme_spec::opcode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Device, Execute, Refusal};

/// Commands that were answered since the device was made, by opcode and status, and how long those of I/O queues took.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryCounters {}

/// Counters.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Counters {
    commands: Vec<Answered>,
    service_times: Times,
}

/// Commands of a kind that were answered alike.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Answered {
    /// They came by the admin queue.
    admin: bool,
    opcode: u8,
    /// Its name in the specification, where it has one here.
    name: Option<&'static str>,
    /// Status Code Type.
    status_code_type: u8,
    /// Status Code.
    status_code: u8,
    count: u64,
}

/// How long commands of I/O queues took: from the controller's step that took them to its end, or to the step that answered them where that
/// is a later one. The time that they waited in their queue before is not in it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Times {
    /// Ascending; each has those that took longer than the bucket before says.
    buckets: Vec<Bucket>,
    /// All times together, in nanoseconds.
    sum_ns: u64,
}

/// Commands that took about as long.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Bucket {
    /// They took at most so many nanoseconds; none for the last bucket.
    most_ns: Option<u64>,
    count: u64,
}

impl Execute for QueryCounters {
    const NAME: &'static str = "query-counters";
    type Answer = Counters;

    fn execute(self, device: &mut Device<'_>) -> Result<Counters, Refusal> {
        let commands = device.controller().answered().into_iter().map(answered).collect();
        Ok(Counters { commands, service_times: times(device.controller().service_times()) })
    }
}

fn answered(state: AnsweredState) -> Answered {
    let AnsweredState { admin, opcode, status, count } = state;
    Answered {
        admin,
        opcode,
        name: opcode::name(u16::from(!admin), opcode),
        status_code_type: status.code_type(),
        status_code: status.code(),
        count,
    }
}

fn times(times: &ServiceTimes) -> Times {
    let buckets = times.buckets().map(|(most_ns, count)| Bucket { most_ns, count });
    Times { buckets: buckets.collect(), sum_ns: times.sum_ns() }
}
