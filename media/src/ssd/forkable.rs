//! A drive in memory that can be forked: it goes back to what it held, and shows each image that a power loss may leave. Until that is
//! asked for it is the drive itself; then it is one over a fork of the store. Nothing is changed under a drive that has power.

use std::rc::Rc;

use super::images::Images;
use super::{Ssd, SsdConfig};
use crate::geometry::Geometry;
use crate::monitor::Monitor;
use crate::power::{
    Arming, Breaker, Cut, CutReport, Forks, ImageNumber, LossImages, Power, PowerAtomicity, Random, RecoveryReport,
    Take, VolatileEntry,
};
use crate::store::{Base, ForkStore, MemoryStore, Store as _, StoreError};
use crate::unit::{Lba, LbaRange, Nanoseconds, index};
use crate::volume::{
    Collected, FastPath, Health, Media, Outcome, Request, Space, Submitted, Token, VolumeId, VolumeShape,
};
use crate::warning::Warnings;

/// So many forks lie below each other at most.
const DEPTH_MAX: usize = 16;
/// What is read at once of an image.
const CONTENTS_BYTES: u64 = 256 << 10;

/// A drive in memory, with its forks.
pub struct Forkable {
    drive: Drive,
    /// What [`Forks::fork`] has kept.
    point: Option<Rc<dyn Base>>,
    images: Option<Images>,
    /// They are of the power loss that is not over.
    current: bool,
    /// What the drive is over when power comes back, if not over its own store.
    next: Option<ForkStore>,
}

enum Drive {
    Whole(Box<Ssd<MemoryStore>>),
    Fork(Box<Ssd<ForkStore>>),
}

/// Does something with the drive, of whichever kind it is.
macro_rules! with {
    ($forkable:expr, $drive:ident => $what:expr) => {
        match &mut $forkable.drive {
            Drive::Whole($drive) => $what,
            Drive::Fork($drive) => $what,
        }
    };
}

impl Forkable {
    /// A drive that was not forked yet.
    #[must_use]
    pub fn new(drive: Ssd<MemoryStore>) -> Self {
        Self { drive: Drive::Whole(Box::new(drive)), point: None, images: None, current: false, next: None }
    }

    fn media(&self) -> &dyn Media {
        match &self.drive {
            Drive::Whole(drive) => drive.as_ref(),
            Drive::Fork(drive) => drive.as_ref(),
        }
    }

    #[inline]
    fn media_mut(&mut self) -> &mut dyn Media {
        with!(self, drive => drive.as_mut())
    }

    fn power_of_drive(&mut self) -> &mut dyn Power {
        with!(self, drive => drive.as_mut())
    }

    fn parts(&mut self) -> (SsdConfig, Geometry) {
        with!(self, drive => (drive.config.clone(), drive.ftl.geometry.clone()))
    }

    /// Takes the store out, which nobody changes any more.
    fn take_store(&mut self) -> Rc<dyn Base> {
        match &mut self.drive {
            Drive::Whole(drive) => Rc::new(drive.store().take()),
            Drive::Fork(drive) => Rc::new(drive.store().take()),
        }
    }

    fn check_depth(&mut self) -> Result<(), String> {
        let depth = if let Drive::Fork(drive) = &mut self.drive { drive.store().depth() } else { 0 };
        if depth < DEPTH_MAX {
            return Ok(());
        }
        Err(format!("{depth} forks lie below each other: go back to the first, or start the drive again"))
    }

    fn kept_images(&self) -> Result<&Images, String> {
        self.images.as_ref().ok_or_else(|| "ask for the images of a power loss first".to_owned())
    }
}

