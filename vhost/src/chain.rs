//! A head → the descriptors of its chain (virtio 1.3 sections 2.7.5 and 2.7.5.3). The chain is followed once, in order, and never
//! further than [`CHAIN_MAX`] descriptors, whatever it claims.
//!
//! A descriptor is `virtio-queue`'s, but its `DescriptorChain` is not used. It begins only at a head of the available ring, and what
//! was in flight when the last process ended is no longer there; it ends the same way at a chain's end and at an error; and it follows
//! tables that were never offered, or that continue.
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

use controller::dma::{DmaFault, GuestMemory};
use thiserror::Error;
use virtio_queue::desc::split::Descriptor;
use vm_memory::ByteValued as _;

/// Size of a descriptor.
pub const DESCRIPTOR_BYTES: usize = size_of::<Descriptor>();
const _: () = assert!(DESCRIPTOR_BYTES == 16);

/// The longest chain: what QEMU allows. Drivers make shorter ones, of as many descriptors as the queue has.
pub const CHAIN_MAX: usize = 1024;

/// A buffer of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buffer {
    /// Guest address.
    pub address: u64,
    /// Bytes.
    pub length: u32,
    /// The device writes it; otherwise it reads it.
    pub writable: bool,
}

/// A chain that has no end, or leads where there is nothing. Where its status byte lies is not known, so it cannot even be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ChainError {
    /// A descriptor cannot be read.
    #[error("the descriptor at {:#x} cannot be read", .0.address)]
    Unreachable(DmaFault),
    /// An index is outside of its table.
    #[error("descriptor {0} is outside of its table")]
    Index(u16),
    /// More descriptors than there are: it goes in circles, or is absurd.
    #[error("the chain has no end")]
    Endless,
    /// A table within a table, a table that goes on, one that is not offered, or one that is not whole descriptors.
    #[error("the indirect table at {0:#x} cannot be")]
    Table(u64),
}

impl From<DmaFault> for ChainError {
    fn from(fault: DmaFault) -> Self {
        Self::Unreachable(fault)
    }
}

/// Replaces `buffers` by those of the chain that begins at `head` of the table of `size` descriptors at `table`.
///
/// # Errors
/// [`ChainError`]; `buffers` then holds anything.
pub fn walk<M: GuestMemory>(
    memory: &M,
    table: u64,
    size: u16,
    head: u16,
    indirect: bool,
    buffers: &mut Vec<Buffer>,
) -> Result<(), ChainError> {
    buffers.clear();
    let entry = |index: u16| {
        let address = table.checked_add(u64::from(index) * DESCRIPTOR_BYTES as u64);
        let mut descriptor = Descriptor::default();
        memory.read(address.ok_or(DmaFault { address: table })?, descriptor.as_mut_slice())?;
        Ok(descriptor)
    };
    let Some(pointer) = follow(size, head, entry, buffers)? else { return Ok(()) };
    if !indirect || pointer.has_next() {
        return Err(ChainError::Table(pointer.addr().0));
    }
    let (count, bytes) = read_table(memory, &pointer)?;
    let entry = |index: u16| {
        let mut descriptor = Descriptor::default();
        let entry = bytes.as_chunks::<DESCRIPTOR_BYTES>().0.get(usize::from(index)).ok_or(ChainError::Index(index))?;
        descriptor.as_mut_slice().copy_from_slice(entry);
        Ok(descriptor)
    };
    match follow(count, 0, entry, buffers)? {
        None => Ok(()),
        Some(nested) => Err(ChainError::Table(nested.addr().0)),
    }
}

/// Adds the buffers of a chain within a table of `count` descriptors, from `index` on. The descriptor at its end, if that points to
/// another table.
fn follow(
    count: u16,
    mut index: u16,
    entry: impl Fn(u16) -> Result<Descriptor, ChainError>,
    buffers: &mut Vec<Buffer>,
) -> Result<Option<Descriptor>, ChainError> {
    // A chain that visits more descriptors than the table has visits one of them twice.
    for _ in 0..count {
        if index >= count {
            return Err(ChainError::Index(index));
        }
        let descriptor = entry(index)?;
        if descriptor.refers_to_indirect_table() {
            return Ok(Some(descriptor));
        }
        if buffers.len() >= CHAIN_MAX {
            break;
        }
        let (address, length) = (descriptor.addr().0, descriptor.len());
        buffers.push(Buffer { address, length, writable: descriptor.is_write_only() });
        if !descriptor.has_next() {
            return Ok(None);
        }
        index = descriptor.next();
    }
    Err(ChainError::Endless)
}

/// A table of its own: how many descriptors, and all of them, read at once.
fn read_table<M: GuestMemory>(memory: &M, pointer: &Descriptor) -> Result<(u16, Vec<u8>), ChainError> {
    let (address, length) = (pointer.addr().0, pointer.len() as usize);
    if length == 0 || !length.is_multiple_of(DESCRIPTOR_BYTES) {
        return Err(ChainError::Table(address));
    }
    let count = u16::try_from(length / DESCRIPTOR_BYTES).map_err(|_| ChainError::Endless)?;
    if usize::from(count) > CHAIN_MAX {
        return Err(ChainError::Endless);
    }
    let mut bytes = vec![0; length];
    memory.read(address, &mut bytes)?;
    Ok((count, bytes))
}
