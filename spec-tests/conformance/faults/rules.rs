//! Which faults meet whom: matches, counts, chance, windows, scope, removal, and what cannot be.

use controller::fault::{Action, Dword, FaultSpec, Matching, NamedCommand, Scope, Times, Unlimited, When};
use media::Nanoseconds;
use media::power::Cut;
use nvme_spec::Status;
use spec_tests::rig::Build;

use super::{add, begin_read, blocks, builds, entries, hits, prepared, read_command, reads, state};
use crate::verbs::TestHost;

fn fail() -> Action {
    Action::Status { sct: 7, sc: 0x42, dnr: false, more: false, crd: 0, carried_out: false }
}

/// Which of so many Reads of block 1 fail.
fn failures(host: &mut TestHost, count: usize) -> Vec<bool> {
    let fails = |_| {
        let status = host.read(1, 1, 1).expect("answered").0;
        assert!(status.is_success() || status.kind() == (7, 0x42));
        !status.is_success()
    };
    (0..count).map(fails).collect()
}

#[test]
fn a_fault_meets_only_what_all_conditions_match() {
    for build in builds() {
        let mut host = prepared(&build);
        let fails = |host: &mut TestHost, matching: &Matching, lba: u64, count: u32| {
            let id = add(host, FaultSpec::new(fail()).matching(matching.clone()).always());
            let address = host.allocate(4096).expect("room");
            let status = host.execute(1, read_command(lba, count, address)).expect("answered").status();
            assert!(host.port_mut().controller_mut().fault_remove(id));
            !status.is_success()
        };
        let of = |change: fn(&mut Matching)| {
            let mut matching = reads();
            change(&mut matching);
            matching
        };
        let blocks_8_to_11 = of(|matching| (matching.lba, matching.blocks) = (Some(8), Some(4)));
        let overlaps = [(7, 1), (7, 2), (11, 1), (12, 4), (0, 16)]
            .map(|(lba, count)| fails(&mut host, &blocks_8_to_11, lba, count));
        assert_eq!(overlaps, [false, true, true, false, true]);
        let eight_blocks = of(|matching| (matching.bytes_min, matching.bytes_max) = (Some(4096), Some(4096)));
        assert_eq!([7, 8].map(|count| fails(&mut host, &eight_blocks, 0, count)), [false, true]);
        let force = |value| Dword { number: 12, mask: 1 << 30, value };
        let forced = Matching { dwords: vec![force(1 << 30)], ..reads() };
        let unforced = Matching { dwords: vec![force(0)], ..reads() };
        assert_eq!([forced, unforced].map(|matching| fails(&mut host, &matching, 0, 1)), [false, true]);
        for (matching, expected) in [
            (of(|matching| matching.nsid = Some(2)), false),
            (of(|matching| matching.nsid = Some(1)), true),
            (of(|matching| matching.sqid = Some(2)), false),
            (of(|matching| matching.sqid = Some(1)), true),
            (of(|matching| matching.cid = Some(0xfffe)), false),
            (of(|matching| matching.opcode = Some(1)), false),
            (Matching { opcode: Some(2), ..Matching::default() }, true),
            (Matching::admin_opcode(2), false),
            (Matching { command: Some(NamedCommand::Read), ..Matching::default() }, true),
            (Matching { command: Some(NamedCommand::GetLogPage), ..Matching::default() }, false),
            (of(|matching| matching.before_io = true), false),
            (of(|matching| matching.resets = 1), false),
        ] {
            assert_eq!(fails(&mut host, &matching, 0, 1), expected, "{matching:?}");
        }
        let cid = host.submit(1, read_command(0, 1, 0x10_0000)).expect("room");
        assert!(host.wait(1, cid).is_ok());
    }
}

