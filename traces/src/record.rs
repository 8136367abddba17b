//! What a trace consists of, whatever file it came from: commands with their times and blocks, the namespaces that they name, and samples
//! of what the drive had programmed. Knows no file format.

use std::collections::BTreeMap;

use bitflags::bitflags;
use media::ledger::Ledger;
use nvme_spec::opcode::NvmOpcode;
use thiserror::Error;

/// The smallest and the largest logical block of a trace, in bytes.
pub const BLOCK_BYTES: (u32, u32) = (512, 1 << 16);
/// As many ranges as one Dataset Management or Copy command names.
pub const RANGES_MAX: usize = 256;
/// The longest data of a command, in bytes.
pub const DATA_BYTES_MAX: usize = 16 << 20;

bitflags! {
    /// What a command asks for besides its blocks.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Flags: u16 {
        /// Force Unit Access.
        const FUA = 1;
        /// Of Dataset Management and Write Zeroes: give the space back.
        const DEALLOCATE = 1 << 1;
        /// First command of a fused pair.
        const FUSED_FIRST = 1 << 2;
        /// Second command of a fused pair.
        const FUSED_SECOND = 1 << 3;
        /// Bits that a later version may have given a meaning.
        const _ = !0;
    }
}

/// Blocks that lie one behind the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The first of them.
    pub first: u64,
    /// How many; none is possible.
    pub blocks: u32,
}

/// One I/O command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// When it was submitted, in nanoseconds since an origin that belongs to the trace.
    pub begin_ns: u64,
    /// When it was completed. Nothing if the trace does not say, or if it never was.
    pub end_ns: Option<u64>,
    /// Of a subsystem with several controllers, which one.
    pub controller: u16,
    /// Submission queue.
    pub queue: u16,
    /// Command identifier.
    pub cid: u16,
    /// Opcode of the NVM command set.
    pub opcode: u8,
    /// Namespace.
    pub nsid: u32,
    /// Its blocks: those read or written, the first range of a Dataset Management, where a Copy writes to.
    pub extent: Extent,
    /// Further ranges of a Dataset Management; the sources of a Copy.
    pub ranges: Vec<Extent>,
    /// See [`Flags`].
    pub flags: Flags,
    /// Status without the phase bit; 0 is success.
    pub status: u16,
    /// What was written, or what was read.
    pub data: Option<Vec<u8>>,
}

/// A namespace, which is told before the first command that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its identifier.
    pub nsid: u32,
    /// Bytes of a logical block: a power of two within [`BLOCK_BYTES`].
    pub block_bytes: u32,
    /// What a foreign trace calls the volume; may be empty.
    pub name: String,
}

/// What the drive had programmed at a moment. Two of them say what lies between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// When, on the time line of the commands.
    pub time_ns: u64,
    /// Indirection unit of the drive, in bytes.
    pub unit_bytes: u32,
    /// Bytes programmed so far, by reason.
    pub ledger: Ledger,
}

/// What a trace consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// See [`Namespace`].
    Namespace(Namespace),
    /// See [`Record`].
    Command(Record),
    /// See [`Sample`].
    Sample(Sample),
}

/// Why a trace cannot be read any further.
#[derive(Debug, Error)]
pub enum TraceError {
    /// Its file cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A line of a text is not what the format has there.
    #[error("line {line}: {why}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// Bytes of a binary file are not what the format has there.
    #[error("byte {byte}: {why}")]
    Byte {
        /// Where, from 0.
        byte: u64,
        /// What is wrong there.
        why: String,
    },
    /// It ends before its end: whoever wrote it was killed, or the file was cut. Everything before was good.
    #[error("it ends after {entries} entries without the mark that ends a recording: what wrote it did not finish")]
    Unfinished {
        /// What was read.
        entries: u64,
    },
    /// Nobody knows what it is.
    #[error("{0}")]
    Format(String),
}

/// Where entries come from, in the order of the file.
pub trait Trace {
    /// The next entry, or nothing at the end.
    ///
    /// # Errors
    /// What makes it unreadable; nothing more comes then.
    fn next(&mut self) -> Result<Option<Entry>, TraceError>;
}

impl<T: Trace + ?Sized> Trace for Box<T> {
    fn next(&mut self) -> Result<Option<Entry>, TraceError> {
        (**self).next()
    }
}

impl<T: Trace + ?Sized> Trace for &mut T {
    fn next(&mut self) -> Result<Option<Entry>, TraceError> {
        (**self).next()
    }
}

