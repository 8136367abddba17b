//! `query-ana`.

use controller::ControllerId;
use controller::ana::AnaGroup;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ana_set_state::State;
use super::{Device, Execute, Refusal};

/// How each controller reaches the namespaces: what it tells its host in the log Asymmetric Namespace Access. Without `--device ana=on`
/// there are no groups.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryAna {}

/// The access of a controller.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Access {
    /// CNTLID.
    controller: u16,
    /// How often anything of this changed since the controller was reset.
    change_count: u64,
    /// The groups of which it has namespaces, ascending.
    groups: Vec<Group>,
}

/// An ANA group.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Group {
    group: u32,
    state: State,
    /// The count of changes when this group last changed.
    change_count: u64,
    /// Those of its namespaces that the controller has, ascending.
    namespaces: Vec<u32>,
}

impl From<AnaGroup> for Group {
    fn from(group: AnaGroup) -> Self {
        let AnaGroup { group, state, changes, namespaces } = group;
        Self { group, state: state.into(), change_count: changes, namespaces }
    }
}

impl Execute for QueryAna {
    const NAME: &'static str = "query-ana";
    type Answer = Vec<Access>;

    fn execute(self, device: &mut Device<'_>) -> Result<Vec<Access>, Refusal> {
        let subsystem = &device.subsystem;
        let of = |id: ControllerId| Access {
            controller: id.0,
            change_count: subsystem.ana_changes(id),
            groups: subsystem.ana_groups(id).into_iter().map(Group::from).collect(),
        };
        Ok(subsystem.ids().map(of).collect())
    }
}
