//! Guest memory for the data of commands: buffers that come back are used again, so that the memory stays as small as what is under way.

use std::collections::BTreeMap;

use nvme_host::{Host, HostError, Mapping, Port};
use nvme_spec::Command;

/// A piece of guest memory, described for a command.
#[derive(Debug)]
pub(super) struct Buffer {
    address: u64,
    bytes: usize,
    mapping: Mapping,
}

impl Buffer {
    pub const fn address(&self) -> u64 {
        self.address
    }

    /// The command with this buffer.
    pub fn on(&self, command: Command) -> Command {
        self.mapping.on(command)
    }

    /// What is in it.
    pub fn read<P: Port>(&self, host: &Host<P>) -> Vec<u8> {
        host.read_memory(self.address, self.bytes)
    }
}

/// Buffers that nobody uses, by their bytes.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    free: BTreeMap<usize, Vec<Buffer>>,
}

impl Buffers {
    /// A buffer of exactly so many bytes, which hold anything; nothing if there is no memory for it now.
    ///
    /// # Errors
    /// Those of the host but for a lack of memory.
    pub fn take<P: Port>(&mut self, host: &mut Host<P>, bytes: usize) -> Result<Option<Buffer>, HostError> {
        if let Some(buffer) = self.free.get_mut(&bytes).and_then(Vec::pop) {
            return Ok(Some(buffer));
        }
        if let Some(buffer) = make(host, bytes)? {
            return Ok(Some(buffer));
        }
        // Others are in the way: of other sizes, and nobody uses them.
        for buffer in std::mem::take(&mut self.free).into_values().flatten() {
            host.unmap(buffer.mapping);
            host.release(buffer.address);
        }
        make(host, bytes)
    }

    pub fn give_back(&mut self, buffer: Buffer) {
        self.free.entry(buffer.bytes).or_default().push(buffer);
    }
}

fn make<P: Port>(host: &mut Host<P>, bytes: usize) -> Result<Option<Buffer>, HostError> {
    let address = match host.allocate(bytes) {
        Err(HostError::OutOfMemory(_)) => return Ok(None),
        other => other?,
    };
    match host.map(address, bytes) {
        Ok(mapping) => Ok(Some(Buffer { address, bytes, mapping })),
        Err(HostError::OutOfMemory(_)) => {
            host.release(address);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