/// Which state has this number.
fn state_of(images: &Images, image: ImageNumber) -> Result<u128, String> {
    let states = images.states();
    let number = u128::from(image.number);
    if images.exhaustive() {
        let remedy = || format!("there is no image {number}: this power loss has {states}, from 0");
        return (number < states).then_some(number).ok_or_else(remedy);
    }
    let mut random = Random::new(image.seed ^ image.number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    Ok(match number {
        0 => 0,
        1 => states - 1,
        _ => (u128::from(random.draw()) << 64 | u128::from(random.draw())) % states,
    })
}

fn in_words(error: &StoreError) -> String {
    format!("the drive cannot recover: {error}")
}

impl Forks for Forkable {
    fn fork(&mut self) -> Result<(), String> {
        if self.breaker().lost() {
            return Err("power is off: bring it back first".to_owned());
        }
        if self.breaker().arming().is_some() {
            return Err("a crash point is armed, and might be met: disarm it first (crash-disarm)".to_owned());
        }
        self.check_depth()?;
        if with!(self, drive => !drive.places.is_empty()) {
            return Err("requests are under way: wait until the host is quiet".to_owned());
        }
        with!(self, drive => drive.settle());
        let (config, geometry) = self.parts();
        let power = self.breaker();
        let below = self.take_store();
        let store = ForkStore::new(Rc::clone(&below), &geometry);
        let fork = Ssd::open_with(config, store, &Breaker::default(), None);
        let mut fork = fork.map_err(|unrecovered| in_words(&unrecovered.error))?;
        fork.ftl.nand.power = power;
        fork.cache_enabled = with!(self, drive => drive.cache_enabled);
        with!(self, drive => drive.hand_over(&mut fork));
        self.drive = Drive::Fork(Box::new(fork));
        self.point = Some(below);
        Ok(())
    }

    fn rewind(&mut self) -> Result<(), String> {
        let (_, geometry) = self.parts();
        let point = self.point.as_ref().ok_or("nothing was kept: fork the media first")?;
        self.next = Some(ForkStore::new(Rc::clone(point), &geometry));
        Ok(())
    }

    fn images(&mut self) -> Result<LossImages, String> {
        if !self.breaker().lost() {
            return Err("power is on: take it away first (power-cut, or a crash point)".to_owned());
        }
        self.check_depth()?;
        if let Some(loss) = with!(self, drive => drive.loss.take()) {
            let (config, geometry) = self.parts();
            let below = self.take_store();
            // Power may come back without an image, too.
            self.next = Some(ForkStore::new(Rc::clone(&below), &geometry));
            self.images = Some(Images::new(below, config, geometry, loss, 0));
            self.current = true;
        }
        let images = self.images.as_ref().filter(|_| self.current).ok_or(
            "something survived this power loss, and is made already: its images can be had where nothing does (policy=none-survive, \
             without capacitors)",
        )?;
        let (states, exhaustive) = (images.states(), images.exhaustive());
        Ok(LossImages { states, exhaustive, entries: images.entries().to_vec() })
    }

    fn show(&mut self, image: ImageNumber) -> Result<Vec<VolatileEntry>, String> {
        let images = self.kept_images()?;
        let image = images.image(state_of(images, image)?).map_err(|error| in_words(&error))?;
        image.drive.breaker().cut();
        self.next = Some(image.drive.into_store());
        Ok(image.entries)
    }

    fn contents(
        &mut self,
        image: ImageNumber,
        volume: VolumeId,
        take: &mut Take<'_>,
    ) -> Result<Vec<VolatileEntry>, String> {
        let images = self.kept_images()?;
        let mut image = images.image(state_of(images, image)?).map_err(|error| in_words(&error))?;
        let shape = image.drive.shape(volume).ok_or("there is no such namespace")?;
        let step = (CONTENTS_BYTES / u64::from(shape.block_bytes)).max(1);
        let mut at = 0;
        let end = shape.capacity_blocks;
        while let Some(Lba(next)) = image.drive.next_allocated(volume, LbaRange::new(Lba(at), end - at)) {
            let range = LbaRange::new(Lba(next), step.min(end - next));
            at = next + range.blocks;
            if let Some(bytes) = read(&mut image.drive, volume, range, shape.block_bytes) {
                take(range.start, &bytes)?;
                continue;
            }
            for lba in next..at {
                if let Some(bytes) = read(&mut image.drive, volume, LbaRange::new(Lba(lba), 1), shape.block_bytes) {
                    take(Lba(lba), &bytes)?;
                }
            }
        }
        Ok(image.entries)
    }
}

/// What blocks hold; `None` where one of them cannot be read. The data comes at once, whenever its outcome does.
fn read(media: &mut dyn Media, volume: VolumeId, range: LbaRange, block_bytes: u32) -> Option<Vec<u8>> {
    let mut into = Collected(vec![0; index(range.blocks * u64::from(block_bytes))]);
    let request = Request::Read { range, into: &mut into, force: false };
    let submitted = media.submit(Nanoseconds(0), Token(0), volume, request);
    (!matches!(submitted, Submitted::Done(Err(_)))).then_some(into.0)
}

impl Power for Forkable {
    fn breaker(&self) -> Breaker {
        match &self.drive {
            Drive::Whole(drive) => Ssd::breaker(drive),
            Drive::Fork(drive) => Ssd::breaker(drive),
        }
    }

    fn promise(&mut self, volume: VolumeId, atomicity: PowerAtomicity) {
        self.power_of_drive().promise(volume, atomicity);
    }

    fn misbehaviour(&self) -> Vec<&'static str> {
        match &self.drive {
            Drive::Whole(drive) => drive.misbehaviour(),
            Drive::Fork(drive) => drive.misbehaviour(),
        }
    }

    fn cut(&mut self, cut: &Cut) -> CutReport {
        self.power_of_drive().cut(cut)
    }

    fn restore(&mut self, arming: Option<Arming>) -> Result<RecoveryReport, String> {
        self.current = false;
        let Some(store) = self.next.take() else { return self.power_of_drive().restore(arming) };
        let ((config, _), power) = (self.parts(), self.breaker());
        power.restore();
        match Ssd::open_with(config, store, &power, arming) {
            Ok(mut restored) => {
                with!(self, drive => drive.hand_over(&mut restored));
                let recovery = restored.recovery;
                self.drive = Drive::Fork(Box::new(restored));
                Ok(recovery)
            }
            Err(unrecovered) => {
                power.disarm();
                power.cut();
                self.next = unrecovered.store;
                Err(unrecovered.error.to_string())
            }
        }
    }

    fn forks(&mut self) -> Option<&mut dyn Forks> {
        Some(self)
    }
}

