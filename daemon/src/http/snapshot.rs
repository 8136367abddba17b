//! What the device says of itself, all at one moment: the answers of the control socket's queries, by their names.

use serde_json::{Map, Value};

use crate::control::commands::{self, Device, Job, Prepared};

/// What is asked. Each costs the device's thread some microseconds.
const QUERIES: [&str; 9] = [
    "query-status",
    "query-controller",
    "query-queues",
    "query-media",
    "query-lines",
    "query-counters",
    "query-log",
    "query-violations",
    "query-crash",
];

/// What the device's thread is to do. What a query has no answer for is null.
pub fn job() -> Job {
    Box::new(|device| {
        Some(Ok(Value::Object(QUERIES.iter().map(|name| ((*name).to_owned(), ask(name, device))).collect())))
    })
}

fn ask(name: &str, device: &mut Device<'_>) -> Value {
    match commands::prepare(name, Map::new()) {
        Ok(Prepared::Job(mut job)) => job(device).and_then(Result::ok).unwrap_or_default(),
        Ok(Prepared::Answered(answer)) => answer.unwrap_or_default(),
        Err(_) => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_is_a_command_without_arguments() {
        for name in QUERIES {
            assert!(matches!(commands::prepare(name, Map::new()), Ok(Prepared::Job(_))), "{name}");
        }
    }
}
