//! Whoever listens to the controllers: a judge of each host's driver, and the traces. A controller is asked for as much as the one that
//! wants most; each takes what it wants of it.

use std::sync::Arc;

use checker::Violation;
use controller::{Controller, ControllerId, Subsystem};
use media::Nanoseconds;
use serde_json::json;
use traces::watched::Drive;

use crate::tracer::{Batch, TraceEnded, Tracers};
use crate::trial::Trial;

/// See the file's text.
pub struct Audience {
    /// The judges, one for each controller's host, by its place; one of a controller that has gone stays until another has its place.
    trials: Vec<Trial>,
    /// The traces, each of one controller.
    pub tracers: Tracers,
}

/// What the control socket's peers hear.
pub enum News<'a> {
    /// The host of a controller broke a rule.
    Violation(ControllerId, &'a Violation),
    /// A trace ended by itself.
    TraceEnded(TraceEnded),
}

impl Audience {
    /// Begins to listen.
    pub fn new(tracers: Tracers, subsystem: &mut Subsystem) -> Self {
        let trials = subsystem.ids().map(|id| Trial::new(subsystem, id)).collect();
        let audience = Self { trials, tracers };
        audience.listen(subsystem);
        audience
    }

    /// The judge of a controller's host.
    pub fn trial(&mut self, id: ControllerId) -> &mut Trial {
        &mut self.trials[usize::from(id.0)]
    }

    /// A controller has come: its host has a judge of its own.
    pub fn arrived(&mut self, subsystem: &mut Subsystem, id: ControllerId) {
        let trial = Trial::new(subsystem, id);
        match self.trials.get_mut(usize::from(id.0)) {
            Some(place) => *place = trial,
            None => self.trials.push(trial),
        }
        self.listen(subsystem);
    }

    /// A controller has gone, and with it its traces end.
    pub fn left(&mut self, subsystem: &mut Subsystem, id: ControllerId, now: Nanoseconds) {
        self.tracers.stop_of(id, subsystem, now);
    }

    /// What ends the run, if anything does.
    pub fn broken(&self) -> Option<&str> {
        self.trials.iter().find_map(Trial::broken)
    }

    /// Asks the controllers for as much as is wanted now.
    pub fn listen(&self, subsystem: &mut Subsystem) {
        for id in subsystem.ids() {
            let trial = &self.trials[usize::from(id.0)];
            let controller = subsystem.controller_mut(id);
            if self.tracers.needs_data(id) != controller.tells_data() {
                controller.listen_to_data(self.tracers.needs_data(id));
            }
            let wanted = trial.needs().max(self.tracers.needs(id));
            match wanted {
                wanted if wanted == controller.detail() => {}
                Some(detail) => controller.listen(detail),
                None => controller.listen_no_more(),
            }
        }
    }

    /// Hands out what happened since the last look; `tell` hears what is new. Where a host is one of ours, which serves a virtio disk, it is
    /// not `judged`.
    pub fn look(
        &mut self,
        now: Nanoseconds,
        subsystem: &mut Subsystem,
        judged: impl Fn(ControllerId) -> bool,
        mut tell: impl FnMut(News<'_>),
    ) {
        let Self { trials, tracers } = self;
        let drive = if tracers.is_empty() { None } else { tracers.drive(subsystem, now) };
        for id in subsystem.ids() {
            let trial = &mut trials[usize::from(id.0)];
            let controller = subsystem.controller_mut(id);
            if !controller.has_traced() && drive.is_none() {
                continue;
            }
            let batch = Arc::new(taken(controller, drive));
            tracers.take(id, &batch);
            trial.look(&batch.events, judged(id), |violation| {
                let name = format!("{} {}", violation.rule.id(), violation.rule.slug());
                tracers.mark(id, now, &name, &json!({ "detail": violation.detail, "count": violation.count }));
                tell(News::Violation(id, violation));
            });
        }
        if !tracers.is_empty() {
            for ended in tracers.ended() {
                tell(News::TraceEnded(ended));
            }
            self.listen(subsystem);
        }
    }

    /// The device ends.
    pub fn finish(&mut self, now: Nanoseconds, subsystem: &mut Subsystem) {
        // What it did in the last step is known at the look behind it.
        for _ in 0..2 {
            let drive = self.tracers.drive(subsystem, now);
            for id in subsystem.ids() {
                self.tracers.take(id, &Arc::new(taken(subsystem.controller_mut(id), drive)));
            }
        }
        self.tracers.finish(subsystem, now);
    }
}

/// What the controller told since the last look.
fn taken(controller: &mut Controller, drive: Option<Drive>) -> Batch {
    Batch { events: controller.take_traced(), data: controller.take_traced_data(), drive }
}
