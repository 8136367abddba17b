//! Detects events: compares the device after a step with what it was before. Costs a comparison when nothing has changed.

use std::collections::BTreeMap;

use controller::inspect::LifeState;
use controller::power::{FateName, PowerReport};
use controller::{ControllerId, ControllerSet, Subsystem};
use media::Nanoseconds;
use nvme_spec::log::{WARNING_READ_ONLY, WARNING_RELIABILITY, WARNING_SPARE};
use nvme_spec::register::ControllerStatus;

use super::event::{Event, ShutdownState};
use super::warnings::warning_states;

/// How often the media's health is looked at while the device works, and how long after it has stopped once more at the latest.
const MEDIA_INTERVAL: Nanoseconds = Nanoseconds(1_000_000_000);

/// The state that was reported last.
#[derive(Debug)]
pub struct Watcher {
    lives: BTreeMap<ControllerId, LifeState>,
    clients: ControllerSet,
    powered: bool,
    warnings: u8,
    /// Of the media's own warnings.
    changes: u64,
    /// The device has worked since its media's health was looked at.
    stale: bool,
    media_due: Nanoseconds,
}

impl Watcher {
    /// A watcher over a device that nobody has plugged in yet.
    pub fn new(subsystem: &Subsystem) -> Self {
        Self {
            lives: BTreeMap::new(),
            clients: ControllerSet::NONE,
            powered: true,
            warnings: media_warnings(subsystem),
            changes: 0,
            stale: false,
            media_due: Nanoseconds(0),
        }
    }

    /// What has changed since the last look; `worked` says whether the device did anything in between.
    pub fn look(
        &mut self,
        now: Nanoseconds,
        subsystem: &Subsystem,
        clients: ControllerSet,
        worked: bool,
        mut tell: impl FnMut(Event),
    ) {
        if clients != self.clients {
            let before = std::mem::replace(&mut self.clients, clients);
            for id in (clients ^ before).iter() {
                let controller = id.0;
                tell(if clients.has(id) {
                    Event::ClientConnected { controller }
                } else {
                    Event::ClientGone { controller }
                });
            }
        }
        if subsystem.power_is_on() != self.powered {
            self.powered = subsystem.power_is_on();
            power_events(self.powered, subsystem.crash()).into_iter().for_each(&mut tell);
        }
        for id in subsystem.ids() {
            let life = subsystem.controller(id).life();
            let told = self.lives.entry(id).or_insert(life);
            if life != *told {
                let (before, after) = (controller_state(id, *told), controller_state(id, life));
                *told = life;
                if before != after {
                    tell(after);
                }
            }
        }
        // What the patrol finds is nobody's work.
        self.stale |= worked || subsystem.media_warnings().changes() != self.changes;
        if self.stale && now >= self.media_due {
            self.stale = false;
            self.media_due = now.plus(MEDIA_INTERVAL);
            self.look_at_media(now, subsystem, &mut tell);
        }
    }

    /// When the next look is due, whatever happens until then.
    pub fn due(&self) -> Option<Nanoseconds> {
        self.stale.then_some(self.media_due)
    }

    fn look_at_media(&mut self, now: Nanoseconds, subsystem: &Subsystem, mut tell: impl FnMut(Event)) {
        let warnings = media_warnings(subsystem);
        let changes = subsystem.media_warnings().changes();
        if (warnings, changes) != (self.warnings, self.changes) {
            (self.warnings, self.changes) = (warnings, changes);
            tell(Event::MediaWarning {
                warnings: warning_states(subsystem.media_warnings(), now),
                degraded: warnings & WARNING_RELIABILITY != 0,
                spare_low: warnings & WARNING_SPARE != 0,
                read_only: warnings & WARNING_READ_ONLY != 0,
                available_spare_percent: subsystem.smart(ControllerId::FIRST).available_spare_percent,
            });
        }
    }
}

fn media_warnings(subsystem: &Subsystem) -> u8 {
    subsystem.smart(ControllerId::FIRST).critical_warning & (WARNING_SPARE | WARNING_READ_ONLY | WARNING_RELIABILITY)
}

/// Where a controller is, as the event says it.
pub fn controller_state(id: ControllerId, life: LifeState) -> Event {
    Event::ControllerState {
        controller: id.0,
        enabled: life.configuration.enabled(),
        ready: life.status.contains(ControllerStatus::READY),
        fatal: life.status.contains(ControllerStatus::FATAL),
        shutdown: shutdown_state(life.status),
    }
}

fn power_events(powered: bool, report: Option<&PowerReport>) -> Vec<Event> {
    let Some(report) = report.filter(|_| !powered) else { return vec![Event::PowerRestored {}] };
    let count = |fate| report.not_durable.iter().filter(|change| change.fate == fate).count() as u64;
    let crash = Event::CrashReport {
        step: report.step,
        commands: report.commands,
        not_durable: report.not_durable.len() as u64,
        survived: count(FateName::Survived),
        torn: count(FateName::Torn),
        lost: count(FateName::Lost),
    };
    vec![Event::PowerCut { step: report.step }, crash]
}

/// CSTS.SHST in words.
pub fn shutdown_state(status: ControllerStatus) -> ShutdownState {
    if status.contains(ControllerStatus::SHUTDOWN_COMPLETE) {
        ShutdownState::Complete
    } else if status.contains(ControllerStatus::SHUTDOWN_RUNNING) {
        ShutdownState::Running
    } else {
        ShutdownState::No
    }
}
