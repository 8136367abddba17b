//! A virtio block driver by hand: guest memory is a file, which the test reads and writes as a file, and the rings are numbers in it.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use rust_vmm_vhost::vhost_user::message::{VhostUserConfigFlags, VhostUserInflight};
use rust_vmm_vhost::vhost_user::{Frontend, VhostUserFrontend};
use rust_vmm_vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::poll::PollContext;

/// Where guest memory begins, for the guest and for the client.
pub const GUEST: u64 = 0x10_0000;
pub const USER: u64 = 0x7f00_0000_0000;
/// How much there is.
pub const MEMORY_BYTES: u64 = 64 << 20;
/// Each ring has its parts in an area of this size, from the beginning of guest memory on.
const AREA: u64 = 0x10000;
const AVAILABLE: u64 = 0x4000;
const USED: u64 = 0x6000;
/// Buffers begin here.
pub const BUFFERS: u64 = GUEST + 0x40_0000;

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

pub const FLUSH: u64 = 1 << 9;
pub const CONFIG_WCE: u64 = 1 << 11;
pub const INDIRECT_DESC: u64 = 1 << 28;
pub const EVENT_IDX: u64 = 1 << 29;

/// What a driver wants.
#[derive(Clone, Copy, Debug)]
pub struct Wishes {
    /// Feature bits not to acknowledge.
    pub without: u64,
    pub queues: u16,
    pub size: u16,
    pub inflight: bool,
}

impl Default for Wishes {
    fn default() -> Self {
        Self { without: 0, queues: 1, size: 128, inflight: true }
    }
}

/// A ring, from the driver's side.
#[derive(Debug)]
pub struct DriverRing {
    area: u64,
    size: u16,
    pub available: u16,
    pub used: u16,
    pub kick: EventFd,
    pub call: EventFd,
    pub error: EventFd,
}

/// What outlives a connection: guest memory, rings, in-flight memory.
pub struct Guest {
    pub memory: File,
    pub rings: Vec<DriverRing>,
    pub inflight: Option<(VhostUserInflight, File)>,
    wishes: Wishes,
}

/// A driver with its connection.
pub struct Driver {
    pub frontend: Frontend,
    pub guest: Guest,
    pub features: u64,
}

/// A descriptor: address, bytes, flags, next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor(pub u64, pub u32, pub u16, pub u16);

impl Descriptor {
    pub fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.0.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.1.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.2.to_le_bytes());
        bytes[14..].copy_from_slice(&self.3.to_le_bytes());
        bytes
    }
}

impl Guest {
    pub fn new(wishes: Wishes) -> Self {
        let memory = memfd_create("guest", MemfdFlags::CLOEXEC).expect("memory");
        ftruncate(&memory, MEMORY_BYTES).expect("room");
        let rings = (0..u64::from(wishes.queues)).map(|index| DriverRing {
            area: GUEST + index * AREA,
            size: wishes.size,
            available: 0,
            used: 0,
            kick: EventFd::new(0x800).expect("a descriptor"),
            call: EventFd::new(0x800).expect("a descriptor"),
            error: EventFd::new(0x800).expect("a descriptor"),
        });
        Self { memory: memory.into(), rings: rings.collect(), inflight: None, wishes }
    }

    pub fn write(&self, address: u64, bytes: &[u8]) {
        self.memory.write_all_at(bytes, address - GUEST).expect("guest memory");
    }

    pub fn read(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory.read_exact_at(&mut bytes, address - GUEST).expect("guest memory");
        bytes
    }

    fn read_u16(&self, address: u64) -> u16 {
        u16::from_le_bytes(self.read(address, 2).try_into().expect("two bytes"))
    }

    /// Writes a descriptor of a ring's table.
    pub fn describe(&self, ring: usize, index: u16, descriptor: Descriptor) {
        self.write(self.rings[ring].area + 16 * u64::from(index), &descriptor.bytes());
    }

    /// Makes a head available, without a kick.
    pub fn offer(&mut self, ring: usize, head: u16) {
        let DriverRing { area, size, available, .. } = self.rings[ring];
        self.write(area + AVAILABLE + 4 + 2 * u64::from(available % size), &head.to_le_bytes());
        self.set_available(ring, available.wrapping_add(1));
    }

    /// Puts the available index anywhere.
    pub fn set_available(&mut self, ring: usize, index: u16) {
        self.rings[ring].available = index;
        // No interrupt is to be missed: the driver wants one for the next entry.
        let DriverRing { area, size, used, .. } = self.rings[ring];
        self.write(area + AVAILABLE + 4 + 2 * u64::from(size), &used.to_le_bytes());
        self.write(area + AVAILABLE + 2, &index.to_le_bytes());
    }

    pub fn kick(&self, ring: usize) {
        self.rings[ring].kick.write(1).expect("a kick");
    }

    /// The next used entry: head and bytes written. Waits for it, ten seconds at most.
    pub fn wait_used(&mut self, ring: usize) -> Option<(u16, u32)> {
        for _ in 0..10 {
            if let Some(found) = self.take_used(ring) {
                return Some(found);
            }
            wait(&self.rings[ring].call);
        }
        self.take_used(ring)
    }

    /// The next used entry, if there is one.
    pub fn take_used(&mut self, ring: usize) -> Option<(u16, u32)> {
        let DriverRing { area, size, used, .. } = self.rings[ring];
        if self.read_u16(area + USED + 2) == used {
            return None;
        }
        let entry = self.read(area + USED + 4 + 8 * u64::from(used % size), 8);
        self.rings[ring].used = used.wrapping_add(1);
        self.write(area + AVAILABLE + 4 + 2 * u64::from(size), &self.rings[ring].used.to_le_bytes());
        let number = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().expect("four bytes"));
        Some((u16::try_from(number(0)).expect("a head"), number(4)))
    }
}

