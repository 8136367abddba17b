//! `query-reservations`.

use controller::{HostIdentifier, RegistrantState, ReservationKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Device, Execute, Refusal};

/// Every namespace with its reservation and the hosts that are registered, as Reservation Report tells hosts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryReservations {}

/// The reservation of a namespace.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Reserved {
    nsid: u32,
    /// RTYPE in words; none if nobody holds a reservation.
    r#type: Option<Type>,
    /// Rises with each registration, preemption and clearing; wraps at 32 bits.
    generation: u32,
    /// Persist Through Power Loss.
    persists: bool,
    /// In the order in which they registered.
    registrants: Vec<Registrant>,
}

/// Types of reservations.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Type {
    /// Type 1: the holder writes, all read.
    WriteExclusive,
    /// Type 2: the holder writes and reads.
    ExclusiveAccess,
    /// Type 3: registrants write, all read.
    WriteExclusiveRegistrantsOnly,
    /// Type 4: registrants write and read.
    ExclusiveAccessRegistrantsOnly,
    /// Type 5: registrants write, all read; each registrant holds it.
    WriteExclusiveAllRegistrants,
    /// Type 6: registrants write and read; each of them holds it.
    ExclusiveAccessAllRegistrants,
}

impl From<ReservationKind> for Type {
    fn from(kind: ReservationKind) -> Self {
        match kind {
            ReservationKind::WriteExclusive => Self::WriteExclusive,
            ReservationKind::ExclusiveAccess => Self::ExclusiveAccess,
            ReservationKind::WriteExclusiveRegistrants => Self::WriteExclusiveRegistrantsOnly,
            ReservationKind::ExclusiveAccessRegistrants => Self::ExclusiveAccessRegistrantsOnly,
            ReservationKind::WriteExclusiveAll => Self::WriteExclusiveAllRegistrants,
            ReservationKind::ExclusiveAccessAll => Self::ExclusiveAccessAllRegistrants,
        }
    }
}

/// A host that is registered.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Registrant {
    /// Its host identifier, byte by byte in hexadecimal digits; none if it did not set one.
    host: Option<String>,
    /// Its key.
    key: u64,
    /// It holds the reservation, alone or with others.
    holds: bool,
    /// CNTLIDs of the controllers that serve it now.
    controllers: Vec<u16>,
}

impl From<RegistrantState> for Registrant {
    fn from(state: RegistrantState) -> Self {
        let digits = |identifier: HostIdentifier| identifier.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            host: state.identifier.map(digits),
            key: state.key,
            holds: state.holds,
            controllers: state.controllers.into_iter().map(|id| id.0).collect(),
        }
    }
}

impl Execute for QueryReservations {
    const NAME: &'static str = "query-reservations";
    type Answer = Vec<Reserved>;

    fn execute(self, device: &mut Device<'_>) -> Result<Vec<Reserved>, Refusal> {
        let subsystem = &device.subsystem;
        let of = |nsid: u32| {
            let state = subsystem.reservation(nsid)?;
            Some(Reserved {
                nsid,
                r#type: state.kind.map(Type::from),
                generation: state.generation,
                persists: state.persists,
                registrants: state.registrants.into_iter().map(Registrant::from).collect(),
            })
        };
        Ok(subsystem.config().namespaces.iter().filter_map(|namespace| of(namespace.nsid)).collect())
    }
}
