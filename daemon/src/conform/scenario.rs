//! The scenarios: what the device is like, what goes wrong and when, and what the guest is told to do meanwhile. Each is data; how a run is
//! judged is the same for all.

mod events;
mod lives;
mod losses;

use std::collections::BTreeMap;

use nvme_spec::opcode::NvmOpcode;
use serde_json::{Value, json};

use super::place::COPIED;
use crate::options::Bytes;

const FLUSH: u8 = NvmOpcode::FLUSH.0;
const WRITE: u8 = NvmOpcode::WRITE.0;
const READ: u8 = NvmOpcode::READ.0;
const SECOND: u64 = 1_000_000_000;

/// How long the driver waits for a command before it does something about it, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For I/O commands.
    pub io: u64,
    /// For admin commands.
    pub admin: u64,
    /// How long an image that nobody can tell anything may take, in seconds.
    pub boot: u64,
    /// How many times as slow as a real machine this one is.
    pub slowness: u64,
}

/// One thing after the other.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// The guest is told to do this, and must do it.
    Order(String),
    /// The guest is told to do this; whether it can is its own business.
    Try(String),
    /// A fault is added. It must be met by the end.
    Fault(Value),
    /// The same, but the driver need not meet it.
    Chance(Value),
    /// All faults are gone.
    Heal,
    /// A command of the control socket.
    Control(&'static str, Value),
    /// So many seconds go by.
    Wait(u64),
    /// What was copied is where it was to be copied to.
    Compare,
    /// Of what was being copied each record of so many bytes is there as a whole, or not at all.
    Whole(u64),
    /// Power, which must be gone by now, comes back.
    Restore,
}

/// A scenario in one form.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// `C11`.
    pub id: &'static str,
    /// Which of the forms of its scenario, from 1.
    pub form: usize,
    /// What is special about this form; it does not change from release to release.
    pub name: String,
    /// Words for `--device`.
    pub device: String,
    /// Words for `--media`.
    pub media: String,
    /// One for each `--namespace`.
    pub namespaces: Vec<String>,
    /// Words for Linux's command line.
    pub kernel: Vec<String>,
    /// Faults that are there before the driver is.
    pub born: Vec<Value>,
    /// What happens.
    pub acts: Vec<Act>,
    /// Who can do it.
    pub needs: Agent,
}

/// What a driver's system can be told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Agent {
    /// Nothing: it boots, and uses the disk as it likes. Faults are there from the start.
    None,
    /// To attach, read, write and copy.
    Copies,
    /// Everything: a shell with nvme-cli and fio.
    Shell,
}

impl Case {
    fn new(id: &'static str, name: impl Into<String>, acts: Vec<Act>) -> Self {
        Self {
            id,
            form: 1,
            name: name.into(),
            device: String::new(),
            media: String::new(),
            namespaces: vec!["size=64MiB,lba=512".to_owned()],
            kernel: Vec::new(),
            born: Vec::new(),
            acts,
            needs: Agent::Copies,
        }
    }

    /// Whether this is what somebody asked for: `C12` is every form of it, `C12.2` the second.
    pub fn is(&self, wanted: &str) -> bool {
        self.id.eq_ignore_ascii_case(wanted) || self.number().eq_ignore_ascii_case(wanted)
    }

    /// Scenario and form, as in `C12.2`.
    pub fn number(&self) -> String {
        format!("{}.{}", self.id, self.form)
    }

    /// Bytes of a block of the first namespace.
    pub fn block_bytes(&self) -> u64 {
        let words = self.namespaces.first().into_iter().flat_map(|words| words.split(','));
        let lba = words.filter_map(|word| word.strip_prefix("lba=")).next_back();
        lba.and_then(|bytes| bytes.parse().ok()).map_or(512, |Bytes(bytes)| bytes)
    }

    fn device(mut self, words: &str) -> Self {
        words.clone_into(&mut self.device);
        self
    }

    fn media(mut self, words: &str) -> Self {
        words.clone_into(&mut self.media);
        self
    }

    fn namespaces(mut self, namespaces: &[&str]) -> Self {
        self.namespaces = namespaces.iter().map(|words| (*words).to_owned()).collect();
        self
    }

    fn kernel(mut self, words: &str) -> Self {
        self.kernel.push(words.to_owned());
        self
    }

    fn born(mut self, fault: Value) -> Self {
        self.born.push(fault);
        self
    }

    fn shell(mut self) -> Self {
        self.needs = Agent::Shell;
        self
    }
}

fn order(text: impl Into<String>) -> Act {
    Act::Order(text.into())
}

fn attach() -> Act {
    order("attach")
}

