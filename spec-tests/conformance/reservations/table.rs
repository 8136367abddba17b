//! RES14: the table of conflicts, typed by hand, command by command and host by host; and what does not ask it (RES13).

use media::Nanoseconds;
use nvme_host::admin::{LogArguments, get_feature_command};
use nvme_host::io::{block_command, copy_command, nvm_command};
use nvme_host::reservation::{acquire_command, register_command, report_command};
use nvme_spec::command::{DATASET_DEALLOCATE, fuse};
use nvme_spec::feature::{FeatureId, select};
use nvme_spec::log::LogId;
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::reservation::{ReservationType, acquire_action, register_action};
use nvme_spec::{Command, NSID_ALL, Status};

use super::{CONFLICT, OK, Party, TYPES, acquire, clear, preempt, register, registering, release, some, summary};
use crate::verbs::bare;

/// Who may do a command: everybody, registrants, or the holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum May {
    All,
    Registrants,
    Holder,
}
use May::{All, Holder, Registrants};

/// For the types 1 to 6.
const READ: [May; 6] = [All, Holder, All, Registrants, All, Registrants];
const WRITE: [May; 6] = [Holder, Holder, Registrants, Registrants, Registrants, Registrants];
const ACQUIRE: [May; 6] = [Holder, Holder, Holder, Holder, Registrants, Registrants];
const OF_REGISTRANTS: [May; 6] = [Registrants; 6];
const ANYBODY: [May; 6] = [All; 6];

/// The hosts of the table, by their controllers: the holder on two of them, another registrant, a host that is not registered, and one
/// that has no name.
const NAMES: [u8; 5] = [1, 1, 2, 3, 0];
const KEYS: [u64; 5] = [0xa, 0xa, 0xb, 0xa, 0xb];

/// What each host is to the reservation: it holds it, it is registered.
const ARE: [(bool, bool); 5] = [(true, true), (true, true), (false, true), (false, false), (false, false)];

