//! What the controllers of a subsystem share: the media, the namespaces, the order of overlapping commands and the supply of power.
//!
//! [`Shared`] is an argument of whatever in a controller needs it, so a line of code shows what it touches. What concerns another
//! controller is put into its [`mail`], and is there at its next step. [`namespace`] is the inventory, [`changes`] what is to become of it,
//! [`plan`] what that comes to, and [`record`] the form in which the media keeps it.

pub(crate) mod ana;
pub mod changes;
pub mod formats;
pub(crate) mod mail;
pub(crate) mod namespace;
pub(crate) mod plan;
pub(crate) mod power;
pub mod record;
pub mod reservations;

use media::power::Random;
use media::{Media, Token};

use crate::atomic::RangeLocks;
use crate::config::Config;
use crate::controllers::ControllerId;
use ana::AnaStates;
use changes::Changes;
use formats::Formats;
use mail::Mailboxes;
use namespace::Namespaces;
use power::Power;
use reservations::Reservations;

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
    /// The LBA formats that there are.
    pub(crate) formats: Formats,
    pub(crate) changes: Changes,
    pub(crate) reservations: Reservations,
    pub(crate) ana: AnaStates,
    pub(crate) power: Power,
    pub(crate) mail: Mailboxes,
    /// The namespace whose blocks stay as they are: its host is in this process, and keeps commands that know them.
    pub(crate) blocks_stay: Option<u32>,
    /// More controllers may come, and hosts are told so.
    pub(crate) grows: bool,
    /// The media was asked to quiesce and has not answered.
    pub(crate) quiescing: bool,
}

impl Shared {
    pub(crate) fn new(config: Config, mut media: Box<dyn Media>, controllers: u16) -> Self {
        let mut shared = Self {
            namespaces: Namespaces::new(&config, media.as_mut()),
            range_locks: RangeLocks::default(),
            random: config.interleave.map(|seed| Random::new(seed.into())),
            formats: Formats::new(&config, media.space()),
            changes: Changes::default(),
            reservations: Reservations::new(controllers),
            ana: AnaStates::new(controllers),
            power: Power::new(media.as_mut()),
            mail: Mailboxes::new(controllers),
            blocks_stay: None,
            grows: false,
            quiescing: false,
            media,
            config,
        };
        shared.recall_registrations();
        shared
    }

    /// A command is not interested any more in what it waits for. Whether it did wait.
    pub(crate) fn cancel(&mut self, id: ControllerId, token: Token) -> bool {
        self.media.cancel(token) || self.changes.forget(id, token) || self.mail.forget_answer(id, token)
    }

    /// Whether hosts are told that there may be several controllers.
    pub(crate) fn may_be_several(&self) -> bool {
        self.grows || self.mail.controllers().count() > 1
    }

    /// Everything but the media, and what controllers have, is as at power-on.
    pub(crate) fn power_on(&mut self) {
        let before = std::mem::replace(&mut self.namespaces, Namespaces::new(&self.config, self.media.as_mut()));
        if !self.namespaces.is_kept() {
            self.namespaces.attach_as(&before);
        }
        self.range_locks = RangeLocks::default();
        self.random = self.config.interleave.map(|seed| Random::new(seed.into()));
        self.changes = Changes::default();
        self.reservations = Reservations::new(self.reservations.controllers());
        self.ana = AnaStates::new(self.reservations.controllers());
        self.recall_registrations();
        self.power.restored();
        self.mail.clear();
        self.quiescing = false;
    }
}
