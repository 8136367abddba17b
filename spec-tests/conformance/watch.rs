//! What the controller tells whoever looks on: each hop of a command once, in order, and nothing of I/O commands while nobody listens.

use controller::ControllerId;
use controller::watch::{CommandName, Detail, TraceEvent};
use media::Nanoseconds;
use nvme_host::io::block_command;
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Command, Status};
use spec_tests::racing::RacingMemory;
use spec_tests::rig::Build;
use zerocopy::IntoBytes;

use crate::fused::{page, pair, together};
use crate::support::slow_down;
use crate::verbs::{TestHost, with_prp};

const LATENCY: Nanoseconds = Nanoseconds(1_000_000);

/// What an event is, where it belongs to an I/O command or to its completion.
fn hop(event: &TraceEvent) -> Option<(&'static str, Option<CommandName>)> {
    match *event {
        TraceEvent::Fetched { command, .. } => Some(("fetched", Some(command))),
        TraceEvent::Pointers { command, .. } => Some(("pointers", Some(command))),
        TraceEvent::Piece { command, .. } => Some(("piece", Some(command))),
        TraceEvent::MediaBegun { command } => Some(("begun", Some(command))),
        TraceEvent::MediaEnded { command, .. } => Some(("ended", Some(command))),
        TraceEvent::Completed { command, .. } => Some(("completed", Some(command))),
        TraceEvent::EntryChanged { command, .. } => Some(("changed", Some(command))),
        TraceEvent::CompletionWritten { queue: 1.., .. } => Some(("written", None)),
        _ => None,
    }
    .filter(|(_, command)| command.is_none_or(|command| command.queue != 0))
}

fn hops(host: &mut TestHost) -> Vec<(&'static str, Option<CommandName>)> {
    host.port_mut().controller_mut().take_traced().iter().filter_map(|traced| hop(&traced.event)).collect()
}

fn host() -> TestHost {
    Build { namespaces: vec![(4096, 64)], ..Build::default() }.host()
}

/// One command of each kind, each of which succeeds.
fn some_of_each(host: &mut TestHost) {
    assert!(host.write(1, 3, &[3; 8192], false).expect("answered").is_success());
    assert_eq!(host.read(1, 4, 1).expect("answered").1, [3; 4096]);
    assert!(host.flush(1).expect("answered").is_success());
    assert!(host.compare(1, 3, &[3; 4096]).expect("answered").is_success());
    assert!(host.write_zeroes(1, 5, 2, true).expect("answered").is_success());
    assert!(host.deallocate(1, &[(8, 4)]).expect("answered").is_success());
    assert!(host.copy(1, &[(3, 1)], 9, false).expect("answered").status().is_success());
    let pages = [3, 4].map(|byte| page(host, byte));
    assert_eq!(together(host, &pair([3, 1], pages[0], pages[1])), [Status::SUCCESS; 2]);
}

#[test]
fn commands_that_succeed_are_not_told_while_nobody_listens() {
    let mut host = host();
    let of_commands = |host: &mut TestHost| {
        host.port_mut().controller().recent().filter_map(|traced| hop(&traced.event)).collect::<Vec<_>>()
    };
    some_of_each(&mut host);
    assert_eq!(of_commands(&mut host), []);
    // Admin commands, and what fails, are always kept.
    assert!(!host.read(1, 1 << 40, 1).expect("answered").0.is_success());
    let told: Vec<_> = of_commands(&mut host).into_iter().map(|(hop, _)| hop).collect();
    assert_eq!(told, ["completed"]);
}

