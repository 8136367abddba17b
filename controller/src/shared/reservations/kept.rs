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
        let mut bytes = Vec::with_capacity(HEADER_BYTES + named.len() * REGISTRANT_BYTES);
        bytes.extend(VERSION.to_le_bytes());
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
