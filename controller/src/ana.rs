//! The words of asymmetric namespace access (NVMe Base 2.1 section 8.1.1; MC5): groups of namespaces, and the states in which the access of
//! a controller to one can be. `shared::ana` knows which it is.

use nvme_spec::log::access_state;
use thiserror::Error;

use crate::reason::Reason;

/// ANAGRPMAX and NANAGRPID: groups have numbers from 1 to this one.
pub const ANA_GROUPS_MAX: u32 = 32;
/// The group of a namespace that was given to none.
pub const ANA_GROUP_FIRST: u32 = 1;
/// ANATT: for so long a host waits for the end of a change, in seconds.
pub const ANA_TRANSITION_SECONDS: u8 = 10;

/// The state of a controller's access to a group of namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnaState {
    /// As good as any.
    #[default]
    Optimized,
    /// Not as good as another one may be: hosts prefer that one.
    NonOptimized,
    /// The namespaces cannot be reached by this controller now.
    Inaccessible,
    /// They cannot, and never will again.
    PersistentLoss,
    /// The state is becoming another one: for at most ANATT, if the user keeps to it.
    Change,
}

impl AnaState {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Optimized, Self::NonOptimized, Self::Inaccessible, Self::PersistentLoss, Self::Change];

    /// As the log has it.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Optimized => access_state::OPTIMIZED,
            Self::NonOptimized => access_state::NON_OPTIMIZED,
            Self::Inaccessible => access_state::INACCESSIBLE,
            Self::PersistentLoss => access_state::PERSISTENT_LOSS,
            Self::Change => access_state::CHANGE,
        }
    }

    /// The name, as Linux writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Optimized => "optimized",
            Self::NonOptimized => "non-optimized",
            Self::Inaccessible => "inaccessible",
            Self::PersistentLoss => "persistent-loss",
            Self::Change => "change",
        }
    }

    /// How commands that need a namespace of the group are refused; nothing while they are carried out.
    pub(crate) const fn refusal(self) -> Option<Reason> {
        match self {
            Self::Optimized | Self::NonOptimized => None,
            Self::Inaccessible => Some(Reason::AccessInaccessible),
            Self::PersistentLoss => Some(Reason::AccessLost),
            Self::Change => Some(Reason::AccessChange),
        }
    }

    /// What a namespace holds is not known here.
    pub(crate) const fn hides_capacity(self) -> bool {
        matches!(self, Self::Inaccessible | Self::PersistentLoss)
    }
}

/// Why a state was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AnaError {
    /// There are no such states.
    #[error("access is the same by every controller of this drive: give --device ana=on")]
    Off,
    /// There is no such group.
    #[error("group={0}: groups have numbers from 1 to {ANA_GROUPS_MAX}")]
    NoSuchGroup(u32),
    /// The state is one that does not end.
    #[error("controller {0} has lost group {1} for good: only a power loss ends that")]
    Lost(u16, u32),
    /// Power is off.
    #[error("power is off")]
    NoPower,
}

/// A controller's access to a group, for whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnaGroup {
    /// ANA Group Identifier.
    pub group: u32,
    /// The state.
    pub state: AnaState,
    /// The change count of the log when the group last changed.
    pub changes: u64,
    /// The group's namespaces that the controller has, ascending.
    pub namespaces: Vec<u32>,
}
