//! What can be done with a media whose contents are cheap to have twice: go back to what they were, and look at every image that one
//! power loss may leave. Nothing is changed while power is on.

use super::VolatileEntry;
use crate::unit::Lba;
use crate::volume::VolumeId;

/// The images of one power loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LossImages {
    /// How many there may be.
    pub states: u128,
    /// Whether each has a number of its own. Otherwise number 0 has nothing that was not durable, number 1 all of it, and the others are
    /// drawn.
    pub exhaustive: bool,
    /// What was not durable.
    pub entries: Vec<VolatileEntry>,
}

/// An image by its number, and by a seed where there are more than have numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageNumber {
    /// From 0.
    pub number: u64,
    /// Where chance begins.
    pub seed: u64,
}

/// Takes a run of blocks, with the number of the first; or says in words why it cannot.
pub type Take<'a> = dyn FnMut(Lba, &[u8]) -> Result<(), String> + 'a;

/// Forks of a media.
pub trait Forks {
    /// Makes everything durable and keeps it: [`Forks::rewind`] comes back here. The media goes on over a copy of what it changes.
    ///
    /// # Errors
    /// Why not, in words; nothing was changed.
    fn fork(&mut self) -> Result<(), String>;

    /// When power comes back next it comes with what the media held at the last [`Forks::fork`].
    ///
    /// # Errors
    /// Why not, in words.
    fn rewind(&mut self) -> Result<(), String>;

    /// While power is off: the images that this loss may leave. [`Forks::show`] and [`Forks::contents`] mean these, until the images of
    /// another loss are asked for.
    ///
    /// # Errors
    /// Why not, in words.
    fn images(&mut self) -> Result<LossImages, String>;

    /// When power comes back next it comes with this image. What was not durable, and its fate there.
    ///
    /// # Errors
    /// Why not, in words.
    fn show(&mut self, image: ImageNumber) -> Result<Vec<VolatileEntry>, String>;

    /// Passes on the blocks of a volume in this image that hold data, a run with the number of its first. What was not durable, and its
    /// fate there. A block that cannot be read is not passed on.
    ///
    /// # Errors
    /// Why not, in words; or what `take` says.
    fn contents(
        &mut self,
        image: ImageNumber,
        volume: VolumeId,
        take: &mut Take<'_>,
    ) -> Result<Vec<VolatileEntry>, String>;
}
