//! Power loss: named steps at which it can be armed, the breaker that trips there, and the choice of what survives of the volatile
//! cache. Does not know what the steps do.
//!
//! When the breaker trips, the NAND stops taking programs, erases and metadata at that instant, and a controller that holds a handle to
//! it stops reaching the host. The code above runs to the end of its call, over memory that is about to be forgotten, and reports that
//! power was lost. So no step needs an error path, and while nothing is armed the breaker costs one branch that always goes the same
//! way.

mod breaker;
mod cut;
pub mod mutation;
mod random;
mod step;

pub use breaker::{Arming, Breaker, CommandMatch, Fetched, Mark};
pub use cut::{
    Boundary, ChangeKind, Cut, CutPolicy, CutReport, Fate, Forks, ImageNumber, LossImages, Power, PowerAtomicity,
    Profile, RecoveryReport, Take, VolatileEntry,
};
pub use random::Random;
pub use step::{Step, Steps};
