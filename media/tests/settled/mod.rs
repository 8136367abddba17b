//! A host that waits for the end of each request.

use media::Nanoseconds;
use media::ssd::Ssd;
use media::store::Store;
use media::volume::{Media, Outcome, Request, Submitted, Token, VolumeId};

pub fn submit_to<S: Store>(ssd: &mut Ssd<S>, volume: u32, request: Request<'_>) -> Outcome {
    match ssd.submit(Nanoseconds(0), Token(1), VolumeId(volume), request) {
        Submitted::Done(outcome) => outcome,
        Submitted::Pending => loop {
            let mut ended = None;
            ssd.poll(Nanoseconds(0), &mut |_, outcome| ended = Some(outcome));
            if let Some(outcome) = ended {
                return outcome;
            }
            std::thread::yield_now();
        },
    }
}
