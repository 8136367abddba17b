//! Registers, enable, reset, shutdown: H1 to H15, H57.

use controller::watch::{FatalReason, RegisterRefusal, ResetKind, ShutdownState, TraceEvent, Traced};
use media::Nanoseconds;
use nvme_spec::register::{self, Configuration};

use crate::facts::Facts;
use crate::found::{Finding, Found};
use crate::host::HostState;
use crate::limits::{Limits, RACE};
use crate::rules::{Rule, Severity};

/// What is remembered for these rules alone.
#[derive(Debug, Default)]
pub(crate) struct Registers {
    /// CC.EN was set and CSTS.RDY is awaited since then.
    enabling: Option<Nanoseconds>,
    /// What AQA, ASQ and ACQ were given last, by the offsets of [`ADMIN`].
    admin: [Option<u64>; ADMIN.len()],
}

impl Registers {
    pub(crate) fn judge(&mut self, host: &HostState, facts: &Facts, traced: &Traced, found: &mut Found) {
        match traced.event {
            TraceEvent::RegisterRead { offset, bytes, refused: Some(RegisterRefusal::Width), .. } => {
                found.report(Finding::new(
                    Rule::H1,
                    offset,
                    bytes.into(),
                    format!("{bytes} bytes read at {offset:#x}"),
                ));
            }
            TraceEvent::RegisterWritten { offset, bytes, value, refused } => {
                if let Some(refused) = refused {
                    self.refused(facts, (offset, bytes, value), refused, found);
                }
                if let register::INTMS | register::INTMC = offset
                    && host.messages
                {
                    let text = format!("{value:#x} was written to {} with MSI-X enabled", name(offset));
                    found.report(Finding::new(Rule::H57, value, 0, text));
                }
                if refused.is_none()
                    && let Some(place) = admin_place(offset)
                {
                    self.admin[place] = Some(value);
                }
                if offset == register::CC && refused != Some(RegisterRefusal::NoPower) {
                    self.configured(host, facts, Configuration(low(value)), found);
                }
            }
            TraceEvent::Fatal { reason, value, bound } => fatal(reason, value, bound, found),
            TraceEvent::Enabled { configuration, submission, completion, attributes } => {
                self.enabling = None;
                if !host.bus_master {
                    let text = "the controller was enabled with bus master off: it cannot reach its queues";
                    found.report(Finding::new(Rule::H15, 0, 1, text));
                }
                if configuration.shutdown() != 0 {
                    let text = "CC.EN was set with CC.SHN not 00b";
                    found.report(Finding::new(Rule::H5, configuration.shutdown().into(), 0, text));
                }
                let bytes = |entries_z: u32, bytes: u64| (u64::from(entries_z & 0xfff) + 1) * bytes;
                let own = (submission, bytes(attributes, 64));
                let other = (completion, bytes(attributes >> 16, 16));
                if overlap(own, other) {
                    let text = "the admin queues overlap";
                    found.report(Finding::new(Rule::H3, submission, completion, text));
                }
            }
            TraceEvent::BusMaster { enabled: false } if host.ready && host.fatal.is_none() => {
                let under_way = host.outstanding.values().filter(|command| !is_event_request(command)).count();
                if under_way > 0 {
                    let text = format!("bus master was switched off with {under_way} commands under way");
                    found.report(Finding::new(Rule::H15, under_way as u64, 0, text));
                }
            }
            TraceEvent::Reset { kind, .. } => {
                self.enabling = None;
                if kind != ResetKind::Controller {
                    self.admin = Default::default();
                }
            }
            _ => {}
        }
    }

    fn refused(&self, facts: &Facts, access: (u64, u8, u64), why: RegisterRefusal, found: &mut Found) {
        let (offset, bytes, value) = access;
        let what = format!("{value:#x} was written to {}", name(offset));
        match why {
            RegisterRefusal::Width => {
                found.report(Finding::new(
                    Rule::H1,
                    offset,
                    bytes.into(),
                    format!("{bytes} bytes written at {offset:#x}"),
                ));
            }
            RegisterRefusal::ReadOnly | RegisterRefusal::Reserved => {
                // Firmware that probes writes back what it read.
                let same = match offset {
                    register::CAP if bytes == 8 => value == facts.capabilities.0,
                    register::CAP => low(value) == low(facts.capabilities.0),
                    0x04 => low(value) == low(facts.capabilities.0 >> 32),
                    register::VS => low(value) == facts.version,
                    _ => value == 0,
                };
                if !same {
                    found.report(Finding::new(Rule::H2, value, offset, what));
                }
            }
            RegisterRefusal::WhileEnabled if offset == register::CC => {
                found.report(Finding::new(Rule::H6, value, 0, format!("{what} while CC.EN is 1")));
            }
            RegisterRefusal::WhileEnabled => {
                let known = admin_place(offset).and_then(|place| self.admin[place]);
                let severity = if known == Some(value) { Severity::Should } else { Severity::Must };
                let finding = Finding::new(Rule::H4, value, known.unwrap_or(0), format!("{what} while CC.EN is 1"));
                found.report(finding.with_severity(severity));
            }
            RegisterRefusal::Key => {
                found.report(Finding::new(Rule::H13, value, register::NSSR_KEY.into(), what));
            }
            RegisterRefusal::NoPower => {}
        }
    }