/// The copy by which a driver's data is judged: in pieces of so many bytes.
fn copy(block: u64) -> [Act; 2] {
    [order(format!("copy {COPIED} {block}")), Act::Compare]
}

fn copied(block: u64) -> Vec<Act> {
    [vec![attach()], copy(block).into()].concat()
}

fn io(opcode: u8) -> Value {
    json!({ "queue": "io", "opcode": opcode })
}

/// Attach, a fault, a copy that goes through it, and another one when it is over.
fn through(faults: Vec<Act>) -> Vec<Act> {
    [vec![attach()], faults, copy(64 << 10).into(), vec![Act::Heal], copy(4096).into()].concat()
}

/// All scenarios, in the order in which they run.
pub fn all(timeouts: Timeouts, seed: u64) -> Vec<Case> {
    let families: [fn(Timeouts, u64) -> Vec<Case>; 11] = [
        profiles,
        transfers,
        lost,
        interrupts,
        lives::lives,
        lives::within,
        lives::limits,
        losses::losses,
        losses::handed_over,
        events::events,
        states,
    ];
    let mut cases: Vec<Case> = families.iter().flat_map(|family| family(timeouts, seed)).collect();
    let mut forms = BTreeMap::new();
    for case in &mut cases {
        let form = forms.entry(case.id).or_insert(0);
        *form += 1;
        case.form = *form;
    }
    cases
}

/// C1 to C3, C33: what the device may be like.
fn profiles(_: Timeouts, _: u64) -> Vec<Case> {
    let sized = |lba: &str, nsid: u32| format!("size=64MiB,lba={lba},nsid={nsid}");
    let mut cases = vec![
        Case::new("C1", "attach, copy, switch off", [copied(64 << 10), vec![order("off")]].concat()),
        Case::new("C2", "queues of 2 entries", copied(4096)).device("mqes=1"),
        Case::new("C2", "queues of 16 entries", copied(4096)).device("mqes=15"),
        Case::new("C2", "queues of 65536 entries", copied(4096)).device("mqes=65535"),
        Case::new("C2", "one vector", copied(4096)).device("msix_qsize=1"),
        Case::new("C2", "one queue pair", copied(4096)).device("max_ioqpairs=1"),
        Case::new("C2", "pin interrupts only", copied(4096)).device("msix_qsize=0"),
        Case::new("C2", "no shadow doorbells", copied(4096)).device("dbcs=off"),
        Case::new("C3", "namespace 7 only", copied(64 << 10)).namespaces(&[&sized("512", 7)]),
        Case::new("C3", "namespaces 1, 2 and 5", copied(64 << 10)).namespaces(&[
            &sized("512", 1),
            &sized("4KiB", 2),
            &sized("512", 5),
        ]),
        Case::new("C33", "doorbells in a shared page", copied(4096)).device("doorbells=mapped"),
    ];
    for lba in ["4KiB", "16KiB", "64KiB"] {
        cases.push(Case::new("C3", format!("blocks of {lba}"), copied(64 << 10)).namespaces(&[&sized(lba, 1)]));
    }
    cases
}

/// C4 to C7: how long transfers may be, how their memory is described, and metadata beside the blocks.
fn transfers(_: Timeouts, _: u64) -> Vec<Case> {
    let sizes = || std::iter::successors(Some(512), |bytes| Some(bytes * 2)).take_while(|bytes| *bytes <= 2 << 20);
    let sweep = || std::iter::once(attach()).chain(sizes().flat_map(copy)).collect::<Vec<_>>();
    let mut cases: Vec<Case> = [1, 2, 5, 9]
        .into_iter()
        .map(|mdts| Case::new("C4", format!("MDTS {mdts}"), sweep()).device(&format!("mdts={mdts}")).shell())
        .collect();
    cases.push(Case::new("C5", "PRPs of every length", sweep()).kernel("nvme.sgl_threshold=0").shell());
    cases.push(Case::new("C6", "SGLs for all data", sweep()).kernel("nvme.sgl_threshold=512").shell());
    for bytes in [8, 16, 64] {
        let words = format!("size=64MiB,lba=512,ms={bytes}");
        let case = Case::new("C7", format!("{bytes} bytes of separate metadata"), copied(64 << 10));
        cases.push(case.namespaces(&[&words]).shell());
    }
    cases
}

