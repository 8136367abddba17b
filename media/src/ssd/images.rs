//! All states that a power loss may leave, one by one: each is a recovered drive of its own, over a copy-on-write fork of the store.
//! Does not judge them.

use std::rc::Rc;

use super::cut::{Loss, lose_rest, make};
use super::{Ssd, SsdConfig};
use crate::geometry::Geometry;
use crate::power::{Breaker, Cut, Random, VolatileEntry};
use crate::store::{Base, ForkStore, MemoryStore, Store, StoreError};

/// The most states of which all are made.
pub const STATES_MAX: u128 = 1 << 16;

/// The images of one power loss.
pub struct Images {
    below: Rc<dyn Base>,
    config: SsdConfig,
    geometry: Geometry,
    loss: Loss,
    next: u128,
    /// How many to draw, and from what, where there are too many for all.
    samples: u128,
    random: Random,
}

/// One of them.
pub struct Image {
    /// Its number among all states.
    pub state: u128,
    /// What was not durable, and its fate here.
    pub entries: Vec<VolatileEntry>,
    /// The drive with its power back.
    pub drive: Ssd<ForkStore>,
}

impl Ssd<MemoryStore> {
    /// The images that a power loss now, or where the breaker tripped before, may leave. `cut` says whether writes above the atomic
    /// unit may tear, and into what; its policy does not matter. Where there are more than [`STATES_MAX`] states, `samples` of them
    /// are drawn from `seed`.
    #[must_use]
    pub fn into_images(mut self, cut: &Cut, seed: u64, samples: u64) -> Images {
        let loss = self.lose_power(cut);
        let below: Rc<dyn Base> = Rc::new(self.ftl.nand.store.take());
        Images { samples: u128::from(samples), ..Images::new(below, self.config, self.ftl.geometry, loss, seed) }
    }
}

impl Images {
    /// Those of a loss, over the store as it was then.
    pub(super) fn new(below: Rc<dyn Base>, config: SsdConfig, geometry: Geometry, loss: Loss, seed: u64) -> Self {
        Self { below, config, geometry, loss, next: 0, samples: 0, random: Random::new(seed) }
    }

    /// How many states there are: for each piece of the cache two, or three where it may read as anything, multiplied.
    #[must_use]
    pub fn states(&self) -> u128 {
        self.loss.division.states()
    }

    /// Whether all of them are made.
    #[must_use]
    pub fn exhaustive(&self) -> bool {
        self.states() <= STATES_MAX
    }

    /// What was not durable.
    #[must_use]
    pub fn entries(&self) -> &[VolatileEntry] {
        &self.loss.entries
    }

    /// The image of a state.
    ///
    /// # Errors
    /// Where the drive cannot recover.
    pub fn image(&self, state: u128) -> Result<Image, StoreError> {
        let mut disposals = self.loss.division.dispose(&self.loss.division.state(state));
        let store = ForkStore::new(Rc::clone(&self.below), &self.geometry);
        let drive = Ssd::open_with(self.config.clone(), store, &Breaker::default(), None);
        let mut drive = drive.map_err(|unrecovered| unrecovered.error)?;
        let made = make(&mut drive.ftl, &mut self.loss.remnants(&disposals));
        lose_rest(&mut disposals, made);
        drive.read_volumes();
        Ok(Image { state, entries: self.loss.fates(&disposals), drive })
    }
}

impl Iterator for Images {
    type Item = Result<Image, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let states = self.states();
        let most = if self.exhaustive() { states } else { self.samples };
        if self.next >= most {
            return None;
        }
        self.next += 1;
        let state = if self.exhaustive() {
            self.next - 1
        } else {
            (u128::from(self.random.draw()) << 64 | u128::from(self.random.draw())) % states
        };
        Some(self.image(state))
    }
}