    /// CC was written.
    fn configured(&mut self, host: &HostState, facts: &Facts, new: Configuration, found: &mut Found) {
        let was = host.configuration.enabled();
        if !was && new.enabled() {
            if host.reset_pending {
                let text = "CC.EN was set before CSTS.RDY was 0";
                found.report(Finding::new(Rule::H7, 1, 0, text));
            }
            self.enabling = Some(host.now);
        }
        if was && !new.enabled() {
            if let Some(since) = self.enabling.take().filter(|_| host.fatal.is_none()) {
                let waited = host.now.0.saturating_sub(since.0);
                let promised = u64::from(facts.capabilities.timeout_half_seconds()) * 500_000_000;
                if waited < promised {
                    let text = format!("CC.EN was cleared {} ms after it was set, with CSTS.RDY 0", waited / 1_000_000);
                    found.report(Finding::new(Rule::H9, waited, promised, text));
                }
                let text = "CC.EN was cleared while CSTS.RDY was 0";
                found.report(Finding::new(Rule::H7, 0, 1, text).with_severity(Severity::Should));
            }
            if let Some((ShutdownState::Begun, _)) = host.shutdown {
                let text = "CC.EN was cleared before CSTS.SHST said that the shutdown is complete";
                found.report(Finding::new(Rule::H12, 0, 1, text).with_severity(Severity::Should));
            }
        }
    }

    /// A command was fetched, or a doorbell rung, while that must not be.
    pub(crate) fn fetched(host: &HostState, limits: &Limits, queue: u16, found: &mut Found) {
        if let Some((_, since)) = host.shutdown
            && queue != 0
        {
            let late = host.now.0.saturating_sub(since.0);
            if late > limits.scaled(RACE) {
                let text = "a command was taken from an I/O queue after CC.SHN had asked for a shutdown";
                found.report(Finding::new(Rule::H12, late, limits.scaled(RACE), text).of_queue(queue));
            }
        }
    }
}

/// AQA, ASQ and ACQ, with the upper halves of the last two.
const ADMIN: [u64; 5] = [register::AQA, register::ASQ, 0x2c, register::ACQ, 0x34];

fn admin_place(offset: u64) -> Option<usize> {
    ADMIN.iter().position(|own| *own == offset)
}

fn is_event_request(command: &crate::host::Outstanding) -> bool {
    command.name.queue == 0 && command.entry.opcode == nvme_spec::opcode::AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST.0
}

fn fatal(reason: FatalReason, value: u64, bound: u64, found: &mut Found) {
    let (rule, text) = match reason {
        FatalReason::AdminSubmissionSize => (Rule::H3, "AQA.ASQS is 0: a queue has two entries at least"),
        FatalReason::AdminCompletionSize => (Rule::H3, "AQA.ACQS is 0: a queue has two entries at least"),
        FatalReason::AdminSubmissionMisaligned => (Rule::H3, "ASQ is not aligned to a page of CC.MPS"),
        FatalReason::AdminCompletionMisaligned => (Rule::H3, "ACQ is not aligned to a page of CC.MPS"),
        FatalReason::AdminQueueMemory => (Rule::H3, "the admin queues lie where the device can reach no memory"),
        FatalReason::PageSize => (Rule::H5, "CC.MPS is above CAP.MPSMAX"),
        FatalReason::CommandSet => (Rule::H5, "CC.CSS asks for command sets that CAP.CSS does not offer"),
        FatalReason::Arbitration => (Rule::H5, "CC.AMS asks for an arbitration that CAP.AMS does not offer"),
        FatalReason::KeepAlive | FatalReason::Injected => return,
    };
    found.report(Finding::new(rule, value, bound, text));
}

fn overlap((one, one_bytes): (u64, u64), (other, other_bytes): (u64, u64)) -> bool {
    one < other.saturating_add(other_bytes) && other < one.saturating_add(one_bytes)
}

fn low(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).unwrap_or(0)
}

fn name(offset: u64) -> String {
    let name = match offset {
        register::CAP => "CAP",
        register::VS => "VS",
        register::INTMS => "INTMS",
        register::INTMC => "INTMC",
        register::CC => "CC",
        register::CSTS => "CSTS",
        register::NSSR => "NSSR",
        register::AQA => "AQA",
        register::ASQ | 0x2c => "ASQ",
        register::ACQ | 0x34 => "ACQ",
        register::CRTO => "CRTO",
        _ => return format!("offset {offset:#x}"),
    };
    name.to_owned()
}
