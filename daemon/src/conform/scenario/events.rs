//! What the drive tells without being asked.

use serde_json::{Value, json};

use super::{Act, Case, SECOND, Timeouts, attach, copied, copy, order};

/// An event as `inject-event` takes it, and as completion dword 0 carries it (Base 2.1 figure 150).
#[derive(Clone, Copy)]
struct Told {
    kind: u8,
    information: u8,
    log: u8,
}

/// One of each type that is no notice: errors, health, of a command set, of the vendor. A notice says that something has changed, which
/// other scenarios bring about.
const TYPES: [Told; 4] = [
    Told { kind: 0, information: 2, log: 1 },
    Told { kind: 1, information: 1, log: 2 },
    Told { kind: 6, information: 0, log: 1 },
    Told { kind: 7, information: 0, log: 2 },
];
/// So many errors come while nobody reads their log: the host hears of the first alone.
const UNHEARD: usize = 10;

impl Told {
    fn inject(self) -> Act {
        let Self { kind, information, log } = self;
        Act::Control(
            "inject-event",
            json!({ "kind": "event", "event-type": kind, "information": information, "log": log }),
        )
    }

    /// The guest's system must have been told of it so many times.
    fn heard(self, times: usize) -> Act {
        let Self { kind, information, log } = self;
        order(format!("heard {:#08x} {times}", u32::from_le_bytes([kind, information, log, 0])))
    }
}

/// C25: each event is heard, as often as it comes; those that nobody reads about do not keep the driver from its work.
pub(super) fn events(_: Timeouts, _: u64) -> Vec<Case> {
    let within = |acts: Vec<Act>| [vec![attach()], acts, copy(64 << 10).into()].concat();
    let heard = |times: usize| TYPES.map(|told| told.heard(times));
    let one_by_one = || TYPES.iter().flat_map(|told| [told.inject(), told.heard(1)]);
    let again = || TYPES.iter().flat_map(|told| [told.inject(), told.heard(2)]);
    let logs = || order("logs");
    let twice = one_by_one().chain([logs()]).chain(again()).collect();
    let at_once = || TYPES.map(Told::inject).into_iter().chain(heard(1));
    let error = TYPES[0];
    let unread = std::iter::repeat_n(error.inject(), UNHEARD).chain([Act::Wait(2), error.heard(1), logs()]);
    let unread = unread.chain([error.inject(), error.heard(2)]).collect();
    let namespace = Act::Control("inject-event", json!({ "kind": "namespace-changed", "nsid": 1 }));
    let notices = std::iter::repeat_n([namespace, Act::Wait(1)], 5).flatten().collect();
    let failed = Act::Control("inject-event", json!({ "kind": "error", "information": 3 }));
    let one_request: Value = json!({ "match": { "queue": "admin", "opcode": 6, "dwords": [{ "number": 10, "mask": 0xff, "value": 1 }] },
        "times": "until-removed", "action": { "kind": "patch", "offset": 259, "bytes": "00" } });
    let late =
        json!({ "match": { "queue": "admin", "opcode": 12 }, "action": { "kind": "delay", "delay-ns": SECOND } });
    vec![
        Case::new("C25", "each type of event, and again when its log was read", within(twice)).shell(),
        Case::new("C25", "all types of events at once", within(at_once().collect())).shell(),
        Case::new("C25", "ten errors whose log nobody reads", within(unread)).shell(),
        Case::new("C25", "five notices of a namespace that is what it was", within(notices)).shell(),
        Case::new("C25", "AERL is 0: one request at a time", within(at_once().collect())).born(one_request).shell(),
        Case::new(
            "C25",
            "an event that is told a second late",
            within([vec![Act::Fault(late)], at_once().collect()].concat()),
        )
        .shell(),
        Case::new(
            "C25",
            "a persistent internal error",
            [copied(64 << 10), vec![failed, Act::Wait(5)], copy(4096).into()].concat(),
        )
        .shell(),
    ]
}