#[test]
fn hits_are_counted_as_asked() {
    for build in builds() {
        let count = |when: When, times: Option<Times>| {
            let mut host = prepared(&build);
            let id = add(&mut host, FaultSpec { times, ..FaultSpec::new(fail()).matching(reads()).when(when) });
            let failed: Vec<usize> = failures(&mut host, 10)
                .into_iter()
                .enumerate()
                .filter_map(|(index, failed)| failed.then_some(index + 1))
                .collect();
            assert_eq!(hits(&host, id), failed.len() as u64);
            failed
        };
        let all = Some(Times::Word(Unlimited::UntilRemoved));
        assert_eq!(count(When::default(), None), [1]);
        assert_eq!(count(When::default(), Some(Times::Count(3))), [1, 2, 3]);
        assert_eq!(count(When::nth(4), None), [4]);
        assert_eq!(count(When::nth(8), all), [8, 9, 10]);
        assert_eq!(count(When::every(3), None), [3, 6, 9]);
        assert_eq!(count(When { nth: Some(2), ..When::every(4) }, all), [2, 6, 10]);
        assert_eq!(count(When::every(3), Some(Times::Count(2))), [3, 6]);
        let window = When { after_ns: Some(0), for_ns: Some(1), ..When::default() };
        assert_eq!(count(window, all), [0; 0], "over before anything came");
    }
}

#[test]
fn a_window_of_time_opens_and_closes() {
    let mut host = prepared(&Build::default());
    let window = When { after_ns: Some(1_000_000), for_ns: Some(1_000_000), ..When::default() };
    add(&mut host, FaultSpec::new(fail()).matching(reads()).when(window).always());
    let mut at = |nanoseconds| {
        let now = host.port().now;
        host.port_mut().wait(Nanoseconds(nanoseconds));
        assert!(host.port().now >= now);
        failures(&mut host, 1)[0]
    };
    assert_eq!([at(0), at(1_000_000), at(100_000), at(1_000_000)], [false, true, true, false]);
}

/// One seed, one stream for each fault: another fault beside it, which draws too, moves none of its hits.
#[test]
fn chance_is_each_faults_own() {
    for build in builds() {
        let chosen = |seed, beside: bool| {
            let mut host = prepared(&build);
            if beside {
                let other = Action::Delay { delay_ns: 1 };
                add(&mut host, FaultSpec::new(other).matching(reads()).when(When::one_in(2, 99)));
            }
            add(&mut host, FaultSpec::new(fail()).matching(reads()).when(When::one_in(3, seed)));
            failures(&mut host, 60)
        };
        let alone = chosen(5, false);
        assert!(alone.contains(&true) && alone.contains(&false));
        assert_eq!(alone, chosen(5, true));
        assert_ne!(alone, chosen(6, false));
    }
}

#[test]
fn a_fault_is_removed_by_its_number_and_no_other_is() {
    let mut host = prepared(&Build::default());
    let first = add(&mut host, FaultSpec::new(fail()).matching(reads()).always());
    let second = add(&mut host, FaultSpec { id: Some(70), ..FaultSpec::new(fail()).matching(reads()).always() });
    assert_eq!((first, second), (1, 70));
    assert!(host.port_mut().controller_mut().fault_add(FaultSpec { id: Some(70), ..FaultSpec::new(fail()) }).is_err());
    assert_eq!(failures(&mut host, 2), [true; 2]);
    assert!(
        host.port_mut().controller_mut().fault_remove(first) && !host.port_mut().controller_mut().fault_remove(first)
    );
    assert_eq!(failures(&mut host, 1), [true], "the other is there");
    assert_eq!((state(&host, second).met, hits(&host, second)), (3, 3), "both met each");
    assert!(host.port_mut().controller_mut().fault_remove(second));
    assert_eq!(failures(&mut host, 1), [false]);
    assert!(host.port().controller().faults().is_empty());
}

/// What a fault holds back is answered when it is removed.
#[test]
fn removal_ends_what_is_under_way() {
    let mut host = prepared(&Build::default());
    let id = add(&mut host, FaultSpec::new(Action::Delay { delay_ns: u64::MAX }).matching(reads()));
    let (late, _) = begin_read(&mut host, 1);
    assert!(entries(&mut host).is_empty());
    assert!(host.port_mut().controller_mut().fault_remove(id));
    assert_eq!(entries(&mut host).iter().map(|entry| entry.cid.get()).collect::<Vec<_>>(), [late]);
}

