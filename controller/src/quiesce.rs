//! A shutdown that does not come from the host: whoever runs the device quiesces its media before the process ends. The host's own way
//! is CC.SHN, in `state`.

use media::{Nanoseconds, Outcome, Request, Submitted, Token, VolumeId};

use crate::Controller;

/// No command has this token.
const REST_TOKEN: Token = Token(u64::MAX - 1);

impl Controller {
    /// Makes everything durable that the media accepted, and the end of the process an orderly one. Call it, until it returns the
    /// outcome, at the times that waiting for the media suggests, and step the controller no more: nothing is answered any longer.
    pub fn quiesce(&mut self, now: Nanoseconds) -> Option<Outcome> {
        if !self.quiescing {
            match self.media.submit(now, REST_TOKEN, VolumeId(0), Request::Quiesce) {
                Submitted::Done(outcome) => return Some(outcome),
                Submitted::Pending => self.quiescing = true,
            }
        }
        let mut ended = None;
        self.media.poll(now, &mut |token, outcome| {
            if token == REST_TOKEN {
                ended = Some(outcome);
            }
        });
        self.quiescing = ended.is_none();
        ended
    }
}
