//! The drive, shared between the controller that works on it and the simulator that cuts its power. Knows no NVMe.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use media::power::{Arming, Breaker, CutPolicy};
use media::ssd::{Ssd, SsdConfig};
use media::store::{ImageStore, MemoryStore, TwinDisk};
use media::volume::{Outcome, Request, Submitted};
use media::{Health, Media, Nanoseconds, Token, VolumeId, VolumeShape};

use super::Ground;

/// No metadata region of a simulated drive is larger.
const METADATA_BYTES: u64 = 1 << 20;

/// A drive on either ground.
enum Drive {
    Memory(Ssd<MemoryStore>),
    Disk(Ssd<ImageStore<TwinDisk>>),
    /// Between the loss of power and its return.
    Gone,
}

/// A handle; all clones are of one drive.
#[derive(Clone)]
pub struct SharedDrive {
    drive: Rc<RefCell<Drive>>,
    config: Rc<SsdConfig>,
}

macro_rules! each {
    ($drive:expr, $ssd:ident => $value:expr) => {
        match $drive {
            Drive::Memory($ssd) => $value,
            Drive::Disk($ssd) => $value,
            Drive::Gone => unreachable!("the drive is there between two losses of power"),
        }
    };
}

impl SharedDrive {
    /// A new, empty drive, made durably.
    ///
    /// # Errors
    /// What of the configuration cannot be.
    pub fn create(config: &SsdConfig, ground: Ground) -> Result<Self, String> {
        let geometry = config.checked().map_err(|error| error.to_string())?;
        let say = |error: media::geometry::ConfigError| error.to_string();
        let drive = match ground {
            Ground::Memory => Drive::Memory(Ssd::create(config.clone(), MemoryStore::new(&geometry)).map_err(say)?),
            Ground::ForgetfulDisk(seed) => {
                let store = ImageStore::create(&geometry, METADATA_BYTES, TwinDisk::new(seed));
                let mut ssd = Ssd::create(config.clone(), store).map_err(say)?;
                settle(&mut ssd);
                Drive::Disk(ssd)
            }
        };
        Ok(Self { drive: Rc::new(RefCell::new(drive)), config: Rc::new(config.clone()) })
    }

    /// Whether power is lost.
    #[must_use]
    pub fn lost(&self) -> bool {
        each!(&mut *self.drive.borrow_mut(), ssd => ssd.breaker().lost())
    }

    /// Arms the breaker, or disarms it.
    pub fn arm(&self, arming: Option<Arming>) {
        let mut drive = self.drive.borrow_mut();
        let breaker: &mut Breaker = each!(&mut *drive, ssd => ssd.breaker());
        match arming {
            Some(arming) => breaker.arm(arming),
            None => breaker.disarm(),
        }
    }

    /// Cuts power if it is not lost yet; returns whether it went at an armed step before.
    pub fn cut(&self, policy: &CutPolicy) -> bool {
        each!(&mut *self.drive.borrow_mut(), ssd => ssd.cut(policy).step.is_some())
    }

    /// Brings power back, with the breaker armed for the steps of recovery; returns whether power is there.
    ///
    /// # Errors
    /// Why the drive does not come back.
    pub fn restore(&self, disk_seed: u64, arming: Option<Arming>) -> Result<bool, String> {
        let mut place: RefMut<'_, Drive> = self.drive.borrow_mut();
        let say = |error: media::store::StoreError| error.to_string();
        let config = (*self.config).clone();
        *place = match std::mem::replace(&mut *place, Drive::Gone) {
            Drive::Memory(ssd) => Drive::Memory(Ssd::open_armed(config, ssd.into_store(), arming).map_err(say)?),
            Drive::Disk(ssd) => {
                let mut store = ssd.into_store();
                // The process died, or the whole host failed.
                if disk_seed.is_multiple_of(2) {
                    store.disk().kill(disk_seed);
                } else {
                    store.disk().fail(disk_seed);
                }
                let store = media::store::Store::take(&mut store);
                Drive::Disk(Ssd::open_armed(config, store, arming).map_err(say)?)
            }
            Drive::Gone => unreachable!("the drive is there between two losses of power"),
        };
        drop(place);
        let there = !self.lost();
        self.arm(None);
        Ok(there)
    }
}

/// Waits until the making of the drive is durable.
fn settle(ssd: &mut Ssd<ImageStore<TwinDisk>>) {
    let mut done = ssd.submit(Nanoseconds(0), Token(0), VolumeId(0), Request::FlushAll) != Submitted::Pending;
    while !done {
        ssd.poll(Nanoseconds(u64::MAX >> 1), &mut |_, _| done = true);
    }
}

impl Media for SharedDrive {
    fn shape(&self, volume: VolumeId) -> Option<VolumeShape> {
        each!(&*self.drive.borrow(), ssd => ssd.shape(volume))
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

    fn poll(&mut self, now: Nanoseconds, outcome: &mut dyn FnMut(Token, Outcome)) {
        each!(&mut *self.drive.borrow_mut(), ssd => ssd.poll(now, outcome));
    }

    fn cancel(&mut self, token: Token) -> bool {
        each!(&mut *self.drive.borrow_mut(), ssd => ssd.cancel(token))
    }

    fn next_event(&self) -> Option<Nanoseconds> {
        each!(&*self.drive.borrow(), ssd => ssd.next_event())
    }
}