/// C9 to C11, C13 to C15: commands that come late, twice, out of order, or not at all.
fn lost(timeouts: Timeouts, seed: u64) -> Vec<Case> {
    let late = |queue: &str, opcode: u8, seconds: u64| {
        let action = json!({ "kind": "delay", "delay-ns": (seconds + 1) * SECOND });
        Act::Fault(json!({ "match": { "queue": queue, "opcode": opcode }, "times": 3, "action": action }))
    };
    let drop = |opcode: u8| Act::Fault(json!({ "match": io(opcode), "action": { "kind": "drop" } }));
    let hold = json!({ "match": { "queue": "io" }, "when": { "every": 1 },
        "action": { "kind": "hold", "commands": 4, "most-ns": SECOND / 50, "order": "reversed" } });
    let once = |action: Value| Act::Fault(json!({ "match": io(READ), "when": { "nth": 5 }, "action": action }));
    let refused = |sct: u8, sc: u8, dnr: bool| {
        let action = json!({ "kind": "status", "sct": sct, "sc": sc, "dnr": dnr });
        vec![
            attach(),
            Act::Fault(json!({ "match": io(READ), "when": { "nth": 3 }, "action": action })),
            Act::Try(format!("copy {COPIED} 65536")),
            Act::Heal,
        ]
        .into_iter()
        .chain(copy(64 << 10))
        .collect::<Vec<_>>()
    };
    let abort = |action: Value| {
        let fault = json!({ "match": { "queue": "admin", "opcode": 8 }, "action": action });
        through(vec![drop(READ), Act::Chance(fault)])
    };
    vec![
        Case::new("C9", "completions in reverse, in bursts", through(vec![Act::Fault(hold)])),
        Case::new("C10", "three reads later than the driver waits", through(vec![late("io", READ, timeouts.io)])),
        Case::new("C10", "three writes later than the driver waits", through(vec![late("io", WRITE, timeouts.io)])),
        Case::new("C11", "a read is lost", through(vec![drop(READ)])),
        Case::new("C11", "a write is lost", through(vec![drop(WRITE)])),
        Case::new("C11", "a flush is lost", through(vec![drop(FLUSH), order("write 16")])).shell(),
        Case::new("C11", "one in 300 is lost", {
            let fault = json!({ "match": { "queue": "io" }, "when": { "one-in": 300, "seed": seed }, "times": 4,
                "action": { "kind": "drop" } });
            through(vec![Act::Chance(fault)])
        }),
        Case::new("C13", "a completion twice", through(vec![once(json!({ "kind": "duplicate" }))])),
        Case::new(
            "C13",
            "an identifier that is free",
            through(vec![once(json!({ "kind": "wrong-cid", "cid": "free" }))]),
        ),
        Case::new(
            "C13",
            "a completion that nobody awaits",
            through(vec![once(json!({ "kind": "stray", "cid": "free" }))]),
        ),
        Case::new("C13", "an entry with the old phase", through(vec![once(json!({ "kind": "old-phase" }))])),
        Case::new("C14", "unrecovered read, DNR", refused(2, 0x81, true)).shell(),
        Case::new("C14", "internal error, to be tried again", refused(0, 0x06, false)).shell(),
        Case::new("C14", "LBA out of range, DNR", refused(0, 0x80, true)).shell(),
        Case::new("C15", "an Abort is refused", abort(json!({ "kind": "status", "sct": 1, "sc": 3 }))).shell(),
        Case::new("C15", "an Abort is lost", abort(json!({ "kind": "drop" }))).shell(),
    ]
}

/// C8, C12: queues that fill, interrupts that do not come, or come for nothing.
fn interrupts(_: Timeouts, _: u64) -> Vec<Case> {
    let stall = json!({ "match": { "queue": "io" }, "when": { "nth": 20 },
        "action": { "kind": "stall", "for-ns": 5 * SECOND } });
    let lose = json!({ "when": { "nth": 20 }, "action": { "kind": "lose-interrupt" } });
    let wrong = json!({ "when": { "nth": 20 }, "action": { "kind": "wrong-vector", "vector": 0 } });
    let storm = json!({ "match": { "queue": "io" }, "when": { "nth": 20 },
        "action": { "kind": "interrupt", "vector": 1, "count": 1000 } });
    let late = json!({ "when": { "every": 10 }, "action": { "kind": "late-interrupt", "delay-ns": SECOND / 20 } });
    vec![
        Case::new("C8", "fetching stops for five seconds", through(vec![Act::Fault(stall)])),
        Case::new("C12", "an interrupt is lost", through(vec![Act::Fault(lose)])),
        Case::new("C12", "an interrupt goes to the wrong vector", through(vec![Act::Fault(wrong)])),
        Case::new("C12", "a thousand interrupts for nothing", through(vec![Act::Fault(storm)])),
        Case::new("C12", "every tenth interrupt is late", through(vec![Act::Fault(late)])),
    ]
}

