//! `query-queues`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Device, Execute, Refusal};

/// Every queue that exists, and how far both sides are in it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryQueues {}

/// All queues, ascending by identifier; 0 is the admin queue.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Queues {
    submission: Vec<SubmissionQueue>,
    completion: Vec<CompletionQueue>,
}

/// A submission queue.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct SubmissionQueue {
    id: u16,
    /// Guest address of the first entry.
    base: u64,
    entries: u32,
    /// Index of the next entry to take.
    head: u32,
    /// Index behind the last entry that the host wrote.
    tail: u32,
    /// The completion queue that answers it.
    completion_queue: u16,
}

/// A completion queue.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct CompletionQueue {
    id: u16,
    /// Guest address of the first entry.
    base: u64,
    entries: u32,
    /// Index of the next entry that the host will see.
    head: u32,
    /// Index of the next entry to write.
    tail: u32,
    /// The phase bit of the next entry.
    phase: bool,
    /// Slots held for commands that are not answered yet.
    reserved: u32,
    /// The interrupt vector; none if the host polls.
    vector: Option<u16>,
}

impl Execute for QueryQueues {
    const NAME: &'static str = "query-queues";
    type Answer = Queues;

    fn execute(self, device: &mut Device<'_>) -> Result<Queues, Refusal> {
        use controller::inspect::{CompletionQueueState, SubmissionQueueState};
        let submission = device.controller().submission_queues().map(
            |SubmissionQueueState { id, base, entries, head, tail, completion_queue }| SubmissionQueue {
                id,
                base,
                entries,
                head,
                tail,
                completion_queue,
            },
        );
        let completion = device.controller().completion_queues().map(
            |CompletionQueueState { id, base, entries, head, tail, phase, reserved, vector }| CompletionQueue {
                id,
                base,
                entries,
                head,
                tail,
                phase,
                reserved,
                vector,
            },
        );
        Ok(Queues { submission: submission.collect(), completion: completion.collect() })
    }
}
