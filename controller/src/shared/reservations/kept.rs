//! Registrations as bytes, for whoever keeps them through a power loss: little-endian, with a version.
//!
//! | bytes | what |
//! |---|---|
//! | 1:0 | version, 1 |
//! | 2 | type of the reservation; 0 is none |
//! | 3 | which registrant holds it, from 1; 0 if it is none's or all registrants' |
//! | 7:4 | generation |
//! | 8 | 1 if they persist |
//! | 9 | number of registrants |
//! | then | of each: 1 for an identifier of 128 bits, or 0; 16 bytes of identifier; 8 bytes of key |

use std::collections::BTreeSet;

use thiserror::Error;

use crate::command::reservation::ReservationKind;

use super::Reservations;
use super::host::{Host, HostIdentifier};
use super::registrations::{Held, REGISTRANTS_MAX, Registrant, Registrations};

const VERSION: u16 = 1;
const HEADER_BYTES: usize = 10;
const REGISTRANT_BYTES: usize = 1 + 16 + 8;
/// No namespace's registrations take more.
pub(crate) const KEPT_BYTES_MAX: usize = HEADER_BYTES + REGISTRANTS_MAX * REGISTRANT_BYTES;
const _: () = assert!(KEPT_BYTES_MAX <= 4096);

/// Why bytes are no registrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum KeptError {
    #[error("version {0} of registrations is not known")]
    Version(u16),
    #[error("registrations are not {0} bytes long")]
    Length(usize),
    #[error("a field of registrations has a value that it cannot have")]
    Field,
}

impl Registrations {
    /// What of it can outlive a power loss: hosts without a name cannot, nor what they hold (NVMe Base 2.3 section 5.2.26.1.32).
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let named: Vec<(Host, HostIdentifier, u64)> = (self.registrants.iter())
            .filter_map(|registrant| Some((registrant.host, registrant.host.identifier()?, registrant.key)))
            .collect();
        let place = |by: Host| named.iter().position(|(host, ..)| *host == by).and_then(|at| u8::try_from(at + 1).ok());
        let held = self.held.and_then(|held| match held.by {
            Some(by) => Some((held.kind.number(), place(by)?)),
            None => (!named.is_empty()).then_some((held.kind.number(), 0)),
        });
        let (kind, holder) = held.unwrap_or_default();
        let mut bytes = VERSION.to_le_bytes().to_vec();
        bytes.extend([kind, holder]);
        bytes.extend(self.generation.to_le_bytes());
        bytes.extend([u8::from(self.persists), u8::try_from(named.len()).expect("at most 128")]);
        for (_, identifier, key) in named {
            let mut wide = [0; 16];
            wide[..identifier.bytes().len()].copy_from_slice(identifier.bytes());
            bytes.push(u8::from(identifier.is_extended()));
            bytes.extend(wide);
            bytes.extend(key.to_le_bytes());
        }
        bytes
    }

    /// The same from bytes.
    ///
    /// # Errors
    /// They are not what [`Self::to_bytes`] makes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, KeptError> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(KeptError::Length(bytes.len()))?;
        let [v0, v1, kind, holder, g0, g1, g2, g3, persists, count] = *header;
        match u16::from_le_bytes([v0, v1]) {
            VERSION => {}
            other => return Err(KeptError::Version(other)),
        }
        let (each, []) = rest.as_chunks::<REGISTRANT_BYTES>() else { return Err(KeptError::Length(bytes.len())) };
        if each.len() != usize::from(count) || each.len() > REGISTRANTS_MAX {
            return Err(KeptError::Length(bytes.len()));
        }
        let registrants: Vec<Registrant> = each.iter().map(registrant).collect::<Result<_, _>>()?;
        let hosts: BTreeSet<Host> = registrants.iter().map(|registrant| registrant.host).collect();
        if hosts.len() != registrants.len() {
            return Err(KeptError::Field);
        }
        let held = match (ReservationKind::of(kind), holder) {
            (None, 0) if kind == 0 => None,
            (Some(kind), 0) if kind.is_held_by_all() && !registrants.is_empty() => Some(Held { kind, by: None }),
            (Some(kind), 1..) if !kind.is_held_by_all() => {
                let by = registrants.get(usize::from(holder) - 1).ok_or(KeptError::Field)?;
                Some(Held { kind, by: Some(by.host) })
            }
            _ => return Err(KeptError::Field),
        };
        let persists = match persists {
            0 => false,
            1 => true,
            _ => return Err(KeptError::Field),
        };
        Ok(Self { registrants, held, generation: u32::from_le_bytes([g0, g1, g2, g3]), persists })
    }
}

