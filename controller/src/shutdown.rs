//! The shutdown that a host asks for with CC.SHN (NVMe Base 2.1 section 3.6.1): the media is quiesced, and CSTS.SHST tells when that is
//! done.

use media::power::Step;
use media::{Outcome, Request, Submitted, Token, VolumeId};

use crate::Controller;
use crate::shared::Shared;
use crate::state::Shutdown;
use crate::watch::{ShutdownState, TraceEvent};

/// The number of the flush that a shutdown makes; no command has it.
const SHUTDOWN: u32 = u32::MAX;

impl Controller {
    pub(crate) const fn shutdown_token(&self) -> Token {
        Token::of(self.id.0, SHUTDOWN)
    }

    /// Begins a shutdown that was asked for; whether there was one.
    pub(crate) fn begin_shutdown(&mut self, shared: &mut Shared) -> bool {
        if self.registers.shutdown != Shutdown::Asked || !self.may_shut_down() {
            return false;
        }
        self.reached(Step::ShutdownBegun);
        self.watch.tell(TraceEvent::Shutdown { state: ShutdownState::Begun });
        let submitted = shared.media.submit(self.health.now, self.shutdown_token(), VolumeId(0), Request::Quiesce);
        self.registers.shutdown = match submitted {
            Submitted::Pending => Shutdown::Flushing,
            Submitted::Done(outcome) => self.shutdown_ended(outcome),
        };
        true
    }

    pub(crate) fn shutdown_ended(&mut self, outcome: Outcome) -> Shutdown {
        let state = Shutdown::after_flush(outcome);
        let complete = state == Shutdown::Complete;
        if complete {
            self.reached(Step::ShutdownDone);
        }
        let state_told = if complete { ShutdownState::Complete } else { ShutdownState::Failed };
        self.watch.tell(TraceEvent::Shutdown { state: state_told });
        state
    }

    /// A controller that was shut down while it was disabled has had no reset since; enabling it ends the shutdown, also one that is
    /// still going on (B27, B28).
    pub(crate) fn leave_shutdown(&mut self, shared: &mut Shared) {
        if self.registers.configuration.shutdown() == 0 {
            shared.media.cancel(self.shutdown_token());
            if self.registers.shutdown != Shutdown::No {
                self.watch.tell(TraceEvent::Shutdown { state: ShutdownState::Cleared });
            }
            self.registers.shutdown = Shutdown::No;
        }
    }
}
