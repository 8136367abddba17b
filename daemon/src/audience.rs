//! Whoever listens to the controller: the judge of the host's driver, and the traces. The controller is asked for as much as the one that
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
    /// The judge.
    pub trial: Trial,
    /// The traces.
    pub tracers: Tracers,
    /// Whom they listen to.
    pub id: ControllerId,
}

/// What the control socket's peers hear.
pub enum News<'a> {
    /// The host broke a rule.
    Violation(&'a Violation),
    /// A trace ended by itself.
    TraceEnded(TraceEnded),
}

impl Audience {
    /// Begins to listen.
    pub fn new(trial: Trial, tracers: Tracers, subsystem: &mut Subsystem, id: ControllerId) -> Self {
        let audience = Self { trial, tracers, id };
        audience.listen(subsystem);
        audience
    }

    /// Asks the controller for as much as is wanted now.
    pub fn listen(&self, subsystem: &mut Subsystem) {
        let controller = subsystem.controller_mut(self.id);
        if self.tracers.needs_data() != controller.tells_data() {
            controller.listen_to_data(self.tracers.needs_data());
        }
        let wanted = self.trial.needs().max(self.tracers.needs());
        if wanted == controller.detail() {
            return;
        }
        match wanted {
            Some(detail) => controller.listen(detail),
            None => controller.listen_no_more(),
        }
    }

    /// Hands out what happened since the last look; `tell` hears what is new. Where the host is one of ours, which serves a virtio disk,
    /// it is not judged.
    pub fn look(&mut self, now: Nanoseconds, subsystem: &mut Subsystem, judged: bool, mut tell: impl FnMut(News<'_>)) {
        let Self { trial, tracers, id } = self;
        let drive = if tracers.is_empty() { None } else { tracers.drive(subsystem, now) };
        let controller = subsystem.controller_mut(*id);
        if controller.has_traced() || drive.is_some() {
            let batch = Arc::new(taken(controller, drive));
            tracers.take(&batch);
            trial.look(&batch.events, judged, |violation| {
                let name = format!("{} {}", violation.rule.id(), violation.rule.slug());
                tracers.mark(now, &name, &json!({ "detail": violation.detail, "count": violation.count }));
                tell(News::Violation(violation));
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
            self.tracers.take(&Arc::new(taken(subsystem.controller_mut(self.id), drive)));
        }
        self.tracers.finish(subsystem, now);
    }
}

/// What the controller told since the last look.
fn taken(controller: &mut Controller, drive: Option<Drive>) -> Batch {
    Batch { events: controller.take_traced(), data: controller.take_traced_data(), drive }
}
