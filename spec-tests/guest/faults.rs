//! Faults of the device as stock drivers meet them: what Linux says of each, and that it goes on with the data that it had.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, anyhow};
use guest_harness::{Brownout, Device, Guest, Kernel, Machine, scripts};
use serde_json::{Value, json};
use spec_tests::qmp::Qmp;

/// A guest under emulation on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// A fault of the device.
fn fault(matching: &Value, action: &Value) -> Value {
    json!({ "kind": "controller", "match": matching, "action": action })
}

/// Runs the guest's half of these tests, `act` by name, and adds the fault when it says that it is ready.
fn meets(act: &str, fault: &Value) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let control: PathBuf = folder.path().join("control.sock");
    let words = control.to_str().ok_or_else(|| anyhow!("a folder of ours is not UTF-8"))?;
    let name = format!("fault-{act}");
    let drive = Brownout::builder().name(&name).namespace("size=64MiB,lba=4KiB").argument("--control").argument(words);
    let drive = drive.start()?;
    let mut peer = Qmp::connect(&control);
    let machine = Machine::new(Kernel::Newest).name(&name).device(Device::VfioUser { socket: drive.socket().into() });
    // What is overdue is noticed in seconds, not in half a minute.
    let machine = machine.kernel_argument("nvme_core.io_timeout=5").kernel_argument("nvme_core.admin_timeout=5");
    let mut guest: Guest =
        machine.environment("ACT", act).script(scripts::FAULTS).timeout(Duration::from_secs(500)).spawn()?;
    guest.wait_for("faults: ready", PATIENCE)?;
    let added = peer.execute("fault-add", fault).map_err(|why| anyhow!("{fault}: {why}"))?;
    guest.send_line("added")?;
    guest.wait()?.require_success()?;
    let faults = peer.execute("query-faults", &json!({})).map_err(|why| anyhow!("{why}"))?;
    assert_eq!((&faults[0]["id"], faults[0]["hits"].as_u64()), (&added["id"], Some(1)), "{faults}");
    drive.stop().map(drop)
}

/// Reads of block 100.
fn reads() -> Value {
    json!({ "queue": "io", "opcode": 2, "lba": 100 })
}

/// F1: an error of the medium, with DNR and More.
#[test]
fn f1_a_status_is_told_to_the_program_that_asked() -> Result<()> {
    meets("status", &fault(&reads(), &json!({ "kind": "status", "sct": 2, "sc": 0x81, "dnr": true, "more": true })))
}

/// F3: time-out, Abort, reset, and the command sent again.
#[test]
fn f3_a_command_that_is_never_answered_is_sent_again() -> Result<()> {
    meets("drop", &fault(&reads(), &json!({ "kind": "drop" })))
}

/// F7: the second completion is noticed and dropped.
#[test]
fn f7_a_second_completion_is_dropped() -> Result<()> {
    meets("duplicate", &fault(&reads(), &json!({ "kind": "duplicate" })))
}

/// F21: noticed at the next time-out, and reset.
#[test]
fn f21_a_controller_that_failed_is_reset() -> Result<()> {
    meets("fatal", &fault(&reads(), &json!({ "kind": "fatal" })))
}

/// F23: noticed at the next time-out, and given up.
#[test]
fn f23_a_controller_that_is_gone_is_given_up() -> Result<()> {
    meets("gone", &fault(&reads(), &json!({ "kind": "gone" })))
}

/// F25: found by the time-out's look at the queue.
#[test]
fn f25_a_lost_interrupt_is_found_by_polling() -> Result<()> {
    // The next one, whatever queue it belongs to: nothing but the script uses the drive.
    meets("interrupt", &fault(&json!({}), &json!({ "kind": "lose-interrupt" })))
}