impl Media for Forkable {
    fn shape(&self, volume: VolumeId) -> Option<VolumeShape> {
        self.media().shape(volume)
    }

    fn space(&self) -> Option<Space> {
        self.media().space()
    }

    fn note(&self) -> Vec<u8> {
        self.media().note()
    }

    fn stale(&self) -> u64 {
        self.media().stale()
    }

    fn allocated_blocks(&self, volume: VolumeId) -> u64 {
        self.media().allocated_blocks(volume)
    }

    fn next_allocated(&self, volume: VolumeId, range: LbaRange) -> Option<Lba> {
        self.media().next_allocated(volume, range)
    }

    fn health(&self) -> Health {
        self.media().health()
    }

    fn warnings(&self) -> &Warnings {
        self.media().warnings()
    }

    fn write_cache(&self) -> Option<bool> {
        self.media().write_cache()
    }

    fn set_write_cache(&mut self, now: Nanoseconds, token: Token, enabled: bool) -> Submitted {
        self.media_mut().set_write_cache(now, token, enabled)
    }

    fn submit(&mut self, now: Nanoseconds, token: Token, volume: VolumeId, request: Request<'_>) -> Submitted {
        self.media_mut().submit(now, token, volume, request)
    }

    fn fast_path(&mut self, now: Nanoseconds) -> Option<&mut dyn FastPath> {
        self.media_mut().fast_path(now)
    }

    fn poll(&mut self, now: Nanoseconds, outcome: &mut dyn FnMut(Token, Outcome)) {
        self.media_mut().poll(now, outcome);
    }

    fn cancel(&mut self, token: Token) -> bool {
        self.media_mut().cancel(token)
    }

    fn power(&mut self) -> Option<&mut dyn Power> {
        Some(self)
    }

    fn next_event(&self) -> Option<Nanoseconds> {
        self.media().next_event()
    }

    fn monitor(&mut self) -> Option<&mut dyn Monitor> {
        self.media_mut().monitor()
    }
}
