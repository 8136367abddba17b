//! Guest memory as the daemon has it: a memory file by way of the table of both sockets, and a page of doorbells that a client
//! could map.

use controller::dma::GuestMemory as _;
use guest_memory::{MapRequest, Memory, Permissions};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vfio::Page;

/// This many bytes from guest address 0 on, and the doorbells.
///
/// # Errors
/// There is not so much memory.
pub fn new(bytes: usize) -> anyhow::Result<(Memory, Page)> {
    let file = memfd_create("bench", MemfdFlags::CLOEXEC)?;
    ftruncate(&file, bytes as u64)?;
    let mut memory = Memory::default();
    let request = MapRequest { address: 0, length: bytes as u64, access: Permissions::ReadWrite, offset: 0 };
    memory.map(&request, Some(file))?;
    anyhow::ensure!(memory.is_mapped(0, bytes as u64), "what was mapped is there");
    Ok((memory, Page::new()?))
}
