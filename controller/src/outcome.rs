//! The one table from the media's outcomes to the reasons why a command failed, and so to the host's statuses.

use media::{MediaError, Outcome};

use crate::inflight::Origin;
use crate::reason::Reason;

/// How the media's failure is told to the host (B187, B188).
pub(crate) fn reason(error: MediaError) -> Reason {
    match error {
        MediaError::OutOfRange => Reason::MediaOutOfRange,
        MediaError::HostMemory => Reason::HostMemory,
        MediaError::UnrecoveredRead { .. } => Reason::UnrecoveredRead,
        MediaError::WriteFailed { .. } => Reason::WriteFailed,
        MediaError::NotStored => Reason::NotStored,
        MediaError::NoSpace => Reason::NoSpace,
        MediaError::PowerLost => Reason::MediaPowerLost,
        MediaError::NoSuchVolume | MediaError::Internal => Reason::MediaInternal,
    }
}

/// How a command of an I/O queue ended, once the media is done with it; the error log learns which block failed (B88).
#[inline]
pub(crate) fn conclude(outcome: Outcome, origin: &mut Origin) -> Result<u32, Reason> {
    if outcome.is_ok() && !origin.differs { Ok(0) } else { conclude_failed(outcome, origin) }
}

#[cold]
fn conclude_failed(outcome: Outcome, origin: &mut Origin) -> Result<u32, Reason> {
    if let Err(MediaError::UnrecoveredRead { first } | MediaError::WriteFailed { first }) = outcome {
        origin.lba = first.0;
    }
    match outcome {
        Ok(()) if origin.differs => Err(Reason::Difference),
        Ok(()) => Ok(0),
        Err(error) => Err(reason(error)),
    }
}
