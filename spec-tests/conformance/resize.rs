//! A namespace that gets another size while its host is there (rules B74, B75, B78, B105, B131; NVMe Base 2.1 sections 5.1.2.1 and
//! 5.1.12.1.5).

use controller::changes::ChangeError;
use media::power::{Arming, Cut, CutPolicy, Step};
use media::{MediaError, Nanoseconds};
use nvme_host::Host;
use nvme_host::admin::LogArguments;
use nvme_host::io::block_command;
use nvme_spec::feature::{EVENT_NAMESPACE_ATTRIBUTE, FeatureId};
use nvme_spec::log::{CHANGED_NAMESPACES_BYTES, EnduranceGroup, LogId};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Command, Status};
use spec_tests::golden::parsed;
use spec_tests::rig::{Build, MEMORY, Rig, small_drive};
use spec_tests::slow_media::Asked;

const BLOCK: usize = 4096;
/// Blocks of the first namespace.
const BLOCKS: u64 = 256;
/// As many as it may have.
const MOST: u64 = 512;
/// SCT and SC of LBA Out of Range.
const OUT_OF_RANGE: (u8, u8) = (0, 0x80);
/// Completion dword 0 of a Namespace Attribute Changed notice.
const NAMESPACE_CHANGED: u32 = 0x0004_0002;

/// A drive of 4 MiB: a namespace with room, and one without.
fn build() -> Build {
    let drive = small_drive(4 << 20, 16384);
    let namespaces = vec![(4096, BLOCKS), (4096, 256)];
    Build { namespaces, room: vec![MOST], drive: Some(drive), ..Build::default() }
}

/// Resizes, and waits for the end.
fn resize(host: &mut Host<Rig>, blocks: u64) -> Result<(), ChangeError> {
    host.port_mut().subsystem.resize(1, blocks)?;
    host.port_mut().run_until_idle();
    host.port_mut().subsystem.changed().expect("it has ended").map(|_| ())
}

fn size(host: &mut Host<Rig>) -> u64 {
    let data = host.identify_namespace(1).expect("active");
    // B105: no thin provisioning, and NUSE within NCAP.
    assert_eq!(data.ncap.get(), data.nsze.get());
    assert!(data.nuse.get() <= data.ncap.get());
    assert_eq!(data.nvmcap.get(), u128::from(data.nsze.get()) * BLOCK as u128);
    data.nsze.get()
}

fn filled(host: &mut Host<Rig>, lba: u64) -> Result<u8, Status> {
    let (status, bytes) = host.read(1, lba, 1).expect("carried");
    assert!(bytes.iter().all(|byte| *byte == bytes[0]), "a torn block");
    if status.is_success() { Ok(bytes[0]) } else { Err(status) }
}

fn write(host: &mut Host<Rig>, lba: u64, byte: u8) -> Status {
    host.write(1, lba, &[byte; BLOCK], false).expect("carried")
}

fn changed(host: &mut Host<Rig>, retain_event: bool) -> Vec<u32> {
    let arguments = LogArguments { retain_event, ..LogArguments::default() };
    let page = host.get_log(LogId::CHANGED_NAMESPACES, CHANGED_NAMESPACES_BYTES, arguments).expect("supported");
    host.port_mut().run_until_idle();
    let listed = page.as_chunks::<4>().0.iter().map(|dword| u32::from_le_bytes(*dword));
    listed.take_while(|nsid| *nsid != 0).collect()
}

fn request(host: &mut Host<Rig>) -> u16 {
    let cid = host.async_event_request().expect("submitted");
    host.port_mut().run_until_idle();
    cid
}

fn reported(host: &mut Host<Rig>, cid: u16) -> Option<u32> {
    host.poll(0, cid).map(|completion| completion.dw0.get())
}