/// Kinds of commands that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Read.
    Read,
    /// Write.
    Write,
    /// Flush.
    Flush,
    /// Dataset Management that deallocates.
    Deallocate,
    /// Write Zeroes.
    WriteZeroes,
    /// Compare.
    Compare,
    /// Verify.
    Verify,
    /// Copy.
    Copy,
    /// Write Uncorrectable.
    WriteUncorrectable,
    /// Anything else.
    Other,
}

impl Kind {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 10] = [
        Self::Read,
        Self::Write,
        Self::Flush,
        Self::Deallocate,
        Self::WriteZeroes,
        Self::Compare,
        Self::Verify,
        Self::Copy,
        Self::WriteUncorrectable,
        Self::Other,
    ];

    /// The name that tables and JSON have.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Deallocate => "deallocate",
            Self::WriteZeroes => "write-zeroes",
            Self::Compare => "compare",
            Self::Verify => "verify",
            Self::Copy => "copy",
            Self::WriteUncorrectable => "write-uncorrectable",
            Self::Other => "other",
        }
    }
}

impl Record {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match NvmOpcode(self.opcode) {
            NvmOpcode::READ => Kind::Read,
            NvmOpcode::WRITE => Kind::Write,
            NvmOpcode::FLUSH => Kind::Flush,
            NvmOpcode::DATASET_MANAGEMENT if self.flags.contains(Flags::DEALLOCATE) => Kind::Deallocate,
            NvmOpcode::WRITE_ZEROES => Kind::WriteZeroes,
            NvmOpcode::COMPARE => Kind::Compare,
            NvmOpcode::VERIFY => Kind::Verify,
            NvmOpcode::COPY => Kind::Copy,
            NvmOpcode::WRITE_UNCORRECTABLE => Kind::WriteUncorrectable,
            _ => Kind::Other,
        }
    }

    /// How long it took; nothing if that is not known.
    #[must_use]
    pub fn latency_ns(&self) -> Option<u64> {
        self.end_ns.map(|end| end.saturating_sub(self.begin_ns))
    }

    /// Its ranges in bytes: first byte and number of bytes. A first byte that 64 bits cannot name is the last one that they can.
    pub fn bytes(&self, block_bytes: u32) -> impl Iterator<Item = (u64, u64)> {
        // The sources of a Copy are read; what it does to the drive is at its target.
        let further: &[Extent] = if self.kind() == Kind::Copy { &[] } else { &self.ranges };
        let block = u64::from(block_bytes);
        std::iter::once(&self.extent)
            .chain(further)
            .map(move |extent| (extent.first.saturating_mul(block), u64::from(extent.blocks) * block))
    }
}

/// What of an entry cannot be, in words. Commands are let through: a host may ask for blocks that no drive has, and be refused.
///
/// # Errors
/// The words.
pub(crate) fn check(entry: &Entry) -> Result<(), String> {
    match entry {
        Entry::Command(_) => Ok(()),
        Entry::Sample(sample) => {
            let [programs, terms @ ..] = sample.ledger.to_words();
            let sum = terms.iter().try_fold(0u64, |sum, &term| sum.checked_add(term));
            let balances = sum == Some(programs);
            if balances { Ok(()) } else { Err("a sample whose parts are not the bytes programmed".to_owned()) }
        }
        Entry::Namespace(Namespace { nsid, block_bytes, .. }) => {
            let believed = block_bytes.is_power_of_two() && (BLOCK_BYTES.0..=BLOCK_BYTES.1).contains(block_bytes);
            if believed { Ok(()) } else { Err(format!("namespace {nsid} with blocks of {block_bytes} bytes")) }
        }
    }
}

/// As many namespaces as one trace may name.
const NAMESPACES_MAX: usize = 1 << 16;

/// The namespaces of a trace, as far as it was read.
#[derive(Clone, Debug, Default)]
pub struct Namespaces(BTreeMap<u32, Namespace>);

impl Namespaces {
    /// Notes a namespace; one that is known already has changed.
    ///
    /// # Errors
    /// There are too many.
    pub fn note(&mut self, namespace: Namespace) -> Result<(), TraceError> {
        if self.0.len() == NAMESPACES_MAX && !self.0.contains_key(&namespace.nsid) {
            return Err(TraceError::Format(format!("more than {NAMESPACES_MAX} namespaces in one trace")));
        }
        self.0.insert(namespace.nsid, namespace);
        Ok(())
    }

    /// Bytes of a logical block, of a namespace that was told of.
    #[must_use]
    pub fn block_bytes(&self, nsid: u32) -> Option<u32> {
        self.0.get(&nsid).map(|namespace| namespace.block_bytes)
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &Namespace> {
        self.0.values()
    }
}