#[test]
fn each_hop_of_each_command_is_told_once_and_in_order() {
    let mut host = host();
    host.port_mut().controller_mut().listen(Detail::Commands);
    some_of_each(&mut host);
    let told = hops(&mut host);
    let mut names: Vec<CommandName> = told.iter().filter_map(|(_, name)| *name).collect();
    names.sort_by_key(|name| name.ordinal);
    names.dedup();
    assert_eq!(names.len(), 9, "a fused pair is two commands: {told:?}");
    for name in names {
        let of_it: Vec<_> = told.iter().filter(|(_, of)| *of == Some(name)).map(|(hop, _)| *hop).collect();
        let begins = of_it.iter().position(|hop| *hop == "begun");
        assert_eq!((of_it.first(), of_it.last()), (Some(&"fetched"), Some(&"completed")), "{of_it:?}");
        assert!(begins.is_none_or(|at| of_it[at + 1..] == ["ended", "completed"]), "{of_it:?}");
        for hop in ["fetched", "pointers", "completed"] {
            assert!(of_it.iter().filter(|told| **told == hop).count() <= 1, "{of_it:?}");
        }
    }
    assert_eq!(told.iter().filter(|(hop, _)| *hop == "written").count(), 9);
}

/// An entry belongs to the drive until its completion says that it was fetched (NVMe Base 2.1 section 3.3.1.2).
#[test]
fn an_entry_that_is_changed_too_early_is_told_wherever_it_lies_in_its_queue() {
    let mut host = host();
    host.port_mut().controller_mut().listen(Detail::Memory);
    let buffer = host.allocate(4096).expect("room");
    let read = with_prp(block_command(NvmOpcode::READ, 1, 7, 1), buffer, 0);
    let changed = Command { nsid: 9.into(), ..read };
    for round in 0..5 {
        let queue = host.submission_queue(1).expect("the queue is there");
        let slot = queue.slot(queue.tail);
        let cid = host.submit(1, read).expect("room");
        let rig = &mut host.port_mut().machine;
        let memory = RacingMemory::new(&rig.memory, slot, changed.as_bytes());
        for _ in 0..4 {
            rig.subsystem.step(ControllerId::FIRST, rig.now, &memory, None);
        }
        host.poll(1, cid).expect("answered");
        let told = host.port_mut().controller_mut().take_traced();
        let entries: Vec<u32> = told
            .iter()
            .filter_map(|traced| match traced.event {
                TraceEvent::EntryChanged { entry, .. } => Some(entry.nsid.get()),
                _ => None,
            })
            .collect();
        assert_eq!(entries, [9], "round {round}");
    }
    // What the host leaves alone is not told.
    assert!(host.flush(1).expect("answered").is_success());
    assert!(hops(&mut host).iter().all(|(hop, _)| *hop != "changed"));
}

/// The same section: a slot is the host's again once any completion says that the head has passed it, also while the command that lay there
/// is under way. One that no completion has passed is not.
#[test]
fn an_entry_is_the_hosts_again_once_any_completion_has_passed_it() {
    let changed = |host: &mut TestHost| {
        let told = host.port_mut().controller_mut().take_traced();
        told.iter().filter(|traced| matches!(traced.event, TraceEvent::EntryChanged { .. })).count()
    };
    for (passed, expected) in [(true, 0), (false, 1)] {
        let mut host = host();
        host.port_mut().controller_mut().listen(Detail::Memory);
        let buffer = host.allocate(4096).expect("room");
        let read = with_prp(block_command(NvmOpcode::READ, 1, 7, 1), buffer, 0);
        let slot = {
            let queue = host.submission_queue(1).expect("the queue is there");
            queue.slot(queue.tail)
        };
        slow_down(&host, LATENCY);
        let slow = host.submit(1, read).expect("room");
        host.port_mut().run_until_idle();
        if passed {
            // A command that fails needs no media, and is answered before the other one.
            let outside = Command { nsid: 9.into(), ..read };
            let quick = host.submit(1, outside).expect("room");
            host.wait(1, quick).expect("answered at once");
        }
        host.write_memory(slot, Command::default().as_bytes());
        assert_eq!(changed(&mut host), 0);
        let now = host.port().now;
        host.port_mut().now = now.plus(LATENCY);
        host.wait(1, slow).expect("answered");
        assert_eq!(changed(&mut host), expected, "passed by another completion: {passed}");
    }
}
