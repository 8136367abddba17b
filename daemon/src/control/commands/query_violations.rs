//! `query-violations`.

use checker::{Severity, Violation};
use controller::power::CommandName;
use nvme_spec::Command;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::query_trace::TracedEvent;
use super::{Device, Execute, Refusal};

/// What the host's driver did against the rules, by rule and life of the controller, with the evidence of the first time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct QueryViolations {
    /// Only these severities and worse.
    #[serde(default)]
    severity: Least,
    /// The machine has switched itself off: what its driver should have done before counts too.
    #[serde(default)]
    switched_off: bool,
}

/// The mildest severity that is listed.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Least {
    /// All.
    #[default]
    Performance,
    /// What the specification recommends, and what it demands.
    Should,
    /// What the specification demands.
    Must,
}

/// A rule that was broken.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ViolationState {
    /// Its identifier, as in H19.
    rule: &'static str,
    /// Its short name.
    slug: &'static str,
    severity: Severity,
    /// What the driver has to do.
    text: &'static str,
    /// Where that stands.
    section: &'static str,
    /// How often it was broken.
    count: u64,
    first_ns: u64,
    last_ns: u64,
    /// The life of the controller: counts resets and enables since power-on.
    generation: u64,
    /// What the host did the first time, in words.
    detail: String,
    /// The offending value,
    value: u64,
    /// and the bound that it broke.
    bound: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<CommandName>,
    /// The 64 bytes of the command, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<String>,
    /// The last events up to it, oldest first.
    events: Vec<TracedEvent>,
}

impl From<&Violation> for ViolationState {
    fn from(violation: &Violation) -> Self {
        let entry = violation.command.and_then(|(_, entry)| entry);
        Self {
            rule: violation.rule.id(),
            slug: violation.rule.slug(),
            severity: violation.severity,
            text: violation.rule.text(),
            section: violation.rule.section(),
            count: violation.count,
            first_ns: violation.first.0,
            last_ns: violation.last.0,
            generation: violation.generation,
            detail: violation.detail.clone(),
            value: violation.value,
            bound: violation.bound,
            queue: violation.queue,
            command: violation.command.map(|(name, _)| name),
            entry: entry.as_ref().map(hexadecimal),
            events: violation.events.iter().map(TracedEvent::from).collect(),
        }
    }
}

fn hexadecimal(entry: &Command) -> String {
    entry.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Execute for QueryViolations {
    const NAME: &'static str = "query-violations";
    type Answer = Vec<ViolationState>;

    fn execute(self, device: &mut Device<'_>) -> Result<Vec<ViolationState>, Refusal> {
        if device.audience.trial(device.id).checks() == controller::config::Checks::Off {
            return Err(Refusal::new("checks=off: nobody judges the host; start the device with --device checks=on"));
        }
        if self.switched_off {
            device.audience.trial(device.id).switched_off();
        }
        let least = match self.severity {
            Least::Performance => Severity::Performance,
            Least::Should => Severity::Should,
            Least::Must => Severity::Must,
        };
        Ok(device
            .audience
            .trial(device.id)
            .violations()
            .filter(|it| it.severity >= least)
            .map(ViolationState::from)
            .collect())
    }
}
