//! The simulator: a host with many queues drives a controller over a drive, power goes at any step, comes back, perhaps goes again
//! while the drive recovers, everything is read and judged, and the drive goes on. What happens is data ([`Scenario`]), made from a
//! seed ([`generate`]) or cut down from a failure ([`mod@shrink`]); running it ([`mod@run`]) adds nothing to it.

pub mod campaign;
mod describe;
pub mod drive;
pub mod generate;
mod guess;
pub mod host;
mod outcome;
pub mod run;
pub mod shrink;
mod world;

use std::fmt;
use std::hash::Hasher;
use std::num::ParseIntError;
use std::str::FromStr;

use controller::config::{DeviceOptions, NamespaceOptions};
use media::power::{Arming, Cut, Step};
use media::ssd::SsdConfig;

use crate::history::Verb;
use crate::parameters::Blocks;
use crate::reservations::Kind;
use crate::verdict::Violation;

pub use campaign::{CUTS_OF_PART, Campaign, Judged, PARTS_MAX, Tally};
pub use generate::{Policy, Wishes, scenario};
pub use guess::Guess;
pub use outcome::{Outcome, Outcomes};
pub use run::{attempt, run};
pub use shrink::shrink;

/// What the drive lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// Memory in which what was programmed stays.
    Memory,
    /// A disk that loses what was not synced, sector by sector; it makes its choices from a seed.
    ForgetfulDisk(u64),
}

/// An I/O queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Queue {
    /// Whose it is, from 0.
    pub controller: u16,
    /// Which of its queues, from 1.
    pub number: u16,
}

impl Queue {
    /// The first queue of the first controller.
    pub const FIRST: Self = Self { controller: 0, number: 1 };

    /// The place of its host among the hosts.
    fn host(self) -> usize {
        self.controller.into()
    }
}

/// What a controller is asked for about namespaces. What the drive offers and has decides what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Administration {
    /// To make a namespace.
    Create {
        /// The number of its format, around the number of those that are offered.
        format: u8,
        /// With metadata behind each block, if there is any.
        extended: bool,
        /// How many indirection units it takes.
        units: u64,
        /// For several controllers.
        shared: bool,
    },
    /// To delete one.
    Delete {
        /// Which.
        nsid: u32,
    },
    /// To format one.
    Format {
        /// Which.
        nsid: u32,
        /// The number of its format, around the number of those that are offered.
        format: u8,
        /// With metadata behind each block, if there is any.
        extended: bool,
        /// With a secure erase of user data.
        erase: bool,
    },
    /// To attach one to a controller, or to detach it.
    Attach {
        /// Which.
        nsid: u32,
        /// The controller.
        controller: u16,
        /// Attached.
        attach: bool,
    },
}

/// What a host does about the registrations of a namespace. It says what it believes to be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// It registers.
    Register {
        /// Its key.
        key: u64,
        /// What becomes of Persist Through Power Loss.
        persistence: Option<bool>,
    },
    /// It replaces its key.
    Replace {
        /// By this one.
        key: u64,
        /// Whatever it was.
        ignores_key: bool,
        /// What becomes of Persist Through Power Loss.
        persistence: Option<bool>,
    },
    /// It takes its registration back.
    Unregister {
        /// Whatever its key.
        ignores_key: bool,
        /// What becomes of Persist Through Power Loss.
        persistence: Option<bool>,
    },
    /// It acquires a reservation.
    Acquire {
        /// Of this type.
        kind: Kind,
    },
    /// It preempts.
    Preempt {
        /// The key of which registrant, from 1, around their number; 0 is the key 0.
        other: u8,
        /// The type of its reservation.
        kind: Kind,
        /// Their commands are aborted.
        abort: bool,
    },
    /// It releases a reservation of the type that is held.
    Release,
    /// It takes all registrations away.
    Clear,
    /// It asks who has registered.
    Report,
}

