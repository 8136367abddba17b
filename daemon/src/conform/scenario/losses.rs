//! Power goes, and comes back; and another kernel takes over. What a driver was told of is on the disk then, and nothing else need be.

use nvme_spec::opcode::NvmOpcode;
use serde_json::{Value, json};

use super::{Act, COPIED, Case, Timeouts, attach, copied, copy, order};

/// What a campaign asks of a drive: nothing becomes durable by itself, so that only what the host does counts.
const VOLATILE: &str = "cache_age=none";
/// Bytes that the drive commits as one in C30.
const RECORD: u64 = 16 << 10;

fn lose(at: Value, words: Value) -> Act {
    let mut arguments = words;
    arguments["at"] = at;
    Act::Control("crash-arm", arguments)
}

fn now() -> Act {
    Act::Control("power-cut", json!({}))
}

/// A driver may give up a drive that lost power; a new look at the bus finds it well again.
fn afterwards() -> Vec<Act> {
    [vec![Act::Restore, order("rescan")], copy(64 << 10).into()].concat()
}

/// C22, C29, C30: power loss under load, during a reset and a shutdown; what was flushed is there, and records are whole.
pub(super) fn losses(_: Timeouts, seed: u64) -> Vec<Case> {
    let during = |name: &str, at: Value, meanwhile: &str| {
        let acts = vec![attach(), lose(at, json!({})), Act::Try(meanwhile.to_owned())];
        Case::new("C22", name, [acts, afterwards()].concat()).media(VOLATILE).shell()
    };
    let everything = || format!("copy {COPIED} 65536");
    let off = [
        copied(64 << 10),
        vec![order("write 16"), lose(json!({ "step": "shutdown-begun" }), json!({})), order("off"), Act::Restore],
    ]
    .concat();
    // What is compared is what the media has after the loss.
    let flushed = |block: u64| {
        let acts = vec![attach(), order(format!("copy {COPIED} {block}")), now(), Act::Restore, Act::Compare];
        Case::new(
            "C29",
            format!("what was synced survives, in blocks of {block} bytes"),
            [acts, vec![order("rescan")], copy(4096).into()].concat(),
        )
        .media(VOLATILE)
        .shell()
    };
    let recorded = |name: &str, at: Value, words: Value| {
        let acts = vec![
            attach(),
            lose(at, words),
            Act::Try(format!("copy {COPIED} {RECORD}")),
            Act::Restore,
            Act::Whole(RECORD),
            order("rescan"),
        ];
        Case::new("C30", name, [acts, copy(RECORD).into()].concat())
            .namespaces(&["size=64MiB,lba=4KiB,atomic.nawun=3,atomic.nawupf=3"])
            .media(VOLATILE)
            .shell()
    };
    let flush = NvmOpcode::FLUSH.0;
    vec![
        during("power goes under load", json!({ "io-command": 100 }), &everything()),
        during("power goes at a flush", json!({ "match": { "opcode": flush } }), &everything()),
        during(
            "power goes when a write was acknowledged",
            json!({ "completed": { "opcode": NvmOpcode::WRITE.0 }, "nth": 50 }),
            &everything(),
        ),
        during("power goes while the controller is reset", json!({ "step": "controller-reset" }), "resets 1"),
        Case::new("C22", "power goes while the system shuts down", off).media(VOLATILE).shell(),
        flushed(4096),
        flushed(64 << 10),
        recorded(
            "records of the atomic unit, of which some survive",
            json!({ "io-command": 600 }),
            json!({ "policy": "random", "seed": seed, "tear": true }),
        ),
        recorded(
            "records of the atomic unit, up to one that was just fetched",
            json!({ "match": { "opcode": NvmOpcode::WRITE.0 }, "nth": 302 }),
            json!({ "policy": "all-survive" }),
        ),
    ]
}

/// C32: another kernel gets the controller, from one that shut it down, and from one that could not.
pub(super) fn handed_over(_: Timeouts, _: u64) -> Vec<Case> {
    let handed = |how: &str| [copied(64 << 10), vec![order(how)], copied(64 << 10)].concat();
    let words = |case: Case| case.kernel("retain_initrd").kernel("crashkernel=512M").shell();
    vec![
        words(Case::new("C32", "a kernel starts another one", handed("kexec"))),
        words(Case::new("C32", "a kernel fails under load, and a crash kernel takes over", handed("crash"))),
    ]
}
