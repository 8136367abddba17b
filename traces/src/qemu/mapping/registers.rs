//! Accesses to registers and doorbells.

use controller::watch::{DoorbellPath, DoorbellRefusal, RegisterRefusal};
use nvme_spec::register;

use super::{Emit, n};
use crate::facts::Facts;
use crate::qemu::table::{Emitted, Name};

/// The upper halves of ASQ and ACQ.
const ASQ_HIGH: u64 = register::ASQ + 4;
const ACQ_HIGH: u64 = register::ACQ + 4;
/// The first offset behind all registers.
const END: u64 = register::DOORBELLS;

/// The host read a register.
pub(super) fn read(offset: u64, bytes: u8, refused: Option<RegisterRefusal>, emit: Emit<'_>) {
    emit(Emitted::new(Name::MmioRead, [n(offset), n(bytes)]));
    if refused == Some(RegisterRefusal::NoPower) {
        return;
    }
    if !offset.is_multiple_of(4) {
        emit(Emitted::new(Name::UbMmiordMisaligned32, [n(offset)]));
    }
    if bytes < 4 {
        emit(Emitted::new(Name::UbMmiordToosmall, [n(offset)]));
    }
    if offset + u64::from(bytes) > END {
        emit(Emitted::new(Name::UbMmiordInvalidOfs, [n(offset)]));
    }
}

/// The host wrote a register.
pub(super) fn written(
    facts: &mut Facts,
    (offset, bytes, value): (u64, u8, u64),
    refused: Option<RegisterRefusal>,
    emit: Emit<'_>,
) {
    emit(Emitted::new(Name::MmioWrite, [n(offset), n(value), n(bytes)]));
    match refused {
        None => took(facts, (offset, bytes, value), emit),
        Some(RegisterRefusal::Width) if offset >= END => {
            if !offset.is_multiple_of(4) {
                emit(Emitted::new(Name::UbDbWrMisaligned, [n(offset)]));
            }
        }
        Some(RegisterRefusal::Width) => {
            if !offset.is_multiple_of(4) {
                emit(Emitted::new(Name::UbMmiowrMisaligned32, [n(offset)]));
            }
            if bytes < 4 {
                emit(Emitted::new(Name::UbMmiowrToosmall, [n(offset), n(bytes)]));
            }
        }
        Some(RegisterRefusal::ReadOnly) if offset == register::CSTS => emit(Emitted::new(Name::UbMmiowrRoCsts, [])),
        Some(RegisterRefusal::ReadOnly | RegisterRefusal::Reserved) => {
            emit(Emitted::new(Name::UbMmiowrInvalid, [n(offset), n(value)]));
        }
        // The host wrote CC all the same, and EN and SHN of it count.
        Some(RegisterRefusal::WhileEnabled) if offset == register::CC => {
            emit(Emitted::new(Name::MmioCfg, [n(value & 0xffff_ffff)]));
        }
        Some(RegisterRefusal::WhileEnabled | RegisterRefusal::Key | RegisterRefusal::NoPower) => {}
    }
}

/// A write that had its effect.
fn took(facts: &mut Facts, (offset, bytes, value): (u64, u8, u64), emit: Emit<'_>) {
    let low = value & 0xffff_ffff;
    match offset {
        register::INTMS | register::INTMC => {
            let bits = u32::try_from(low).expect("32 bits");
            let set = offset == register::INTMS;
            facts.mask = if set { facts.mask | bits } else { facts.mask & !bits };
            if facts.messages {
                emit(Emitted::new(Name::UbMmiowrIntmaskWithMsix, []));
            }
            let name = if set { Name::MmioIntmSet } else { Name::MmioIntmClr };
            emit(Emitted::new(name, [n(low), n(facts.mask)]));
        }
        register::CC => emit(Emitted::new(Name::MmioCfg, [n(low)])),
        register::AQA => emit(Emitted::new(Name::MmioAqattr, [n(low)])),
        register::ASQ | register::ACQ => {
            let is_submission = offset == register::ASQ;
            let address = if is_submission { &mut facts.admin_submission } else { &mut facts.admin_completion };
            *address = if bytes == 8 { value } else { *address & !0xffff_ffff | low };
            let name = if is_submission { Name::MmioAsqaddr } else { Name::MmioAcqaddr };
            emit(Emitted::new(name, [n(value)]));
        }
        ASQ_HIGH | ACQ_HIGH => {
            let is_submission = offset == ASQ_HIGH;
            let address = if is_submission { &mut facts.admin_submission } else { &mut facts.admin_completion };
            *address = *address & 0xffff_ffff | low << 32;
            let name = if is_submission { Name::MmioAsqaddrHi } else { Name::MmioAcqaddrHi };
            emit(Emitted::new(name, [n(low), n(*address)]));
        }
        _ => {}
    }
}

/// The host moved a doorbell.
pub(super) fn doorbell(
    path: DoorbellPath,
    (queue, tail, value): (u16, bool, u32),
    refused: Option<DoorbellRefusal>,
    emit: Emit<'_>,
) {
    if path == DoorbellPath::Register {
        let offset = register::DOORBELLS + 4 * (2 * u64::from(queue) + u64::from(!tail));
        emit(Emitted::new(Name::MmioWrite, [n(offset), n(value), n(4_u32)]));
    }
    let low = n(value & 0xffff);
    let event = match (refused, tail) {
        (None | Some(DoorbellRefusal::Nudge), _) => {
            let name = match (path == DoorbellPath::Shadow, tail) {
                (false, true) => Name::MmioDoorbellSq,
                (false, false) => Name::MmioDoorbellCq,
                (true, true) => Name::UpdateSqTail,
                (true, false) => Name::UpdateCqHead,
            };
            Emitted::new(name, [n(queue), low])
        }
        // A controller that does not run has no queues.
        (Some(DoorbellRefusal::NoQueue | DoorbellRefusal::NotRunning), true) => {
            Emitted::new(Name::UbDbWrInvalidSq, [n(queue)])
        }
        (Some(DoorbellRefusal::NoQueue | DoorbellRefusal::NotRunning), false) => {
            Emitted::new(Name::UbDbWrInvalidCq, [n(queue)])
        }
        (Some(DoorbellRefusal::BadValue), true) => Emitted::new(Name::UbDbWrInvalidSqtail, [n(queue), low]),
        (Some(DoorbellRefusal::BadValue), false) => Emitted::new(Name::UbDbWrInvalidCqhead, [n(queue), low]),
        (Some(DoorbellRefusal::NoPower), _) => return,
    };
    emit(event);
}
