//! Reservations (Base 2.3 sections 7.5 to 7.8) and the features that belong to them. The commands fail by their status, as others of
//! I/O queues; the features by [`HostError::Refused`].

use nvme_spec::feature::{EXTENDED_HOST_IDENTIFIER, FeatureId};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::reservation::{
    AcquireData, EXTENDED, ExtendedRegistrant, ExtendedStatus, IGNORE_KEY, RegisterData, Registrant, ReleaseData,
    ReservationStatus, ReservationType,
};
use nvme_spec::{Command, Status};
use zerocopy::{FromBytes, IntoBytes};

use crate::admin::set_feature_command;
use crate::host::{Host, HostError};
use crate::io::nvm_command;
use crate::port::Port;

/// One structure of a report, of either length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// CNTLID.
    pub controller: u16,
    /// RCSTS.
    pub status: u8,
    /// HOSTID; of 64 bits, eight zeroes follow.
    pub host: [u8; 16],
    /// RKEY.
    pub key: u64,
}

/// What Reservation Report gave.
#[derive(Clone, Debug)]
pub struct Reported {
    /// What comes first in both structures.
    pub status: ReservationStatus,
    /// What follows, as far as there was room.
    pub registered: Vec<Registered>,
}

/// Reservation Register without its data: an action of [`nvme_spec::reservation::register_action`], IEKEY and CPTPL.
#[must_use]
pub fn register_command(nsid: u32, action: u32, ignore_key: bool, persistence: u32) -> Command {
    let ignore = if ignore_key { IGNORE_KEY } else { 0 };
    Command {
        cdw10: (action | ignore | persistence << 30).into(),
        ..nvm_command(NvmOpcode::RESERVATION_REGISTER, nsid)
    }
}

/// Reservation Acquire without its data: an action of [`nvme_spec::reservation::acquire_action`] and RTYPE.
#[must_use]
pub fn acquire_command(nsid: u32, action: u32, rtype: ReservationType) -> Command {
    Command { cdw10: (action | u32::from(rtype.0) << 8).into(), ..nvm_command(NvmOpcode::RESERVATION_ACQUIRE, nsid) }
}

/// Reservation Release without its data: an action of [`nvme_spec::reservation::release_action`] and RTYPE.
#[must_use]
pub fn release_command(nsid: u32, action: u32, rtype: ReservationType) -> Command {
    Command { cdw10: (action | u32::from(rtype.0) << 8).into(), ..nvm_command(NvmOpcode::RESERVATION_RELEASE, nsid) }
}

/// Reservation Report of so many bytes, a positive multiple of 4; `extended` is EDS.
#[must_use]
pub fn report_command(nsid: u32, bytes: u32, extended: bool) -> Command {
    Command {
        cdw10: (bytes / 4 - 1).into(),
        cdw11: if extended { EXTENDED } else { 0 }.into(),
        ..nvm_command(NvmOpcode::RESERVATION_REPORT, nsid)
    }
}

impl<P: Port> Host<P> {
    /// Set Features of Host Identifier: 8 or 16 bytes.
    ///
    /// # Errors
    /// Those of [`Host::set_feature_data`].
    pub fn set_host_identifier(&mut self, identifier: &[u8]) -> Result<(), HostError> {
        let extended = if identifier.len() == 16 { EXTENDED_HOST_IDENTIFIER } else { 0 };
        self.set_feature_data(FeatureId::HOST_IDENTIFIER, extended, identifier).map(drop)
    }

    /// Set Features of Reservation Notification Mask of a namespace.
    ///
    /// # Errors
    /// Those of [`Host::admin`].
    pub fn mask_reservation_notifications(&mut self, nsid: u32, mask: u32) -> Result<(), HostError> {
        let command = set_feature_command(FeatureId::RESERVATION_NOTIFICATIONS, mask);
        self.admin(Command { nsid: nsid.into(), ..command }).map(drop)
    }

    /// Reservation Register with its current and its new key.
    ///
    /// # Errors
    /// Those of [`Host::execute_out`].
    pub fn register_key(&mut self, command: Command, current: u64, new: u64) -> Result<Status, HostError> {
        let data = RegisterData { crkey: current.into(), nrkey: new.into() };
        self.execute_out(self.io_queue, command, data.as_bytes()).map(|completion| completion.status())
    }

    /// Reservation Acquire with the current key and the one to preempt.
    ///
    /// # Errors
    /// Those of [`Host::execute_out`].
    pub fn acquire_reservation(&mut self, command: Command, current: u64, preempted: u64) -> Result<Status, HostError> {
        let data = AcquireData { crkey: current.into(), prkey: preempted.into() };
        self.execute_out(self.io_queue, command, data.as_bytes()).map(|completion| completion.status())
    }

    /// Reservation Release with the current key.
    ///
    /// # Errors
    /// Those of [`Host::execute_out`].
    pub fn release_reservation(&mut self, command: Command, current: u64) -> Result<Status, HostError> {
        let data = ReleaseData { crkey: current.into() };
        self.execute_out(self.io_queue, command, data.as_bytes()).map(|completion| completion.status())
    }

    /// Reservation Report: 4096 bytes of it.
    ///
    /// # Errors
    /// Those of [`Host::execute_in`], and [`HostError::Refused`].
    pub fn reservation_report(&mut self, nsid: u32, extended: bool) -> Result<Reported, HostError> {
        const BYTES: usize = 4096;
        let (answer, page) = self.execute_in(self.io_queue, report_command(nsid, 4096, extended), BYTES)?;
        if !answer.status().is_success() {
            return Err(HostError::Refused(answer.status()));
        }
        let status = entries::<ReservationStatus>(&page, 1).next().unwrap_or_default();
        let count = usize::from(status.registrants.get());
        let registered = if extended {
            entries::<ExtendedRegistrant>(&page[size_of::<ExtendedStatus>()..], count).map(wide).collect()
        } else {
            entries::<Registrant>(&page[size_of::<ReservationStatus>()..], count).map(narrow).collect()
        };
        Ok(Reported { status, registered })
    }
}

fn entries<T: FromBytes>(bytes: &[u8], count: usize) -> impl Iterator<Item = T> {
    bytes.chunks_exact(size_of::<T>()).take(count).filter_map(|bytes| T::read_from_bytes(bytes).ok())
}

fn narrow(entry: Registrant) -> Registered {
    let mut host = [0; 16];
    host[..8].copy_from_slice(&entry.hostid);
    Registered { controller: entry.cntlid.get(), status: entry.rcsts, host, key: entry.rkey.get() }
}

fn wide(entry: ExtendedRegistrant) -> Registered {
    Registered { controller: entry.cntlid.get(), status: entry.rcsts, host: entry.hostid, key: entry.rkey.get() }
}
