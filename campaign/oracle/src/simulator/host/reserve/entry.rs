//! Commands about registrations in the form in which they travel, and what a report holds.

use nvme_host::reservation::{acquire_command, register_command, release_command, report_command};
use nvme_spec::reservation::{
    AcquireData, ExtendedRegistrant, ExtendedStatus, NO_CONTROLLER, PERSISTENCE_CLEARED, PERSISTENCE_KEPT,
    PERSISTENCE_SET, RegisterData, ReleaseData, ReservationType, STATUS_HOLDS, acquire_action, register_action,
    release_action,
};
use nvme_spec::{Command, Status};
use zerocopy::{FromBytes, IntoBytes};

use crate::reservations::{Act, Action, Ending, Held, Host, Kind, Registrations};

/// Bytes of a report that hosts have room for.
const REPORT_BYTES: u32 = 2048;

/// The entry of a command, and its data.
pub(super) fn command_of(nsid: u32, act: &Act) -> (Command, Vec<u8>) {
    let rtype = |kind: Kind| ReservationType(kind.0);
    match *act {
        Act::Register { action, ignores_key, key, new, persistence } => {
            let action = match action {
                Action::Register => register_action::REGISTER,
                Action::Unregister => register_action::UNREGISTER,
                Action::Replace => register_action::REPLACE,
            };
            let persistence = match persistence {
                None => PERSISTENCE_KEPT,
                Some(false) => PERSISTENCE_CLEARED,
                Some(true) => PERSISTENCE_SET,
            };
            let data = RegisterData { crkey: key.into(), nrkey: new.into() };
            (register_command(nsid, action, ignores_key, persistence), data.as_bytes().to_vec())
        }
        Act::Acquire { key, kind } => {
            let data = AcquireData { crkey: key.into(), prkey: 0.into() };
            (acquire_command(nsid, acquire_action::ACQUIRE, rtype(kind)), data.as_bytes().to_vec())
        }
        Act::Preempt { key, preempted, kind, abort } => {
            let action = if abort { acquire_action::PREEMPT_AND_ABORT } else { acquire_action::PREEMPT };
            let data = AcquireData { crkey: key.into(), prkey: preempted.into() };
            (acquire_command(nsid, action, rtype(kind)), data.as_bytes().to_vec())
        }
        Act::Release { key, kind } => {
            let data = ReleaseData { crkey: key.into() };
            (release_command(nsid, release_action::RELEASE, rtype(kind)), data.as_bytes().to_vec())
        }
        Act::Clear { key } => {
            let data = ReleaseData { crkey: key.into() };
            (release_command(nsid, release_action::CLEAR, ReservationType(0)), data.as_bytes().to_vec())
        }
        Act::Report => (report_command(nsid, REPORT_BYTES, true), vec![0; REPORT_BYTES as usize]),
        Act::Leave => unreachable!("no command"),
    }
}

/// What the status of a command means that was carried out; nothing if it is none that such a command may have.
pub(super) fn ending(status: Status) -> Option<Ending> {
    let known = [
        (Status::SUCCESS, Ending::Done),
        (Status::RESERVATION_CONFLICT, Ending::Conflict),
        (Status::INVALID_FIELD, Ending::Invalid),
    ];
    known.into_iter().find(|(known, _)| known.kind() == status.kind()).map(|(_, ending)| ending)
}

/// What a report says (RES11); `serves` says whose a controller is, if there is such a one.
pub(super) fn reported(page: &[u8], serves: impl Fn(u16) -> Option<Host>) -> Result<Registrations, String> {
    let short = || "a short report".to_owned();
    let (header, rest) = ExtendedStatus::read_from_prefix(page).map_err(|_| short())?;
    let header = header.status;
    let count = usize::from(header.registrants.get());
    let mut seen =
        Registrations { generation: header.generation.get(), persists: header.ptpls == 1, ..Registrations::default() };
    let mut holders = Vec::new();
    for entry in rest.chunks_exact(size_of::<ExtendedRegistrant>()).take(count) {
        let entry = ExtendedRegistrant::read_from_bytes(entry).map_err(|_| short())?;
        let controller = entry.cntlid.get();
        let host = match entry.hostid {
            [0, ..] => Host::Unnamed(controller),
            [name, ..] => Host::Named(name),
        };
        if controller != NO_CONTROLLER && serves(controller) != Some(host) {
            return Err(format!("controller {controller} is said to serve {host:?}"));
        }
        let (key, holds) = (entry.rkey.get(), entry.rcsts & STATUS_HOLDS != 0);
        if seen.keys.insert(host, key).is_some_and(|other| other != key) {
            return Err(format!("{host:?} is reported with two keys"));
        }
        if holds && !holders.contains(&host) {
            holders.push(host);
        }
    }
    let kind = Kind(header.rtype);
    seen.held = match holders[..] {
        [] if kind == Kind(0) => None,
        [by] if (1..5).contains(&kind.0) => Some(Held { kind, by: Some(by) }),
        _ if (5..7).contains(&kind.0) && holders.len() == seen.keys.len() => Some(Held { kind, by: None }),
        _ => return Err(format!("a reservation of type {} is held by {holders:?}", kind.0)),
    };
    Ok(seen)
}
