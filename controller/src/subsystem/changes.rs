//! Namespaces are made, deleted, formatted, resized and attached while hosts are there: asked for by a host, or by whoever runs the device.
//! Owns the order among these changes and among commands. `shared::plan` knows what a change comes to, and the media where the blocks lie.
//!
//! Where a change takes blocks away, commands that were taken before finish first, and until it is done no other command is taken from an
//! I/O queue of any controller, so each command knows one size and one format. The admin queues continue.

use media::{Nanoseconds, Outcome, Request, Submitted, Token, VolumeChange, VolumeId};

use super::Subsystem;
use crate::budget::{Budget, Clock};
use crate::shared::Shared;
use crate::shared::changes::{By, Change, ChangeError, Effect, Plan, Stage, UnderWay};
use crate::shared::mail::Notice;

/// No command has this token.
const CHANGE_TOKEN: Token = Token(u64::MAX - 3);

impl Subsystem {
    /// Begins a change on behalf of whoever runs the device. [`Self::changed`] tells how it ended; steps carry it out.
    ///
    /// # Errors
    /// It is not possible; nothing was begun.
    pub fn change(&mut self, change: Change) -> Result<(), ChangeError> {
        if !self.power_is_on() {
            return Err(ChangeError::NoPower);
        }
        if self.shared.changes.has_operators() {
            return Err(ChangeError::Busy);
        }
        if let Some(Plan { failed: Some((error, _)), .. }) = self.shared.plan(&change, 0)? {
            return Err(error);
        }
        self.shared.changes.ended = None;
        self.shared.changes.ask(change, By::Operator);
        Ok(())
    }

    /// Begins to give a namespace this many blocks: see [`Change::Resize`].
    ///
    /// # Errors
    /// As for [`Self::change`].
    pub fn resize(&mut self, nsid: u32, blocks: u64) -> Result<(), ChangeError> {
        self.change(Change::Resize { nsid, blocks })
    }

    /// How the change that was begun last has ended, once, with the identifier of a namespace that was made; `None` while it is under way.
    ///
    /// # Errors
    /// Some of it may have been done.
    pub fn changed(&mut self) -> Option<Result<u32, ChangeError>> {
        let changes = &mut self.shared.changes;
        if !self.shared.power.breaker.lost() && changes.has_operators() {
            return None;
        }
        // A power loss forgets it.
        Some(changes.ended.take().unwrap_or(Err(ChangeError::NoPower)))
    }

    /// Carries changes out, those that take blocks away when no controller has a command of an I/O queue under way. `true` if something was
    /// done.
    #[cold]
    pub(super) fn go_on_changing(&mut self, now: Nanoseconds, clock: &dyn Clock) -> bool {
        if self.breaker().lost() {
            return false;
        }
        let budget = &mut Budget::new(clock, now);
        self.shared.mail.collect(self.shared.media.as_mut(), now);
        if let Some(outcome) = self.shared.mail.take_own(CHANGE_TOKEN) {
            self.shared.media_answered(outcome);
            budget.spend(1);
        }
        while budget.left() > 0 && !self.breaker().lost() {
            let busy = self.shared.changes.holds_back()
                && self.controllers.iter().any(|controller| controller.in_flight.has_io());
            let Some(first) = self.shared.changes.take_first(!busy) else { break };
            if let Some(outcome) = self.shared.go_on(now, first) {
                self.shared.media_answered(outcome);
            }
            budget.spend_long(16);
        }
        budget.worked()
    }
}

impl Shared {
    /// Does what comes next of a change: how the media answered, if it was asked for something and did so at once.
    fn go_on(&mut self, now: Nanoseconds, mut first: UnderWay) -> Option<Outcome> {
        match std::mem::take(&mut first.stage) {
            Stage::Waiting => {
                self.begin(first);
                None
            }
            Stage::Dropping { plan, mut slices } => {
                slices.pass_over(|range| self.media.next_allocated(plan.volume, range));
                match slices.next() {
                    Some(slice) => {
                        let volume = plan.volume;
                        first.stage = Stage::Dropping { plan, slices };
                        self.submit(now, first, volume, Request::Deallocate { ranges: &[slice] })
                    }
                    None => self.submit_plan(now, first, plan),
                }
            }
            Stage::Purging | Stage::Committing(_) => {
                first.stage = Stage::Purging;
                self.submit(now, first, VolumeId(0), Request::Purge)
            }
        }
    }

