//! How a host wants its controller. Owns no state.

use std::ops::Range;

use nvme_spec::register::{Capabilities, Configuration};

/// How a host moves the doorbells of the admin queue after Doorbell Buffer Config.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdminDoorbells {
    /// By register alone, as Linux does: the admin queue is used before the buffers are known and after they are forgotten.
    #[default]
    Registers,
    /// By their shadows, as those of every other queue, as libvfn does.
    Shadows,
    /// Some moves in one way, some in the other.
    Alternating,
}

/// How a host wants its controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Guest addresses that the host may use for queues, lists and buffers.
    pub memory: Range<u64>,
    /// Entries of each of the two admin queues: 2 to 4096.
    pub admin_entries: u16,
    /// A page is 2^n bytes, 12 to 27.
    pub page_shift: u8,
    /// CC.CSS: 0 is the NVM command set, 6 all I/O command sets.
    pub command_set: u8,
    /// CC.AMS: 0 is round robin, 1 weighted round robin with urgent class.
    pub arbitration: u8,
    /// Whether the doorbells get shadows as soon as the controller is up, where it offers them.
    pub shadow_doorbells: bool,
    /// How the admin queue's doorbells are moved while they have shadows.
    pub admin_doorbells: AdminDoorbells,
    /// How many times a wait lets the device run before it gives up.
    pub relax_max: u32,
}

impl Setup {
    /// Admin queues of 32 entries, 4 KiB pages, the NVM command set, and waits that nobody reaches by accident.
    #[must_use]
    pub const fn new(memory: Range<u64>) -> Self {
        Self {
            memory,
            admin_entries: 32,
            page_shift: 12,
            command_set: 0,
            arbitration: 0,
            shadow_doorbells: false,
            admin_doorbells: AdminDoorbells::Registers,
            relax_max: 100_000,
        }
    }

    /// Size of a page in bytes.
    #[must_use]
    pub const fn page_bytes(&self) -> u64 {
        1 << self.page_shift
    }

    pub(crate) const fn page_bytes_usize(&self) -> usize {
        1 << self.page_shift
    }

    /// CC as this setup wants it, with EN set.
    #[must_use]
    pub const fn configuration(&self) -> Configuration {
        Configuration::usual(true, self.command_set)
            .with_mps(self.page_shift.saturating_sub(12))
            .with_arbitration(self.arbitration)
    }

    /// What of this the controller does not offer.
    pub(crate) fn unsupported(&self, offered: Capabilities) -> Option<&'static str> {
        let sets = if self.command_set == 6 { Capabilities::CSS_IO } else { Capabilities::CSS_NVM };
        if offered.0 & sets == 0 {
            return Some("the command set");
        }
        let pages = 12 + offered.mps_min()..=12 + offered.mps_max();
        (!pages.contains(&self.page_shift)).then_some("the page size")
    }
}
