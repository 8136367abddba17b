//! Commands that carry data: buffers in guest memory, the lists that describe them, and the way of the bytes in and out.

use nvme_spec::sgl::DESCRIPTOR_BYTES;
use nvme_spec::{Command, Completion, SglDescriptor};

use crate::host::{Host, HostError};
use crate::port::Port;
use crate::prp::{self, DataPointer};
use crate::sgl::{self, Piece};

/// A description of a buffer, with the guest memory of its lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// What the command carries.
    pub pointer: DataPointer,
    /// Guest addresses to release when the command is done.
    lists: Vec<u64>,
}

impl Mapping {
    /// The command with this data pointer.
    #[must_use]
    pub fn on(&self, command: Command) -> Command {
        Command { prp1: self.pointer.prp1.into(), prp2: self.pointer.prp2.into(), ..command }
    }
}

/// A description of a buffer by an SGL, with the guest memory of its segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SglMapping {
    /// What the command carries.
    pub first: SglDescriptor,
    /// Guest addresses to release when the command is done.
    segments: Vec<u64>,
}

impl SglMapping {
    /// The command with this SGL as its data pointer.
    #[must_use]
    pub const fn on(&self, command: Command) -> Command {
        command.with_sgl1(self.first)
    }
}

impl<P: Port> Host<P> {
    /// Page-aligned guest memory for `bytes` bytes, filled with zeroes.
    ///
    /// # Errors
    /// [`HostError::OutOfMemory`].
    pub fn allocate(&mut self, bytes: usize) -> Result<u64, HostError> {
        self.allocate_zeroed(bytes as u64)
    }

    /// Takes back what [`Host::allocate`] gave.
    ///
    /// # Panics
    /// If it did not.
    pub fn release(&mut self, address: u64) {
        self.memory.release(address);
    }

    /// Describes contiguous bytes at any address, writing the lists that this takes.
    ///
    /// # Errors
    /// [`HostError::OutOfMemory`].
    pub fn map(&mut self, address: u64, length: usize) -> Result<Mapping, HostError> {
        self.map_with_list_at(address, length, 0)
    }

    /// The same with the first list `list_offset` bytes into its page (a multiple of 8), so that it goes on in a second one early.
    ///
    /// # Errors
    /// [`HostError::OutOfMemory`]; [`HostError::Prp`] for a crooked offset.
    pub fn map_with_list_at(&mut self, address: u64, length: usize, list_offset: u64) -> Result<Mapping, HostError> {
        let pages = prp::pages(address, length as u64, self.memory.page_bytes());
        self.map_pages(&pages, list_offset)
    }

    /// Describes data in pages that need not be contiguous; the first may have an offset.
    ///
    /// # Errors
    /// [`HostError::OutOfMemory`]; [`HostError::Prp`] for a crooked offset.
    ///
    /// # Panics
    /// If `list_offset` is not within a page.
    pub fn map_pages(&mut self, pages: &[u64], list_offset: u64) -> Result<Mapping, HostError> {
        let page_bytes = self.memory.page_bytes();
        assert!(list_offset < page_bytes, "a list {list_offset} bytes into a page of {page_bytes}");
        let mut lists = Vec::new();
        for _ in 0..prp::lists_needed(pages.len(), list_offset, page_bytes) {
            lists.push(self.allocate_zeroed(page_bytes)?);
        }
        let mut places = lists.clone();
        if let Some(first) = places.first_mut() {
            *first += list_offset;
        }
        let (pointer, filled) = prp::describe(pages, &places, page_bytes)?;
        for list in filled {
            self.port.memory_write(list.address, &list.bytes());
        }
        Ok(Mapping { pointer, lists })
    }

    /// Takes back the memory of the lists.
    pub fn unmap(&mut self, mapping: Mapping) {
        for list in mapping.lists {
            self.memory.release(list);
        }
    }

    /// Describes pieces by an SGL: one inside the command, more in segments of at most `room` descriptors.
    ///
    /// # Errors
    /// [`HostError::OutOfMemory`].
    ///
    /// # Panics
    /// If more than one piece shall go into segments of less than two descriptors.
    pub fn map_sgl(&mut self, pieces: &[Piece], room: usize) -> Result<SglMapping, HostError> {
        let needed = sgl::segments_needed(pieces.len(), room);
        let bytes = room.min(pieces.len()) * DESCRIPTOR_BYTES;
        let places = (0..needed).map(|_| self.allocate(bytes)).collect::<Result<Vec<_>, _>>()?;
        let (first, filled) = sgl::describe(pieces, &places, room).expect("as many segments as needed");
        for segment in &filled {
            self.port.memory_write(segment.address, segment.bytes());
        }
        Ok(SglMapping { first, segments: places })
    }

    /// Takes back the memory of the segments.
    pub fn unmap_sgl(&mut self, mapping: SglMapping) {
        for segment in mapping.segments {
            self.memory.release(segment);
        }
    }

    /// Reads guest memory.
    #[must_use]
    pub fn read_memory(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.port.memory_read(address, &mut bytes);
        bytes
    }

    /// Writes guest memory.
    pub fn write_memory(&mut self, address: u64, bytes: &[u8]) {
        self.port.memory_write(address, bytes);
    }

    /// Executes a command that brings `length` bytes from the controller, into a fresh buffer. The bytes are returned whatever
    /// the status; they are zero where the controller wrote nothing.
    ///
    /// # Errors
    /// Those of [`Host::execute`]; [`HostError::OutOfMemory`].
    pub fn execute_in(
        &mut self,
        sqid: u16,
        command: Command,
        length: usize,
    ) -> Result<(Completion, Vec<u8>), HostError> {
        self.execute_over(sqid, command, &vec![0; length])
    }

    /// Executes a command that takes `data` to the controller, from a fresh buffer.
    ///
    /// # Errors
    /// Those of [`Host::execute`]; [`HostError::OutOfMemory`].
    pub fn execute_out(&mut self, sqid: u16, command: Command, data: &[u8]) -> Result<Completion, HostError> {
        self.execute_over(sqid, command, data).map(|(completion, _)| completion)
    }

    /// Executes a command over a fresh buffer that begins as `data`; returns what the buffer held afterwards.
    fn execute_over(&mut self, sqid: u16, command: Command, data: &[u8]) -> Result<(Completion, Vec<u8>), HostError> {
        let buffer = self.allocate(data.len())?;
        self.port.memory_write(buffer, data);
        let mapping = self.map(buffer, data.len())?;
        // If the wait fails the controller may still reach the buffer, so it is not given back then.
        let completion = self.execute(sqid, mapping.on(command))?;
        let bytes = self.read_memory(buffer, data.len());
        self.unmap(mapping);
        self.release(buffer);
        Ok((completion, bytes))
    }
}