impl Reservations {
    /// Registrations can persist from now on, because somebody keeps them: RESCAP says so, and CPTPL and feature 83h are taken.
    pub(crate) const fn offer_persistence(&mut self) {
        self.persistent = true;
    }

    /// What must be durable of a namespace before a command that changed it is answered; nothing if its registrations do not persist
    /// (RES15).
    pub(crate) fn kept(&self, nsid: u32) -> Option<Vec<u8>> {
        self.of.get(&nsid).filter(|of| of.persists).map(Registrations::to_bytes)
    }

    /// After a power loss: the registrations of a namespace are what was kept. If a reservation is among them
    /// ([`Reservations::is_held`]), the namespace is reserved.
    ///
    /// # Errors
    /// Nothing that could be restored was kept.
    pub(crate) fn restore(&mut self, nsid: u32, bytes: &[u8]) -> Result<(), KeptError> {
        self.of.insert(nsid, Registrations::from_bytes(bytes)?);
        Ok(())
    }
}

fn registrant(bytes: &[u8; REGISTRANT_BYTES]) -> Result<Registrant, KeptError> {
    let [extended, rest @ ..] = bytes;
    let (identifier, key) = rest.split_at(16);
    let identifier = match extended {
        0 if identifier[8..] == [0; 8] => HostIdentifier::of(&identifier[..8]),
        1 => HostIdentifier::of(identifier),
        _ => None,
    };
    let host = Host::Named(identifier.ok_or(KeptError::Field)?);
    Ok(Registrant { host, key: u64::from_le_bytes(key.try_into().map_err(|_| KeptError::Field)?) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::IoCommand;
    use crate::command::reservation::{Acquire, AcquireAction, Register, RegisterAction};
    use crate::controllers::ControllerId;
    use crate::dma::{DataPointer, PrpEntries};
    use crate::reason::Reason;

    const ID: ControllerId = ControllerId::FIRST;
    const DATA: DataPointer = DataPointer::Prp(PrpEntries { prp1: 0, prp2: 0 });

    fn named() -> Reservations {
        let mut all = Reservations::new(1);
        all.offer_persistence();
        all.identify(ID, &[1; 16]).expect("once");
        all
    }

    fn register(all: &mut Reservations, persists: Option<bool>, keys: [u64; 2]) -> Result<(), Reason> {
        let action = RegisterAction::Replace;
        let command = Register { action, ignores_key: false, persists, data: DATA };
        all.carry_out(ID, 1, &IoCommand::Register(command), keys)
    }

    /// RES15: what was kept is what is there again; a host is itself when it says who it is.
    #[test]
    fn what_persists_comes_back() {
        let mut all = named();
        let first = Register { action: RegisterAction::Register, ignores_key: false, persists: None, data: DATA };
        all.carry_out(ID, 1, &IoCommand::Register(first), [0, 7]).expect("new");
        assert_eq!(all.kept(1), None, "nobody asked for it");
        register(&mut all, Some(true), [7, 8]).expect("its key");
        let kind = ReservationKind::WriteExclusiveAll;
        let acquire = Acquire { action: AcquireAction::Acquire, kind, data: DATA };
        all.carry_out(ID, 1, &IoCommand::Acquire(acquire), [8, 0]).expect("free");
        let mut again = Reservations::new(1);
        again.restore(1, &all.kept(1).expect("it persists")).expect("its own bytes");
        assert!(again.is_held(1) && again.persists(1));
        assert!(again.state(1).registrants[0].controllers.is_empty(), "the host is not there yet");
        again.identify(ID, &[1; 16]).expect("once");
        assert_eq!(again.state(1), all.state(1));
    }

    /// RES1, RES15: CPTPL and feature 83h are the same switch; a command that fails does not move it.
    #[test]
    fn persistence_is_switched_by_what_succeeds() {
        let mut all = named();
        assert_eq!(register(&mut all, Some(true), [0, 7]), Err(Reason::ReservationConflict));
        assert!(!all.persists(1));
        all.set_persists(1, true).expect("it is offered");
        assert!(all.kept(1).is_some());
        let first = Register { action: RegisterAction::Register, ignores_key: false, persists: None, data: DATA };
        all.carry_out(ID, 1, &IoCommand::Register(first), [0, 7]).expect("new");
        assert!(all.persists(1), "kept as it was");
        register(&mut all, Some(false), [7, 7]).expect("its key");
        assert_eq!(all.kept(1), None);
        let mut other = Reservations::new(1);
        assert_eq!(other.set_persists(1, true), Err(Reason::ReservationFeaturePersistence), "it is not offered");
        assert_eq!(other.set_persists(1, false), Ok(()));
    }
}