/// B105, B131: Identify follows, what both sizes have is kept, what a shrink dropped is gone for good, and beyond the end there is
/// nothing.
#[test]
fn a_namespace_grows_and_shrinks_under_its_host() {
    let mut host = build().host();
    assert_eq!((write(&mut host, 0, 1), write(&mut host, BLOCKS - 1, 2)), (Status::SUCCESS, Status::SUCCESS));
    assert_eq!(write(&mut host, BLOCKS, 3).kind(), OUT_OF_RANGE);
    assert_eq!((resize(&mut host, MOST), size(&mut host)), (Ok(()), MOST));
    assert_eq!((filled(&mut host, BLOCKS - 1), filled(&mut host, BLOCKS)), (Ok(2), Ok(0)));
    assert_eq!(write(&mut host, MOST - 1, 4), Status::SUCCESS);
    assert_eq!(write(&mut host, MOST, 4).kind(), OUT_OF_RANGE);
    // In the middle of a unit.
    assert_eq!(write(&mut host, 101, 5), Status::SUCCESS);
    assert_eq!((resize(&mut host, 101), size(&mut host)), (Ok(()), 101));
    assert_eq!((filled(&mut host, 0), filled(&mut host, 100)), (Ok(1), Ok(0)));
    assert_eq!(resize(&mut host, MOST), Ok(()));
    assert!([101, BLOCKS - 1, MOST - 1].into_iter().all(|lba| filled(&mut host, lba) == Ok(0)));
    assert_eq!(filled(&mut host, 0), Ok(1));
}

/// B131: every command that names blocks beyond the new end, or across it, ends with LBA Out of Range.
#[test]
fn commands_beyond_the_new_end_are_out_of_range() {
    let mut host = build().host();
    assert_eq!(resize(&mut host, 100), Ok(()));
    for (lba, blocks) in [(100, 1), (99, 2), (255, 1), (96, 8)] {
        let data = vec![0; BLOCK * usize::try_from(blocks).expect("a few")];
        let buffer = host.allocate(data.len()).expect("room");
        let mapping = host.map(buffer, data.len()).expect("room");
        let verify = mapping.on(block_command(NvmOpcode::VERIFY, 1, lba, blocks));
        let statuses = [
            host.read(1, lba, blocks).expect("carried").0,
            host.write(1, lba, &data, false).expect("carried"),
            host.compare(1, lba, &data).expect("carried"),
            host.write_zeroes(1, lba, blocks, true).expect("carried"),
            host.deallocate(1, &[(0, 1), (lba, blocks)]).expect("carried"),
            host.io(verify).expect("carried"),
        ];
        host.unmap(mapping);
        host.release(buffer);
        assert_eq!(statuses.map(Status::kind), [OUT_OF_RANGE; 6], "{blocks} blocks at {lba}");
    }
    assert_eq!(filled(&mut host, 99), Ok(0));
}

/// What no namespace has is unallocated: of the controller, and of the endurance group.
#[test]
fn the_capacity_that_a_namespace_gives_back_is_unallocated() {
    let mut host = build().host();
    let group = LogArguments { specific_identifier: 1, ..LogArguments::default() };
    for blocks in [BLOCKS, 100, MOST] {
        assert_eq!(resize(&mut host, blocks), Ok(()));
        let (all, free) = (u128::from(MOST + 256) * BLOCK as u128, u128::from(MOST - blocks) * BLOCK as u128);
        let controller = host.identify_controller().expect("mandatory");
        assert_eq!((controller.tnvmcap.get(), controller.unvmcap.get()), (all, free));
        let log: EnduranceGroup = parsed(&host.get_log(LogId::ENDURANCE_GROUP, 512, group).expect("supported"));
        assert_eq!((log.total_capacity_bytes.get(), log.unallocated_capacity_bytes.get()), (all, free));
    }
}

