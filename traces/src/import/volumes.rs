//! From what a trace calls its volumes to namespaces, and from bytes to blocks.

use std::collections::{BTreeMap, VecDeque};

use nvme_spec::opcode::NvmOpcode;

use super::BLOCK_BYTES;
use super::fields::quoted;
use crate::record::{Entry, Extent, Flags, Namespace, Record};

/// As many volumes as one trace may name.
const VOLUMES_MAX: usize = 1 << 16;

/// One access to a volume, as foreign traces have it.
#[derive(Clone, Debug, Default)]
pub(super) struct Access<'a> {
    pub begin_ns: u64,
    pub end_ns: Option<u64>,
    pub volume: &'a str,
    /// Opcode of the NVM command set.
    pub opcode: u8,
    pub offset: u64,
    pub length: u64,
    pub flags: Flags,
    pub queue: u16,
    pub cid: u16,
}

impl Access<'_> {
    /// A Read or a Write.
    pub fn rw(write: bool) -> Self {
        let opcode = if write { NvmOpcode::WRITE } else { NvmOpcode::READ };
        Self { opcode: opcode.0, queue: 1, ..Self::default() }
    }

    /// A deallocation.
    pub fn deallocate() -> Self {
        let opcode = NvmOpcode::DATASET_MANAGEMENT.0;
        Self { opcode, queue: 1, flags: Flags::DEALLOCATE, ..Self::default() }
    }

    /// A Flush, which has no blocks.
    pub fn flush() -> Self {
        Self { opcode: NvmOpcode::FLUSH.0, queue: 1, ..Self::default() }
    }
}

/// The volumes so far, and the entries that wait to be taken.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    by_name: BTreeMap<String, u32>,
    ready: VecDeque<Entry>,
}

impl Volumes {
    /// Appends an access.
    ///
    /// # Errors
    /// In words: it is not of whole blocks, or there are too many volumes.
    pub fn push(&mut self, access: &Access<'_>) -> Result<(), String> {
        let extent = extent(access.offset, access.length)?;
        let nsid = self.nsid(access.volume)?;
        let Access { begin_ns, end_ns, opcode, flags, queue, cid, .. } = *access;
        let record = Record { begin_ns, end_ns, queue, cid, opcode, nsid, extent, flags, ..Record::default() };
        self.ready.push_back(Entry::Command(record));
        Ok(())
    }

    /// The next entry that waits.
    pub fn take(&mut self) -> Option<Entry> {
        self.ready.pop_front()
    }

    fn nsid(&mut self, name: &str) -> Result<u32, String> {
        if let Some(&nsid) = self.by_name.get(name) {
            return Ok(nsid);
        }
        if self.by_name.len() == VOLUMES_MAX {
            return Err(format!("{} is one volume more than the {VOLUMES_MAX} that a trace may have", quoted(name)));
        }
        let nsid = u32::try_from(self.by_name.len()).expect("few volumes") + 1;
        self.by_name.insert(name.to_owned(), nsid);
        let name = name.to_owned();
        self.ready.push_back(Entry::Namespace(Namespace { nsid, block_bytes: BLOCK_BYTES, name }));
        Ok(nsid)
    }
}

/// Bytes as blocks.
fn extent(offset: u64, length: u64) -> Result<Extent, String> {
    let block = u64::from(BLOCK_BYTES);
    for (what, bytes) in [("offset", offset), ("length", length)] {
        if !bytes.is_multiple_of(block) {
            return Err(format!("{what} {bytes} is not a multiple of {block} bytes"));
        }
    }
    if offset.checked_add(length).is_none() {
        return Err(format!("{length} bytes at {offset} end behind the last byte that 64 bits can name"));
    }
    let blocks =
        u32::try_from(length / block).map_err(|_| format!("length {length} is more than one command takes"))?;
    Ok(Extent { first: offset / block, blocks })
}
