//! The features that say who the host is and what of reservations it hears: Host Identifier, Reservation Notification Mask, Reservation
//! Persistence (NVMe Base 2.3 section 5.2.26.1.32). Their values are the subsystem's, in `shared::reservations`.

use media::Token;
use nvme_spec::feature::{EXTENDED_HOST_IDENTIFIER, FeatureId};
use nvme_spec::{Command, NSID_ALL};

use super::Done;
use crate::Controller;
use crate::dma::GuestMemory;
use crate::reason::Reason;
use crate::shared::Shared;
use crate::shared::changes::{By, Change};
use crate::shared::reservations::host::HostIdentifier;

/// The features of namespaces among them.
pub(super) fn are_of_reservations(feature: FeatureId) -> bool {
    [FeatureId::RESERVATION_NOTIFICATIONS, FeatureId::RESERVATION_PERSISTENCE].contains(&feature)
}

/// How many bytes EXHID says.
fn identifier_bytes(command: &Command) -> usize {
    if command.cdw11.get() & EXTENDED_HOST_IDENTIFIER == 0 { 8 } else { 16 }
}

/// Get Features of Host Identifier: zeroes of either length while there is none (RES12).
pub(super) fn get_identifier<M: GuestMemory>(
    controller: &mut Controller,
    shared: &Shared,
    memory: &M,
    command: &Command,
) -> Result<Done, Reason> {
    let identifier = shared.reservations.identifier(controller.id);
    if identifier.is_some_and(|identifier| identifier.bytes().len() != identifier_bytes(command)) {
        return Err(Reason::HostIdentifierFormat);
    }
    send_identifier(controller, memory, command, identifier)
}

/// Hands the host its identifier, or as many zeroes.
pub(super) fn send_identifier<M: GuestMemory>(
    controller: &mut Controller,
    memory: &M,
    command: &Command,
    identifier: Option<HostIdentifier>,
) -> Result<Done, Reason> {
    let zeroes = &[0; 16][..identifier_bytes(command)];
    let bytes = identifier.as_ref().map_or(zeroes, HostIdentifier::bytes);
    controller.send(memory, command, bytes).map(|()| Done::Now(0))
}

pub(super) fn set_identifier<M: GuestMemory>(
    controller: &mut Controller,
    shared: &mut Shared,
    memory: &M,
    command: &Command,
) -> Result<(), Reason> {
    let mut bytes = [0; 16];
    let bytes = &mut bytes[..identifier_bytes(command)];
    controller.receive(memory, command, bytes)?;
    shared.reservations.identify(controller.id, bytes)
}

/// Of one namespace, or of all that the controller has (RES17).
pub(super) fn set_of_reservations(
    controller: &Controller,
    shared: &mut Shared,
    feature: FeatureId,
    (nsid, value): (u32, u32),
    token: Token,
) -> Result<Done, Reason> {
    let meant = controller.namespaces.iter().map(|namespace| namespace.identity.nsid);
    for of in meant.filter(|of| nsid == NSID_ALL || *of == nsid) {
        if feature == FeatureId::RESERVATION_NOTIFICATIONS {
            shared.reservations.set_mask(of, value);
        } else {
            shared.reservations.set_persists(of, value & 1 != 0)?;
        }
    }
    let first = controller.namespaces.iter().next().map(|namespace| namespace.identity.nsid);
    let Some(kept) = first.filter(|_| feature == FeatureId::RESERVATION_PERSISTENCE && shared.namespaces.is_kept())
    else {
        return Ok(Done::Now(0));
    };
    // The media keeps that of all namespaces at once.
    let nsid = if nsid == NSID_ALL { kept } else { nsid };
    shared.changes.ask(Change::Registrations { nsid }, By::Host(controller.id, token));
    Ok(Done::Pending)
}
