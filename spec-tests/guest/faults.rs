//! Faults of the device as stock drivers meet them: what Linux says of each, and that it goes on with the data that it had. The numbers are
//! those of docs/faults.md; what the driver does not put into words is tried in process alone.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, anyhow};
use guest_harness::{Brownout, Device, Guest, Kernel, Machine, scripts};
use serde_json::{Value, json};
use spec_tests::qmp::Qmp;

/// A guest under emulation on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);
/// The first namespace's identifier, and the bytes of it as they are on the wire.
const UUID: &str = "11111111-2222-3333-4444-555555555555";
const UUID_BYTES: &str = "11111111222233334444555555555555";

/// What happens to the device while the guest's half of an act runs.
enum Cause {
    /// Faults, each of which must hit.
    Faults(Vec<Value>),
    /// An event.
    Event(Value),
}

/// An act by its name in the script.
type Act = (&'static str, Cause);

/// A fault of the device.
fn fault(matching: &Value, action: &Value) -> Value {
    json!({ "kind": "controller", "match": matching, "action": action })
}

fn one(matching: &Value, action: &Value) -> Cause {
    Cause::Faults(vec![fault(matching, action)])
}

/// Until it is taken back.
fn always(matching: &Value, action: &Value) -> Cause {
    let mut fault = fault(matching, action);
    fault["times"] = json!("until-removed");
    Cause::Faults(vec![fault])
}

/// Reads of block 100.
fn read(action: &Value) -> Cause {
    one(&json!({ "queue": "io", "opcode": 2, "lba": 100 }), action)
}

/// Runs the guest's half of these acts, one after the other, and adds the faults of each when it says that it is ready.
fn play(name: &str, words: &[&str], acts: &[Act]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let control: PathBuf = folder.path().join("control.sock");
    let path = control.to_str().ok_or_else(|| anyhow!("a folder of ours is not UTF-8"))?;
    let drive = Brownout::builder().name(name).namespace(&format!("size=64MiB,lba=4KiB,uuid={UUID}"));
    let drive = drive.namespace("size=64MiB,lba=4KiB").argument("--control").argument(path).start()?;
    let mut peer = Qmp::connect(&control);
    let machine = Machine::new(Kernel::Newest).name(name).device(Device::VfioUser { socket: drive.socket().into() });
    // What is overdue is noticed in seconds, not in half a minute.
    let machine = machine.kernel_argument("nvme_core.io_timeout=5").kernel_argument("nvme_core.admin_timeout=5");
    let machine = words.iter().fold(machine, |machine, word| machine.kernel_argument(word));
    let names: Vec<&str> = acts.iter().map(|(name, _)| *name).collect();
    let machine = machine.environment("ACTS", &names.join(" ")).script(scripts::FAULTS);
    let mut guest: Guest = machine.timeout(Duration::from_secs(1200)).spawn()?;
    for (name, cause) in acts {
        guest.wait_for(&format!("faults: ready {name}"), PATIENCE)?;
        let added = cause.begin(&mut peer)?;
        guest.send_line("added")?;
        guest.wait_for(&format!("faults: over {name}"), PATIENCE)?;
        take_back(&mut peer, name, &added)?;
        guest.send_line("taken back")?;
    }
    guest.wait()?.require_success()?;
    drive.stop().map(drop)
}

impl Cause {
    /// Returns the numbers of the faults.
    fn begin(&self, peer: &mut Qmp) -> Result<Vec<u64>> {
        match self {
            Self::Faults(faults) => {
                let mut add = |fault| peer.execute("fault-add", fault).map_err(|why| anyhow!("{fault}: {why}"));
                faults.iter().map(|fault| Ok(add(fault)?["id"].as_u64().unwrap_or_default())).collect()
            }
            Self::Event(event) => {
                peer.execute("inject-event", event).map_err(|why| anyhow!("{event}: {why}"))?;
                Ok(Vec::new())
            }
        }
    }
}

/// Each of them has hit, and is removed.
fn take_back(peer: &mut Qmp, act: &str, added: &[u64]) -> Result<()> {
    let faults = peer.execute("query-faults", &json!({})).map_err(|why| anyhow!("{why}"))?;
    for id in added {
        let hits = faults.as_array().into_iter().flatten().find(|fault| fault["id"].as_u64() == Some(*id));
        assert!(hits.is_some_and(|fault| fault["hits"].as_u64() > Some(0)), "{act}: {faults}");
        peer.execute("fault-remove", &json!({ "id": id })).map_err(|why| anyhow!("{why}"))?;
    }
    Ok(())
}

#[test]
fn linux_says_what_became_of_a_command_and_goes_on() -> Result<()> {
    let drop = json!({ "kind": "drop" });
    let reads = json!({ "queue": "io", "opcode": 2, "lba": 100 });
    let refused = fault(&json!({ "command": "abort" }), &json!({ "kind": "status", "sct": 1, "sc": 3 }));
    let identifier = json!({ "kind": "wrong-cid", "cid": "free" });
    play(
        "faults-of-commands",
        &[],
        &[
            // F1: an error of the medium, with DNR and More; an error that a driver may try again.
            ("status", read(&json!({ "kind": "status", "sct": 2, "sc": 0x81, "dnr": true, "more": true }))),
            ("retried", read(&json!({ "kind": "status", "sct": 0, "sc": 6 }))),
            // F2: a delay that is no time-out.
            ("late", read(&json!({ "kind": "delay", "delay-ns": 2_000_000_000 }))),
            // F3: time-out, Abort, reset, and the command sent again.
            ("drop", read(&drop)),
            // F4, F5: an Abort that succeeds, and one that is refused.
            ("aborted", read(&json!({ "kind": "drop", "abortable": true }))),
            ("refused-abort", Cause::Faults(vec![fault(&reads, &drop), refused])),
            // F7, F8, F11: what was not asked is noticed and dropped.
            ("duplicate", read(&json!({ "kind": "duplicate" }))),
            ("wrong-cid", read(&identifier)),
            ("stray", read(&json!({ "kind": "stray", "cid": "free" }))),
            // F10: an entry that cannot be seen.
            ("old-phase", read(&json!({ "kind": "old-phase" }))),
            // F25, F26: found by the time-out's look at the queue.
            ("interrupt", one(&json!({}), &json!({ "kind": "lose-interrupt" }))),
            ("wrong-vector", one(&json!({}), &json!({ "kind": "wrong-vector", "vector": 0 }))),
        ],
    )
}

#[test]
fn linux_notices_what_became_of_the_controller_and_resets_it_or_gives_it_up() -> Result<()> {
    let second = 1_000_000_000_u64;
    play(
        "faults-of-the-controller",
        &[],
        &[
            // F21, F22, F30: noticed at the next time-out.
            ("fatal", read(&json!({ "kind": "fatal" }))),
            ("not-ready", read(&json!({ "kind": "not-ready" }))),
            ("subsystem-reset", read(&json!({ "kind": "subsystem-reset" }))),
            // F41, F42, F44, F49.
            ("namespace", Cause::Event(json!({ "kind": "namespace-changed", "nsid": 1 }))),
            ("activation", Cause::Event(json!({ "kind": "firmware-activation", "for-ns": 20 * second }))),
            ("persistent-error", Cause::Event(json!({ "kind": "error", "information": 3 }))),
            ("notice", Cause::Event(json!({ "kind": "event", "event-type": 2, "information": 0x7e, "log": 2 }))),
            // F23: given up.
            ("gone", read(&json!({ "kind": "gone" }))),
        ],
    )
}

#[test]
fn linux_says_why_it_does_not_take_a_drive() -> Result<()> {
    let identify = |cns: u32, nsid: u32| {
        let dword = json!({ "number": 10, "mask": 0xff, "value": cns });
        json!({ "command": "identify", "nsid": nsid, "dwords": [dword] })
    };
    let after_reset = |mut matching: Value| {
        matching["resets"] = json!(1);
        matching
    };
    let queues = json!({ "command": "set-features", "dwords": [{ "number": 10, "mask": 0xff, "value": 7 }] });
    let patch = |offset: u32, bytes: &str| json!({ "kind": "patch", "offset": offset, "bytes": bytes });
    play(
        "faults-of-the-drive",
        &[],
        &[
            // F14
            ("no-queues", one(&queues, &json!({ "kind": "status", "sct": 0, "sc": 6, "dnr": true }))),
            ("fewer-queues", one(&queues, &json!({ "kind": "fewer-queues", "queues": 1 }))),
            // F15: LBADS of the second format, 4 KiB, which the namespace has; the first namespace's UUID for the second one.
            ("block-size", always(&identify(0, 1), &patch(134, "08"))),
            ("same-identifiers", always(&identify(3, 2), &patch(4, UUID_BYTES))),
            // F17, F48
            ("other-identifiers", always(&after_reset(identify(3, 1)), &patch(4, "99"))),
            ("firmware-revision", always(&after_reset(identify(1, 0)), &patch(64, "4f54484552202020"))),
            // F20, F27: CAP.MPSMIN.
            ("never-ready", one(&json!({}), &json!({ "kind": "slow-ready" }))),
            (
                "page-size",
                always(&json!({}), &json!({ "kind": "register", "offset": 4, "mask": 0xf_0000, "value": 0x1_0000 })),
            ),
            // F24
            ("slow-shutdown", one(&json!({}), &json!({ "kind": "slow-shutdown" }))),
        ],
    )
}

/// F26: what the pin tells when there is nothing.
#[test]
fn linux_gives_up_an_interrupt_that_nobody_cares_for() -> Result<()> {
    play("faults-of-the-pin", &["pci=nomsi"], &[("pin", one(&json!({}), &json!({ "kind": "stuck-pin" })))])
}
