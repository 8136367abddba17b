//! `ana-set-state`.

use controller::ControllerId;
use controller::ana::AnaState;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Device, Execute, Nothing, Refusal};

/// Sets how a controller reaches the namespaces of an ANA group (`--device ana=on`): its host is told, and the next command is taken or
/// refused by it; those that were taken before end as they would have. The state lasts until it is set again, or until the power goes.
/// Hosts wait for the end of `change` for ANATT, 10 seconds: who leaves it longer tests what they do then (Linux resets the controller
/// after 20). Nothing but a power loss ends `persistent-loss`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnaSetState {
    /// CNTLID of the controller.
    controller: u16,
    /// The group: `anagrpid` of its namespaces.
    group: u32,
    /// The state.
    state: State,
}

/// Asymmetric namespace access states, in the words of Linux.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As good as any.
    Optimized,
    /// Commands are carried out, and hosts prefer another controller.
    NonOptimized,
    /// Commands are refused with status 3/02h.
    Inaccessible,
    /// Commands are refused with status 3/01h, for good.
    PersistentLoss,
    /// Commands are refused with status 3/03h.
    Change,
}

impl From<State> for AnaState {
    fn from(state: State) -> Self {
        match state {
            State::Optimized => Self::Optimized,
            State::NonOptimized => Self::NonOptimized,
            State::Inaccessible => Self::Inaccessible,
            State::PersistentLoss => Self::PersistentLoss,
            State::Change => Self::Change,
        }
    }
}

impl From<AnaState> for State {
    fn from(state: AnaState) -> Self {
        match state {
            AnaState::Optimized => Self::Optimized,
            AnaState::NonOptimized => Self::NonOptimized,
            AnaState::Inaccessible => Self::Inaccessible,
            AnaState::PersistentLoss => Self::PersistentLoss,
            AnaState::Change => Self::Change,
        }
    }
}

impl Execute for AnaSetState {
    const NAME: &'static str = "ana-set-state";
    type Answer = Nothing;

    fn execute(self, device: &mut Device<'_>) -> Result<Nothing, Refusal> {
        let id = ControllerId(self.controller);
        if !device.subsystem.ids().any(|other| other == id) {
            return Err(Refusal::new(format!("there is no controller {}", self.controller)));
        }
        let set = device.subsystem.set_ana_state(id, self.group, self.state.into());
        set.map(|()| Nothing {}).map_err(|error| Refusal::new(error.to_string()))
    }
}
