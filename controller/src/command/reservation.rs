//! The four commands of reservations: entry → typed command or status (NVMe Base 2.3 sections 7.5 to 7.8).

use nvme_spec::Command;
use nvme_spec::reservation::{
    ACTION, EXTENDED, IGNORE_KEY, PERSISTENCE_CLEARED, PERSISTENCE_KEPT, PERSISTENCE_SET, ReservationType,
    acquire_action, register_action, release_action,
};

use crate::dma::DataPointer;
use crate::reason::Reason;

/// Whom a reservation lets do what. The numbers are those of RTYPE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReservationKind {
    /// Write Exclusive: the holder writes, all read.
    WriteExclusive = 1,
    /// Exclusive Access: the holder writes and reads.
    ExclusiveAccess = 2,
    /// Write Exclusive - Registrants Only: registrants write, all read.
    WriteExclusiveRegistrants = 3,
    /// Exclusive Access - Registrants Only: registrants write and read.
    ExclusiveAccessRegistrants = 4,
    /// Write Exclusive - All Registrants: the same as of registrants only, and each of them holds it.
    WriteExclusiveAll = 5,
    /// Exclusive Access - All Registrants: the same as of registrants only, and each of them holds it.
    ExclusiveAccessAll = 6,
}

impl ReservationKind {
    /// RTYPE, if it is one.
    pub(crate) const fn of(rtype: u8) -> Option<Self> {
        Some(match ReservationType(rtype) {
            ReservationType::WRITE_EXCLUSIVE => Self::WriteExclusive,
            ReservationType::EXCLUSIVE_ACCESS => Self::ExclusiveAccess,
            ReservationType::WRITE_EXCLUSIVE_REGISTRANTS => Self::WriteExclusiveRegistrants,
            ReservationType::EXCLUSIVE_ACCESS_REGISTRANTS => Self::ExclusiveAccessRegistrants,
            ReservationType::WRITE_EXCLUSIVE_ALL => Self::WriteExclusiveAll,
            ReservationType::EXCLUSIVE_ACCESS_ALL => Self::ExclusiveAccessAll,
            _ => return None,
        })
    }

    /// RTYPE.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Whether every registrant holds it.
    #[must_use]
    pub const fn is_held_by_all(self) -> bool {
        matches!(self, Self::WriteExclusiveAll | Self::ExclusiveAccessAll)
    }

    /// Whether others than the holder may do what it may, if they are registered.
    #[must_use]
    pub const fn is_for_registrants(self) -> bool {
        !matches!(self, Self::WriteExclusive | Self::ExclusiveAccess)
    }

    /// Whether reading is reserved as well.
    #[must_use]
    pub const fn reserves_reading(self) -> bool {
        matches!(self, Self::ExclusiveAccess | Self::ExclusiveAccessRegistrants | Self::ExclusiveAccessAll)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RegisterAction {
    Register,
    Unregister,
    Replace,
}

/// Reservation Register.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Register {
    pub(crate) action: RegisterAction,
    /// IEKEY.
    pub(crate) ignores_key: bool,
    /// CPTPL: what becomes of Persist Through Power Loss.
    pub(crate) persists: Option<bool>,
    pub(crate) data: DataPointer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcquireAction {
    Acquire,
    Preempt,
    PreemptAndAbort,
}

/// Reservation Acquire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acquire {
    pub(crate) action: AcquireAction,
    pub(crate) kind: ReservationKind,
    pub(crate) data: DataPointer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReleaseAction {
    Release(ReservationKind),
    Clear,
}

/// Reservation Release.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Release {
    pub(crate) action: ReleaseAction,
    pub(crate) data: DataPointer,
}

/// Reservation Report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    /// Bytes that the host has room for.
    pub(crate) bytes: u64,
    /// EDS.
    pub(crate) extended: bool,
    pub(crate) data: DataPointer,
}

impl Register {
    /// A CPTPL that nothing stands behind is refused when the command is carried out (RES1).
    pub(super) fn parse(entry: &Command, data: DataPointer) -> Result<Self, Reason> {
        let dword = entry.cdw10.get();
        let action = match dword & ACTION {
            register_action::REGISTER => RegisterAction::Register,
            register_action::UNREGISTER => RegisterAction::Unregister,
            register_action::REPLACE => RegisterAction::Replace,
            _ => return Err(Reason::ReservationAction),
        };
        let persists = match dword >> 30 {
            PERSISTENCE_KEPT => None,
            PERSISTENCE_CLEARED => Some(false),
            PERSISTENCE_SET => Some(true),
            _ => return Err(Reason::ReservationPersistence),
        };
        Ok(Self { action, ignores_key: dword & IGNORE_KEY != 0, persists, data })
    }
}

impl Acquire {
    pub(super) fn parse(entry: &Command, data: DataPointer) -> Result<Self, Reason> {
        let dword = entry.cdw10.get();
        let action = match dword & ACTION {
            acquire_action::ACQUIRE => AcquireAction::Acquire,
            acquire_action::PREEMPT => AcquireAction::Preempt,
            acquire_action::PREEMPT_AND_ABORT => AcquireAction::PreemptAndAbort,
            _ => return Err(Reason::ReservationAction),
        };
        check_key_is_used(dword)?;
        Ok(Self { action, kind: kind(dword)?, data })
    }
}

impl Release {
    /// Of a Clear there is no type.
    pub(super) fn parse(entry: &Command, data: DataPointer) -> Result<Self, Reason> {
        let dword = entry.cdw10.get();
        let action = match dword & ACTION {
            release_action::RELEASE => ReleaseAction::Release(kind(dword)?),
            release_action::CLEAR => ReleaseAction::Clear,
            _ => return Err(Reason::ReservationAction),
        };
        check_key_is_used(dword)?;
        Ok(Self { action, data })
    }
}

impl Report {
    pub(super) fn parse(entry: &Command, data: DataPointer) -> Self {
        // NUMD is zero-based.
        let bytes = (u64::from(entry.cdw10.get()) + 1) * 4;
        Self { bytes, extended: entry.cdw11.get() & EXTENDED != 0, data }
    }
}

/// RTYPE of Acquire and Release: dword 10 bits 15:8 (RES1).
fn kind(dword: u32) -> Result<ReservationKind, Reason> {
    let [_, rtype, ..] = dword.to_le_bytes();
    ReservationKind::of(rtype).ok_or(Reason::ReservationKind)
}

/// NVMe Base 2.3 sections 7.5 and 7.7: Acquire and Release know no IEKEY (RES1).
fn check_key_is_used(dword: u32) -> Result<(), Reason> {
    if dword & IGNORE_KEY == 0 { Ok(()) } else { Err(Reason::ReservationIgnoresKey) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::PrpEntries;

    /// RES1: CPTPL, dword 10 bits 31:30.
    #[test]
    fn a_registration_says_what_becomes_of_persistence() {
        let data = DataPointer::Prp(PrpEntries { prp1: 0, prp2: 0 });
        let parsed = |bits: u32| {
            let entry = Command { cdw10: (bits << 30).into(), ..Command::default() };
            Register::parse(&entry, data).map(|register| register.persists)
        };
        let refused = Err(Reason::ReservationPersistence);
        assert_eq!([0, 1, 2, 3].map(parsed), [Ok(None), refused, Ok(Some(false)), Ok(Some(true))]);
    }
}
