//! One client: what it has negotiated, its memory and rings, and the disk for as long as the client is connected. Messages arrive
//! through rust-vmm's request handler, which knows the protocol's layouts; `service` runs the rings.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use guest_memory::event::is_event;
use guest_memory::{Limit, Signal};
use rust_vmm_vhost::VhostUserMemoryRegionBase;
use rust_vmm_vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserShMemConfig, VhostUserSharedMsg,
    VhostUserSingleMemoryRegion, VhostUserVringAddrFlags, VhostUserVringState,
};
use rust_vmm_vhost::vhost_user::{Error, GpuBackend, Result, VhostUserBackendReqHandlerMut};
use vfio::Watched;

use crate::disk::Disk;
use crate::inflight::{self, Inflight};
use crate::memory::{REGIONS_MAX, Region};
use crate::offer;
use crate::request::Extent;
use crate::ring::{Places, Ring};
use crate::wire::Features;

/// The epoll token of the first ring's kicks; the others follow.
pub(crate) const FIRST_KICK_TOKEN: u64 = 16;

/// What the device hears when a ring has something for it.
#[derive(Debug)]
pub(crate) enum Kick {
    /// This descriptor.
    Descriptor(#[expect(dead_code, reason = "it is watched for as long as it lives")] Watched),
    /// Nothing: the ring is looked at all the time.
    Polled,
}

/// A ring, as far as the client has set it up, and as it runs.
#[derive(Debug, Default)]
pub(crate) struct RingState {
    pub(crate) ring: Ring,
    pub(crate) kick: Option<Kick>,
    pub(crate) call: Option<Signal>,
    pub(crate) error: Option<Signal>,
    pub(crate) enabled: bool,
    /// The driver broke it; it stands still until it is set up again.
    pub(crate) broken: bool,
    /// Heads that were in flight when the last process ended, to be taken again before any other.
    pub(crate) again: std::collections::VecDeque<u16>,
}

/// A client and its device.
pub(crate) struct Session {
    pub(crate) disk: Disk,
    pub(crate) offered: Features,
    pub(crate) acknowledged: Features,
    owned: bool,
    pub(crate) rings: Vec<RingState>,
    /// The ring whose turn it is to be served first.
    pub(crate) first_ring: usize,
    pub(crate) inflight: Option<Inflight>,
    epoll: Arc<OwnedFd>,
    /// What the configuration space says of the write cache.
    pub(crate) writeback: bool,
    /// What it said before the driver began to change its mind.
    pub(crate) chosen: bool,
    /// The controller has lost power.
    pub(crate) dead: bool,
    /// Where the client hears what it has not asked for.
    pub(crate) channel: Option<UnixStream>,
    /// The configuration space changed, and the client has not been told.
    pub(crate) untold: bool,
    /// Scratch.
    pub(crate) extent: Extent,
    pub(crate) buffers: Vec<crate::chain::Buffer>,
    pub(crate) done: Vec<crate::disk::Finished>,
    pub(crate) breaks: Limit,
    pub(crate) refusals: Limit,
}

fn refuse<T>(error: impl std::error::Error + Send + Sync + 'static) -> Result<T> {
    Err(Error::ReqHandlerError(io::Error::other(error)))
}

impl Session {
    pub(crate) fn new(disk: Disk, rings: u16, epoll: Arc<OwnedFd>) -> Self {
        let offered = offer::features(disk.geometry(), rings);
        let writeback = disk.write_cache();
        Self {
            disk,
            offered,
            acknowledged: Features::empty(),
            owned: false,
            rings: std::iter::repeat_with(RingState::default).take(rings.into()).collect(),
            first_ring: 0,
            inflight: None,
            epoll,
            writeback,
            chosen: writeback,
            dead: false,
            channel: None,
            untold: false,
            extent: Extent::default(),
            buffers: Vec::new(),
            done: Vec::new(),
            breaks: Limit::default(),
            refusals: Limit::default(),
        }
    }

    fn ring_count(&self) -> u16 {
        u16::try_from(self.rings.len()).expect("it was made from 16 bits")
    }

    fn ring(&mut self, index: u32) -> Result<&mut RingState> {
        usize::try_from(index).ok().and_then(|index| self.rings.get_mut(index)).ok_or(Error::InvalidParam)
    }

    /// Whether the write cache shall be on, with these features: a driver that cannot flush must never need to (virtio 1.3 section
    /// 5.2.6.2), and one that can has chosen.
    pub(crate) const fn wanted_cache(&self, features: Features) -> bool {
        self.writeback && features.contains(Features::FLUSH)
    }

