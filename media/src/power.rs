//! The loss of power: named steps at which it can be armed, and the choice of what the volatile cache leaves behind. Owns the
//! breaker; does not know what the steps do.
//!
//! When the breaker trips, the NAND stops taking programs, erases and metadata at that instant. The code above runs on to the end
//! of its call, against memory that is about to be forgotten, and reports that power was lost. So no step needs an error path, and
//! disarmed the breaker costs one branch that is always the same.

/// A step at which power can be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A request arrived and nothing was done yet.
    RequestTaken,
    /// A unit of a group was staged.
    UnitStaged,
    /// All units of a group are staged, and the map shows them.
    GroupStaged,
    /// A page is about to be programmed.
    PageProgram,
    /// Half of a page's slots were programmed.
    PageHalfProgrammed,
    /// A page was programmed.
    PageProgrammed,
    /// A deallocation is about to enter the journal.
    JournalAppend,
    /// A deallocation entered the journal.
    JournalAppended,
    /// A line was opened.
    LineOpened,
    /// A line is about to be closed.
    LineClose,
    /// A line was closed: its summary is written.
    LineClosed,
    /// A victim was chosen.
    VictimChosen,
    /// A unit was copied out of a victim, and the map does not show it yet.
    UnitCopied,
    /// The map shows a copied unit.
    UnitMoved,
    /// Nothing of a victim is needed any more.
    VictimDrained,
    /// A line is about to be erased.
    LineErase,
    /// A line was erased.
    LineErased,
    /// A flush began.
    FlushBegun,
    /// Everything staged was programmed for a flush, and the store was not asked to sync yet.
    FlushProgrammed,
    /// A flush was handed to the store.
    FlushSynced,
    /// A checkpoint began.
    CheckpointBegun,
    /// A map page was written for a checkpoint.
    CheckpointPage,
    /// All pages of a checkpoint are written, its root is not.
    CheckpointRoot,
    /// A checkpoint is complete.
    CheckpointDone,
    /// A block was replaced.
    BlockRetired,
    /// A root is about to be written at the end of recovery.
    RecoveryRoot,
    /// Recovery is complete.
    RecoveryDone,
}

impl Step {
    /// All steps, in order.
    pub const ALL: [Self; 27] = [
        Self::RequestTaken,
        Self::UnitStaged,
        Self::GroupStaged,
        Self::PageProgram,
        Self::PageHalfProgrammed,
        Self::PageProgrammed,
        Self::JournalAppend,
        Self::JournalAppended,
        Self::LineOpened,
        Self::LineClose,
        Self::LineClosed,
        Self::VictimChosen,
        Self::UnitCopied,
        Self::UnitMoved,
        Self::VictimDrained,
        Self::LineErase,
        Self::LineErased,
        Self::FlushBegun,
        Self::FlushProgrammed,
        Self::FlushSynced,
        Self::CheckpointBegun,
        Self::CheckpointPage,
        Self::CheckpointRoot,
        Self::CheckpointDone,
        Self::BlockRetired,
        Self::RecoveryRoot,
        Self::RecoveryDone,
    ];

    /// The step of a name as [`Step::name`] writes it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.name() == name)
    }

    /// The step's name in lower case with hyphens, as it is armed from outside.
    #[must_use]
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }
}

/// When the breaker trips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arming {
    /// At the n-th time (from 1) that a step is reached.
    Hit(Step, u64),
    /// At the n-th step of any kind.
    AnyStep(u64),
    /// At each step with a chance of one in `one_in`, drawn from a seed.
    Rate {
        /// The seed.
        seed: u64,
        /// One in so many.
        one_in: u64,
    },
}

/// The switch between the media and its supply.
#[derive(Debug, Default)]
pub struct Breaker {
    active: bool,
    arming: Option<Arming>,
    hits: u64,
    random: Random,
    tripped_at: Option<Step>,
    lost: bool,
}

impl Breaker {
    /// Arms the breaker; counting starts now.
    pub fn arm(&mut self, arming: Arming) {
        if let Arming::Rate { seed, one_in } = arming {
            assert!(one_in > 0, "a rate is one in at least one");
            self.random = Random::new(seed);
        }
        self.arming = Some(arming);
        self.hits = 0;
        self.active = true;
    }

