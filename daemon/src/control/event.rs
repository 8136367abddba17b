//! Asynchronous events: one variant for each, with its data.

use checker::Severity;
use controller::ControllerId;
use schemars::JsonSchema;
use serde::Serialize;

use super::warnings::WarningState;
use crate::audience::News;
use crate::tracer::TraceEnded;

/// Something happened. On the wire the name is in capitals, as in `CLIENT_CONNECTED`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "event", content = "data", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "kebab-case")]
pub enum Event {
    /// A virtual machine plugged the device in.
    ClientConnected {
        /// At the socket of this controller (CNTLID).
        controller: u16,
    },
    /// The virtual machine is gone; the controller was reset and waits for another one.
    ClientGone {
        /// From the socket of this controller (CNTLID).
        controller: u16,
    },
    /// The host enabled, reset or shut down the controller, or it failed.
    ControllerState {
        /// CNTLID.
        controller: u16,
        /// CC.EN: the host wants it to run.
        enabled: bool,
        /// CSTS.RDY: it takes commands.
        ready: bool,
        /// CSTS.CFS: it has failed and waits for a reset.
        fatal: bool,
        /// CSTS.SHST, in words.
        shutdown: ShutdownState,
    },
    /// The host was told of something by the answer to an Asynchronous Event Request.
    Aer {
        /// The controller (CNTLID) that told its host.
        controller: u16,
        /// Type, bits 2:0 of the answer.
        kind: u8,
        /// Information, bits 15:8.
        information: u8,
        /// The log page that holds more.
        log: u8,
    },
    /// Power went, by a command of this socket or at a crash point.
    PowerCut {
        /// The step at which the crash point tripped; none where a command cut.
        step: Option<&'static str>,
    },
    /// A power loss was resolved. `query-crash` has the whole report.
    CrashReport {
        /// The step at which the crash point tripped; none where a command cut.
        step: Option<&'static str>,
        /// Commands taken since power-on.
        commands: u64,
        /// Writes and deallocations that were not durable.
        not_durable: u64,
        /// Of those, how many are wholly there.
        survived: u64,
        /// Of those, how many are there in part.
        torn: u64,
        /// Of those, how many are not there.
        lost: u64,
    },
    /// The host's driver broke a rule: told the first time in a life of the controller, and whenever the number has doubled.
    Violation {
        /// The controller (CNTLID) whose driver it was.
        controller: u16,
        /// The rule's identifier, as in H19.
        rule: &'static str,
        /// Its short name.
        slug: &'static str,
        /// How bad it is.
        severity: Severity,
        /// How often it was broken.
        count: u64,
        /// What the host did the first time, in words.
        detail: String,
        /// The life of the controller: counts resets and enables since power-on.
        generation: u64,
        /// The queue, where it was about one.
        queue: Option<u16>,
        /// The command's identifier, where it was one.
        cid: Option<u16>,
        /// The offending value,
        value: u64,
        /// and the bound that it broke.
        bound: u64,
    },
    /// A trace ended by itself: its file cannot be written any more. The device goes on.
    TraceEnded {
        /// The number that `trace-start` gave.
        id: u32,
        /// Its file; none where it went to standard error.
        file: Option<String>,
        /// Why.
        reason: String,
    },
    /// The tape ended by itself. The device goes on.
    TapeEnded {
        /// Its file.
        file: String,
        /// Why.
        reason: String,
    },
    /// Power is back: the media has recovered, and the controller is as at power-on.
    PowerRestored {},
    /// The media's warnings changed: one began or is over.
    MediaWarning {
        /// What stands, and of what is over the last of each kind.
        warnings: Vec<WarningState>,
        /// A warning stands.
        degraded: bool,
        /// Fewer replacement blocks are left than the threshold says.
        spare_low: bool,
        /// Nothing can be written any more.
        read_only: bool,
        /// Replacement blocks left, in percent.
        available_spare_percent: u8,
    },
}

impl Event {
    /// A host was told of something by its controller.
    pub const fn reported(id: ControllerId, event: nvme_spec::log::Event) -> Self {
        Self::Aer { controller: id.0, kind: event.kind, information: event.information, log: event.log.0 }
    }

    fn violation(id: ControllerId, violation: &checker::Violation) -> Self {
        Self::Violation {
            controller: id.0,
            rule: violation.rule.id(),
            slug: violation.rule.slug(),
            severity: violation.severity,
            count: violation.count,
            detail: violation.detail.clone(),
            generation: violation.generation,
            queue: violation.queue,
            cid: violation.command.map(|(name, _)| name.identifier),
            value: violation.value,
            bound: violation.bound,
        }
    }
}

impl From<News<'_>> for Event {
    fn from(news: News<'_>) -> Self {
        match news {
            News::Violation(id, violation) => Self::violation(id, violation),
            News::TraceEnded(TraceEnded { id, file, reason }) => {
                Self::TraceEnded { id, file: file.map(|path| path.display().to_string()), reason }
            }
        }
    }
}

/// How far a shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ShutdownState {
    /// The host asked for none.
    No,
    /// It is under way.
    Running,
    /// It is complete: power may go.
    Complete,
}