    /// Ends a ring: nothing of it is looked at any more.
    fn stop_ring(&mut self, index: usize) {
        if self.dead {
            self.disk.forget(index);
        }
        let state = &mut self.rings[index];
        state.ring.set_running(false);
        (state.kick, state.call, state.error) = (None, None, None);
        (state.broken, state.enabled) = (false, false);
        state.again.clear();
    }

    fn reset_all(&mut self) {
        for index in 0..self.rings.len() {
            self.stop_ring(index);
        }
        self.acknowledged = Features::empty();
    }
}

impl VhostUserBackendReqHandlerMut for Session {
    fn set_owner(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.owned, true) {
            return Err(Error::InvalidOperation("the device has an owner already"));
        }
        Ok(())
    }

    fn reset_owner(&mut self) -> Result<()> {
        self.owned = false;
        self.reset_all();
        Ok(())
    }

    fn reset_device(&mut self) -> Result<()> {
        self.reset_all();
        Ok(())
    }

    fn get_features(&mut self) -> Result<u64> {
        Ok(self.offered.bits())
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        let features = Features::from_bits_retain(features);
        if !self.offered.contains(features) {
            return Err(Error::InvalidParam);
        }
        if !self.dead && self.disk.write_cache() != self.wanted_cache(features) {
            return Err(Error::InvalidOperation("the write cache cannot be switched"));
        }
        self.acknowledged = features;
        if !features.contains(Features::PROTOCOL_FEATURES) {
            self.rings.iter_mut().for_each(|ring| ring.enabled = true);
        }
        Ok(())
    }

    fn set_mem_table(
        &mut self,
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
        _postcopy: Option<bool>,
    ) -> Result<Option<Vec<VhostUserMemoryRegionBase>>> {
        let shared = self.disk.shared();
        let mut next = shared.successor();
        for (region, file) in regions.iter().zip(files) {
            let region = Region {
                guest: region.guest_phys_addr,
                length: region.memory_size,
                user: region.user_addr,
                offset: region.mmap_offset,
            };
            next.add(region, file.into()).or_else(refuse)?;
        }
        *shared = next;
        Ok(None)
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        let state = self.ring(index)?;
        let size = u16::try_from(num).ok().filter(|_| !state.ring.runs()).ok_or(Error::InvalidParam)?;
        state.ring.set_size(size).map_err(|_| Error::InvalidParam)
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        _flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        _log: u64,
    ) -> Result<()> {
        let shared = self.disk.shared();
        let find = |user| shared.guest_address(user).ok_or(Error::InvalidParam);
        let places = Places { descriptors: find(descriptor)?, available: find(available)?, used: find(used)? };
        self.ring(index)?.ring.place(places).map_err(|_| Error::InvalidParam)
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        let state = self.ring(index)?;
        let base = u16::try_from(base).map_err(|_| Error::InvalidParam)?;
        if state.ring.runs() {
            return Err(Error::InvalidOperation("the base of a ring that runs"));
        }
        state.ring.set_next_available(base);
        Ok(())
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        self.ring(index)?;
        let place = index as usize;
        self.stop_ring(place);
        Ok(VhostUserVringState::new(index, self.rings[place].ring.next_available().into()))
    }

    fn set_vring_kick(&mut self, index: u8, file: Option<File>) -> Result<()> {
        if file.as_ref().is_some_and(|file| !is_event(file.as_fd())) {
            return Err(Error::InvalidParam);
        }
        let epoll = Arc::clone(&self.epoll);
        let state = self.ring(index.into())?;
        // The old one first: a descriptor is watched once.
        state.kick = None;
        state.kick = Some(match file {
            None => Kick::Polled,
            Some(file) => Watched::arrivals(&epoll, file.into(), FIRST_KICK_TOKEN + u64::from(index))
                .map(Kick::Descriptor)
                .map_err(Error::ReqHandlerError)?,
        });
        state.broken = false;
        Ok(())
    }

    fn set_vring_call(&mut self, index: u8, file: Option<File>) -> Result<()> {
        let call = signal(file)?;
        let state = self.ring(index.into())?;
        // What was told last may have rung the old one, or none.
        if let Some(call) = call.as_ref().filter(|_| state.ring.runs()) {
            call.raise();
        }
        state.call = call;
        Ok(())
    }

    fn set_vring_err(&mut self, index: u8, file: Option<File>) -> Result<()> {
        self.ring(index.into())?.error = signal(file)?;
        Ok(())
    }

    fn get_protocol_features(&mut self) -> Result<VhostUserProtocolFeatures> {
        // The request handler adds REPLY_ACK, which it does by itself.
        Ok(VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::BACKEND_REQ
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
            | VhostUserProtocolFeatures::INFLIGHT_SHMFD
            | VhostUserProtocolFeatures::RESET_DEVICE)
    }

