//! Submission queue entry → typed command or status. Nothing behind this file sees a dword of an I/O command.
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

pub(crate) mod reservation;

use nvme_spec::Command;
use nvme_spec::command::{CopyFormat, DATASET_DEALLOCATE, WRITE_ZEROES_DEALLOCATE, WRITE_ZEROES_NAMESPACE, fuse, psdt};
use nvme_spec::opcode::NvmOpcode;

use crate::dma::{DataPointer, PrpEntries};
use crate::reason::Reason;
use reservation::{Acquire, Register, Release, Report};

/// Logical blocks that a command names: at least one. Whether they exist is the namespace's to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocks {
    pub(crate) start: u64,
    pub(crate) count: u32,
}

/// A command that moves blocks: which, where the host has them, and whether they must be durable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) blocks: Blocks,
    /// FUA.
    pub(crate) force: bool,
    pub(crate) data: DataPointer,
    /// MPTR: one contiguous buffer, where the namespace keeps metadata apart.
    pub(crate) metadata: u64,
}

/// What a reservation may forbid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

/// A command of the NVM command set.
#[derive(Clone, Copy, Debug)]
pub(crate) enum IoCommand {
    Flush,
    Read(Access),
    Write(Access),
    Compare(Access),
    Verify { blocks: Blocks, force: bool },
    WriteZeroes { blocks: Blocks, force: bool, deallocate: bool },
    WriteUncorrectable { blocks: Blocks },
    Copy { ranges: u16, to: u64, force: bool, data: DataPointer },
    DatasetManagement { ranges: u16, deallocate: bool, data: DataPointer },
    Register(Register),
    Acquire(Acquire),
    Release(Release),
    Report(Report),
}

impl IoCommand {
    /// The command that an entry of an I/O queue asks for.
    pub(crate) fn parse(entry: &Command) -> Result<Self, Reason> {
        // An opcode that we do not know is told as such, whatever the flags are: what is wrong with them comes later.
        let data = data(entry);
        let force = entry.force_unit_access();
        let access = data.map(|data| Access { blocks: blocks(entry), force, data, metadata: entry.mptr.get() });
        let command = match NvmOpcode(entry.opcode) {
            NvmOpcode::FLUSH => Self::Flush,
            NvmOpcode::READ => Self::Read(access?),
            NvmOpcode::WRITE => Self::Write(access?),
            NvmOpcode::COMPARE => Self::Compare(access?),
            NvmOpcode::VERIFY => Self::Verify { blocks: blocks(entry), force },
            NvmOpcode::WRITE_ZEROES => write_zeroes(entry)?,
            NvmOpcode::WRITE_UNCORRECTABLE => Self::WriteUncorrectable { blocks: blocks(entry) },
            NvmOpcode::COPY => copy(entry, data?)?,
            NvmOpcode::DATASET_MANAGEMENT => Self::DatasetManagement {
                // NVM Command Set 1.1 section 3.3.3: NR is zero-based.
                ranges: u16::from(entry.cdw10.get().to_le_bytes()[0]) + 1,
                deallocate: entry.cdw11.get() & DATASET_DEALLOCATE != 0,
                data: data?,
            },
            NvmOpcode::RESERVATION_REGISTER => Self::Register(Register::parse(entry, data?)?),
            NvmOpcode::RESERVATION_ACQUIRE => Self::Acquire(Acquire::parse(entry, data?)?),
            NvmOpcode::RESERVATION_RELEASE => Self::Release(Release::parse(entry, data?)?),
            NvmOpcode::RESERVATION_REPORT => Self::Report(Report::parse(entry, data?)),
            _ => return Err(Reason::UnknownOpcode),
        };
        // Commands without data have a PSDT as well.
        data?;
        match entry.fuse() {
            fuse::NONE => Ok(command),
            fuse::FIRST | fuse::SECOND => Err(Reason::FusedAlone),
            _ => Err(Reason::ReservedFuse),
        }
    }

    /// The two commands of a fused pair, if they are Compare and Write over the same blocks (NVM Command Set 1.1 section 2.1.3; B148).
    ///
    /// # Errors
    /// How each of them ends.
    pub(crate) fn parse_pair(first: &Command, second: &Command) -> Result<(Self, Self), (Reason, Reason)> {
        let alone = |entry: &Command| Self::parse(&Command { flags: entry.flags & !0b11, ..*entry });
        let compare = alone(first).map_err(|reason| (reason, Reason::FusedPartner))?;
        let write = alone(second).map_err(|reason| (Reason::FusedPartner, reason))?;
        match (compare, write) {
            (Self::Compare(one), Self::Write(other)) if one.blocks == other.blocks && first.nsid == second.nsid => {
                Ok((compare, write))
            }
            _ => Err((Reason::FusedNotAPair, Reason::FusedNotAPair)),
        }
    }