/// One thing that a host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Puts a command into a queue, without its doorbell.
    Queue {
        /// Which queue.
        queue: Queue,
        /// What: a verb of an I/O queue.
        verb: Verb,
        /// Where.
        nsid: u32,
        /// Which blocks.
        blocks: Blocks,
        /// Force Unit Access.
        force: bool,
    },
    /// Puts a Compare into a queue, without its doorbell, or a fused pair of Compare and Write.
    Compare {
        /// Which queue.
        queue: Queue,
        /// Where.
        nsid: u32,
        /// Which blocks.
        blocks: Blocks,
        /// Force Unit Access, of both of a pair.
        force: bool,
        /// What the host believes to be there.
        guess: Guess,
        /// A pair.
        write: bool,
    },
    /// Rings the doorbell of a queue.
    Ring {
        /// Which queue.
        queue: Queue,
    },
    /// Lets the device run for some steps, and looks at the completion queues after each.
    Run {
        /// How many.
        steps: u32,
    },
    /// The same of one controller alone, while the others stand still.
    RunOne {
        /// Which.
        controller: u16,
        /// How many.
        steps: u32,
    },
    /// Lets the device run until every rung command has ended.
    Finish,
    /// Lets time pass.
    Wait {
        /// So much.
        nanoseconds: u64,
    },
    /// Switches the volatile write cache, and waits for it.
    SetCache {
        /// Who is asked.
        controller: u16,
        /// On.
        enabled: bool,
    },
    /// Sets Disable Normal of Write Atomicity Normal or takes it back, and waits for it.
    DisableNormal {
        /// Whose.
        controller: u16,
        /// Set.
        disabled: bool,
    },
    /// Asks a controller for something about namespaces, and does not wait for it.
    Administer {
        /// Which.
        controller: u16,
        /// For what.
        what: Administration,
    },
    /// Puts a command about registrations into a queue, without its doorbell.
    Reserve {
        /// Which queue.
        queue: Queue,
        /// Where.
        nsid: u32,
        /// What.
        what: Reservation,
        /// With a key, or a type to release, that is not right.
        wrong: bool,
    },
    /// The host of a controller is another one after the next reset.
    Rename {
        /// Whose.
        controller: u16,
        /// What it calls itself then; 0 if it does not say.
        name: u8,
    },
    /// Asks how far Formats are.
    AskProgress {
        /// Who is asked.
        controller: u16,
    },
    /// The cells of some blocks go bad: none can be read until it is written again, or the pass is over.
    Damage {
        /// Where.
        nsid: u32,
        /// Which blocks.
        blocks: Blocks,
    },
    /// Resets a controller and brings it up again; power stays, and other controllers go on.
    Reset {
        /// Which.
        controller: u16,
    },
    /// Shuts a controller down, and waits for the end of it. Of the pass only shutdowns of others come after it.
    Shutdown {
        /// Which.
        controller: u16,
        /// Abrupt instead of normal.
        abrupt: bool,
    },
    /// Asks for a shutdown of a controller and does not wait.
    AskShutdown {
        /// Which.
        controller: u16,
    },
    /// The n-th page program from now on (from 1) will fail.
    FailProgram {
        /// n.
        nth: u64,
    },
    /// The n-th line erase from now on (from 1) will fail in the first plane.
    FailErase {
        /// n.
        nth: u64,
    },
}

/// From power to its loss and back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Where power goes; at the end of the operations if it does not go before.
    pub arming: Option<Arming>,
    /// Power goes where it is armed and nowhere else: a host that comes to the end shuts down, and only losses at a step are counted.
    pub armed_only: bool,
    /// What the host does.
    pub operations: Vec<Operation>,
    /// What the volatile cache leaves behind.
    pub cut: Cut,
    /// What the disk below leaves behind.
    pub disk_seed: u64,
    /// Where power goes again while the drive recovers, one after the other.
    pub recoveries: Vec<Arming>,
    /// Afterwards everything is read again, and again after an orderly end.
    pub look_again: bool,
}

/// A drive and what happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The drive.
    pub drive: SsdConfig,
    /// What it lies on.
    pub ground: Ground,
    /// How many controllers it has.
    pub controllers: u16,
    /// What these are told; the host of each makes as many queue pairs as there can be.
    pub device: DeviceOptions,
    /// What its namespaces are told, one for each volume.
    pub namespaces: Vec<NamespaceOptions>,
    /// What the host of each controller calls itself at first, 0 if it does not say; nothing where hosts do not register.
    pub names: Vec<u8>,
    /// One after the other.
    pub passes: Vec<Pass>,
}

/// How often power went at each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtSteps([u64; Step::ALL.len()]);

impl Default for AtSteps {
    fn default() -> Self {
        Self([0; Step::ALL.len()])
    }
}

impl AtSteps {
    /// Each step and how often.
    pub fn iter(&self) -> impl Iterator<Item = (Step, u64)> {
        Step::ALL.iter().copied().zip(self.0)
    }

    /// The names of those of some steps at which power never went.
    #[must_use]
    pub fn missed(&self, wanted: &[Step]) -> Vec<&'static str> {
        wanted.iter().filter(|step| self.0[**step as usize] == 0).map(|step| step.name()).collect()
    }

    fn count(&mut self, step: Step) {
        self.0[step as usize] += 1;
    }
}

impl FromIterator<(Step, u64)> for AtSteps {
    fn from_iter<T: IntoIterator<Item = (Step, u64)>>(counts: T) -> Self {
        let mut at = Self::default();
        counts.into_iter().for_each(|(step, cuts)| at.0[step as usize] += cuts);
        at
    }
}

/// A number that follows from everything that happened to a drive: completions, contents and reports, in order. The one of several
/// drives is the sum, whoever ran them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl FromStr for Fingerprint {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = (self.0 ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
    }
}

impl fmt::Write for Fingerprint {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write(text.as_bytes());
        Ok(())
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Power losses, those during recovery included.
    pub cuts: u64,
    /// Passes that were to lose power at a step only, and did not come to it.
    pub unmet: u64,
    /// Those that came at an armed step, by step.
    pub at: AtSteps,
    /// Images that were judged.
    pub images: u64,
    /// Commands that were rung.
    pub commands: u64,
    /// How commands of I/O queues ended; each end was judged.
    pub outcomes: Outcomes,
    /// What all of it was.
    pub fingerprint: Fingerprint,
}

impl Counts {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.cuts += other.cuts;
        self.unmet += other.unmet;
        self.images += other.images;
        self.commands += other.commands;
        self.outcomes.add(&other.outcomes);
        self.at.0.iter_mut().zip(other.at.0).for_each(|(sum, more)| *sum += more);
        self.fingerprint.0 = self.fingerprint.0.wrapping_add(other.fingerprint.0);
    }
}

/// A drive that broke a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("in pass {pass}: {violation}")]
pub struct Failure {
    /// In which pass, from 0.
    pub pass: usize,
    /// Which rule, and how.
    pub violation: Violation,
}
