//! The controller's own history: the error log, the time, the temperature. What the SMART log counts belongs to the media, so that it
//! outlives the controller. Nothing here makes decisions.

use std::collections::VecDeque;

use media::Nanoseconds;
use nvme_spec::Status;
use nvme_spec::log::ErrorEntry;
use zerocopy::FromZeros;

use crate::inflight::Origin;
use crate::reason::{Field, Reason};

/// How many entries the error log keeps: ELPE + 1.
pub(crate) const ERROR_ENTRIES: usize = 64;
/// The composite temperature in kelvins. The device has no sensor: this is the temperature of an idle drive.
pub(crate) const TEMPERATURE_KELVINS: u16 = 313;
/// Above this a host should do something (WCTEMP).
pub(crate) const WARNING_KELVINS: u16 = 343;
/// Above this a drive would stop (CCTEMP).
pub(crate) const CRITICAL_KELVINS: u16 = 353;

/// NVMe Base 2.1 section 5.1.12.1.2: no parameter is to blame.
const NO_PARAMETER: u16 = 0xffff;

/// The device's life so far.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Errors ever entered into the error log.
    pub(crate) errors_logged: u64,
    /// Time of the last step, from the origin of the caller.
    pub(crate) now: Nanoseconds,
    /// Newest first.
    errors: VecDeque<ErrorEntry>,
}

impl Health {
    /// Enters a failed command into the error log.
    pub(crate) fn log_command(&mut self, sqid: u16, cid: u16, origin: Origin, reason: Reason) {
        self.log(ErrorEntry {
            sqid: sqid.into(),
            cid: cid.into(),
            status: (reason.status().0 << 1).into(),
            parameter_location: reason.field().map_or(NO_PARAMETER, Field::location).into(),
            lba: origin.lba.into(),
            nsid: origin.nsid.into(),
            opcode: origin.opcode,
            command_specific: origin.specific.into(),
            version: 1,
            ..Self::unspecific()
        });
    }

    /// Enters a command that was answered with this status, and nobody knows why.
    pub(crate) fn log_status(&mut self, sqid: u16, cid: u16, origin: Origin, status: Status) {
        self.log(ErrorEntry {
            sqid: sqid.into(),
            cid: cid.into(),
            status: (status.0 << 1).into(),
            lba: origin.lba.into(),
            nsid: origin.nsid.into(),
            opcode: origin.opcode,
            version: 1,
            ..Self::unspecific()
        });
    }

    /// Enters an error that belongs to no command.
    pub(crate) fn log_event(&mut self) {
        self.log(Self::unspecific());
    }

    /// NVMe Base 2.1 section 5.1.12.1.2: FFFFh stands where no command or parameter is to blame.
    fn unspecific() -> ErrorEntry {
        ErrorEntry {
            sqid: 0xffff.into(),
            cid: 0xffff.into(),
            parameter_location: NO_PARAMETER.into(),
            ..ErrorEntry::new_zeroed()
        }
    }

    fn log(&mut self, entry: ErrorEntry) {
        self.errors_logged += 1;
        self.errors.truncate(ERROR_ENTRIES - 1);
        self.errors.push_front(ErrorEntry { error_count: self.errors_logged.into(), ..entry });
    }

    /// The error log, newest first.
    pub(crate) fn errors(&self) -> impl Iterator<Item = &ErrorEntry> {
        self.errors.iter()
    }
}
