//! Format NVM (NVMe Base 2.1 section 5.1.10; NVM Command Set 1.1 section 4.1.2; FMT rules): namespaces get another LBA format, and lose what
//! they hold. With a secure erase nothing of it is left in the media: a cryptographic erase, for which real drives change a key, erases here
//! as the other does, since nothing is encrypted.

use media::Token;
use nvme_spec::{Command, NSID_ALL};

use super::Done;
use crate::Controller;
use crate::reason::Reason;
use crate::shared::Shared;
use crate::shared::changes::{By, Change};
use crate::shared::formats::Format;

/// SES: what happens to the data besides.
const NO_ERASE: u32 = 0;
const ERASE: u32 = 1;
const ERASE_BY_KEY: u32 = 2;

/// The change waits for its turn; the answer comes when it is done.
pub(super) fn format(
    controller: &Controller,
    shared: &mut Shared,
    command: &Command,
    token: Token,
) -> Result<Done, Reason> {
    let dword = command.cdw10.get();
    let erase = match dword >> 9 & 0b111 {
        NO_ERASE => false,
        ERASE | ERASE_BY_KEY => true,
        _ => return Err(Reason::FormatErase),
    };
    if dword >> 5 & 0b1111 != 0 {
        return Err(Reason::FormatProtection);
    }
    let [number, ..] = (dword & 0xf | (dword >> 12 & 0b11) << 4).to_le_bytes();
    let format = controller.format(shared, number)?;
    let nsids = scope(controller, shared, command.nsid.get())?;
    controller.check_reach(shared, command.nsid.get())?;
    shared.reservations.check_change(controller.id, nsids.iter().copied())?;
    let extended = dword >> 4 & 1 != 0;
    shared.changes.ask(Change::Format { nsids, format, extended, erase }, By::Host(controller.id, token));
    Ok(Done::Pending)
}

/// All that this controller has; or one, whoever has it.
fn scope(controller: &Controller, shared: &Shared, nsid: u32) -> Result<Vec<u32>, Reason> {
    if nsid == NSID_ALL {
        return Ok(controller.namespaces.iter().map(|namespace| namespace.identity.nsid).collect());
    }
    shared.namespaces.allocated(nsid).map(|_| vec![nsid])
}

impl Controller {
    /// The LBA format that the host means by a number.
    pub(crate) fn format(&self, shared: &Shared, number: u8) -> Result<Format, Reason> {
        let format = shared.formats.get(number).ok_or(Reason::FormatUnavailable)?;
        let seen = shared.formats.seen(self.features.knows_extended_formats());
        if usize::from(number) < seen.len() { Ok(format) } else { Err(Reason::FormatExtended) }
    }
}