    /// The first block that the command names, for the error log.
    #[inline]
    pub(crate) fn first_block(&self) -> u64 {
        match self {
            Self::Flush | Self::DatasetManagement { .. } => 0,
            Self::Register(_) | Self::Acquire(_) | Self::Release(_) | Self::Report(_) => 0,
            Self::Read(access) | Self::Write(access) | Self::Compare(access) => access.blocks.start,
            Self::Verify { blocks, .. } | Self::WriteZeroes { blocks, .. } | Self::WriteUncorrectable { blocks } => {
                blocks.start
            }
            Self::Copy { to, .. } => *to,
        }
    }

    /// Whether it is about a reservation, not about blocks.
    #[inline]
    pub(crate) fn is_of_reservation(&self) -> bool {
        matches!(self, Self::Register(_) | Self::Acquire(_) | Self::Release(_) | Self::Report(_))
    }

    /// What of the namespace's blocks it needs: to read and to write (NVMe Base 2.3 section 8.1.24, the table of conflicts; RES14).
    pub(crate) fn needs(&self) -> Needs {
        match self {
            Self::Read(_) | Self::Compare(_) | Self::Verify { .. } => Needs { read: true, write: false },
            Self::Copy { .. } => Needs { read: true, write: true },
            Self::Flush
            | Self::Write(_)
            | Self::WriteZeroes { .. }
            | Self::WriteUncorrectable { .. }
            | Self::DatasetManagement { .. } => Needs { read: false, write: true },
            Self::Register(_) | Self::Acquire(_) | Self::Release(_) | Self::Report(_) => Needs::default(),
        }
    }

    /// Whether its ranges are in guest memory.
    #[inline]
    pub(crate) fn lists_ranges(&self) -> bool {
        matches!(self, Self::DatasetManagement { .. } | Self::Copy { .. })
    }
}

/// The PRP entries of an admin command, if it is one that we take: over PCIe no admin command has an SGL (NVMe Base 2.1 section
/// 4.1.1; B60), and none is part of a fused pair (B61).
pub(crate) fn admin_data(entry: &Command) -> Result<PrpEntries, Reason> {
    match (entry.psdt(), entry.fuse()) {
        (psdt::PRP, fuse::NONE) => Ok(prps(entry)),
        (psdt::PRP, _) => Err(Reason::AdminFused),
        _ => Err(Reason::AdminSgl),
    }
}

/// What PSDT makes of the data pointer (NVMe Base 2.1 section 4.1.1; B128). The metadata pointer is an address; an SGL for it is refused,
/// since SGLS does not offer any.
pub(crate) fn data(entry: &Command) -> Result<DataPointer, Reason> {
    match entry.psdt() {
        psdt::PRP => Ok(DataPointer::Prp(prps(entry))),
        psdt::SGL => Ok(DataPointer::Sgl(entry.sgl1())),
        _ => Err(Reason::ReservedPsdt),
    }
}

#[inline]
pub(crate) fn prps(entry: &Command) -> PrpEntries {
    PrpEntries { prp1: entry.prp1.get(), prp2: entry.prp2.get() }
}

#[inline]
fn blocks(entry: &Command) -> Blocks {
    Blocks { start: entry.slba(), count: u32::from(entry.nlb_z()) + 1 }
}

/// NVM Command Set 1.1 section 3.3.2: the one format of source ranges that Identify names is 0h (B147).
fn copy(entry: &Command, data: DataPointer) -> Result<IoCommand, Reason> {
    let [ranges_z, format, ..] = entry.cdw12.get().to_le_bytes();
    if CopyFormat(format & 0xf) != CopyFormat::PLAIN {
        return Err(Reason::CopyFormat);
    }
    let ranges = u16::from(ranges_z) + 1;
    Ok(IoCommand::Copy { ranges, to: entry.slba(), force: entry.force_unit_access(), data })
}

fn write_zeroes(entry: &Command) -> Result<IoCommand, Reason> {
    let dword = entry.cdw12.get();
    // NVM Command Set 1.1 section 3.3.8: zeroing a whole namespace by one command is not offered (B140).
    if dword & WRITE_ZEROES_NAMESPACE != 0 {
        return Err(Reason::ZeroNamespace);
    }
    let deallocate = dword & WRITE_ZEROES_DEALLOCATE != 0;
    Ok(IoCommand::WriteZeroes { blocks: blocks(entry), force: entry.force_unit_access(), deallocate })
}
