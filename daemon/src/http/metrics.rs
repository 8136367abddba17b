//! A snapshot as Prometheus reads it (text format 0.0.4). Names, units and labels do not change from release to release.

use std::fmt::Write as _;

use serde_json::Value;

use super::snapshot::CONTROLLERS;

/// The kind of the text.
pub const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes everything that a snapshot has. What it has not is left out.
pub fn write(snapshot: &Value) -> String {
    let mut text = Text::default();
    device(&mut text, snapshot);
    let controllers: Vec<(String, &Value)> = snapshot[CONTROLLERS]
        .as_array()
        .map(|list| list.iter().enumerate().map(|(id, answers)| (id.to_string(), answers)).collect())
        .unwrap_or_default();
    states(&mut text, &controllers);
    commands(&mut text, &controllers);
    service_times(&mut text, &controllers);
    queues(&mut text, &controllers);
    media(&mut text, &snapshot["query-media"]);
    lines(&mut text, &snapshot["query-lines"]);
    violations(&mut text, &controllers);
    text.0
}

/// The text so far.
#[derive(Default)]
struct Text(String);

impl Text {
    /// Begins a metric: what it is called, what kind it is, and what it says.
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP brownout_{name} {help}\n# TYPE brownout_{name} {kind}");
    }

    /// A value of a metric, with its labels.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: &str) {
        let _ = write!(self.0, "brownout_{name}");
        for (place, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{text}\"", if place == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A metric of one value, if it is there: a number, or true or false as 1 or 0.
    fn one(&mut self, name: &str, kind: &str, help: &str, value: &Value) {
        if let Some(number) = number(value) {
            self.metric(name, kind, help);
            self.sample(name, &[], &number);
        }
    }

    /// A metric of one value of each controller.
    fn of_each(&mut self, name: &str, kind: &str, help: &str, of: &Controllers<'_>, value: impl Fn(&Value) -> Value) {
        let found: Vec<_> = of.iter().filter_map(|(id, answers)| Some((id, number(&value(answers))?))).collect();
        if !found.is_empty() {
            self.metric(name, kind, help);
            found.iter().for_each(|(id, number)| self.sample(name, &[("controller", id.as_str())], number));
        }
    }

    /// A metric of several values of an object, each with the label's text and the member's name.
    fn several(&mut self, name: &str, kind: &str, help: &str, label: &str, of: &Value, members: &[&str]) {
        let found: Vec<_> = members.iter().filter_map(|member| Some((*member, number(&of[*member])?))).collect();
        if !found.is_empty() {
            self.metric(name, kind, help);
            found.iter().for_each(|(member, number)| self.sample(name, &[(label, member)], number));
        }
    }
}