type Try = (&'static str, [May; 6], fn(&mut Party, u64, ReservationType) -> Status);

/// A command with a page of data, zeroes or a list of ranges.
fn with_page(host: &mut Party, command: Command, bytes: &[u8]) -> Status {
    bare(host.execute_out(1, command, bytes).expect("answered").status())
}

fn over(opcode: NvmOpcode, lba: u64) -> Command {
    block_command(opcode, 1, lba, 1)
}

fn fused(host: &mut Party) -> Status {
    let page = host.allocate(4096).expect("room");
    host.write_memory(page, &[0; 4096]);
    let half = |opcode, which| Command { flags: which, prp1: page.into(), ..over(opcode, 700) };
    let commands = [half(NvmOpcode::COMPARE, fuse::FIRST), half(NvmOpcode::WRITE, fuse::SECOND)];
    let cids = commands.map(|command| host.submit_quietly(1, command).expect("room"));
    host.ring(1).expect("rung");
    let [first, second] = cids.map(|cid| bare(host.wait(1, cid).expect("answered").status()));
    host.release(page);
    // The half that the reservation lets pass fails with the other.
    if first == Status::FAILED_FUSED { second } else { first }
}

/// Commands over blocks.
const OVER_BLOCKS: [Try; 12] = [
    ("Read", READ, |host, _, _| bare(host.read(1, 0, 1).expect("answered").0)),
    ("Compare", READ, |host, _, _| bare(host.compare(1, 700, &[0; 512]).expect("answered"))),
    ("Verify", READ, |host, _, _| bare(host.io(over(NvmOpcode::VERIFY, 0)).expect("answered"))),
    ("Write", WRITE, |host, _, _| bare(host.write(1, 1, &[1; 512], false).expect("answered"))),
    ("Write with FUA", WRITE, |host, _, _| bare(host.write(1, 1, &[1; 512], true).expect("answered"))),
    ("Write Zeroes", WRITE, |host, _, _| bare(host.write_zeroes(1, 2, 1, true).expect("answered"))),
    ("Write Uncorrectable", WRITE, |host, _, _| bare(host.write_uncorrectable(1, 9, 1).expect("answered"))),
    ("Dataset Management", WRITE, |host, _, _| bare(host.deallocate(1, &[(20, 4)]).expect("answered"))),
    ("a hint", WRITE, |host, _, _| {
        let command =
            Command { cdw11: (!DATASET_DEALLOCATE & 0b11).into(), ..nvm_command(NvmOpcode::DATASET_MANAGEMENT, 1) };
        with_page(host, command, &[0; 16])
    }),
    ("Flush", WRITE, |host, _, _| bare(host.flush(1).expect("answered"))),
    ("Flush of all", WRITE, |host, _, _| bare(host.flush(NSID_ALL).expect("answered"))),
    ("Compare and Write", WRITE, |host, _, _| fused(host)),
];

/// What is about the reservation itself, or not about the namespace's data.
const OTHERS: [Try; 9] = [
    ("Acquire of that type", ACQUIRE, |host, key, rtype| acquire(host, key, rtype)),
    ("Release", OF_REGISTRANTS, |host, key, rtype| release(host, key, rtype)),
    ("Clear", OF_REGISTRANTS, |host, key, _| clear(host, key)),
    ("Preempt", OF_REGISTRANTS, |host, key, rtype| preempt(host, [key, 0xb], rtype)),
    ("Register", ANYBODY, |host, key, _| register(host, key)),
    ("Replace", ANYBODY, |host, key, _| registering(host, 2, true, [0, key])),
    ("Report", ANYBODY, |host, _, _| {
        bare(host.execute_in(1, report_command(1, 24, false), 24).expect("answered").0.status())
    }),
    ("Identify and a log", ANYBODY, |host, _, _| {
        host.identify_namespace(1).expect("active");
        host.get_log(LogId::ERROR, 64, LogArguments::default()).map_or(CONFLICT, |_| OK)
    }),
    ("a feature", ANYBODY, |host, _, _| {
        let command = Command { nsid: 1.into(), ..get_feature_command(FeatureId::ERROR_RECOVERY, select::CURRENT) };
        bare(host.execute(0, command).expect("answered").status())
    }),
];

/// Copy, by what its two halves need: in one namespace both must be allowed, so only writing counts where reading is free.
const COPY: Try = ("Copy", WRITE, |host, _, _| {
    let (command, list) = copy_command(1, &[(0, 1)], 30, false);
    with_page(host, command, zerocopy::IntoBytes::as_bytes(&list[..]))
});

fn expected(may: May, (holds, registered): (bool, bool), rtype: ReservationType) -> Status {
    let holds = holds || registered && rtype.0 >= 5;
    let allowed = match may {
        All => true,
        Registrants => registered,
        Holder => holds,
    };
    if allowed { OK } else { CONFLICT }
}

#[test]
fn the_whole_table_of_conflicts() {
    let mut hosts = some(NAMES);
    for (index, rtype) in TYPES.into_iter().enumerate() {
        for (what, may, carry_out) in OVER_BLOCKS.into_iter().chain(OTHERS).chain([COPY]) {
            for who in 0..NAMES.len() {
                assert_eq!([register(&mut hosts[0], 0xa), register(&mut hosts[2], 0xb)], [OK; 2]);
                assert_eq!(acquire(&mut hosts[1], 0xa, rtype), OK);
                let status = carry_out(&mut hosts[who], KEYS[who], rtype);
                let case = format!("{what} by host {who} of {NAMES:?} under {rtype:?}");
                assert_eq!(status, expected(may[index], ARE[who], rtype), "{case}");
                // Whatever is left, somebody clears it: a new registration of the first host may.
                registering(&mut hosts[0], 2, true, [0, 0xa]);
                assert_eq!(clear(&mut hosts[0], 0xa), OK, "{case}");
            }
        }
    }
}

/// Another namespace is none of the reservation's business, for whatever command.
#[test]
fn a_reservation_is_of_one_namespace() {
    let [mut one, mut two] = some([1, 2]);
    assert_eq!((register(&mut one, 1), acquire(&mut one, 1, TYPES[1])), (OK, OK));
    let elsewhere = register_command(2, register_action::REGISTER, false, 0);
    assert_eq!(bare(one.register_key(elsewhere, 0, 1).expect("answered")), OK, "registered there, too");
    assert_eq!(bare(two.write(2, 0, &[7; 512], false).expect("answered")), OK);
    assert_eq!(two.read(2, 0, 1).expect("answered"), (OK, vec![7; 512]));
    assert_eq!(bare(two.flush(2).expect("answered")), OK);
    assert_eq!(bare(two.flush(NSID_ALL).expect("answered")), CONFLICT, "one of them is reserved");
    assert_eq!(two.reservation_report(2, false).expect("reported").status.rtype, 0);
}

/// RES13: a reservation that is made later stops no command under way, nor one that waits for it.
#[test]
fn a_reservation_stops_no_command_that_began_before() {
    let [mut one, mut two] = some([1, 2]);
    let latency = Nanoseconds(1_000_000);
    assert_eq!(register(&mut one, 1), OK);
    one.port().world().behaviour.borrow_mut().latency = Some(latency);
    let page = two.allocate(4096).expect("room");
    two.write_memory(page, &[5; 4096]);
    let write = Command { prp1: page.into(), ..block_command(NvmOpcode::WRITE, 1, 10, 4) };
    let cids = [0; 2].map(|_| two.submit(1, write).expect("room"));
    two.port().world().run_until_idle();
    assert_eq!(acquire(&mut one, 1, TYPES[1]), OK);
    let late = two.submit(1, write).expect("room");
    for _ in 0..2 {
        let mut world = two.port().world();
        world.now = world.now.plus(latency);
        world.run_until_idle();
    }
    for cid in cids {
        assert_eq!(bare(two.poll(1, cid).expect("answered").status()), OK);
    }
    assert_eq!(bare(two.poll(1, late).expect("answered").status()), CONFLICT);
    assert_eq!(summary(&mut one), (2, vec![(0, 1, true)]));
}

/// While a namespace is reserved its Reads and Writes are asked for one by one, and those of others go the fast path as before.
#[test]
fn only_commands_of_a_reserved_namespace_leave_the_fast_path() {
    let [mut one, mut two] = some([1, 2]);
    let fast = |host: &mut Party, nsid: u32| {
        host.port().world().behaviour.borrow_mut().fast = 0;
        assert_eq!(bare(host.write(nsid, 0, &[1; 512], false).expect("answered")), OK);
        assert_eq!(bare(host.read(nsid, 0, 1).expect("answered").0), OK);
        let world = host.port().world();
        world.behaviour.borrow().fast
    };
    let usual = fast(&mut one, 1);
    assert_eq!(fast(&mut two, 2), usual);
    assert_eq!((summary(&mut one), fast(&mut one, 1)), ((0, vec![]), usual), "asking reserves nothing");
    assert_eq!((register(&mut one, 1), register(&mut two, 2)), (OK, OK));
    assert_eq!(acquire(&mut one, 1, TYPES[2]), OK);
    for host in [&mut one, &mut two] {
        assert_eq!((fast(host, 1), fast(host, 2)), (0, usual));
    }
    assert_eq!(release(&mut one, 1, TYPES[2]), OK);
    for host in [&mut one, &mut two] {
        assert_eq!((fast(host, 1), fast(host, 2)), (usual, usual));
    }
    // A host without a name takes what it holds away when its controller is reset.
    let [mut one, mut two] = some([0, 2]);
    assert_eq!((register(&mut one, 1), register(&mut two, 2), acquire(&mut one, 1, TYPES[4])), (OK, OK, OK));
    assert_eq!((registering(&mut two, 1, false, [2, 0]), summary(&mut two).0), (OK, 5));
    one.start().expect("reset and enabled");
    assert_eq!((fast(&mut two, 1), summary(&mut two).0), (usual, 0));
}

/// RES13: a command is asked for when it begins, also right behind the one that made the reservation, in the same queue.
#[test]
fn a_reservation_counts_from_the_next_command_on() {
    let [mut one, mut two] = some([1, 2]);
    assert_eq!((register(&mut one, 1), register(&mut two, 2)), (OK, OK));
    let page = one.allocate(4096).expect("room");
    let keys = one.allocate(4096).expect("room");
    one.write_memory(keys, &1_u64.to_le_bytes());
    let at = |command: Command, prp1: u64| Command { prp1: prp1.into(), ..command };
    let commands = [
        at(acquire_command(1, acquire_action::ACQUIRE, TYPES[4]), keys),
        at(block_command(NvmOpcode::WRITE, 1, 0, 1), page),
        // The other registrant holds it still.
        at(register_command(1, register_action::UNREGISTER, false, 0), keys),
        at(block_command(NvmOpcode::WRITE, 1, 0, 1), page),
    ];
    let cids = commands.map(|command| one.submit_quietly(1, command).expect("room"));
    one.ring(1).expect("rung");
    let answers = cids.map(|cid| one.wait(1, cid).expect("answered"));
    assert_eq!(answers.map(|answer| bare(answer.status())), [OK, OK, OK, CONFLICT]);
    assert_eq!(answers.map(|answer| answer.dw0.get()), [0; 4]);
}