#[test]
fn a_reset_drops_the_faults_that_do_not_outlive_it() {
    let mut host = prepared(&Build::default());
    let kept = add(&mut host, FaultSpec::new(Action::Delay { delay_ns: 1 }).matching(reads()).always());
    let dropped = FaultSpec { scope: Scope::UntilReset, ..FaultSpec::new(fail()).matching(reads()).always() };
    add(&mut host, dropped);
    assert_eq!(failures(&mut host, 1), [true]);
    host.start().expect("reset and enabled");
    host.create_queue_pair(1, 64, Some(1)).expect("queues");
    assert_eq!(failures(&mut host, 1), [false]);
    let left: Vec<Option<u32>> = host.port().controller().faults().iter().map(|fault| fault.spec.id).collect();
    assert_eq!((left, hits(&host, kept)), (vec![Some(kept)], 2));
}

/// Faults and their counts outlive a power loss; what they held back does not.
#[test]
fn faults_outlive_a_power_loss() {
    let mut host = prepared(&Build::default());
    let id = add(&mut host, FaultSpec::new(Action::Drop { abortable: false, carried_out: false }).matching(reads()));
    begin_read(&mut host, 1);
    host.port_mut().run_until_idle();
    host.port_mut().cut_power(&Cut::default());
    host.port_mut().restore_power(None).expect("power is back");
    assert_eq!(hits(&host, id), 1);
    host.start().expect("enabled");
    host.create_queue_pair(1, 64, Some(1)).expect("queues");
    assert_eq!(host.read(1, 1, 1).map(|read| read.0), Ok(Status::SUCCESS));
}

/// Answers to commands that take a while are held back like others.
#[test]
fn a_slow_media_and_a_fault_add_up() {
    let mut host = prepared(&Build::default());
    crate::support::slow_down(&host, Nanoseconds(1_000_000));
    add(&mut host, FaultSpec::new(Action::Delay { delay_ns: 1_000_000 }).matching(reads()));
    let (late, address) = begin_read(&mut host, 1);
    host.port_mut().run_until_idle();
    host.port_mut().wait(Nanoseconds(1_500_000));
    assert!(entries(&mut host).is_empty());
    host.port_mut().wait(Nanoseconds(1_000_000));
    assert_eq!(entries(&mut host).iter().map(|entry| entry.cid.get()).collect::<Vec<_>>(), [late]);
    assert_eq!(host.read_memory(address, 512), blocks(1, 1));
}

#[test]
fn what_cannot_be_is_refused_by_its_field() {
    let mut rig = Build::default().rig();
    let mut refused = |spec: FaultSpec| rig.controller_mut().fault_add(spec).expect_err("impossible").to_string();
    let fatal = || FaultSpec::new(Action::Fatal {});
    let status = |sct, crd| Action::Status { sct, sc: 0, dnr: false, more: false, crd, carried_out: false };
    for (spec, expected) in [
        (FaultSpec::new(status(8, 0)), "action.sct: give 0 to 7"),
        (FaultSpec::new(status(0, 4)), "action.crd: give 0 to 3"),
        (fatal().times(0), "times=0: give at least 1, or until-removed"),
        (fatal().when(When::nth(1)), "when=fatal: without a command to match there is nothing to count"),
        (fatal().matching(reads()).when(When::nth(0)), "when.nth=0: give at least 1"),
        (fatal().matching(Matching { blocks: Some(1), ..reads() }), "match.blocks: blocks goes with lba"),
        (
            FaultSpec::new(Action::IgnoreReset {}).matching(reads()),
            "match=ignore-reset: this action happens to no command",
        ),
        (
            fatal().matching(Matching { vector: Some(1), ..Matching::default() }),
            "match.vector=fatal: only interrupts have",
        ),
        (FaultSpec::new(Action::Register { offset: 2, mask: 1, value: 1 }), "action.offset=2: give a multiple of 4"),
        (
            fatal().matching(Matching { dwords: vec![Dword { number: 9, mask: 0, value: 0 }], ..Matching::default() }),
            "match.dwords.number=9: give 10 to 15",
        ),
    ] {
        let found = refused(spec);
        assert!(found.starts_with(expected), "{found}");
    }
    assert!(rig.controller().faults().is_empty());
}
