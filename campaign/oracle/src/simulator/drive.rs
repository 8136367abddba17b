//! The drive, shared between the controller that works on it and the simulator that cuts its power. Knows no NVMe.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use media::fault::CORRECTABLE_BITS;
use media::geometry::ConfigError;
use media::monitor::Monitor as _;
use media::power::{Arming, Breaker, Cut, CutReport, Mark, Power, PowerAtomicity, RecoveryReport};
use media::ssd::{Ssd, SsdConfig};
use media::store::disk::Disk as _;
use media::store::{ImageStore, MemoryStore, TwinDisk};
use media::volume::{FastPath, MediaError, Outcome, Request, Sink, Sinks, Source, Space, Submitted};
use media::{Health, Lba, LbaRange, Media, Nanoseconds, Token, VolumeId, VolumeShape};

use super::Ground;
use crate::parameters::Blocks;

/// No metadata region of a simulated drive is larger.
const METADATA_BYTES: u64 = 1 << 20;

/// A drive on either ground.
enum Drive {
    Memory(Box<Ssd<MemoryStore>>),
    Disk(Box<Ssd<ImageStore<TwinDisk>>>),
}

/// A handle; all clones are of one drive.
#[derive(Clone)]
pub struct SharedDrive {
    drive: Rc<RefCell<Drive>>,
    breaker: Breaker,
    disk_seed: Rc<Cell<u64>>,
    unrecoverable: Rc<RefCell<Option<String>>>,
}

macro_rules! each {
    ($drive:expr, $ssd:ident => $value:expr) => {
        match $drive {
            Drive::Memory($ssd) => $value,
            Drive::Disk($ssd) => $value,
        }
    };
}

impl SharedDrive {
    /// A new, empty drive, made durably.
    ///
    /// # Errors
    /// What of the configuration cannot be.
    pub fn create(config: &SsdConfig, ground: Ground) -> Result<Self, ConfigError> {
        let geometry = config.checked()?;
        let drive = match ground {
            Ground::Memory => Drive::Memory(Ssd::create(config.clone(), MemoryStore::new(&geometry)?)?.into()),
            Ground::ForgetfulDisk(seed) => {
                let store = ImageStore::create(&geometry, METADATA_BYTES, TwinDisk::new(seed))?;
                let mut ssd = Ssd::create(config.clone(), store)?;
                settle(&mut ssd);
                Drive::Disk(ssd.into())
            }
        };
        let breaker = each!(&drive, ssd => ssd.breaker());
        let drive = Rc::new(RefCell::new(drive));
        Ok(Self { drive, breaker, disk_seed: Rc::default(), unrecoverable: Rc::default() })
    }

    /// Whether power is lost.
    #[must_use]
    pub fn lost(&self) -> bool {
        self.breaker.lost()
    }

    /// What the disk below leaves behind, the next time that power comes back.
    pub fn set_disk_seed(&self, seed: u64) {
        self.disk_seed.set(seed);
    }

    /// The n-th page program from now on (from 1) fails.
    pub fn fail_program(&self, nth: u64) {
        each!(&mut *self.drive.borrow_mut(), ssd => ssd.fail_program(nth));
    }

    /// The n-th line erase from now on (from 1) fails in the first plane.
    pub fn fail_erase(&self, nth: u64) {
        each!(&mut *self.drive.borrow_mut(), ssd => ssd.fail_erase(nth, 0));
    }

    /// Nothing can be read of these blocks until they are written again.
    pub fn damage(&self, volume: VolumeId, blocks: Blocks) {
        self.flip(volume, blocks, CORRECTABLE_BITS + 1);
    }

    /// What is left of the damage to these blocks is repaired.
    pub fn repair(&self, volume: VolumeId, blocks: Blocks) {
        self.flip(volume, blocks, 0);
    }

    fn flip(&self, volume: VolumeId, blocks: Blocks, bits: u32) {
        let range = LbaRange::new(Lba(blocks.start), blocks.count());
        each!(&mut *self.drive.borrow_mut(), ssd => ssd.flip_bits(volume, range, bits));
    }

    /// Why the drive did not come back, if it did not for another reason than that power went again.
    #[must_use]
    pub fn unrecoverable(&self) -> Option<String> {
        self.unrecoverable.take()
    }
}

impl Power for SharedDrive {
    fn breaker(&self) -> Breaker {
        self.breaker.clone()
    }

    fn promise(&mut self, volume: VolumeId, atomicity: PowerAtomicity) {
        each!(&mut *self.drive.borrow_mut(), ssd => ssd.promise(volume, atomicity));
    }

