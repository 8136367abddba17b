//! Commands of the NVM command set (NVM Command Set 1.1 section 3.3). A failed command is a value here: helpers return its status.

use nvme_spec::command::{CopyRange, DATASET_DEALLOCATE, DatasetRange, WRITE_ZEROES_DEALLOCATE};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Command, Completion, Status};
use zerocopy::IntoBytes;

use crate::host::{Host, HostError};
use crate::port::Port;

/// A command of the NVM command set with nothing but an opcode and a namespace.
#[must_use]
pub fn nvm_command(opcode: NvmOpcode, nsid: u32) -> Command {
    Command { opcode: opcode.0, nsid: nsid.into(), ..Command::default() }
}

/// A command over `blocks` logical blocks from `lba` on, without data pointer.
///
/// # Panics
/// If `blocks` is not 1 to 65536.
#[must_use]
pub fn block_command(opcode: NvmOpcode, nsid: u32, lba: u64, blocks: u32) -> Command {
    let blocks_z =
        blocks.checked_sub(1).and_then(|z| u16::try_from(z).ok()).expect("a command names 1 to 65536 blocks");
    let [b0, b1, b2, b3, b4, b5, b6, b7] = lba.to_le_bytes();
    Command {
        cdw10: u32::from_le_bytes([b0, b1, b2, b3]).into(),
        cdw11: u32::from_le_bytes([b4, b5, b6, b7]).into(),
        cdw12: u32::from(blocks_z).into(),
        ..nvm_command(opcode, nsid)
    }
}

/// A Copy to `to` of 1 to 256 pairs of first block and number of blocks, in format 0h, and the descriptors that it carries.
///
/// # Panics
/// If there are no ranges or more than 256, or one is not 1 to 65536 blocks.
#[must_use]
pub fn copy_command(nsid: u32, sources: &[(u64, u32)], to: u64, force: bool) -> (Command, Vec<CopyRange>) {
    let describe = |&(slba, blocks): &(u64, u32)| {
        let nlb_z = blocks.checked_sub(1).and_then(|z| u16::try_from(z).ok()).expect("a range of 1 to 65536 blocks");
        CopyRange { slba: slba.into(), nlb_z: nlb_z.into(), ..CopyRange::default() }
    };
    let ranges = u32::try_from(sources.len()).expect("few ranges");
    assert!((1..=256).contains(&ranges), "1 to 256 ranges");
    // NR stands where other commands have NLB, and is zero-based as well.
    let mut command = block_command(NvmOpcode::COPY, nsid, to, ranges);
    if force {
        command.cdw12 |= FORCE_UNIT_ACCESS;
    }
    (command, sources.iter().map(describe).collect())
}

/// Force Unit Access: dword 12 bit 30.
const FORCE_UNIT_ACCESS: u32 = 1 << 30;

impl<P: Port> Host<P> {
    /// Chooses the submission queue that the helpers of this file use; 1 unless told.
    pub const fn use_io_queue(&mut self, sqid: u16) {
        self.io_queue = sqid;
    }

    /// Bytes of a logical block of a namespace, asked of the controller once and remembered.
    ///
    /// # Errors
    /// Those of [`Host::identify`].
    ///
    /// # Panics
    /// If the controller names a block that has no bytes or does not fit in memory.
    pub fn block_bytes(&mut self, nsid: u32) -> Result<usize, HostError> {
        if let Some(&bytes) = self.block_bytes.get(&nsid) {
            return Ok(bytes);
        }
        let namespace = self.identify_namespace(nsid)?;
        // FLBAS: bits 3:0 and, above them, bits 6:5 (NVM Command Set 1.1 figure 97).
        let shift = namespace.format().lbads;
        assert!((9..=30).contains(&shift), "a block of 2^{shift} bytes");
        self.block_bytes.insert(nsid, 1 << shift);
        Ok(1 << shift)
    }

    /// Read.
    ///
    /// # Errors
    /// Those of [`Host::execute_in`] and [`Host::block_bytes`].
    ///
    /// # Panics
    /// If `blocks` is not 1 to 65536.
    pub fn read(&mut self, nsid: u32, lba: u64, blocks: u32) -> Result<(Status, Vec<u8>), HostError> {
        let length = self.block_bytes(nsid)? * blocks as usize;
        let command = block_command(NvmOpcode::READ, nsid, lba, blocks);
        let (completion, data) = self.execute_in(self.io_queue, command, length)?;
        Ok((completion.status(), data))
    }

