//! DMA_MAP and DMA_UNMAP: a client's requests, as changes of the table of guest memory.

use std::os::fd::OwnedFd;

use guest_memory::{MapError, MapRequest, Memory, Permissions};

use crate::message::flags::{DmaMapFlags, DmaUnmapFlags};
use crate::message::{DmaMap, DmaUnmap, Errno};

impl From<MapError> for Errno {
    fn from(error: MapError) -> Self {
        match error {
            MapError::Impossible => Self::INVAL,
            MapError::Overlap => Self::EXIST,
            MapError::Full => Self::NOSPC,
            MapError::System(code) => u32::try_from(code).map_or(Self::INVAL, Self),
        }
    }
}

/// DMA_MAP. The descriptor is closed in any case; the mapping keeps the file.
///
/// # Errors
/// The errno of the error reply; the table is unchanged.
pub fn map(memory: &mut Memory, request: &DmaMap, descriptor: Option<OwnedFd>) -> Result<(), Errno> {
    let &DmaMap { flags, offset, address, length } = request;
    let known = DmaMapFlags::from_bits(flags.bits()).ok_or(Errno::INVAL)?;
    let allowed = |flag, access| if known.contains(flag) { access } else { Permissions::No };
    let access = allowed(DmaMapFlags::READ, Permissions::Read) | allowed(DmaMapFlags::WRITE, Permissions::Write);
    Ok(memory.map(&MapRequest { address, length, access, offset }, descriptor)?)
}

/// DMA_UNMAP: all ranges that lie inside the given one, or all that there are.
///
/// # Errors
/// The errno of the error reply; the table is unchanged.
pub fn unmap(memory: &mut Memory, request: &DmaUnmap) -> Result<(), Errno> {
    if request.flags.is_empty() {
        return Ok(memory.unmap(request.address, request.length)?);
    }
    if request.flags != DmaUnmapFlags::ALL || (request.address, request.length) != (0, 0) {
        return Err(Errno::INVAL);
    }
    memory.clear();
    Ok(())
}
