//! The one table from NVMe status to the byte that answers a virtio request. virtio has three answers. What a driver does with them: an
//! I/O error fails the request for good (Linux does not retry); "unsupported" turns a whole kind of request off. So "unsupported" is
//! used only where every such request would fail, whatever its arguments; every other failure is an I/O error.

use nvme_spec::Status;

use crate::wire::BlockStatus;

/// How a command's end is told.
#[must_use]
pub fn answer(status: Status) -> BlockStatus {
    // What only says how an error came about does not change what it is: DNR, More, retry delay.
    match (status.code_type(), status.code()) {
        (0, 0) => BlockStatus::OK,
        // The controller has no such command (Base 2.1 figure 102): it will not have it the next time either.
        (0, 1) => BlockStatus::UNSUPPORTED,
        _ => BlockStatus::IO_ERROR,
    }
}

/// The worse of two answers, where one request was several commands.
#[must_use]
pub const fn worse(one: BlockStatus, other: BlockStatus) -> BlockStatus {
    match (one, other) {
        (BlockStatus::OK, status) | (status, BlockStatus::OK) => status,
        (BlockStatus::IO_ERROR, _) | (_, BlockStatus::IO_ERROR) => BlockStatus::IO_ERROR,
        (status, _) => status,
    }
}

#[cfg(test)]
mod tests {
    use nvme_spec::Status;

    use super::{answer, worse};
    use crate::wire::BlockStatus;

    #[test]
    fn success_is_told_and_every_other_status_is_no_success() {
        for bits in 0..1 << 15 {
            let status = Status(bits);
            assert_eq!(answer(status) == BlockStatus::OK, status.is_success(), "{status:?}");
        }
    }

    #[test]
    fn only_what_is_never_there_is_unsupported() {
        assert_eq!(answer(Status::INVALID_OPCODE), BlockStatus::UNSUPPORTED);
        let errors = [
            Status::INVALID_FIELD,
            Status::DATA_TRANSFER_ERROR,
            Status::INTERNAL_ERROR,
            Status::ABORTED_POWER_LOSS,
            Status::LBA_OUT_OF_RANGE,
            Status::CAPACITY_EXCEEDED,
            Status::UNRECOVERED_READ,
            Status::WRITE_FAULT,
            Status::INVALID_NAMESPACE,
        ];
        for status in errors {
            assert_eq!(answer(status), BlockStatus::IO_ERROR, "{status:?}");
            assert_eq!(answer(status.with_more()), BlockStatus::IO_ERROR, "{status:?}");
        }
    }

    #[test]
    fn one_failure_fails_the_whole() {
        let (ok, error, unsupported) = (BlockStatus::OK, BlockStatus::IO_ERROR, BlockStatus::UNSUPPORTED);
        assert_eq!([worse(ok, ok), worse(ok, error), worse(error, ok)], [ok, error, error]);
        assert_eq!([worse(ok, unsupported), worse(unsupported, error)], [unsupported, error]);
    }
}