    fn misbehaviour(&self) -> Vec<&'static str> {
        each!(&*self.drive.borrow(), ssd => ssd.misbehaviour())
    }

    fn cut(&mut self, cut: &Cut) -> CutReport {
        each!(&mut *self.drive.borrow_mut(), ssd => ssd.cut(cut))
    }

    fn restore(&mut self, arming: Option<Arming>) -> Result<RecoveryReport, String> {
        let mut drive = self.drive.borrow_mut();
        if let Drive::Disk(ssd) = &mut *drive {
            let (seed, disk) = (self.disk_seed.get(), ssd.store().disk());
            // The process died, or the whole host failed.
            if seed.is_multiple_of(2) {
                disk.kill(seed);
            } else {
                disk.fail(seed);
            }
        }
        let restored = each!(&mut *drive, ssd => Power::restore(&mut **ssd, arming));
        *self.unrecoverable.borrow_mut() = restored.clone().err();
        restored
    }
}

/// Waits until the making of the drive is durable, whatever the drive makes of a Flush: a file is made before it is served.
fn settle(ssd: &mut Ssd<ImageStore<TwinDisk>>) {
    let disk = ssd.store().disk();
    let ticket = disk.ticket(true);
    while disk.done().is_ok_and(|done| done.ticket < ticket) {}
}

impl FastPath for SharedDrive {
    fn read(&mut self, reads: &[(VolumeId, LbaRange)], into: &mut dyn Sinks) -> (usize, Option<MediaError>) {
        each!(&mut *self.drive.borrow_mut(), ssd => FastPath::read(&mut **ssd, reads, into))
    }

    fn read_long(&mut self, volume: VolumeId, range: LbaRange, into: &mut dyn Sink) -> Option<Outcome> {
        each!(&mut *self.drive.borrow_mut(), ssd => FastPath::read_long(&mut **ssd, volume, range, into))
    }

    fn write(&mut self, mark: Mark, volume: VolumeId, range: LbaRange, from: &mut dyn Source) -> Option<Outcome> {
        each!(&mut *self.drive.borrow_mut(), ssd => FastPath::write(&mut **ssd, mark, volume, range, from))
    }
}

impl Media for SharedDrive {
    fn shape(&self, volume: VolumeId) -> Option<VolumeShape> {
        each!(&*self.drive.borrow(), ssd => ssd.shape(volume))
    }

    fn space(&self) -> Option<Space> {
        each!(&*self.drive.borrow(), ssd => ssd.space())
    }

    fn note(&self) -> Vec<u8> {
        each!(&*self.drive.borrow(), ssd => ssd.note())
    }

    fn stale(&self) -> u64 {
        each!(&*self.drive.borrow(), ssd => ssd.stale())
    }

    fn allocated_blocks(&self, volume: VolumeId) -> u64 {
        each!(&*self.drive.borrow(), ssd => ssd.allocated_blocks(volume))
    }

    fn health(&self) -> Health {
        each!(&*self.drive.borrow(), ssd => ssd.health())
    }

    fn write_cache(&self) -> Option<bool> {
        each!(&*self.drive.borrow(), ssd => ssd.write_cache())
    }

    fn set_write_cache(&mut self, now: Nanoseconds, token: Token, enabled: bool) -> Submitted {
        each!(&mut *self.drive.borrow_mut(), ssd => ssd.set_write_cache(now, token, enabled))
    }

    fn submit(&mut self, now: Nanoseconds, token: Token, volume: VolumeId, request: Request<'_>) -> Submitted {
        each!(&mut *self.drive.borrow_mut(), ssd => ssd.submit(now, token, volume, request))
    }

    fn fast_path(&mut self, now: Nanoseconds) -> Option<&mut dyn FastPath> {
        let has_fast_path = each!(&mut *self.drive.borrow_mut(), ssd => ssd.fast_path(now).is_some());
        if has_fast_path { Some(self) } else { None }
    }

    fn poll(&mut self, now: Nanoseconds, outcome: &mut dyn FnMut(Token, Outcome)) {
        each!(&mut *self.drive.borrow_mut(), ssd => ssd.poll(now, outcome));
    }

    fn cancel(&mut self, token: Token) -> bool {
        each!(&mut *self.drive.borrow_mut(), ssd => ssd.cancel(token))
    }

    fn next_event(&self) -> Option<Nanoseconds> {
        each!(&*self.drive.borrow(), ssd => ssd.next_event())
    }
    fn power(&mut self) -> Option<&mut dyn Power> {
        Some(self)
    }
}
