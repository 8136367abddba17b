//! What the controllers of a subsystem share: the media, the namespaces, the order of overlapping commands and the supply of power.
//!
//! [`Shared`] is an argument of whatever in a controller needs it, so a line of code shows what it touches. What concerns another
//! controller is put into its [`mail`], and is there at its next step. [`namespace`] is the inventory.

pub(crate) mod mail;
pub(crate) mod namespace;
pub(crate) mod power;
pub mod resizing;

use media::Media;
use media::power::Random;

use crate::atomic::RangeLocks;
use crate::config::Config;
use mail::Mailboxes;
use namespace::Namespaces;
use power::Power;
use resizing::Resizing;

/// What all controllers of a subsystem share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) media: Box<dyn Media>,
    /// All that are allocated.
    pub(crate) namespaces: Namespaces,
    /// Who has which blocks.
    pub(crate) range_locks: RangeLocks,
    /// In which order pieces go, if writes above the atomic unit fall apart.
    pub(crate) random: Option<Random>,
    pub(crate) resizing: Resizing,
    pub(crate) power: Power,
    pub(crate) mail: Mailboxes,
    /// The media was asked to quiesce and has not answered.
    pub(crate) quiescing: bool,
}

impl Shared {
    pub(crate) fn new(config: Config, mut media: Box<dyn Media>, controllers: u16) -> Self {
        Self {
            namespaces: Namespaces::new(&config, media.as_mut()),
            range_locks: RangeLocks::default(),
            random: config.interleave.map(|seed| Random::new(seed.into())),
            resizing: Resizing::default(),
            power: Power::new(media.as_mut()),
            mail: Mailboxes::new(controllers),
            quiescing: false,
            media,
            config,
        }
    }

    /// Everything but the media, and what controllers have, is as at power-on.
    pub(crate) fn power_on(&mut self) {
        let before = std::mem::replace(&mut self.namespaces, Namespaces::new(&self.config, self.media.as_mut()));
        self.namespaces.attach_as(&before);
        self.range_locks = RangeLocks::default();
        self.random = self.config.interleave.map(|seed| Random::new(seed.into()));
        self.resizing = Resizing::default();
        self.power.restored();
        self.mail.clear();
        self.quiescing = false;
    }
}