    /// Write; `force` is Force Unit Access.
    ///
    /// # Errors
    /// Those of [`Host::execute_out`] and [`Host::block_bytes`].
    ///
    /// # Panics
    /// If `data` is not 1 to 65536 blocks.
    pub fn write(&mut self, nsid: u32, lba: u64, data: &[u8], force: bool) -> Result<Status, HostError> {
        let blocks = self.blocks_of(nsid, data)?;
        let mut command = block_command(NvmOpcode::WRITE, nsid, lba, blocks);
        if force {
            command.cdw12 |= FORCE_UNIT_ACCESS;
        }
        self.execute_out(self.io_queue, command, data).map(|completion| completion.status())
    }

    /// Compare.
    ///
    /// # Errors
    /// Those of [`Host::execute_out`] and [`Host::block_bytes`].
    ///
    /// # Panics
    /// If `data` is not 1 to 65536 blocks.
    pub fn compare(&mut self, nsid: u32, lba: u64, data: &[u8]) -> Result<Status, HostError> {
        let blocks = self.blocks_of(nsid, data)?;
        let command = block_command(NvmOpcode::COMPARE, nsid, lba, blocks);
        self.execute_out(self.io_queue, command, data).map(|completion| completion.status())
    }

    /// Flush.
    ///
    /// # Errors
    /// Those of [`Host::execute`].
    pub fn flush(&mut self, nsid: u32) -> Result<Status, HostError> {
        self.io(nvm_command(NvmOpcode::FLUSH, nsid))
    }

    /// Write Zeroes, allowing the controller to deallocate or not.
    ///
    /// # Errors
    /// Those of [`Host::execute`].
    ///
    /// # Panics
    /// If `blocks` is not 1 to 65536.
    pub fn write_zeroes(&mut self, nsid: u32, lba: u64, blocks: u32, deallocate: bool) -> Result<Status, HostError> {
        let mut command = block_command(NvmOpcode::WRITE_ZEROES, nsid, lba, blocks);
        if deallocate {
            command.cdw12 |= WRITE_ZEROES_DEALLOCATE;
        }
        self.io(command)
    }

    /// Write Uncorrectable.
    ///
    /// # Errors
    /// Those of [`Host::execute`].
    ///
    /// # Panics
    /// If `blocks` is not 1 to 65536.
    pub fn write_uncorrectable(&mut self, nsid: u32, lba: u64, blocks: u32) -> Result<Status, HostError> {
        self.io(block_command(NvmOpcode::WRITE_UNCORRECTABLE, nsid, lba, blocks))
    }

    /// Copy to `to` of 1 to 256 pairs of first block and number of blocks, in format 0h; `force` is Force Unit Access.
    ///
    /// # Errors
    /// Those of [`Host::execute_out`].
    ///
    /// # Panics
    /// If there are no ranges or more than 256, or one is not 1 to 65536 blocks.
    pub fn copy(&mut self, nsid: u32, sources: &[(u64, u32)], to: u64, force: bool) -> Result<Completion, HostError> {
        let (command, list) = copy_command(nsid, sources, to, force);
        self.execute_out(self.io_queue, command, list.as_bytes())
    }

    /// Dataset Management with the deallocate attribute, over 1 to 256 pairs of first block and number of blocks.
    ///
    /// # Errors
    /// Those of [`Host::execute_out`].
    ///
    /// # Panics
    /// If there are no ranges or more than 256.
    pub fn deallocate(&mut self, nsid: u32, ranges: &[(u64, u32)]) -> Result<Status, HostError> {
        let count_z = ranges.len().checked_sub(1).and_then(|z| u8::try_from(z).ok()).expect("1 to 256 ranges");
        let list: Vec<DatasetRange> = (ranges.iter())
            .map(|&(slba, blocks)| DatasetRange { slba: slba.into(), blocks: blocks.into(), ..Default::default() })
            .collect();
        let command = Command {
            cdw10: u32::from(count_z).into(),
            cdw11: DATASET_DEALLOCATE.into(),
            ..nvm_command(NvmOpcode::DATASET_MANAGEMENT, nsid)
        };
        self.execute_out(self.io_queue, command, list.as_bytes()).map(|completion| completion.status())
    }

    /// Executes an I/O command that carries no data.
    ///
    /// # Errors
    /// Those of [`Host::execute`].
    pub fn io(&mut self, command: Command) -> Result<Status, HostError> {
        self.execute(self.io_queue, command).map(|completion| completion.status())
    }

    /// How many whole blocks `data` is.
    fn blocks_of(&mut self, nsid: u32, data: &[u8]) -> Result<u32, HostError> {
        let block = self.block_bytes(nsid)?;
        assert!(data.len().is_multiple_of(block), "{} bytes are not blocks of {block}", data.len());
        Ok(u32::try_from(data.len() / block).expect("at most 65536 blocks"))
    }
}