    /// A change has its turn, or the next namespace of one that is about several.
    fn begin(&mut self, mut first: UnderWay) {
        match self.plan(&first.change, first.done) {
            Err(error) => self.end(&first, Err((error, error.specific()))),
            Ok(Some(plan)) => {
                let slices = self.dropped(&plan);
                first.stage = Stage::Dropping { plan: Box::new(plan), slices };
                self.changes.put_back(first);
            }
            Ok(None) if first.done > 0 && matches!(first.change, Change::Format { erase: true, .. }) => {
                // The old blocks are gone for every host, and nothing of what follows concerns new ones.
                first.holds_back = false;
                first.stage = Stage::Purging;
                self.changes.put_back(first);
                self.mail.tell_others(None, Notice::GoOn);
            }
            Ok(None) => self.end(&first, Ok(0)),
        }
    }

    fn submit_plan(&mut self, now: Nanoseconds, mut first: UnderWay, plan: Box<Plan>) -> Option<Outcome> {
        let note = plan.record.as_ref().map(crate::shared::record::Record::encode);
        let (volume, effect) = (plan.volume, plan.effect);
        let request = match effect {
            Effect::Resize { blocks } => Request::Resize { blocks },
            Effect::Volume(change) => Request::Manage { change, note: note.as_deref() },
        };
        let nothing_to_keep = effect == Effect::Volume(VolumeChange::Keep) && note.is_none();
        first.stage = Stage::Committing(plan);
        if nothing_to_keep {
            self.changes.put_back(first);
            return Some(Ok(()));
        }
        self.submit(now, first, volume, request)
    }

    fn submit(
        &mut self,
        now: Nanoseconds,
        mut first: UnderWay,
        volume: VolumeId,
        request: Request<'_>,
    ) -> Option<Outcome> {
        first.at_media = true;
        self.changes.put_back(first);
        match self.media.submit(now, CHANGE_TOKEN, volume, request) {
            Submitted::Done(outcome) => Some(outcome),
            Submitted::Pending => None,
        }
    }

    /// The media is done with what it had of the first change.
    fn media_answered(&mut self, outcome: Outcome) {
        let Some(mut first) = self.changes.queue.pop_front() else { return };
        first.at_media = false;
        if let Err(error) = outcome {
            // The namespaces are as the media says now, also where it failed on the way. Without power it says nothing that stays.
            if !self.power.breaker.lost() {
                self.renew_shapes();
            }
            let error =
                if error == media::MediaError::PowerLost { ChangeError::NoPower } else { ChangeError::Media(error) };
            return self.end(&first, Err((error, 0)));
        }
        match std::mem::take(&mut first.stage) {
            Stage::Committing(plan) => self.committed(first, *plan),
            Stage::Purging if self.media.stale() == 0 => self.end(&first, Ok(0)),
            stage => {
                first.stage = stage;
                self.changes.put_back(first);
            }
        }
    }

    /// A change is durable, or that of one namespace among several.
    fn committed(&mut self, mut first: UnderWay, plan: Plan) {
        let by = if let By::Host(id, _) = first.by { Some(id) } else { None };
        let (result, failed) = (plan.result, plan.failed);
        self.apply(plan, by);
        let several = matches!(first.change, Change::Format { .. } | Change::Delete { nsid: None });
        match failed {
            Some(failed) => self.end(&first, Err(failed)),
            None if several => {
                first.done += 1;
                self.changes.put_back(first);
            }
            None => self.end(&first, Ok(result)),
        }
    }

    fn end(&mut self, change: &UnderWay, result: Result<u32, (ChangeError, u64)>) {
        self.changes.look();
        match change.by {
            By::Operator => self.changes.ended = Some(result.map_err(|(error, _)| error)),
            By::Host(id, token) => {
                self.mail.answer(id, token, result.map_err(|(error, specific)| (error.reason(), specific)));
            }
            By::Nobody => {}
        }
        self.mail.tell_others(None, Notice::GoOn);
    }
}
