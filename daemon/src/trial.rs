//! The host's driver on trial: takes the controller's events after each step, has them judged, and says what is new.

use checker::facts::Facts;
use checker::{Checker, End, Severity, Violation};
use controller::config::Checks;
use controller::watch::{Detail, TraceEvent, Traced};
use controller::{ControllerId, InterruptMode, Subsystem};
use media::Nanoseconds;

/// A pause of the whole machine is nobody's fault: as much of a silence counts, and no more.
const SILENCE_MAX: u64 = 1_000_000_000;

/// The judge of one device.
pub struct Trial {
    checks: Checks,
    slowness: u16,
    checker: Option<Checker>,
    /// The time of the last event, and how much of the time before it did not count.
    last: Nanoseconds,
    skipped: u64,
    /// What ends the run with `checks=strict`.
    broken: Option<String>,
}

impl Trial {
    /// As the configuration says.
    pub fn new(subsystem: &Subsystem, id: ControllerId) -> Self {
        let (checks, slowness) = (subsystem.config().checks, subsystem.config().checks_slowness);
        let mut trial = Self { checks, slowness, checker: None, last: Nanoseconds(0), skipped: 0, broken: None };
        trial.checker = trial.needs().map(|detail| trial.begin(subsystem, id, detail));
        trial
    }

    /// How much it wants to hear of the controller.
    pub fn needs(&self) -> Option<Detail> {
        match self.checks {
            Checks::Off => None,
            Checks::Cheap => Some(Detail::Rare),
            Checks::On | Checks::Strict => Some(Detail::Memory),
        }
    }

    fn begin(&self, subsystem: &Subsystem, id: ControllerId, detail: Detail) -> Checker {
        let controller = subsystem.controller(id);
        let mut checker = Checker::new(Facts::of(subsystem, id), detail).with_slowness(self.slowness.into());
        checker.begin(controller.life().bus_master, controller.interrupt_mode() == InterruptMode::MsiX);
        checker
    }

    /// How closely the host is looked at.
    pub fn checks(&self) -> Checks {
        self.checks
    }

    /// What was found so far.
    pub fn violations(&self) -> impl Iterator<Item = &Violation> {
        self.checker.iter().flat_map(Checker::violations)
    }

    /// The machine has switched itself off, as its system wanted: nothing more will come.
    pub fn switched_off(&mut self) {
        if let Some(checker) = &mut self.checker {
            checker.finish(End::PowerDown);
        }
    }

    /// Judges what happened since the last look, if the host is to be judged; `tell` hears what is new. What others want to hear is
    /// passed over.
    pub fn look(&mut self, events: &[Traced], judged: bool, mut tell: impl FnMut(&Violation)) {
        let Some(needs) = self.needs() else { return };
        for traced in events.iter().filter(|traced| Detail::of(&traced.event) <= needs) {
            log(traced);
            let time = self.counted(traced.time);
            if let Some(checker) = self.checker.as_mut().filter(|_| judged) {
                checker.observe(&Traced { time, ..*traced });
            }
        }
        let news = self.checker.as_mut().map(Checker::take_news).unwrap_or_default();
        for violation in news {
            let id = violation.rule.id();
            let text = format!("{id} ({}): {}", violation.rule.slug(), violation.detail);
            match violation.severity {
                // Every boot of SeaBIOS breaks one: a remark is for who asks for remarks.
                Severity::Performance | Severity::Should => tracing::debug!("the host breaks {text}"),
                Severity::Must => tracing::warn!("the host breaks {text}"),
            }
            if self.checks == Checks::Strict && violation.severity > Severity::Performance {
                self.broken.get_or_insert(text);
            }
            tell(&violation);
        }
    }

    /// What ends the run, if anything does.
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Time without long silences.
    fn counted(&mut self, time: Nanoseconds) -> Nanoseconds {
        let silence = time.0.saturating_sub(self.last.0);
        self.skipped += silence.saturating_sub(SILENCE_MAX);
        self.last = self.last.max(time);
        Nanoseconds(self.last.0.saturating_sub(self.skipped))
    }
}

/// What had no effect, and why, at `-v`; the rest of what is rare at `-vv`.
fn log(traced: &Traced) {
    let event = &traced.event;
    let refused = match event {
        TraceEvent::RegisterWritten { refused, .. } => refused.is_some(),
        TraceEvent::Doorbell { refused, .. } => refused.is_some(),
        TraceEvent::Completed { reason, .. } => reason.is_some(),
        TraceEvent::Fatal { .. } => true,
        _ => false,
    };
    if refused {
        tracing::debug!("{}", checker::describe::describe(event));
    } else {
        tracing::trace!("{}", checker::describe::describe(event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_stood_still_is_not_late() {
        let mut trial =
            Trial { checks: Checks::On, slowness: 1, checker: None, last: Nanoseconds(0), skipped: 0, broken: None };
        let times = [500_000_000, 700_000_000, 60_000_000_000, 60_100_000_000, 60_050_000_000];
        let counted = times.map(|time| trial.counted(Nanoseconds(time)).0 / 1_000_000);
        assert_eq!(counted, [500, 700, 1700, 1800, 1800]);
    }
}
