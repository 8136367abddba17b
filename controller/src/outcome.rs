//! The one table from the media's outcomes to the host's statuses.

use media::{MediaError, Outcome};
use nvme_spec::Status;

use crate::inflight::Origin;

/// How the media's outcome is told to the host (B187, B188).
pub(crate) fn status(outcome: Outcome) -> Status {
    match outcome {
        Ok(()) => Status::SUCCESS,
        Err(MediaError::OutOfRange) => Status::LBA_OUT_OF_RANGE,
        Err(MediaError::HostMemory) => Status::DATA_TRANSFER_ERROR,
        Err(MediaError::UnrecoveredRead { .. }) => Status::UNRECOVERED_READ,
        Err(MediaError::WriteFailed { .. } | MediaError::NotStored) => Status::WRITE_FAULT,
        Err(MediaError::NoSpace) => Status::CAPACITY_EXCEEDED,
        Err(MediaError::PowerLost | MediaError::NoSuchVolume | MediaError::Internal) => Status::INTERNAL_ERROR,
    }
}

/// How a command of an I/O queue ended, once the media is done with it; the error log learns which block failed (B88).
#[inline]
pub(crate) fn conclude(outcome: Outcome, origin: &mut Origin) -> Result<u32, Status> {
    if outcome.is_ok() && !origin.differs { Ok(0) } else { conclude_failed(outcome, origin) }
}

#[cold]
fn conclude_failed(outcome: Outcome, origin: &mut Origin) -> Result<u32, Status> {
    if let Err(MediaError::UnrecoveredRead { first } | MediaError::WriteFailed { first }) = outcome {
        origin.lba = first.0;
    }
    match outcome {
        Ok(()) if origin.differs => Err(Status::COMPARE_FAILURE),
        outcome => status(outcome).into_result(),
    }
}