    fn set_protocol_features(&mut self, features: u64) -> Result<()> {
        let offered = self.get_protocol_features()? | VhostUserProtocolFeatures::REPLY_ACK;
        if features & !offered.bits() != 0 { Err(Error::InvalidParam) } else { Ok(()) }
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        Ok(self.rings.len() as u64)
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        self.ring(index)?.enabled = enable;
        Ok(())
    }

    fn get_config(&mut self, offset: u32, size: u32, _flags: VhostUserConfigFlags) -> Result<Vec<u8>> {
        let config = offer::config(self.disk.geometry(), self.ring_count(), self.writeback);
        offer::read_config(&config, offset, size).ok_or(Error::InvalidParam)
    }

    fn set_config(&mut self, offset: u32, bytes: &[u8], _flags: VhostUserConfigFlags) -> Result<()> {
        let writeback = offer::written_cache(offset, bytes).ok_or(Error::InvalidParam)?;
        if self.dead {
            return Err(Error::InvalidOperation("a disk without power switches nothing"));
        }
        if !self.offered.contains(Features::CONFIG_WCE) || self.writeback != writeback {
            return Err(Error::InvalidOperation("the write cache cannot be switched"));
        }
        Ok(())
    }

    fn set_gpu_socket(&mut self, _gpu: GpuBackend) -> Result<()> {
        Err(Error::InvalidOperation("a disk has no display"))
    }

    fn get_shared_object(&mut self, _uuid: VhostUserSharedMsg) -> Result<File> {
        Err(Error::InvalidOperation("a disk shares no objects"))
    }

    fn get_inflight_fd(&mut self, asked: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        if usize::from(asked.num_queues) > self.rings.len() {
            return Err(Error::InvalidParam);
        }
        let (extent, file) = Inflight::make(asked.num_queues, asked.queue_size).or_else(refuse)?;
        Ok((VhostUserInflight::new(extent.bytes, extent.offset, extent.queues, extent.queue_size), file.into()))
    }

    fn set_inflight_fd(&mut self, told: &VhostUserInflight, file: File) -> Result<()> {
        let extent = inflight::Extent {
            bytes: told.mmap_size,
            offset: told.mmap_offset,
            queues: told.num_queues,
            queue_size: told.queue_size,
        };
        if self.rings.iter().any(|state| state.ring.runs()) {
            return Err(Error::InvalidOperation("in-flight memory for rings that run"));
        }
        let memory = Inflight::open(extent, file.into()).or_else(refuse)?;
        if let Some(writeback) = memory.write_cache().or_else(refuse)? {
            (self.writeback, self.chosen) = (writeback, writeback);
        }
        memory.note_write_cache(self.writeback).or_else(refuse)?;
        self.inflight = Some(memory);
        Ok(())
    }

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        Ok(REGIONS_MAX as u64)
    }

    fn add_mem_region(
        &mut self,
        region: &VhostUserSingleMemoryRegion,
        file: File,
        _postcopy: Option<bool>,
    ) -> Result<Option<VhostUserMemoryRegionBase>> {
        let region = Region {
            guest: region.guest_phys_addr,
            length: region.memory_size,
            user: region.user_addr,
            offset: region.mmap_offset,
        };
        self.disk.shared().add(region, file.into()).or_else(refuse)?;
        Ok(None)
    }

    fn remove_mem_region(&mut self, region: &VhostUserSingleMemoryRegion) -> Result<()> {
        let (guest, length, user) = (region.guest_phys_addr, region.memory_size, region.user_addr);
        self.disk.shared().remove(guest, length, user).or_else(refuse)
    }

    fn set_device_state_fd(
        &mut self,
        _direction: VhostTransferStateDirection,
        _phase: VhostTransferStatePhase,
        _file: File,
    ) -> Result<Option<File>> {
        Err(Error::InvalidOperation("the state of the device is its media"))
    }

    fn check_device_state(&mut self) -> Result<()> {
        Err(Error::InvalidOperation("the state of the device is its media"))
    }

    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        Err(Error::InvalidOperation("a disk has no shared memory of its own"))
    }

    fn set_log_base(&mut self, _log: &rust_vmm_vhost::vhost_user::message::VhostUserLog, _file: File) -> Result<()> {
        Err(Error::InvalidOperation("dirty pages are not logged"))
    }
}

/// A descriptor to write events to.
fn signal(file: Option<File>) -> Result<Option<Signal>> {
    file.map(|file| Signal::new(file.into()).ok_or(Error::InvalidParam)).transpose()
}
