//! Namespace Management (NVMe Base 2.1 section 5.1.21; NSM1 to NSM10): a host makes namespaces and deletes them.

use media::Token;
use nvme_spec::identify::{self, FormattedSize};
use nvme_spec::{Command, IDENTIFY_BYTES, NSID_ALL};
use zerocopy::FromBytes;

use super::Done;
use crate::Controller;
use crate::ana::{ANA_GROUP_FIRST, ANA_GROUPS_MAX};
use crate::controllers::ControllerSet;
use crate::dma::GuestMemory;
use crate::reason::Reason;
use crate::shared::Shared;
use crate::shared::changes::{By, Change, NewNamespace};

/// SEL: what is asked for.
const CREATE: u8 = 0;
const DELETE: u8 = 1;
/// NMIC: several controllers may have the namespace.
const SHARED: u8 = 1;

/// The change waits for its turn; the answer comes when it is done.
pub(super) fn manage<M: GuestMemory>(
    controller: &mut Controller,
    shared: &mut Shared,
    memory: &M,
    command: &Command,
    token: Token,
) -> Result<Done, Reason> {
    let [select, ..] = command.cdw10.get().to_le_bytes();
    let change = match select & 0xf {
        CREATE => Change::Create(new_namespace(controller, shared, memory, command)?),
        DELETE => Change::Delete { nsid: deleted(controller, shared, command.nsid.get())? },
        _ => return Err(Reason::ManagementSelect),
    };
    shared.changes.ask(change, By::Host(controller.id, token));
    Ok(Done::Pending)
}

/// Which one goes; nothing for all.
fn deleted(controller: &Controller, shared: &Shared, nsid: u32) -> Result<Option<u32>, Reason> {
    controller.check_reach(shared, nsid)?;
    if nsid == NSID_ALL {
        let all = shared.namespaces.iter().map(|namespace| namespace.identity.nsid);
        return shared.reservations.check_change(controller.id, all).map(|()| None);
    }
    if !shared.namespaces.is_valid(nsid) {
        return Err(Reason::NamespaceInvalid);
    }
    shared.reservations.check_change(controller.id, [nsid]).map(|()| Some(nsid))
}

/// What the host wants, in the fields of Identify Namespace at their places there (NVM Command Set 1.1 section 4.1.6).
fn new_namespace<M: GuestMemory>(
    controller: &mut Controller,
    shared: &Shared,
    memory: &M,
    command: &Command,
) -> Result<NewNamespace, Reason> {
    let [.., command_set] = command.cdw11.get().to_le_bytes();
    if command_set != 0 {
        return Err(Reason::CommandSetUnsupported);
    }
    let mut bytes = [0; IDENTIFY_BYTES];
    controller.receive(memory, command, &mut bytes)?;
    let wanted = identify::Namespace::read_from_bytes(&bytes).map_err(|_| Reason::Internal)?;
    if wanted.nsze.get() == 0 || wanted.ncap.get() > wanted.nsze.get() {
        return Err(Reason::NamespaceSize);
    }
    if wanted.ncap.get() < wanted.nsze.get() {
        return Err(Reason::ThinProvisioning);
    }
    if wanted.dps != 0 {
        return Err(Reason::FormatProtection);
    }
    let anagrpid = match wanted.anagrpid.get() {
        0 => ANA_GROUP_FIRST,
        given if shared.config.ana && given <= ANA_GROUPS_MAX => given,
        _ => return Err(Reason::AccessGroup),
    };
    if wanted.nvmsetid.get() != 0 || wanted.endgid.get() > super::logs::ENDURANCE_GROUP || wanted.nmic > SHARED {
        return Err(Reason::NamespaceFields);
    }
    let format = controller.format(shared, wanted.format_index())?;
    Ok(NewNamespace {
        format,
        extended: wanted.flbas & FormattedSize::EXTENDED.bits() != 0 && format.metadata_bytes != 0,
        blocks: wanted.nsze.get(),
        shared: wanted.nmic & SHARED != 0,
        attached: ControllerSet::NONE,
        anagrpid,
    })
}
