//! A drive that accepts forced writes and never ends them, so that commands can be measured beside writes that are outstanding.

use anyhow::anyhow;
use controller::dma::{DoorbellPage, GuestMemory};
use media::ssd::Ssd;
use media::store::MemoryStore;
use media::volume::{FastPath, Health, Outcome, Request, Space, Submitted, VolumeShape};
use media::{Media, Nanoseconds, Token, VolumeId};
use nvme_host::Host;
use nvme_host::io::block_command;
use nvme_spec::opcode::NvmOpcode;

use crate::drive::Device;

/// The drive.
pub struct Drive(pub Ssd<MemoryStore>);

/// The queue pair of the writes.
const QUEUE: u16 = 2;
/// How many writes are outstanding, of how many blocks of 512 bytes each, and how many blocks lie from one to the next.
const WRITES: u64 = 64;
const BLOCKS: u16 = 8;
const STRIDE: u64 = 128;
/// Force Unit Access (NVM Command Set 1.1, the Write command's dword 12).
const FORCE: u32 = 1 << 30;

impl Media for Drive {
    fn shape(&self, volume: VolumeId) -> Option<VolumeShape> {
        self.0.shape(volume)
    }

    fn space(&self) -> Option<Space> {
        self.0.space()
    }

    fn note(&self) -> Vec<u8> {
        self.0.note()
    }

    fn stale(&self) -> u64 {
        Media::stale(&self.0)
    }

    fn allocated_blocks(&self, volume: VolumeId) -> u64 {
        self.0.allocated_blocks(volume)
    }

    fn health(&self) -> Health {
        self.0.health()
    }

    fn write_cache(&self) -> Option<bool> {
        self.0.write_cache()
    }

    fn set_write_cache(&mut self, now: Nanoseconds, token: Token, enabled: bool) -> Submitted {
        self.0.set_write_cache(now, token, enabled)
    }

    fn submit(&mut self, now: Nanoseconds, token: Token, volume: VolumeId, request: Request<'_>) -> Submitted {
        match request {
            Request::Write { force: true, .. } => Submitted::Pending,
            other => self.0.submit(now, token, volume, other),
        }
    }

    fn fast_path(&mut self, now: Nanoseconds) -> Option<&mut dyn FastPath> {
        self.0.fast_path(now)
    }

    fn poll(&mut self, now: Nanoseconds, outcome: &mut dyn FnMut(Token, Outcome)) {
        self.0.poll(now, outcome);
    }

    fn cancel(&mut self, token: Token) -> bool {
        self.0.cancel(token)
    }

    fn next_event(&self) -> Option<Nanoseconds> {
        self.0.next_event()
    }
}

/// Submits the writes, behind the first `working_bytes` of the namespace.
///
/// # Errors
/// The device does not take them.
pub fn hold_writes<M: GuestMemory, D: DoorbellPage>(
    host: &mut Host<Device<M, D>>,
    working_bytes: u64,
) -> anyhow::Result<()> {
    let words = |error| anyhow!("{error}");
    host.create_queue_pair(QUEUE, 128, None).map_err(words)?;
    let bytes = usize::from(BLOCKS) * 512;
    let buffer = host.allocate(bytes).map_err(words)?;
    let map = host.map(buffer, bytes).map_err(words)?;
    for write in 0..WRITES {
        let first = working_bytes / 512 + write * STRIDE;
        let mut command = map.on(block_command(NvmOpcode::WRITE, 1, first, u32::from(BLOCKS)));
        command.cdw12 = (command.cdw12.get() | FORCE).into();
        host.submit(QUEUE, command).map_err(words)?;
    }
    host.port_mut().device_half();
    anyhow::ensure!(host.reap(QUEUE).is_none(), "the writes stay outstanding");
    Ok(())
}
