//! DMA_MAP and DMA_UNMAP: what a client says of guest memory, as changes of its table.

use std::os::fd::OwnedFd;

use guest_memory::{MapError, MapRequest, Memory, Permissions};

use crate::message::{DmaMap, DmaUnmap, Errno};

/// Flags of DMA_MAP: the device may read, the device may write.
const MAP_READ: u32 = 1 << 0;
const MAP_WRITE: u32 = 1 << 1;
/// Flag of DMA_UNMAP: unmap all. Bit 0 asks for dirty pages, which are not offered.
const UNMAP_ALL: u32 = 1 << 1;

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
    if flags & !(MAP_READ | MAP_WRITE) != 0 {
        return Err(Errno::INVAL);
    }
    let allowed = |flag, access| if flags & flag != 0 { access } else { Permissions::No };
    let access = allowed(MAP_READ, Permissions::Read) | allowed(MAP_WRITE, Permissions::Write);
    Ok(memory.map(&MapRequest { address, length, access, offset }, descriptor)?)
}

/// DMA_UNMAP: all ranges that lie inside the given one, or all that there are.
///
/// # Errors
/// The errno of the error reply; the table is unchanged.
pub fn unmap(memory: &mut Memory, request: &DmaUnmap) -> Result<(), Errno> {
    match (request.flags, request.address, request.length) {
        (0, address, length) => Ok(memory.unmap(address, length)?),
        (UNMAP_ALL, 0, 0) => {
            memory.clear();
            Ok(())
        }
        _ => Err(Errno::INVAL),
    }
}