fn number(value: &Value) -> Option<String> {
    match value {
        Value::Bool(value) => Some(u8::from(*value).to_string()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

const COUNTER: &str = "counter";
const GAUGE: &str = "gauge";

/// Controllers by their identifiers, each with its answers.
type Controllers<'a> = [(String, &'a Value)];

fn device(text: &mut Text, snapshot: &Value) {
    let (status, log) = (&snapshot["query-status"], &snapshot["query-log"]["smart"]);
    text.metric("build_info", GAUGE, "The program; the value says nothing.");
    text.sample("build_info", &[("version", env!("CARGO_PKG_VERSION"))], "1");
    text.one("power_on", GAUGE, "Whether the drive has power.", &status["running"]);
    text.one("client_connected", GAUGE, "Whether a virtual machine has the drive.", &status["client-connected"]);
    text.one("uptime_seconds", GAUGE, "Seconds since the device was made.", &status["uptime-seconds"]);
    let percent = &log["available-spare-percent"];
    text.one("available_spare_percent", GAUGE, "Replacement blocks that are left.", percent);
}

fn states(text: &mut Text, controllers: &Controllers<'_>) {
    if controllers.is_empty() {
        return;
    }
    text.metric("controller_state", GAUGE, "Whether a controller is in this state.");
    for (id, answers) in controllers {
        for state in ["enabled", "ready", "fatal"] {
            if let Some(value) = number(&answers["query-controller"][state]) {
                text.sample("controller_state", &[("controller", id), ("state", state)], &value);
            }
        }
    }
    let in_flight = |answers: &Value| answers["query-controller"]["commands-in-flight"].clone();
    let help = "Commands that were taken and are not answered.";
    text.of_each("commands_in_flight", GAUGE, help, controllers, in_flight);
    let entries = |answers: &Value| answers["query-log"]["smart"]["error-log-entries"].clone();
    text.of_each("error_log_entries_total", COUNTER, "Entries of the error log.", controllers, entries);
}

fn commands(text: &mut Text, controllers: &Controllers<'_>) {
    let help = "Commands that were answered, by controller, queue, opcode and status (type/code, hexadecimal; 0/00 is success).";
    let all = controllers.iter().flat_map(|(id, answers)| {
        answers["query-counters"]["commands"].as_array().into_iter().flatten().map(move |command| (id, command))
    });
    let all: Vec<_> = all.collect();
    if all.is_empty() {
        return;
    }
    text.metric("commands_total", COUNTER, help);
    for (id, command) in all {
        let queue = if command["admin"] == true { "admin" } else { "io" };
        let opcode = format!("{:02x}", command["opcode"].as_u64().unwrap_or_default());
        let code = |name: &str| command[name].as_u64().unwrap_or_default();
        let status = format!("{:x}/{:02x}", code("status-code-type"), code("status-code"));
        let name = command["name"].as_str().unwrap_or("unknown");
        let labels = [
            ("controller", id.as_str()),
            ("queue", queue),
            ("opcode", opcode.as_str()),
            ("command", name),
            ("status", status.as_str()),
        ];
        text.sample("commands_total", &labels, &command["count"].to_string());
    }
}

fn service_times(text: &mut Text, controllers: &Controllers<'_>) {
    let help = "From the begin of the controller's step that took an I/O command to its end, or to a later step that answered it.";
    let mut begun = false;
    for (id, answers) in controllers {
        let times = &answers["query-counters"]["service-times"];
        let Some(buckets) = times["buckets"].as_array() else { continue };
        if !std::mem::replace(&mut begun, true) {
            text.metric("service_time_seconds", "histogram", help);
        }
        let controller = ("controller", id.as_str());
        let mut count = 0;
        for bucket in buckets {
            count += bucket["count"].as_u64().unwrap_or_default();
            let bound = bucket["most-ns"].as_u64().map_or_else(|| "+Inf".to_owned(), seconds);
            text.sample("service_time_seconds_bucket", &[controller, ("le", bound.as_str())], &count.to_string());
        }
        let sum = seconds(times["sum-ns"].as_u64().unwrap_or_default());
        text.sample("service_time_seconds_sum", &[controller], &sum);
        text.sample("service_time_seconds_count", &[controller], &count.to_string());
    }
}

/// Exact, as decimal fraction.
fn seconds(nanoseconds: u64) -> String {
    format!("{}.{:09}", nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000)
}

fn queues(text: &mut Text, controllers: &Controllers<'_>) {
    let depth = |queue: &Value| {
        let [head, tail, entries] = ["head", "tail", "entries"].map(|name| queue[name].as_u64());
        Some((queue["id"].to_string(), (tail? + entries?).checked_sub(head?)? % entries?.max(1)))
    };
    let mut begun = false;
    for (id, answers) in controllers {
        for (queue, depth) in answers["query-queues"]["submission"].as_array().into_iter().flatten().filter_map(depth) {
            if !std::mem::replace(&mut begun, true) {
                let help = "Entries that the host has written and the controller has not taken.";
                text.metric("submission_queue_depth", GAUGE, help);
            }
            text.sample("submission_queue_depth", &[("controller", id), ("queue", &queue)], &depth.to_string());
        }
    }
}

fn media(text: &mut Text, media: &Value) {
    let (ledger, counters, cache, wear) = (&media["ledger"], &media["counters"], &media["cache"], &media["wear"]);
    let host = |direction: &str, unit: &str| counters[format!("host-{direction}-{unit}")].clone();
    let both = serde_json::json!({ "read": host("read", "bytes"), "write": host("write", "bytes") });
    let help = "Bytes that hosts have read and written, over the life of the media.";
    text.several("host_bytes_total", COUNTER, help, "direction", &both, &["read", "write"]);
    let help = "Bytes programmed, by reason, over the life of the media.";
    let reasons = ["host", "fill", "collected", "wear", "padding", "metadata"];
    text.several("programmed_bytes_total", COUNTER, help, "reason", ledger, &reasons);
    let help = "Bytes programmed for each byte that hosts wrote, without what the drive notes for itself.";
    text.one("write_amplification", GAUGE, help, &media["write-amplification"]);
    text.one("mapped_units", GAUGE, "Indirection units that hold data.", &media["mapped-units"]);
    text.one("cache_enabled", GAUGE, "Whether the volatile write cache is on.", &cache["enabled"]);
    text.one("cache_bytes", GAUGE, "Bytes that may wait in the volatile write cache.", &cache["bytes"]);
    let help = "Indirection units that wait in the volatile write cache: what a power loss may take.";
    text.one("cache_staged_units", GAUGE, help, &cache["staged-units"]);
    text.one("unit_bytes", GAUGE, "Bytes of an indirection unit.", &media["geometry"]["unit-bytes"]);
    text.one("power_cycles_total", COUNTER, "Times that power came.", &counters["power-cycles"]);
    text.one(
        "unsafe_shutdowns_total",
        COUNTER,
        "Power losses without a shutdown before.",
        &counters["unsafe-shutdowns"],
    );
    text.one("media_errors_total", COUNTER, "Reads of data that was lost.", &counters["media-errors"]);
    text.one(
        "corrected_reads_total",
        COUNTER,
        "Reads that the error correction repaired.",
        &counters["corrected-reads"],
    );
    text.one("program_failures_total", COUNTER, "Programs that failed.", &counters["program-failures"]);
    text.one("erase_failures_total", COUNTER, "Erases that failed.", &counters["erase-failures"]);
    text.one("erases_total", COUNTER, "Lines erased.", &counters["erases"]);
    text.one("victims_total", COUNTER, "Lines chosen by garbage collection.", &counters["victims"]);
    let extremes = serde_json::json!({ "fewest": wear["erases-fewest"], "most": wear["erases-most"] });
    text.several("line_erases", GAUGE, "Erases of single lines.", "line", &extremes, &["fewest", "most"]);
    text.one("percentage_used", GAUGE, "Life used.", &wear["percentage-used"]);
    text.one("bad_blocks", GAUGE, "Blocks out of use.", &wear["bad-blocks"]);
    text.one("read_only", GAUGE, "Whether nothing can be written any more.", &media["read-only"]);
    text.one("memory_full", GAUGE, "Whether memory_max is reached.", &media["memory-full"]);
    text.one("damaged_units", GAUGE, "Units found damaged that still are.", &media["integrity"]["damaged-units"]);
}

fn lines(text: &mut Text, lines: &Value) {
    let states = ["free", "open", "closed", "victim", "drained", "retired"];
    text.several("lines", GAUGE, "Lines of the NAND, by state.", "state", lines, &states);
}

fn violations(text: &mut Text, controllers: &Controllers<'_>) {
    let mut counts = std::collections::BTreeMap::<[&str; 4], u64>::new();
    for (id, answers) in controllers {
        for violation in answers["query-violations"].as_array().into_iter().flatten() {
            let [rule, slug, severity] =
                ["rule", "slug", "severity"].map(|name| violation[name].as_str().unwrap_or_default());
            let count = violation["count"].as_u64().unwrap_or_default();
            *counts.entry([id, rule, slug, severity]).or_default() += count;
        }
    }
    text.metric("violations_total", COUNTER, "Rules that a host's driver broke.");
    for ([id, rule, slug, severity], count) in counts {
        let labels = [("controller", id), ("rule", rule), ("name", slug), ("severity", severity)];
        text.sample("violations_total", &labels, &count.to_string());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_there_is_written_as_prometheus_reads_it() {
        let one = json!({
            "query-controller": { "enabled": true, "ready": false, "commands-in-flight": 5 },
            "query-queues": { "submission": [{ "id": 1, "head": 6, "tail": 2, "entries": 8 }] },
            "query-counters": {
                "commands": [{ "admin": false, "opcode": 2, "name": "Read", "status-code-type": 2, "status-code": 129, "count": 3 }],
                "service-times": {
                    "buckets": [{ "most-ns": 256, "count": 1 }, { "most-ns": 512, "count": 0 }, { "most-ns": null, "count": 2 }],
                    "sum-ns": 3_000_000_001_u64,
                },
            },
            "query-violations": [
                { "rule": "H19", "slug": "a \"b\"\\\n", "severity": "must", "count": 2 },
                { "rule": "H19", "slug": "a \"b\"\\\n", "severity": "must", "count": 1 },
            ],
        });
        let status = json!({ "running": true, "uptime-seconds": 7 });
        let other = json!({ "query-controller": { "enabled": false, "commands-in-flight": 0 } });
        let snapshot = json!({ "query-status": status, "controllers": [one, other] });
        let text = write(&snapshot);
        for line in [
            "brownout_power_on 1",
            "brownout_uptime_seconds 7",
            "brownout_controller_state{controller=\"0\",state=\"enabled\"} 1",
            "brownout_commands_in_flight{controller=\"0\"} 5",
            "brownout_commands_in_flight{controller=\"1\"} 0",
            "brownout_submission_queue_depth{controller=\"0\",queue=\"1\"} 4",
            "brownout_commands_total{controller=\"0\",queue=\"io\",opcode=\"02\",command=\"Read\",status=\"2/81\"} 3",
            "brownout_service_time_seconds_bucket{controller=\"0\",le=\"0.000000256\"} 1",
            "brownout_service_time_seconds_bucket{controller=\"0\",le=\"0.000000512\"} 1",
            "brownout_service_time_seconds_bucket{controller=\"0\",le=\"+Inf\"} 3",
            "brownout_service_time_seconds_sum{controller=\"0\"} 3.000000001",
            "brownout_service_time_seconds_count{controller=\"0\"} 3",
            "brownout_violations_total{controller=\"0\",rule=\"H19\",name=\"a \\\"b\\\"\\\\\\n\",severity=\"must\"} 3",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}:\n{text}");
        }
        assert!(!text.contains("brownout_lines") && !text.contains("brownout_write_amplification"), "{text}");
    }
}
