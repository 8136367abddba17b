//! A port to a daemon over its socket whose memory, and doorbells where the device offers them, are mapped here: what a driver in a
//! guest has. rust-vmm's client speaks vfio-user, and rust-vmm's `vm-memory` does the mapping.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use anyhow::{Context, Result, anyhow};
use nvme_host::{Host, HostError, Port, Setup};
use nvme_spec::register;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vfio_user::Client;
use vm_memory::{FileOffset, MmapRegion, VolatileMemory as _};

/// Guest memory: 96 MiB from 1 MiB on.
pub const MEMORY: std::ops::Range<u64> = 0x10_0000..0x610_0000;
/// Of the PCI function, by vfio's numbers.
const BAR0: u32 = 0;
const CONFIGURATION: u32 = 7;
/// The PCI command register: memory space and bus master.
const COMMAND: (u64, [u8; 2]) = (4, [6, 4]);
/// How many waits pass between two looks at whether the daemon lives, and after how many it is given up: some seconds.
const WAITS_PER_LOOK: u32 = 1 << 16;
const WAITS_MAX: u32 = 1 << 24;

/// See the file's text.
pub struct MappedPort {
    client: Client,
    memory: Arc<MmapRegion>,
    /// The doorbells and their offset in BAR0.
    page: Option<(MmapRegion, u64)>,
    alive: bool,
    waits: u32,
}

impl MappedPort {
    /// Connects, shares guest memory, and maps the doorbells if the device has them to be mapped.
    ///
    /// # Errors
    /// The daemon is not there, or does not agree.
    pub fn connect(socket: &Path) -> Result<Self> {
        let bytes = MEMORY.end - MEMORY.start;
        let file = memfd_create("guest", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, bytes)?;
        let file = File::from(file);
        let speak = |error| anyhow!("vfio-user: {error:?}");
        let mut client = Client::new(socket).map_err(speak)?;
        client.dma_map(0, MEMORY.start, bytes, file.as_raw_fd()).map_err(speak)?;
        client.region_write(CONFIGURATION, COMMAND.0, &COMMAND.1).map_err(speak)?;
        let page = page_of(&client)?;
        let memory = Arc::new(MmapRegion::from_file(FileOffset::new(file, 0), usize::try_from(bytes)?)?);
        Ok(Self { client, memory, page, alive: true, waits: 0 })
    }

    /// A host that has enabled the controller, over a new connection.
    ///
    /// # Errors
    /// No connection, or the controller does not come up.
    pub fn host(socket: &Path) -> Result<Host<Self>> {
        let setup = Setup { relax_max: WAITS_MAX, ..Setup::new(MEMORY) };
        Host::enable(Self::connect(socket)?, setup).map_err(|error: HostError| anyhow!("{error}"))
    }

    /// An aligned number of guest memory, which the device reads and writes too.
    ///
    /// # Panics
    /// If it does not lie in guest memory: the host's own addresses do.
    pub fn number_64(&self, address: u64) -> &AtomicU64 {
        number_64(&self.memory, address)
    }

    /// Guest memory, for [`number_64`] from another thread.
    pub fn memory(&self) -> Arc<MmapRegion> {
        Arc::clone(&self.memory)
    }

    /// A doorbell of the mapped page.
    ///
    /// # Errors
    /// The device's doorbells are not mapped.
    pub fn doorbell(&self, register: u64) -> Result<&AtomicU32> {
        let (page, begin) = self.page.as_ref().context("the doorbells are not mapped")?;
        let at = register.checked_sub(*begin).context("a doorbell lies on the page of doorbells")?;
        Ok(page.get_atomic_ref(usize::try_from(at)?)?)
    }
}

/// An aligned number of guest memory.
///
/// # Panics
/// If it does not lie there.
pub fn number_64(memory: &MmapRegion, address: u64) -> &AtomicU64 {
    memory.get_atomic_ref(offset(address)).expect("the host stays in the memory that it was given")
}

fn page_of(client: &Client) -> Result<Option<(MmapRegion, u64)>> {
    let region = client.region(BAR0).context("the device has no BAR0")?;
    let (Some(file), Some(area)) = (&region.file_offset, region.sparse_areas.first()) else { return Ok(None) };
    let place = FileOffset::new(file.file().try_clone()?, file.start() + area.offset);
    Ok(Some((MmapRegion::from_file(place, usize::try_from(area.size)?)?, area.offset)))
}

fn offset(address: u64) -> usize {
    let offset = address.checked_sub(MEMORY.start).and_then(|offset| usize::try_from(offset).ok());
    offset.expect("the host stays in the memory that it was given")
}

impl Port for MappedPort {
    fn register_read(&mut self, offset: u64, into: &mut [u8]) {
        self.alive = self.alive && self.client.region_read(BAR0, offset, into).is_ok();
        if !self.alive {
            into.fill(0xff);
        }
    }

    fn register_write(&mut self, offset: u64, from: &[u8]) {
        if offset >= register::DOORBELLS
            && let Ok(value) = <[u8; 4]>::try_from(from)
            && let Ok(doorbell) = self.doorbell(offset)
        {
            doorbell.store(u32::from_le_bytes(value), Ordering::Release);
            return;
        }
        self.alive = self.alive && self.client.region_write(BAR0, offset, from).is_ok();
    }

    fn memory_read(&self, address: u64, into: &mut [u8]) {
        let bytes = self.memory.get_slice(offset(address), into.len());
        bytes.expect("the host stays in the memory that it was given").copy_to(into);
        // What follows is not read before these bytes, of which one may be a phase.
        fence(Ordering::Acquire);
    }

    fn memory_write(&mut self, address: u64, from: &[u8]) {
        let bytes = self.memory.get_slice(offset(address), from.len());
        bytes.expect("the host stays in the memory that it was given").copy_from(from);
    }

    fn relax(&mut self) -> bool {
        self.waits = self.waits.wrapping_add(1);
        std::thread::yield_now();
        if self.waits.is_multiple_of(WAITS_PER_LOOK) {
            self.register_read_32(register::CSTS);
        }
        self.alive
    }
}
