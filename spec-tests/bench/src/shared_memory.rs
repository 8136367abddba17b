//! Guest memory as the daemon has it: a memory file by way of the vfio-user server's table, and a page of doorbells that a client
//! could map.

use controller::dma::GuestMemory as _;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vfio::message::DmaMap;
use vfio::{Memory, Page};

/// So many bytes from guest address 0 on, and the doorbells.
///
/// # Errors
/// There is not so much memory.
pub fn new(bytes: usize) -> anyhow::Result<(Memory, Page)> {
    let file = memfd_create("bench", MemfdFlags::CLOEXEC)?;
    ftruncate(&file, bytes as u64)?;
    let mut memory = Memory::default();
    let request = DmaMap { flags: 0b11, offset: 0, address: 0, length: bytes as u64 };
    memory.map(&request, Some(file)).map_err(|errno| anyhow::anyhow!("cannot be mapped: errno {}", errno.0))?;
    anyhow::ensure!(memory.is_mapped(0, bytes as u64), "what was mapped is there");
    Ok((memory, Page::new()?))
}
