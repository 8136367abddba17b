//! Where on the disk what is copied lies.

/// Bytes that are copied; with as many to copy them to they fit the smallest namespace.
pub const COPIED: u64 = 8 << 20;

/// What is copied, and where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The namespace.
    pub nsid: u64,
    /// Bytes of its blocks.
    pub block_bytes: u64,
    /// The first block that is copied.
    pub from: u64,
    /// Where it goes.
    pub to: u64,
}

impl Place {
    /// At the beginning of a namespace.
    pub const fn new(nsid: u64, block_bytes: u64) -> Self {
        Self { nsid, block_bytes, from: 0, to: COPIED / block_bytes }
    }

    /// How many blocks.
    pub const fn blocks(&self) -> u64 {
        COPIED / self.block_bytes
    }
}
