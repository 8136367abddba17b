//! When power goes, as the socket speaks of it.

use std::borrow::Cow;

use media::power::{Arming, CommandMatch, Step, Steps};
use media::{Lba, LbaRange};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Refusal;
use super::opcode::Opcode;

/// The name of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepName(Step);

impl Serialize for StepName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl<'de> Deserialize<'de> for StepName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = || Step::ALL.iter().map(|step| step.name()).collect::<Vec<_>>().join(", ");
        Step::named(&name)
            .map(Self)
            .ok_or_else(|| D::Error::custom(format!("there is no step `{name}`: the steps are {}", known())))
    }
}

impl JsonSchema for StepName {
    fn schema_name() -> Cow<'static, str> {
        "StepName".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = Step::ALL.iter().map(|step| step.name()).collect();
        json_schema!({ "type": "string", "enum": names })
    }
}

/// When power goes. Exactly one member says what is counted, from the moment of arming; `nth` beside `step`, `match` or
/// `completed` says up to what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct CrashPoint {
    /// At this step.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<StepName>,
    /// When such an I/O command was fetched.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    matching: Option<Matching>,
    /// When such an I/O command has succeeded, and its answer is in the completion queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<Completed>,
    /// When at least so many indirection units that the host wrote are in the volatile cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    volatile_at_least: Option<u64>,
    /// Which hit of the step, the match or the completion, from 1; the first if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    nth: Option<u64>,
    /// At the n-th step of any kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    any_step: Option<u64>,
    /// When the n-th command, of whatever queue, was fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<u64>,
    /// When the n-th command of an I/O queue was fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    io_command: Option<u64>,
    /// Before the n-th page is programmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<u64>,
    /// Before the n-th page of the deallocation journal is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    journal: Option<u64>,
    /// By chance.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<Rate>,
}

/// Which I/O commands are meant: all conditions that are given must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Matching {
    /// CNTLID of the controller that took it; any if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    controller: Option<u16>,
    /// The opcode, or the command's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    opcode: Option<Opcode>,
    /// The namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    nsid: Option<u32>,
    /// The first of the blocks of which the command names at least one.
    #[serde(skip_serializing_if = "Option::is_none")]
    lba: Option<u64>,
    /// How many blocks; 1 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    blocks: Option<u64>,
}

/// Which completions are meant: all conditions that are given must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Completed {
    /// CNTLID of the controller that answered; any if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    controller: Option<u16>,
    /// The opcode, or the command's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    opcode: Option<Opcode>,
    /// The namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    nsid: Option<u32>,
}

/// A chance at each step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rate {
    /// One in this many.
    one_in: u64,
    /// Where chance begins.
    seed: u64,
    /// The steps that draw; all if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<Vec<StepName>>,
}

/// Counted from 1.
fn counted(name: &str, nth: u64) -> Result<u64, Refusal> {
    if nth == 0 { Err(Refusal::new(format!("{name}=0: give 1 for the first"))) } else { Ok(nth) }
}

impl CrashPoint {
    /// The arming of the breaker that is meant.
    ///
    /// # Errors
    /// Not exactly one thing is counted, or a number cannot be.
    pub fn arming(self) -> Result<Arming, Refusal> {
        let nth = counted("nth", self.nth.unwrap_or(1))?;
        let takes_nth = self.step.is_some() || self.matching.is_some() || self.completed.is_some();
        let number = |name: &str, of: Option<u64>, arm: fn(u64) -> Arming| of.map(|nth| counted(name, nth).map(arm));
        let given = [
            self.step.map(|step| Ok(Arming::Hit(step.0, nth))),
            self.matching.map(|wanted| Ok(Arming::Match(wanted.command_match()?, nth))),
            self.completed.map(|wanted| Ok(Arming::Completed(wanted.command_match(), nth))),
            number("volatile-at-least", self.volatile_at_least, Arming::VolatileAtLeast),
            number("any-step", self.any_step, Arming::AnyStep),
            number("command", self.command, Arming::Command),
            number("io-command", self.io_command, Arming::IoCommand),
            number("program", self.program, Arming::Program),
            number("journal", self.journal, Arming::Journal),
            self.rate.map(Rate::arming),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(_), None) if self.nth.is_some() && !takes_nth => {
                Err(Refusal::new("nth goes with step, match and completed only: the others are numbers themselves"))
            }
            (Some(arming), None) => arming,
            _ => Err(Refusal::new(
                "give exactly one of step, match, completed, volatile-at-least, any-step, command, io-command, program, \
                 journal and rate",
            )),
        }
    }
}

impl Matching {
    fn command_match(self) -> Result<CommandMatch, Refusal> {
        let range = match (self.lba, self.blocks) {
            (None, None) => None,
            (None, Some(_)) => return Err(Refusal::new("match.blocks goes with match.lba")),
            (Some(lba), blocks) => Some(LbaRange::new(Lba(lba), counted("match.blocks", blocks.unwrap_or(1))?)),
        };
        let Self { controller, opcode, nsid: namespace, .. } = self;
        Ok(CommandMatch { controller, opcode: opcode.map(|opcode| opcode.0), namespace, range })
    }
}

impl Completed {
    fn command_match(self) -> CommandMatch {
        let Self { controller, opcode, nsid: namespace } = self;
        CommandMatch { controller, opcode: opcode.map(|opcode| opcode.0), namespace, range: None }
    }
}

impl Rate {
    fn arming(self) -> Result<Arming, Refusal> {
        let steps: Option<Vec<Step>> = self.steps.map(|steps| steps.into_iter().map(|step| step.0).collect());
        let steps = steps.map_or(Steps::ALL, |steps| Steps::of(&steps));
        Ok(Arming::Rate { seed: self.seed, one_in: counted("rate.one-in", self.one_in)?, steps })
    }
}

