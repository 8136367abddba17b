//! Submission queue entry → typed command or status. Nobody behind this file sees a dword of an I/O command.
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]

use nvme_spec::command::{DATASET_DEALLOCATE, WRITE_ZEROES_DEALLOCATE, WRITE_ZEROES_NAMESPACE, psdt};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Command, Status};

use crate::dma::{DataPointer, PrpEntries};

/// Logical blocks that a command names: at least one. Whether they exist is the namespace's to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocks {
    pub(crate) start: u64,
    pub(crate) count: u32,
}

/// A command of the NVM command set.
#[derive(Clone, Copy, Debug)]
pub(crate) enum IoCommand {
    Flush,
    Read { blocks: Blocks, force: bool, data: DataPointer },
    Write { blocks: Blocks, force: bool, data: DataPointer },
    Compare { blocks: Blocks, force: bool, data: DataPointer },
    WriteZeroes { blocks: Blocks, force: bool, deallocate: bool },
    DatasetManagement { ranges: u16, deallocate: bool, data: DataPointer },
}

impl IoCommand {
    /// The command that an entry of an I/O queue asks for.
    pub(crate) fn parse(entry: &Command) -> Result<Self, Status> {
        let command = match NvmOpcode(entry.opcode) {
            NvmOpcode::FLUSH => Self::Flush,
            NvmOpcode::READ => {
                Self::Read { blocks: blocks(entry), force: entry.force_unit_access(), data: data(entry) }
            }
            NvmOpcode::WRITE => {
                Self::Write { blocks: blocks(entry), force: entry.force_unit_access(), data: data(entry) }
            }
            NvmOpcode::COMPARE => {
                Self::Compare { blocks: blocks(entry), force: entry.force_unit_access(), data: data(entry) }
            }
            NvmOpcode::WRITE_ZEROES => write_zeroes(entry)?,
            NvmOpcode::DATASET_MANAGEMENT => Self::DatasetManagement {
                // NVM Command Set 1.1 section 3.3.3: NR is zero-based.
                ranges: u16::from(entry.cdw10.get().to_le_bytes()[0]) + 1,
                deallocate: entry.cdw11.get() & DATASET_DEALLOCATE != 0,
                data: data(entry),
            },
            _ => return Err(Status::INVALID_OPCODE),
        };
        check_flags(entry)?;
        Ok(command)
    }

    /// The first block that the command names, for the error log.
    pub(crate) fn first_block(&self) -> u64 {
        match self {
            Self::Flush | Self::DatasetManagement { .. } => 0,
            Self::Read { blocks, .. }
            | Self::Write { blocks, .. }
            | Self::Compare { blocks, .. }
            | Self::WriteZeroes { blocks, .. } => blocks.start,
        }
    }
}

/// Refuses what we offer neither on admin nor on I/O queues: fused pairs (B61) and data pointers that are SGLs (B60, B128).
pub(crate) fn check_flags(entry: &Command) -> Result<(), Status> {
    if entry.fuse() != 0 || entry.psdt() != 0 {
        return Err(Status::INVALID_FIELD);
    }
    Ok(())
}

/// The PRP entries of a command.
pub(crate) fn data(entry: &Command) -> DataPointer {
    DataPointer { prp1: entry.prp1.get(), prp2: entry.prp2.get() }
}

fn blocks(entry: &Command) -> Blocks {
    Blocks { start: entry.slba(), count: u32::from(entry.nlb_z()) + 1 }
}

fn write_zeroes(entry: &Command) -> Result<IoCommand, Status> {
    let dword = entry.cdw12.get();
    // NVM Command Set 1.1 section 3.3.8: zeroing a whole namespace by one command is not offered (B140).
    if dword & WRITE_ZEROES_NAMESPACE != 0 {
        return Err(Status::INVALID_FIELD);
    }
    let deallocate = dword & WRITE_ZEROES_DEALLOCATE != 0;
    Ok(IoCommand::WriteZeroes { blocks: blocks(entry), force: entry.force_unit_access(), deallocate })
}
