//! A head → the descriptors of its chain (virtio 1.3 sections 2.7.5 and 2.7.5.3). What a driver wrote is followed once, in order, and
//! never further than [`CHAIN_MAX`] descriptors, whatever it claims.
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

use controller::dma::{DmaFault, GuestMemory};
use thiserror::Error;
use zerocopy::FromBytes;

use crate::wire::{DESCRIPTOR_BYTES, DESCRIPTOR_INDIRECT, DESCRIPTOR_NEXT, DESCRIPTOR_WRITE, RawDescriptor};

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
    let mut index = head;
    // A chain that visits more descriptors than the table has visits one of them twice.
    for _ in 0..size {
        if index >= size {
            return Err(ChainError::Index(index));
        }
        let mut bytes = [0; DESCRIPTOR_BYTES];
        let offset = u64::from(index) * DESCRIPTOR_BYTES as u64;
        let address = table.checked_add(offset).ok_or(DmaFault { address: table })?;
        memory.read(address, &mut bytes)?;
        let descriptor = RawDescriptor::read_from_bytes(&bytes).map_err(|_| DmaFault { address })?;
        let flags = descriptor.flags.get();
        if flags & DESCRIPTOR_INDIRECT != 0 {
            if !indirect || flags & DESCRIPTOR_NEXT != 0 {
                return Err(ChainError::Table(descriptor.address.get()));
            }
            return walk_table(memory, &descriptor, buffers);
        }
        push(&descriptor, buffers)?;
        if flags & DESCRIPTOR_NEXT == 0 {
            return Ok(());
        }
        index = descriptor.next.get();
    }
    Err(ChainError::Endless)
}

/// The rest of a chain, in a table of its own.
fn walk_table<M: GuestMemory>(
    memory: &M,
    pointer: &RawDescriptor,
    buffers: &mut Vec<Buffer>,
) -> Result<(), ChainError> {
    let address = pointer.address.get();
    let length = pointer.length.get() as usize;
    let count = length / DESCRIPTOR_BYTES;
    if length == 0 || !length.is_multiple_of(DESCRIPTOR_BYTES) {
        return Err(ChainError::Table(address));
    }
    if count > CHAIN_MAX {
        return Err(ChainError::Endless);
    }
    let mut bytes = [0; CHAIN_MAX * DESCRIPTOR_BYTES];
    let bytes = bytes.get_mut(..length).ok_or(ChainError::Endless)?;
    memory.read(address, bytes)?;
    let (entries, _) = bytes.as_chunks::<DESCRIPTOR_BYTES>();
    let mut index = 0;
    for _ in 0..count {
        let entry = entries.get(usize::from(index)).ok_or(ChainError::Index(index))?;
        let descriptor = RawDescriptor::read_from_bytes(entry).map_err(|_| ChainError::Table(address))?;
        if descriptor.flags.get() & DESCRIPTOR_INDIRECT != 0 {
            return Err(ChainError::Table(descriptor.address.get()));
        }
        push(&descriptor, buffers)?;
        if descriptor.flags.get() & DESCRIPTOR_NEXT == 0 {
            return Ok(());
        }
        index = descriptor.next.get();
    }
    Err(ChainError::Endless)
}

fn push(descriptor: &RawDescriptor, buffers: &mut Vec<Buffer>) -> Result<(), ChainError> {
    if buffers.len() >= CHAIN_MAX {
        return Err(ChainError::Endless);
    }
    buffers.push(Buffer {
        address: descriptor.address.get(),
        length: descriptor.length.get(),
        writable: descriptor.flags.get() & DESCRIPTOR_WRITE != 0,
    });
    Ok(())
}
