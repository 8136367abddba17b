//! The simulator: a host with many queues drives a controller over a drive, power goes at any step, comes back, perhaps goes again
//! while the drive recovers, everything is read and judged, and the drive goes on. What happens is data ([`Scenario`]), made from a
//! seed ([`generate`]) or cut down from a failure ([`shrink`]); running it ([`run`]) adds nothing to it.

mod describe;
pub mod drive;
pub mod generate;
pub mod host;
pub mod machine;
pub mod run;
pub mod shrink;

use controller::config::NamespaceOptions;
use media::power::{Arming, Cut};
use media::ssd::SsdConfig;

use crate::history::Verb;
use crate::parameters::Blocks;
use crate::verdict::Violation;

pub use generate::{Wishes, scenario};
pub use run::run;
pub use shrink::shrink;

/// What the drive lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// Memory in which what was programmed stays.
    Memory,
    /// A disk that loses what was not synced, sector by sector; it makes its choices from a seed.
    ForgetfulDisk(u64),
}

/// One thing that the host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Puts a command into a queue, without its doorbell.
    Queue {
        /// Which queue, from 1.
        queue: u16,
        /// What: a verb of an I/O queue.
        verb: Verb,
        /// Where.
        nsid: u32,
        /// Which blocks.
        blocks: Blocks,
        /// Force Unit Access.
        force: bool,
    },
    /// Rings the doorbell of a queue.
    Ring {
        /// Which queue.
        queue: u16,
    },
    /// Lets the device run for some steps, and looks at the completion queues after each.
    Run {
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
    SetCache(bool),
    /// Resets the controller and brings it up again; power stays.
    Reset,
    /// Shuts down, and waits for the end of it. Nothing of the pass comes after it.
    Shutdown {
        /// Abrupt instead of normal.
        abrupt: bool,
    },
    /// Asks for a shutdown and does not wait.
    AskShutdown,
}

/// From power to its loss and back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Where power goes; at the end of the operations if it does not go before.
    pub arming: Option<Arming>,
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
    /// What its namespaces are told, one for each volume.
    pub namespaces: Vec<NamespaceOptions>,
    /// How many queue pairs the host makes.
    pub queues: u16,
    /// One after the other.
    pub passes: Vec<Pass>,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Losses of power, those during recovery included.
    pub cuts: u64,
    /// Losses that came at an armed step.
    pub tripped: u64,
    /// Images that were judged.
    pub images: u64,
    /// Commands that were rung.
    pub commands: u64,
    /// Reads beside other commands that were judged.
    pub reads: u64,
}

impl Counts {
    /// Adds another's.
    pub const fn add(&mut self, other: &Self) {
        self.cuts += other.cuts;
        self.tripped += other.tripped;
        self.images += other.images;
        self.commands += other.commands;
        self.reads += other.reads;
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
