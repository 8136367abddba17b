//! Namespace Attachment (NVMe Base 2.1 section 5.1.20; NSM11 to NSM15): which controllers have a namespace.

use media::Token;
use nvme_spec::{Command, IDENTIFY_BYTES};

use super::Done;
use crate::Controller;
use crate::dma::GuestMemory;
use crate::reason::Reason;
use crate::shared::Shared;
use crate::shared::changes::{By, Change};

/// SEL: what is asked for.
const ATTACH: u8 = 0;
const DETACH: u8 = 1;

/// The change waits for its turn; the answer comes when it is done.
pub(super) fn attach<M: GuestMemory>(
    controller: &mut Controller,
    shared: &mut Shared,
    memory: &M,
    command: &Command,
    token: Token,
) -> Result<Done, Reason> {
    let [select, ..] = command.cdw10.get().to_le_bytes();
    let attach = match select & 0xf {
        ATTACH => true,
        DETACH => false,
        _ => return Err(Reason::ManagementSelect),
    };
    let nsid = command.nsid.get();
    shared.namespaces.allocated(nsid)?;
    controller.check_reach(shared, nsid)?;
    let controllers = controller_list(controller, memory, command)?;
    shared.changes.ask(Change::Attachment { nsid, controllers, attach }, By::Host(controller.id, token));
    Ok(Done::Pending)
}

/// A controller list: how many identifiers, and these, ascending (NVMe Base 2.1 figure 138).
fn controller_list<M: GuestMemory>(
    controller: &mut Controller,
    memory: &M,
    command: &Command,
) -> Result<Vec<u16>, Reason> {
    let mut bytes = [0; IDENTIFY_BYTES];
    controller.receive(memory, command, &mut bytes)?;
    let mut words = bytes.as_chunks::<2>().0.iter().map(|word| u16::from_le_bytes(*word));
    let count = usize::from(words.next().unwrap_or(0));
    let list: Vec<u16> = words.take(count).collect();
    let ascending = list.windows(2).all(|pair| pair[0] < pair[1]);
    if list.is_empty() || list.len() < count || !ascending { Err(Reason::ControllerList) } else { Ok(list) }
}
