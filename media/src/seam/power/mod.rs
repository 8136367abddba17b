//! Power loss: named steps at which it can be armed, the breaker that trips there, and the choice of what the volatile cache
//! leaves behind. Does not know what the steps do.
//!
//! When the breaker trips, the NAND stops taking programs, erases and metadata at that instant, and a controller that holds a handle of
//! it stops reaching the host. The code above runs on to the end of its call, against memory that is about to be forgotten, and
//! reports that power was lost. So no step needs an error path, and disarmed the breaker costs one branch that is always the same.

mod breaker;
mod cut;
pub mod mutation;
mod random;
mod step;

pub use breaker::{Arming, Breaker, CommandMatch, Fetched, Mark};
pub use cut::{
    Boundary, ChangeKind, Cut, CutPolicy, CutReport, Fate, Power, PowerAtomicity, Profile, RecoveryReport,
    VolatileEntry,
};
pub use random::Random;
pub use step::{Step, Steps};
