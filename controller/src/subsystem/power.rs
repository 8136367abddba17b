//! The supply of power: its loss, what is reported of it, and its return. The media decides what survives in it; the breaker, which media and
//! controllers share, knows whether power is on. All controllers lose it at one instant.

use media::LbaRange;
use media::power::{Arming, ChangeKind, Cut, CutReport, Fate, Mark, Profile, RecoveryReport, Step, VolatileEntry};

use super::Subsystem;
use crate::Controller;
use crate::power::command_name;
use crate::shared::power::{BlockRange, Change, FateName, NotDurable, Observable, PowerReport};
use crate::watch::CommandName;

impl Subsystem {
    /// Whether power is on.
    #[must_use]
    pub fn power_is_on(&self) -> bool {
        !self.breaker().lost()
    }

    /// Cuts power now: from here on nothing reaches a host, registers read as all ones, and what was volatile is resolved as `cut`
    /// says. Where power was off already nothing changes, and the report is that of the loss.
    pub fn power_cut(&mut self, cut: &Cut) -> PowerReport {
        if self.power_is_on() {
            self.shared.power.cut = cut.clone();
            self.breaker().work_on(Mark::NONE);
            self.breaker().cut();
        }
        self.notice_power();
        self.shared.power.report.clone().expect("a power loss has its report")
    }

    /// Arms a power cut at a step, a command or by chance: when it happens, the cache is resolved as `cut` says. Replaces what was armed
    /// before; does nothing while power is off.
    pub fn crash_arm(&mut self, arming: Arming, cut: Cut) {
        if self.power_is_on() {
            self.shared.power.cut = cut;
            self.controllers.iter_mut().for_each(Controller::forget_awaited);
            self.breaker().arm(arming);
        }
    }

    /// Disarms the crash point.
    pub fn crash_disarm(&mut self) {
        self.controllers.iter_mut().for_each(Controller::forget_awaited);
        self.breaker().disarm();
    }

    /// How often what is armed was met so far: steps, commands, or units that were volatile at most.
    #[must_use]
    pub fn crash_met(&self) -> u64 {
        self.breaker().hits()
    }

    /// The crash point that is armed.
    #[must_use]
    pub fn crash_armed(&self) -> Option<Arming> {
        self.breaker().arming()
    }

    /// The promises that the media breaks, by name: none, unless configured.
    #[must_use]
    pub fn misbehaviour(&self) -> &[&'static str] {
        &self.shared.power.misbehaviour
    }

    /// The report of the last power loss, also after power came back.
    #[must_use]
    pub fn crash(&self) -> Option<&PowerReport> {
        self.shared.power.report.as_ref()
    }

    /// Brings power back: the media recovers, with a crash point among recovery's own steps where asked for, and every controller is as at
    /// power-on. Bus mastering and the choice of interrupts are the transport's and stay as it last said.
    ///
    /// # Errors
    /// Power is on; the media cannot be recovered; or power went again on the way, which is the last report then. Power stays off.
    pub fn power_restore(&mut self, arming: Option<Arming>) -> Result<RecoveryReport, String> {
        if self.power_is_on() {
            return Err("power is on".to_owned());
        }
        self.notice_power();
        let report = self.shared.power.report.take();
        let recovered = match self.shared.media.power() {
            Some(power) => power.restore(arming),
            None => {
                self.breaker().restore();
                Ok(RecoveryReport::default())
            }
        };
        if !self.power_is_on() {
            if recovered.is_err() {
                self.shared.power.report = report;
                return recovered;
            }
            self.shared.power.resolved = false;
            self.notice_power();
            let step = self.breaker().tripped_at().map_or("an unnamed step", Step::name);
            return Err(format!("power went again at {step}"));
        }
        self.breaker().disarm();
        self.shared.power_on();
        self.controllers.iter_mut().for_each(|controller| controller.power_on(&self.shared));
        self.shared.power.report = report;
        recovered
    }

    /// After a call that may have tripped the breaker: resolves the loss and puts the report together, once. Whether power is off.
    #[inline]
    pub(super) fn notice_power(&mut self) -> bool {
        let lost = self.breaker().lost();
        if lost {
            self.power_failed();
        }
        lost
    }

    #[cold]
    fn power_failed(&mut self) {
        let power = &mut self.shared.power;
        if std::mem::replace(&mut power.resolved, true) {
            return;
        }
        self.controllers.iter_mut().for_each(Controller::power_failed);
        let breaker = power.breaker.clone();
        let resolved = match self.shared.media.power() {
            Some(media) => media.cut(&power.cut),
            None => CutReport { step: breaker.tripped_at(), mark: breaker.tripped_in(), entries: Vec::new() },
        };
        breaker.disarm();
        let not_durable = resolved.entries.iter().map(|entry| self.not_durable(entry)).collect();
        let command = self.command_name(resolved.mark);
        self.shared.power.report = Some(PowerReport {
            step: resolved.step.map(Step::name),
            controller: command.map(|(_, controller)| controller.id.0),
            command: command.map(|(command, _)| command),
            commands: self.controllers.iter().map(|controller| controller.queues.taken()).sum(),
            time_ns: self.controllers.iter().map(|controller| controller.health.now.0).max().unwrap_or(0),
            not_durable,
        });
    }

    /// The command that a mark means, and its controller.
    fn command_name(&self, mark: Mark) -> Option<(CommandName, &Controller)> {
        let controller = self.controllers.get(usize::from(mark.controller()))?;
        command_name(mark, controller.queues.taken()).map(|name| (name, controller))
    }

    /// What the media says of a change that was not durable, in a host's words: as long as power is off.
    #[must_use]
    pub fn not_durable(&self, entry: &VolatileEntry) -> NotDurable {
        let blocks = |range: &LbaRange| BlockRange { first: range.start.0, blocks: range.blocks };
        let all = |ranges: &[LbaRange]| ranges.iter().map(blocks).collect();
        let (fate, survived, mangled) = match &entry.fate {
            Fate::Survived => (FateName::Survived, Vec::new(), Vec::new()),
            Fate::Lost => (FateName::Lost, Vec::new(), Vec::new()),
            Fate::Torn { survived, mangled } => (FateName::Torn, all(survived), all(mangled)),
        };
        let command = self.command_name(entry.mark);
        NotDurable {
            change: match entry.kind {
                ChangeKind::Write => Change::Write,
                ChangeKind::Uncorrectable => Change::Uncorrectable,
                ChangeKind::Deallocation => Change::Deallocation,
            },
            namespace: self.shared.namespaces.of_volume(entry.volume),
            range: blocks(&entry.range),
            controller: command.map(|(_, controller)| controller.id.0),
            command: command.map(|(command, _)| command),
            completed: command.is_some_and(|(command, controller)| !controller.is_unanswered(command.ordinal)),
            fate,
            survived,
            mangled,
            observable: match (entry.atomic, entry.complete) {
                (true, true) => Observable::Either,
                (true, false) => Observable::Old,
                (false, _) if self.shared.power.cut.profile == Profile::Literal => Observable::Anything,
                (false, _) => Observable::PerBlock,
            },
        }
    }
}
