//! What the media says → what the host is told: the one table from outcomes to statuses.

use media::{MediaError, Outcome};
use nvme_spec::Status;

/// How the media's outcome is told to the host (B187, B188).
pub(crate) fn status(outcome: Outcome) -> Status {
    match outcome {
        Ok(()) => Status::SUCCESS,
        Err(MediaError::OutOfRange) => Status::LBA_OUT_OF_RANGE,
        Err(MediaError::HostMemory) => Status::DATA_TRANSFER_ERROR,
        Err(MediaError::UnrecoveredRead { .. }) => Status::UNRECOVERED_READ,
        Err(MediaError::WriteFailed { .. }) => Status::WRITE_FAULT,
        Err(MediaError::NoSpace) => Status::CAPACITY_EXCEEDED,
        Err(MediaError::PowerLost | MediaError::NoSuchVolume | MediaError::Internal) => Status::INTERNAL_ERROR,
    }
}
