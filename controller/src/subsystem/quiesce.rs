//! A shutdown that does not come from the host: whoever runs the device quiesces its media before the process ends. The host's own way
//! is CC.SHN, in `state`.

use media::{Nanoseconds, Outcome, Request, Submitted, Token, VolumeId};

use super::Subsystem;

/// No command has this token.
const REST_TOKEN: Token = Token(u64::MAX - 1);

impl Subsystem {
    /// Makes everything durable that the media accepted, and the end of the process an orderly one. Call it, until it returns the
    /// outcome, at the times that waiting for the media suggests, and step no controller any more: nothing is answered any longer.
    pub fn quiesce(&mut self, now: Nanoseconds) -> Option<Outcome> {
        if !self.shared.quiescing {
            match self.shared.media.submit(now, REST_TOKEN, VolumeId(0), Request::Quiesce) {
                Submitted::Done(outcome) => return Some(outcome),
                Submitted::Pending => self.shared.quiescing = true,
            }
        }
        self.shared.mail.collect(self.shared.media.as_mut(), now);
        let ended = self.shared.mail.take_own(REST_TOKEN);
        self.shared.quiescing = ended.is_none();
        ended
    }
}