/// B74, B75, B78: a host that wants to hear of it gets the notice, the list names the namespace, and reading it without Retain
/// Asynchronous Event empties it and makes the type heard again.
#[test]
fn a_changed_size_is_an_event_and_the_list_names_the_namespace() {
    let mut host = build().host();
    assert_eq!(host.identify_controller().expect("mandatory").oaes.get(), EVENT_NAMESPACE_ATTRIBUTE);
    host.set_feature(FeatureId::ASYNCHRONOUS_EVENTS, EVENT_NAMESPACE_ATTRIBUTE).expect("set");
    assert_eq!(changed(&mut host, false), [0; 0]);
    let cid = request(&mut host);
    assert_eq!(resize(&mut host, 300), Ok(()));
    assert_eq!(reported(&mut host, cid), Some(NAMESPACE_CHANGED));
    let cid = request(&mut host);
    assert_eq!(resize(&mut host, 301), Ok(()));
    assert_eq!(reported(&mut host, cid), None, "the type is silent until the list is read");
    assert_eq!(changed(&mut host, true), [1]);
    assert_eq!(reported(&mut host, cid), None, "retained");
    assert_eq!(changed(&mut host, false), [1]);
    assert_eq!(reported(&mut host, cid), Some(NAMESPACE_CHANGED), "the second one waited");
    assert_eq!(changed(&mut host, false), [0; 0], "read");
    // The same size again is no change, and neither is a refusal.
    let cid = request(&mut host);
    assert_eq!(resize(&mut host, 301), Ok(()));
    assert_eq!(resize(&mut host, MOST + 1), Err(ChangeError::Size { blocks: MOST + 1, most: MOST }));
    // B77: nor is a NUSE that moves.
    assert_eq!(write(&mut host, 0, 1), Status::SUCCESS);
    assert_eq!((reported(&mut host, cid), changed(&mut host, false)), (None, vec![]));
}

/// B76, B78: without the bit in Asynchronous Event Configuration there is no event, and the list is kept all the same.
#[test]
fn without_being_asked_for_there_is_no_event() {
    let mut host = build().host();
    let cid = request(&mut host);
    host.set_feature(FeatureId::ASYNCHRONOUS_EVENTS, !EVENT_NAMESPACE_ATTRIBUTE).expect("set");
    assert_eq!(resize(&mut host, 300), Ok(()));
    assert_eq!((reported(&mut host, cid), changed(&mut host, false)), (None, vec![1]));
}

/// Commands that were taken before end first and know the old size; those behind them wait in their queue and know the new one. The
/// admin queue goes on.
#[test]
fn commands_know_one_size_and_those_under_way_end_first() {
    let mut host = build().host();
    host.create_queue_pair(2, 64, Some(1)).expect("a second queue pair");
    host.port().behaviour.borrow_mut().latency = Some(Nanoseconds(1_000_000));
    let on_page = |command: Command| Command { prp1: (MEMORY.start + 0x20_0000).into(), ..command };
    let last = |opcode| on_page(block_command(opcode, 1, BLOCKS - 1, 1));
    let before = host.submit(1, last(NvmOpcode::WRITE)).expect("room");
    host.port_mut().step();
    host.port_mut().subsystem.resize(1, 100).expect("begun");
    let behind = [(1, NvmOpcode::WRITE), (2, NvmOpcode::READ)]
        .map(|(queue, opcode)| (queue, host.submit(queue, last(opcode)).expect("room")));
    let inside = host.submit(2, on_page(block_command(NvmOpcode::READ, 1, 99, 1))).expect("room");
    for _ in 0..10 {
        host.port_mut().step();
    }
    assert_eq!(host.port().behaviour.borrow().asked, [Asked::Write(false)], "the write is not over");
    assert_eq!(host.port_mut().subsystem.changed(), None);
    assert_eq!(host.port_mut().subsystem.resize(1, 90), Err(ChangeError::Busy));
    assert_eq!(size(&mut host), BLOCKS, "the admin queue goes on");
    host.port_mut().wait(Nanoseconds(1_000_000));
    host.port_mut().run_until_idle();
    assert_eq!(host.poll(1, before).expect("it is over").status(), Status::SUCCESS);
    assert_eq!(host.port().behaviour.borrow().asked, [Asked::Write(false), Asked::Resize(100)]);
    assert!(behind.iter().all(|(queue, cid)| host.poll(*queue, *cid).is_none()), "they wait for the media");
    host.port_mut().wait(Nanoseconds(1_000_000));
    host.port_mut().run_until_idle();
    assert_eq!(host.port_mut().subsystem.changed(), Some(Ok(0)));
    assert_eq!(size(&mut host), 100);
    for (queue, cid) in behind {
        let status = host.poll(queue, cid).expect("taken at last").status();
        assert_eq!(status.kind(), OUT_OF_RANGE);
    }
    host.port_mut().wait(Nanoseconds(1_000_000));
    host.port_mut().run_until_idle();
    assert_eq!(host.poll(2, inside).expect("answered").status(), Status::SUCCESS);
}

