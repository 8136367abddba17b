//! What the device says of itself, all at one moment: the answers of the control socket's queries, by their names.

use controller::ControllerId;
use serde_json::{Map, Value};

use crate::control::commands::{self, Device, Job, Prepared};

/// What is asked of the drive. Each costs the device's thread some microseconds.
const OF_DRIVE: [&str; 4] = ["query-status", "query-media", "query-lines", "query-crash"];

/// What is asked of each controller.
const OF_CONTROLLERS: [&str; 5] =
    ["query-controller", "query-queues", "query-counters", "query-log", "query-violations"];

/// The member that has the answers of each controller, in the order of their identifiers.
pub const CONTROLLERS: &str = "controllers";

/// What the device's thread is to do. What a query has no answer for is null.
pub fn job() -> Job {
    Box::new(|device| {
        let ids: Vec<ControllerId> = device.subsystem.ids().collect();
        let each: Vec<_> = ids.into_iter().map(|id| answers(&OF_CONTROLLERS, device, id)).collect();
        let mut snapshot = answers(&OF_DRIVE, device, ControllerId::FIRST);
        // The page shows the first.
        snapshot.extend(each.first().cloned().unwrap_or_default());
        snapshot.insert(CONTROLLERS.to_owned(), each.into_iter().map(Value::Object).collect());
        Some(Ok(Value::Object(snapshot)))
    })
}

fn answers(queries: &[&str], device: &mut Device<'_>, id: ControllerId) -> Map<String, Value> {
    queries.iter().map(|name| ((*name).to_owned(), ask(name, device, id))).collect()
}

fn ask(name: &str, device: &mut Device<'_>, id: ControllerId) -> Value {
    let mut arguments = Map::new();
    if id != ControllerId::FIRST {
        arguments.insert("controller".to_owned(), id.0.into());
    }
    match commands::prepare(name, arguments) {
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
        for name in OF_DRIVE.into_iter().chain(OF_CONTROLLERS) {
            assert!(matches!(commands::prepare(name, Map::new()), Ok(Prepared::Job(_))), "{name}");
        }
        for name in OF_CONTROLLERS {
            let second = [("controller".to_owned(), 1.into())].into_iter().collect();
            assert!(matches!(commands::prepare(name, second), Ok(Prepared::Job(_))), "{name}");
        }
    }
}
