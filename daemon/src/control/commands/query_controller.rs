//! `query-controller`.

use controller::watch::FatalReason;
use nvme_spec::register;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Device, Execute, Refusal};
use crate::control::event::{Event, ShutdownState};
use crate::control::watcher::controller_state;

/// The controller: its registers as the host reads them, its state in words, and what it says of itself.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryController {}

/// A controller.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ControllerState {
    registers: Registers,
    /// CC.EN: the host wants it to run.
    enabled: bool,
    /// CSTS.RDY: it takes commands.
    ready: bool,
    /// CSTS.CFS: it has failed and waits for a reset.
    fatal: bool,
    /// Why CSTS.CFS was set the last time since power-on.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_fatal: Option<FatalState>,
    /// CSTS.SHST, in words.
    shutdown: ShutdownState,
    /// The host lets the function reach its memory.
    bus_master: bool,
    /// Commands that were taken and are not answered yet.
    commands_in_flight: u64,
    /// Asynchronous Event Requests that wait.
    event_requests_waiting: u64,
    identify: Identify,
}

/// Why the controller set CSTS.CFS.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct FatalState {
    reason: FatalReason,
    /// The value that is to blame.
    value: u64,
    /// What it should have been: a bound, or an alignment in bytes.
    bound: u64,
}

/// Registers, as the host would read them now.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Registers {
    cap: u64,
    vs: u32,
    intms: u32,
    cc: u32,
    csts: u32,
    aqa: u32,
    asq: u64,
    acq: u64,
    crto: u32,
}

/// What Identify Controller says.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Identify {
    serial: String,
    model: String,
    firmware: String,
    subnqn: String,
    vendor_id: u16,
    /// The largest transfer is 2^mdts pages of 4 KiB.
    mdts: u8,
    /// Optional admin commands.
    oacs: u16,
    /// Optional I/O commands.
    oncs: u16,
    /// Fused operations.
    fuses: u16,
    /// Volatile write cache.
    vwc: u8,
    /// SGL support.
    sgls: u32,
    /// Atomic Write Unit Normal, in blocks, zero-based.
    awun_z: u16,
    /// Atomic Write Unit Power Fail, in blocks, zero-based.
    awupf_z: u16,
    /// Atomic Compare and Write Unit, in blocks, zero-based.
    acwu_z: u16,
    /// Asynchronous Event Requests that may wait, zero-based.
    aerl_z: u8,
    /// The largest namespace identifier.
    nn: u32,
    /// I/O queue pairs that a host may create.
    io_queue_pairs: u16,
    /// MSI-X vectors.
    vectors: u16,
}

impl Execute for QueryController {
    const NAME: &'static str = "query-controller";
    type Answer = ControllerState;

    fn execute(self, device: &mut Device<'_>) -> Result<ControllerState, Refusal> {
        let registers = registers(device);
        let controller = device.controller();
        let life = controller.life();
        let Event::ControllerState { enabled, ready, fatal, shutdown, .. } = controller_state(device.id, life) else {
            unreachable!("the state of a controller is told by this event");
        };
        Ok(ControllerState {
            registers,
            enabled,
            ready,
            fatal,
            last_fatal: controller.last_fatal().map(|(reason, value, bound)| FatalState { reason, value, bound }),
            shutdown,
            bus_master: life.bus_master,
            commands_in_flight: controller.commands_in_flight() as u64,
            event_requests_waiting: controller.event_requests_waiting() as u64,
            identify: identify(device),
        })
    }
}

fn registers(device: &mut Device<'_>) -> Registers {
    let short = |device: &mut Device<'_>, offset: u64| {
        let mut bytes = [0; 4];
        device.subsystem.bar_read(device.id, offset, &mut bytes);
        u32::from_le_bytes(bytes)
    };
    let long = |device: &mut Device<'_>, offset: u64| {
        let mut bytes = [0; 8];
        device.subsystem.bar_read(device.id, offset, &mut bytes);
        u64::from_le_bytes(bytes)
    };
    Registers {
        cap: long(device, register::CAP),
        vs: short(device, register::VS),
        intms: short(device, register::INTMS),
        cc: short(device, register::CC),
        csts: short(device, register::CSTS),
        aqa: short(device, register::AQA),
        asq: long(device, register::ASQ),
        acq: long(device, register::ACQ),
        crto: short(device, register::CRTO),
    }
}

fn identify(device: &Device<'_>) -> Identify {
    let data = device.subsystem.identify_controller(device.id);
    let config = device.subsystem.config();
    Identify {
        serial: text(&data.sn),
        model: text(&data.mn),
        firmware: text(&data.fr),
        subnqn: text(&data.subnqn),
        vendor_id: data.vid.get(),
        mdts: data.mdts,
        oacs: data.oacs.get(),
        oncs: data.oncs.get(),
        fuses: data.fuses.get(),
        vwc: data.vwc,
        sgls: data.sgls.get(),
        awun_z: data.awun_z.get(),
        awupf_z: data.awupf_z.get(),
        acwu_z: data.acwu_z.get(),
        aerl_z: data.aerl_z,
        nn: data.nn.get(),
        io_queue_pairs: config.io_queue_pairs,
        vectors: config.vectors,
    }
}

/// A padded field as text.
fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field).trim_end_matches(['\0', ' ']).to_owned()
}