    /// Disarms it.
    pub fn disarm(&mut self) {
        self.arming = None;
        self.active = false;
    }

    /// Cuts power now.
    pub fn cut(&mut self) {
        self.lost = true;
        self.active = false;
    }

    /// Whether power is lost.
    #[must_use]
    #[inline]
    pub const fn lost(&self) -> bool {
        self.lost
    }

    /// The step at which the breaker tripped, if it did.
    #[must_use]
    pub const fn tripped_at(&self) -> Option<Step> {
        self.tripped_at
    }

    /// How many matching steps were counted since arming.
    #[must_use]
    pub const fn hits(&self) -> u64 {
        self.hits
    }

    /// Notes that a step was reached; returns whether power is lost.
    #[inline]
    pub fn reached(&mut self, step: Step) -> bool {
        if self.active {
            self.count(step);
        }
        self.lost
    }

    #[cold]
    fn count(&mut self, step: Step) {
        let trips = match self.arming {
            None => false,
            Some(Arming::Hit(wanted, nth)) => {
                self.hits += u64::from(wanted == step);
                wanted == step && self.hits == nth
            }
            Some(Arming::AnyStep(nth)) => {
                self.hits += 1;
                self.hits == nth
            }
            Some(Arming::Rate { one_in, .. }) => {
                self.hits += 1;
                self.random.below(one_in) == 0
            }
        };
        if trips {
            self.tripped_at = Some(step);
            self.cut();
        }
    }
}

/// What the volatile cache leaves behind when power goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CutPolicy {
    /// Nothing that was not programmed.
    NoneSurvive,
    /// Everything that was staged (as capacitors would have it).
    AllSurvive,
    /// Each entry by a draw from the seed.
    Random(u64),
    /// Entry by entry, in the order of the report; entries beyond the list are lost.
    Choose(Vec<bool>),
}

/// An entry of the volatile cache: a group of units that stands or falls together, or a deallocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolatileEntry {
    /// Its (first) sequence number.
    pub sequence: u64,
    /// Its first logical unit.
    pub first: u32,
    /// Its units.
    pub units: u32,
    /// Whether it is a deallocation.
    pub deallocation: bool,
    /// It holds data of the entry with this sequence number (0: of none), and cannot survive without it.
    pub depends: u64,
    /// Whether it is durable after the cut.
    pub survives: bool,
}

/// A seeded generator (splitmix64): for tests and cuts, never for the media's own decisions.
#[derive(Clone, Debug, Default)]
pub struct Random(u64);

impl Random {
    /// The generator of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `limit`, which is not zero.
    pub fn below(&mut self, limit: u64) -> u64 {
        assert!(limit > 0, "nothing is below zero");
        // The high half of a product: no division, and a bias too small to matter below 2^32.
        u64::try_from((u128::from(self.draw()) * u128::from(limit)) >> 64).expect("a product's high half")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_come_back() {
        for step in Step::ALL {
            assert_eq!(Step::named(&step.name()), Some(step));
        }
        assert_eq!(Step::PageHalfProgrammed.name(), "page-half-programmed");
        assert_eq!(Step::named("nothing"), None);
    }

    #[test]
    fn the_breaker_trips_at_the_nth_hit_of_its_step() {
        let mut breaker = Breaker::default();
        assert!(!breaker.reached(Step::LineErased));
        breaker.arm(Arming::Hit(Step::LineErased, 2));
        assert!(!breaker.reached(Step::LineErased));
        assert!(!breaker.reached(Step::LineOpened));
        assert!(breaker.reached(Step::LineErased));
        assert_eq!(breaker.tripped_at(), Some(Step::LineErased));
        assert!(breaker.reached(Step::LineOpened), "lost power stays lost");
    }

    #[test]
    fn a_rate_is_repeatable_by_its_seed() {
        let trip = |seed| {
            let mut breaker = Breaker::default();
            breaker.arm(Arming::Rate { seed, one_in: 10 });
            while !breaker.reached(Step::UnitStaged) {}
            breaker.hits()
        };
        assert_eq!(trip(1), trip(1));
        assert!((0..20).any(|seed| trip(seed) != trip(1)));
    }
}
