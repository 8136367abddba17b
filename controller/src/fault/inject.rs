//! Events that happen because somebody wants them to: what a drive in the field would notice of itself.

use std::fmt::{self, Display, Formatter};

use media::Nanoseconds;
use nvme_spec::log::{Event, LogId, WARNING_READ_ONLY, WARNING_RELIABILITY, WARNING_SPARE, WARNING_TEMPERATURE};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Controller;
use crate::shared::Shared;

/// What is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Injection {
    /// F40, F46: critical warnings of the SMART log and its temperature, until they are injected anew. The host is told of a warning that is
    /// new, if it asked for that.
    Smart {
        /// The spare is short.
        #[serde(default)]
        spare: bool,
        /// The temperature is outside its thresholds.
        #[serde(default)]
        temperature: bool,
        /// The drive is less reliable than it was.
        #[serde(default)]
        reliability: bool,
        /// The drive can only be read. Writes go on to succeed: add a fault that fails them.
        #[serde(default)]
        read_only: bool,
        /// The composite temperature in kelvins; what the device has if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kelvins: Option<u16>,
    },
    /// F41: a notice that this namespace changed, and its number in the log of changed namespaces. The namespace is what it was.
    NamespaceChanged {
        /// Which.
        nsid: u32,
    },
    /// F42: a firmware activation starts: the notice is sent, and CSTS.PP is 1 for a while, during which no command is fetched.
    FirmwareActivation {
        /// Nanoseconds.
        for_ns: u64,
    },
    /// F43, F44: an error: an entry in the error log, and the event. 3 is a persistent internal error.
    Error {
        /// What the event says: 0 to 5 in NVMe Base 2.1.
        information: u8,
    },
    /// F49: any event, whether the host asked for it or not.
    Event {
        /// Asynchronous Event Type, 0 to 7.
        event_type: u8,
        /// Asynchronous Event Information.
        information: u8,
        /// Log Page Identifier.
        log: u8,
    },
}

/// Why something cannot happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectError {
    /// The controller is not running, so that there is nobody to tell.
    NotRunning,
    /// There is no such event type.
    EventType(u8),
    /// There is no such namespace.
    Namespace(u32),
}

impl Display for InjectError {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning => write!(formatter, "the controller is not running: no host has enabled it"),
            Self::EventType(kind) => write!(formatter, "event-type={kind}: give 0 to 7"),
            Self::Namespace(nsid) => write!(formatter, "nsid={nsid}: there is no such namespace"),
        }
    }
}

impl std::error::Error for InjectError {}

impl Controller {
    /// Lets something happen. The host is told at the next step, if it waits for events.
    ///
    /// # Errors
    /// Why it cannot happen; nothing did.
    pub(crate) fn inject_event(&mut self, shared: &mut Shared, injection: Injection) -> Result<(), InjectError> {
        if !self.registers.is_running() && !matches!(injection, Injection::Smart { .. }) {
            return Err(InjectError::NotRunning);
        }
        match injection {
            Injection::Smart { spare, temperature, reliability, read_only, kelvins } => {
                let bit = |on, bit| if on { bit } else { 0 };
                self.faults.warnings = bit(spare, WARNING_SPARE)
                    | bit(temperature, WARNING_TEMPERATURE)
                    | bit(reliability, WARNING_RELIABILITY)
                    | bit(read_only, WARNING_READ_ONLY);
                self.faults.temperature = kelvins;
                self.heed_warnings(shared);
            }
            Injection::NamespaceChanged { nsid } => {
                if self.namespaces.get(nsid).is_none() {
                    return Err(InjectError::Namespace(nsid));
                }
                self.announce_change(nsid);
            }
            Injection::FirmwareActivation { for_ns } => {
                self.faults.paused = Some(self.health.now.plus(Nanoseconds(for_ns)));
                self.registers.set_paused(true);
                self.faults.refresh();
                self.raise(Event { kind: Event::NOTICE, information: 1, log: LogId::FIRMWARE_SLOT });
            }
            Injection::Error { information } => {
                self.health.log_event();
                self.raise(Event { kind: Event::ERROR, information, log: LogId::ERROR });
            }
            Injection::Event { event_type: 8.., .. } => {
                let Injection::Event { event_type, .. } = injection else { return Ok(()) };
                return Err(InjectError::EventType(event_type));
            }
            Injection::Event { event_type, information, log } => {
                self.raise(Event { kind: event_type, information, log: LogId(log) });
            }
        }
        Ok(())
    }
}