/// A reset takes the commands away and not the order.
#[test]
fn a_reset_meanwhile_does_not_stop_it() {
    let mut host = build().host();
    host.port().behaviour.borrow_mut().latency = Some(Nanoseconds(1_000_000));
    let command = Command { prp1: (MEMORY.start + 0x20_0000).into(), ..block_command(NvmOpcode::READ, 1, 0, 1) };
    host.submit(1, command).expect("room");
    host.port_mut().step();
    host.port_mut().subsystem.resize(1, 300).expect("begun");
    host.start().expect("reset and enabled");
    host.create_queue_pair(1, 64, Some(1)).expect("free again");
    host.port_mut().wait(Nanoseconds(2_000_000));
    host.port_mut().run_until_idle();
    assert_eq!(host.port_mut().subsystem.changed(), Some(Ok(0)));
    assert_eq!((size(&mut host), changed(&mut host, false)), (300, vec![1]));
}

/// What cannot be is refused and changes nothing; a media that fails says so, and the namespace is as the media has it.
#[test]
fn what_cannot_be_is_refused() {
    let mut host = build().host();
    let rig = host.port_mut();
    assert_eq!(rig.subsystem.resize(3, 1), Err(ChangeError::NoSuchNamespace(3)));
    assert_eq!(rig.subsystem.resize(1, 0), Err(ChangeError::Size { blocks: 0, most: MOST }));
    assert_eq!(rig.subsystem.resize(2, 257), Err(ChangeError::Size { blocks: 257, most: 256 }));
    rig.behaviour.borrow_mut().failure = Some(MediaError::NoSpace);
    assert_eq!(resize(&mut host, 300), Err(ChangeError::Media(MediaError::NoSpace)));
    host.port().behaviour.borrow_mut().failure = None;
    // This media did it all the same, and then failed.
    assert_eq!((size(&mut host), changed(&mut host, false)), (300, vec![1]));
    host.port_mut().subsystem.power_cut(&Cut::default());
    assert_eq!(host.port_mut().subsystem.resize(1, 1), Err(ChangeError::NoPower));
}

/// Power that goes in the middle leaves the old size or the new one, and whoever ordered it hears that it went.
#[test]
fn power_that_goes_meanwhile_leaves_one_of_both_sizes() {
    let mut sizes = std::collections::BTreeSet::new();
    for policy in [CutPolicy::NoneSurvive, CutPolicy::AllSurvive] {
        for nth in 1.. {
            let mut host = build().host();
            for lba in [3, 101, BLOCKS - 1] {
                assert_eq!(write(&mut host, lba, 7), Status::SUCCESS);
            }
            assert_eq!(host.flush(1).expect("carried"), Status::SUCCESS);
            host.port_mut().run_until_idle();
            let cut = Cut { policy: policy.clone(), ..Cut::default() };
            host.port_mut().subsystem.crash_arm(Arming::AnyStep(nth), cut);
            host.port_mut().subsystem.resize(1, 101).expect("begun");
            host.port_mut().run_until_idle();
            if host.port().subsystem.power_is_on() {
                assert_eq!(host.port_mut().subsystem.changed(), Some(Ok(0)));
                break;
            }
            assert_eq!(host.port_mut().subsystem.changed(), Some(Err(ChangeError::NoPower)));
            let step = host.port().subsystem.crash().expect("reported").step;
            assert_ne!(step, Some(Step::CommandFetched.name()), "no command was under way");
            host.port_mut().subsystem.power_restore(None).expect("recovers");
            host.start().expect("comes up");
            host.create_queue_pair(1, 64, Some(1)).expect("free again");
            let size = size(&mut host);
            assert_eq!(filled(&mut host, 3), Ok(7));
            sizes.insert(size);
            assert_eq!(resize(&mut host, MOST), Ok(()));
            // What was dropped may be there if the size is the old one, and not otherwise.
            let dropped = [101, BLOCKS - 1].map(|lba| filled(&mut host, lba).expect("readable"));
            assert!(dropped == [0, 0] || size == BLOCKS, "{size}: {dropped:?} at {step:?}");
        }
    }
    assert_eq!(sizes, std::collections::BTreeSet::from([101, BLOCKS]));
}
