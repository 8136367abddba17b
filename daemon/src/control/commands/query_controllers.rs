//! `query-controllers`.

use nvme_spec::register::ControllerStatus;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Device, Execute, Refusal};

/// Every controller of the drive: one for each socket at which it can be plugged in. More of one of them: `query-controller`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryControllers {}

/// A controller.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Listed {
    /// CNTLID.
    controller: u16,
    /// The socket at which it is plugged in; none for a device that has no sockets.
    socket: Option<String>,
    /// A virtual machine has plugged it in.
    client_connected: bool,
    /// CC.EN.
    enabled: bool,
    /// CSTS.RDY.
    ready: bool,
    /// CSTS.CFS.
    fatal: bool,
    /// The namespaces that it has attached, ascending.
    namespaces: Vec<u32>,
    /// I/O queue pairs that its host has created.
    submission_queues: u64,
    /// Commands that were taken and not answered.
    commands_in_flight: u64,
}

impl Execute for QueryControllers {
    const NAME: &'static str = "query-controllers";
    type Answer = Vec<Listed>;

    fn execute(self, device: &mut Device<'_>) -> Result<Vec<Listed>, Refusal> {
        let subsystem = &device.subsystem;
        let nsids = subsystem.namespaces().map(|namespace| namespace.nsid);
        let nsids: Vec<u32> = nsids.collect();
        let listed = subsystem.ids().map(|id| {
            let controller = subsystem.controller(id);
            let life = controller.life();
            let has = |nsid: &u32| subsystem.attached(*nsid).is_some_and(|set| set.has(id));
            Listed {
                controller: id.0,
                socket: device.ports.path(id).map(|path| path.display().to_string()),
                client_connected: device.clients.has(id),
                enabled: life.configuration.enabled(),
                ready: life.status.contains(ControllerStatus::READY),
                fatal: life.status.contains(ControllerStatus::FATAL),
                namespaces: nsids.iter().copied().filter(has).collect(),
                submission_queues: controller.submission_queues().filter(|queue| queue.id != 0).count() as u64,
                commands_in_flight: controller.commands_in_flight() as u64,
            }
        });
        Ok(listed.collect())
    }
}