/// Waits a second for an event.
pub fn wait(event: &EventFd) -> bool {
    let context = PollContext::<u32>::new().expect("a descriptor");
    context.add(event, 0).expect("watched");
    let found = context.wait_timeout(Duration::from_secs(1)).expect("a wait").iter().next().is_some();
    found && event.read().is_ok()
}

impl Driver {
    /// Connects and sets everything up.
    pub fn connect(path: &Path, wishes: Wishes) -> Self {
        Self::resume(path, Guest::new(wishes))
    }

    /// Connects with what an earlier connection left behind, as QEMU does.
    pub fn resume(path: &Path, mut guest: Guest) -> Self {
        let wishes = guest.wishes;
        let mut frontend = Frontend::connect(path, 64).expect("a connection");
        frontend.set_owner().expect("owner");
        let offered = frontend.get_features().expect("features");
        let features = offered & !wishes.without;
        let protocol = frontend.get_protocol_features().expect("protocol features");
        frontend.set_protocol_features(protocol).expect("protocol features");
        frontend.set_hdr_flags(rust_vmm_vhost::vhost_user::message::VhostUserHeaderFlag::NEED_REPLY);
        frontend.set_features(features).expect("features");
        let region = VhostUserMemoryRegionInfo {
            guest_phys_addr: GUEST,
            memory_size: MEMORY_BYTES,
            userspace_addr: USER,
            mmap_offset: 0,
            mmap_handle: guest.memory.as_raw_fd(),
        };
        if wishes.inflight {
            if guest.inflight.is_none() {
                let asked = VhostUserInflight::new(0, 0, wishes.queues, wishes.size);
                guest.inflight = Some(frontend.get_inflight_fd(&asked).expect("in-flight memory"));
            }
            let (extent, file) = guest.inflight.as_ref().expect("it was just made");
            frontend.set_inflight_fd(extent, file.as_raw_fd()).expect("in-flight memory");
        }
        frontend.set_mem_table(&[region]).expect("memory");
        let mut driver = Self { frontend, guest, features };
        for index in 0..driver.guest.rings.len() {
            driver.start_ring(index);
        }
        driver
    }

    /// Starts a ring where the device last was, as QEMU knows it after a crash: at the used index.
    pub fn start_ring(&mut self, index: usize) {
        let ring = &self.guest.rings[index];
        let user = |address: u64| address - GUEST + USER;
        let config = VringConfigData {
            queue_max_size: ring.size,
            queue_size: ring.size,
            flags: 0,
            desc_table_addr: user(ring.area),
            used_ring_addr: user(ring.area + USED),
            avail_ring_addr: user(ring.area + AVAILABLE),
            log_addr: None,
        };
        let base = self.guest.read_u16(ring.area + USED + 2);
        self.frontend.set_vring_num(index, ring.size).expect("size");
        self.frontend.set_vring_base(index, base).expect("base");
        self.frontend.set_vring_addr(index, &config).expect("addresses");
        self.frontend.set_vring_kick(index, &ring.kick).expect("kick");
        self.frontend.set_vring_call(index, &ring.call).expect("call");
        self.frontend.set_vring_err(index, &ring.error).expect("error");
        self.frontend.set_vring_enable(index, true).expect("enable");
    }

    /// The configuration space.
    pub fn config(&mut self) -> Vec<u8> {
        let flags = VhostUserConfigFlags::empty();
        self.frontend.get_config(0, 60, flags, &[0; 60]).expect("the configuration").1
    }

    /// What of a connection outlives it.
    pub fn hang_up(self) -> Guest {
        self.guest
    }

    /// A request in three buffers at the usual places; `head` decides which. Returns after it was offered.
    pub fn begin(&mut self, ring: usize, head: u16, kind: u32, sector: u64, out: &[u8], into: usize) {
        let place = BUFFERS + u64::from(head) * 0x10_0000 / 3 / 0x1000 * 0x1000;
        let guest = &mut self.guest;
        let mut header = kind.to_le_bytes().to_vec();
        header.extend([0; 4]);
        header.extend(sector.to_le_bytes());
        guest.write(place, &header);
        guest.write(place + 16, &[0xee]);
        guest.write(place + 0x1000, out);
        let data = u32::try_from(out.len().max(into)).expect("a small buffer");
        guest.describe(ring, head, Descriptor(place, 16, NEXT, head + 1));
        let status = if data > 0 {
            let flags = if into > 0 { NEXT | WRITE } else { NEXT };
            guest.describe(ring, head + 1, Descriptor(place + 0x1000, data, flags, head + 2));
            head + 2
        } else {
            head + 1
        };
        guest.describe(ring, status, Descriptor(place + 16, 1, WRITE, 0));
        guest.offer(ring, head);
    }

    /// The status byte and the data of a request that [`Driver::begin`] began.
    pub fn outcome(&self, head: u16, into: usize) -> (u8, Vec<u8>) {
        let place = BUFFERS + u64::from(head) * 0x10_0000 / 3 / 0x1000 * 0x1000;
        (self.guest.read(place + 16, 1)[0], self.guest.read(place + 0x1000, into))
    }

    /// A whole request: status, data, bytes told as written.
    pub fn request(&mut self, kind: u32, sector: u64, out: &[u8], into: usize) -> (u8, Vec<u8>, u32) {
        self.begin(0, 0, kind, sector, out, into);
        self.guest.kick(0);
        let (head, written) = self.guest.wait_used(0).expect("an answer");
        assert_eq!(head, 0);
        let (status, data) = self.outcome(0, into);
        (status, data, written)
    }
}