/// C24, C28, C31, C34, C35: namespaces, activation of firmware, deallocation, noise, habits.
fn states(timeouts: Timeouts, seed: u64) -> Vec<Case> {
    let resize = |bytes: u64| Act::Control("namespace-resize", json!({ "nsid": 1, "size": bytes }));
    let grown = [vec![attach(), resize(96 << 20), Act::Wait(2), resize(64 << 20), Act::Wait(2)], copy(64 << 10).into()]
        .concat();
    let turnover = |round: u64| {
        let more = json!({ "size": "8MiB", "lba": if round.is_multiple_of(2) { 512 } else { 4096 } });
        let (add, remove) = ("namespace-add", Act::Control("namespace-remove", json!({ "nsid": 2 })));
        [vec![Act::Control(add, more)], copy(64 << 10).into(), vec![remove]].concat()
    };
    let turnovers = [vec![attach()], (0..10).flat_map(turnover).collect(), copy(4096).into()].concat();
    let attachment = |command| [Act::Control(command, json!({ "nsid": 1, "controller": 0 })), Act::Wait(2)];
    let taken = [attachment("namespace-detach"), attachment("namespace-attach")].concat();
    let taken = std::iter::repeat_n([taken, copied(64 << 10)].concat(), 5).flatten().collect();
    let noise = |action: Value, one_in: u64, seed: u64| {
        Act::Chance(json!({ "match": { "queue": "io" }, "when": { "one-in": one_in, "seed": seed }, "action": action }))
    };
    let noisy = [
        vec![attach()],
        vec![
            noise(json!({ "kind": "status", "sct": 0, "sc": 6 }), 100, seed),
            noise(json!({ "kind": "delay", "delay-ns": SECOND / 5 }), 100, seed + 1),
            Act::Try("load 20".to_owned()),
            Act::Heal,
        ],
        copy(64 << 10).into(),
    ]
    .concat();
    let paused = |seconds: u64| {
        let pause = json!({ "kind": "firmware-activation", "for-ns": seconds * SECOND });
        let acts = vec![attach(), Act::Control("inject-event", pause)];
        [acts, copy(64 << 10).into(), copy(4096).into()].concat()
    };
    vec![
        Case::new("C24", "the namespace grows and shrinks", grown)
            .namespaces(&["size=64MiB,size_max=96MiB,lba=512"])
            .shell(),
        Case::new("C24", "another namespace comes and goes, ten times", turnovers).media("capacity=256MiB").shell(),
        Case::new("C24", "the namespace is taken away and given back, five times", [vec![attach()], taken].concat())
            .shell(),
        Case::new("C28", "processing pauses for a second", paused(1)),
        Case::new("C28", "processing pauses longer than the driver waits", paused(2 * timeouts.io.max(timeouts.admin)))
            .shell(),
        Case::new("C31", "deallocation", [copied(64 << 10), vec![order("trim")]].concat()).shell(),
        Case::new("C34", "one command in a hundred fails or is late", noisy).shell(),
        Case::new("C35", "a fixed load", vec![attach(), order("load 20"), order("write 200")]).shell(),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use controller::fault::FaultSpec;

    use super::*;

    const TIMEOUTS: Timeouts = Timeouts { io: 10, admin: 10, boot: 60, slowness: 20 };

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let cases = all(TIMEOUTS, 1);
        let names: BTreeSet<_> = cases.iter().map(|case| (case.id, case.name.as_str())).collect();
        assert_eq!(names.len(), cases.len());
        let numbers: BTreeSet<_> = cases.iter().map(Case::number).collect();
        assert_eq!(numbers.len(), cases.len());
        assert_eq!(cases.iter().filter(|case| case.is("c12")).count(), 4);
        assert_eq!(cases.iter().filter(|case| case.is("C12.2")).count(), 1);
    }

    /// What a scenario says to the drive the drive understands.
    #[test]
    fn every_fault_and_every_option_can_be() {
        for case in all(TIMEOUTS, 1) {
            let given = crate::options::Given {
                device: Some(case.device.clone()),
                media: Some(case.media.clone()),
                namespaces: case.namespaces.clone(),
                ..crate::options::Given::default()
            };
            crate::options::Settings::read(&given).unwrap_or_else(|error| panic!("{} {}: {error}", case.id, case.name));
            let met = case.acts.iter().filter_map(|act| match act {
                Act::Fault(fault) | Act::Chance(fault) => Some(fault),
                _ => None,
            });
            for fault in case.born.iter().chain(met) {
                let spec: FaultSpec = serde_json::from_value(fault.clone())
                    .unwrap_or_else(|error| panic!("{} {}: {error}: {fault}", case.id, case.name));
                spec.check().unwrap_or_else(|error| panic!("{} {}: {error}", case.id, case.name));
            }
        }
    }
}