impl From<Arming> for CrashPoint {
    fn from(arming: Arming) -> Self {
        let none = Self::default();
        match arming {
            Arming::Hit(step, nth) => Self { step: Some(StepName(step)), nth: Some(nth), ..none },
            Arming::Match(CommandMatch { controller, opcode, namespace: nsid, range }, nth) => {
                let (lba, blocks) = (range.map(|range| range.start.0), range.map(|range| range.blocks));
                let matching = Matching { controller, opcode: opcode.map(Opcode), nsid, lba, blocks };
                Self { matching: Some(matching), nth: Some(nth), ..none }
            }
            Arming::Completed(CommandMatch { controller, opcode, namespace: nsid, .. }, nth) => {
                let completed = Some(Completed { controller, opcode: opcode.map(Opcode), nsid });
                Self { completed, nth: Some(nth), ..none }
            }
            Arming::VolatileAtLeast(units) => Self { volatile_at_least: Some(units), ..none },
            Arming::AnyStep(nth) => Self { any_step: Some(nth), ..none },
            Arming::Command(nth) => Self { command: Some(nth), ..none },
            Arming::IoCommand(nth) => Self { io_command: Some(nth), ..none },
            Arming::Program(nth) => Self { program: Some(nth), ..none },
            Arming::Journal(nth) => Self { journal: Some(nth), ..none },
            Arming::Rate { seed, one_in, steps } => {
                let named = || Step::ALL.iter().copied().filter(|step| steps.contains(*step)).map(StepName).collect();
                let steps = (steps != Steps::ALL).then(named);
                Self { rate: Some(Rate { one_in, seed, steps }), ..none }
            }
        }
    }
}

/// A step of recovery.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecoveryStep {
    /// The step: one whose name begins with `recovery-`, or one that recovery takes on its way.
    step: StepName,
    /// Which hit of it, from 1; the first if not given.
    nth: Option<u64>,
}

impl RecoveryStep {
    /// The arming of the breaker that is meant.
    ///
    /// # Errors
    /// A number or a step that cannot be.
    pub fn arming(self) -> Result<Arming, Refusal> {
        if self.step.0.is_of_controller() {
            return Err(Refusal::new(format!(
                "at.step={}: recovery takes no step of the controller",
                self.step.0.name()
            )));
        }
        Ok(Arming::Hit(self.step.0, counted("at.nth", self.nth.unwrap_or(1))?))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn arming(point: Value) -> Result<Arming, String> {
        let point: CrashPoint = serde_json::from_value(point).map_err(|error| error.to_string())?;
        point.arming().map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn every_crash_point_is_armed_as_it_is_shown() {
        for point in [
            json!({ "step": "line-erased", "nth": 3 }),
            json!({ "match": { "opcode": 1, "nsid": 1, "lba": 8, "blocks": 4 }, "nth": 1 }),
            json!({ "match": {}, "nth": 2 }),
            json!({ "completed": { "opcode": 0, "nsid": 2 }, "nth": 3 }),
            json!({ "volatile-at-least": 32 }),
            json!({ "any-step": 100 }),
            json!({ "command": 5 }),
            json!({ "io-command": 6 }),
            json!({ "program": 7 }),
            json!({ "journal": 8 }),
            json!({ "rate": { "one-in": 1000, "seed": 1 } }),
            json!({ "rate": { "one-in": 10, "seed": 2, "steps": ["line-erase", "flush-begun"] } }),
        ] {
            let armed = arming(point.clone()).expect("possible");
            assert_eq!(serde_json::to_value(CrashPoint::from(armed)).expect("JSON"), point);
        }
    }

    #[test]
    fn an_opcode_may_be_a_name() {
        for (name, number) in [("flush", 0), ("write", 1), ("read", 2), ("write-zeroes", 8), ("copy", 0x19)] {
            let matching = |opcode: Value| arming(json!({ "match": { "opcode": opcode } }));
            assert_eq!(matching(json!(name)), matching(json!(number)));
        }
        let refused = |opcode: Value| arming(json!({ "match": { "opcode": opcode } })).expect_err("no opcode");
        assert!(refused(json!("wirte")).contains("there is no command \"wirte\": give one of flush, write, "));
        assert!(refused(json!(256)).contains("there is no opcode 256: give 0 to 255"));
        assert!(refused(json!(true)).contains("an opcode from 0 to 255, or one of flush"));
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_would_do() {
        let exactly_one = "give exactly one of step, match, completed, volatile-at-least, any-step, command, \
                           io-command, program, journal and rate";
        assert_eq!(arming(json!({})), Err(exactly_one.into()));
        assert_eq!(arming(json!({ "command": 1, "program": 1 })), Err(exactly_one.into()));
        assert_eq!(arming(json!({ "step": "line-erased", "nth": 0 })), Err("nth=0: give 1 for the first".into()));
        assert_eq!(arming(json!({ "program": 0 })), Err("program=0: give 1 for the first".into()));
        assert!(arming(json!({ "program": 1, "nth": 2 })).expect_err("two numbers").starts_with("nth goes with step"));
        assert!(arming(json!({ "rate": { "one-in": 0, "seed": 1 } })).is_err());
        assert!(arming(json!({ "match": { "blocks": 1 } })).is_err());
        let unknown = arming(json!({ "step": "lunch" })).expect_err("no step");
        assert!(unknown.contains("`lunch`: the steps are doorbell-seen, command-fetched"), "{unknown}");
    }
}
