//! Format NVM (rules FMT1 to FMT14; NVMe Base 2.1 section 5.1.10, NVM Command Set 1.1 section 4.1.2), on a drive whose namespaces come and go
//! and on one that keeps those that it was made with.

use controller::config::NamespaceOptions;
use media::Nanoseconds;
use media::geometry::GeometryConfig;
use media::power::{Arming, Cut};
use media::ssd::SsdConfig;
use nvme_host::admin::{LogArguments, admin_command};
use nvme_host::io::block_command;
use nvme_host::{Host, Port};
use nvme_spec::feature::{EVENT_NAMESPACE_ATTRIBUTE, FeatureId, HOST_BEHAVIOR_BYTES};
use nvme_spec::identify::{Cns, FormattedSize};
use nvme_spec::log::{CHANGED_NAMESPACES_BYTES, LogId};
use nvme_spec::opcode::{AdminOpcode, NvmOpcode};
use nvme_spec::{Command, NSID_ALL, Status};
use spec_tests::rig::{Build, Rig, small_drive};

use crate::namespace_management::{CAPACITY, F512, F4096, MOST, build, host, made};
use crate::verbs::bare;

/// Format NVM: `more` is what dword 10 has beside the number of the format.
fn command(nsid: u32, format: u8, more: u32) -> Command {
    let number = u32::from(format);
    let dword = number & 0xf | (number >> 4) << 12 | more;
    Command { nsid: nsid.into(), cdw10: dword.into(), ..admin_command(AdminOpcode::FORMAT) }
}

fn format<P: Port>(host: &mut Host<P>, nsid: u32, format: u8, more: u32) -> Status {
    bare(host.execute(0, command(nsid, format, more)).expect("answered").status())
}

/// SES 001b,
const ERASE: u32 = 1 << 9;
/// and 010b: the cryptographic one.
const ERASE_BY_KEY: u32 = 2 << 9;

/// Reads a block as it is now, whatever the host remembers of it.
fn read<P: Port>(host: &mut Host<P>, nsid: u32, lba: u64) -> (Status, Vec<u8>) {
    let bytes = 1 << host.identify_namespace(nsid).expect("active").format().lbads;
    // Where metadata is apart, it has a place.
    let metadata = host.allocate(4096).expect("room");
    let command = Command { mptr: metadata.into(), ..block_command(NvmOpcode::READ, nsid, lba, 1) };
    let (answer, data) = host.execute_in(1, command, bytes).expect("room");
    host.release(metadata);
    (bare(answer.status()), data)
}

fn write<P: Port>(host: &mut Host<P>, nsid: u32, lba: u64, byte: u8) -> Status {
    let bytes = 1 << host.identify_namespace(nsid).expect("active").format().lbads;
    let metadata = host.allocate(4096).expect("room");
    let command = Command { mptr: metadata.into(), ..block_command(NvmOpcode::WRITE, nsid, lba, 1) };
    let answer = host.execute_out(1, command, &vec![byte; bytes]).expect("room");
    host.release(metadata);
    bare(answer.status())
}

/// FMT7, FMT8: every format that is offered can be had; the namespace is empty then, has as many bytes, and all its fields fit together.
#[test]
fn every_format_that_is_offered_can_be_had_and_leaves_nothing_of_what_was_there() {
    for mut host in [host(), Build { namespaces: vec![(512, 2048)], ..build_fixed() }.host()] {
        if host.active_namespaces(0) == Ok(vec![]) {
            made(&mut host, 2048, F512, &[0]);
        }
        let count = host.identify_namespace(1).expect("active").nlbaf_z + 1;
        assert!(count >= 4);
        for number in (0..count).chain((0..count).rev()) {
            assert_eq!(write(&mut host, 1, 3, 0x77), Status::SUCCESS);
            assert_eq!(host.write_uncorrectable(1, 1, 1).expect("answered"), Status::SUCCESS);
            let erase = [0, ERASE, ERASE_BY_KEY][usize::from(number % 3)];
            assert_eq!(format(&mut host, 1, number, erase), Status::SUCCESS, "{number}");
            let data = host.identify_namespace(1).expect("active");
            assert_eq!(data.format_index(), number);
            let wanted = data.lbaf[usize::from(number)];
            assert_eq!(data.nsze.get() << wanted.lbads, 1 << 20, "FMT8: as many bytes");
            assert_eq!((data.ncap, data.nuse.get(), data.nvmcap.get()), (data.nsze, 0, 1 << 20));
            assert_eq!(data.fpi, 0x80, "FMT6: nothing is left of it");
            for lba in 0..4 {
                let zeroes = vec![0; 1 << wanted.lbads];
                assert_eq!(read(&mut host, 1, lba), (Status::SUCCESS, zeroes), "FMT7: {number}, block {lba}");
            }
        }
    }
}

/// A drive that keeps its namespaces, with room for metadata of none.
fn build_fixed() -> Build {
    Build { drive: Some(small_drive(CAPACITY, 4096)), ..Build::default() }
}

/// FMT2, and FMT1 of identifiers: what cannot be is refused, and nothing was done.
#[test]
fn what_cannot_be_formatted_is_refused_and_stays() {
    let mut host = host();
    made(&mut host, 100, F512, &[0]);
    assert_eq!(write(&mut host, 1, 3, 0x77), Status::SUCCESS);
    for (nsid, number, more, status) in [
        (1, 12, 0, Status::INVALID_FORMAT),
        (1, 63, 0, Status::INVALID_FORMAT),
        (1, F4096, 1 << 5, Status::INVALID_FORMAT),
        (1, F4096, 1 << 8, Status::INVALID_FORMAT),
        (1, F4096, 3 << 9, Status::INVALID_FIELD),
        (1, F4096, 7 << 9, Status::INVALID_FIELD),
        (0, F4096, 0, Status::INVALID_NAMESPACE),
        (MOST + 1, F4096, 0, Status::INVALID_NAMESPACE),
        (2, F4096, 0, Status::INVALID_FIELD),
    ] {
        assert_eq!(format(&mut host, nsid, number, more), status, "{nsid} {number} {more:#x}");
    }
    // Seven blocks of 512 bytes make none of 4096.
    made(&mut host, 7, F512, &[0]);
    assert_eq!(format(&mut host, 2, F4096, 0), Status::INVALID_FORMAT);
    assert_eq!(format(&mut host, NSID_ALL, F4096, 0), Status::INVALID_FORMAT, "all, or none");
    assert_eq!(host.identify_namespace(1).expect("active").format_index(), F512);
    assert_eq!(read(&mut host, 1, 3), (Status::SUCCESS, vec![0x77; 512]));
    // What has no formats offers none of it.
    let mut plain = Build::default().over_memory().host();
    assert_eq!(format(&mut plain, 1, 0, 0), Status::INVALID_OPCODE);
}

/// FMT1: a broadcast is about what this controller has; one that has nothing succeeds.
#[test]
fn a_broadcast_formats_what_this_controller_has() {
    let mut hosts = build().hosts(2);
    hosts.iter_mut().for_each(|host| host.create_queue_pair(1, 64, Some(1)).expect("room"));
    let [one, two] = hosts.as_mut_slice() else { panic!("two were asked for") };
    assert_eq!(format(one, NSID_ALL, F4096, 0), Status::SUCCESS);
    made(one, 64, F512, &[0]);
    made(one, 64, F512, &[0, 1]);
    made(one, 64, F512, &[1]);
    let formats = |host: &mut Host<_>, nsids: [u32; 2]| {
        nsids.map(|nsid| Host::identify_namespace(host, nsid).expect("active").format_index())
    };
    assert_eq!(format(one, NSID_ALL, F4096, 0), Status::SUCCESS);
    assert_eq!(formats(one, [1, 2]), [F4096; 2]);
    assert_eq!(formats(two, [2, 3]), [F4096, F512]);
    // The scope of one is that one, whoever has it.
    assert_eq!(format(one, 3, F4096, 0), Status::SUCCESS);
    assert_eq!(formats(two, [2, 3]), [F4096; 2]);
}

/// FMT4, FMT5, FMT12: commands under way end first, those that come meanwhile wait for it; other hosts are told, and not who asked for it.
#[test]
fn a_format_waits_for_commands_and_is_told_to_others() {
    let mut hosts = build().hosts(2);
    hosts.iter_mut().for_each(|host| host.create_queue_pair(1, 64, Some(1)).expect("room"));
    let [one, two] = hosts.as_mut_slice() else { panic!("two were asked for") };
    made(one, 64, F4096, &[0, 1]);
    for host in [&mut *one, &mut *two] {
        host.set_feature(FeatureId::ASYNCHRONOUS_EVENTS, EVENT_NAMESPACE_ATTRIBUTE).expect("changeable");
        let _ = host.get_log(LogId::CHANGED_NAMESPACES, CHANGED_NAMESPACES_BYTES, LogArguments::default());
    }
    let requests = [&mut *one, &mut *two].map(|host| host.async_event_request().expect("room"));
    one.port().world().run_until_idle();
    one.port().world().behaviour.borrow_mut().latency = Some(Nanoseconds(1_000_000));
    let page = two.allocate(4096).expect("room");
    let write = Command { prp1: page.into(), ..block_command(NvmOpcode::WRITE, 1, 60, 1) };
    let taken = two.submit(1, write).expect("room");
    one.port().world().run_until_idle();
    let cid = one.submit(0, command(1, F512, 0)).expect("room");
    one.port().world().run_until_idle();
    let later = two.submit(1, write).expect("room");
    one.port().world().run_until_idle();
    assert_eq!((one.poll(0, cid), two.poll(1, taken)), (None, None));
    for _ in 0..10 {
        let mut world = one.port().world();
        world.now = world.now.plus(Nanoseconds(1_000_000));
        world.run_until_idle();
    }
    assert!(two.poll(1, taken).expect("answered").status().is_success());
    assert!(one.poll(0, cid).expect("answered").status().is_success());
    assert!(two.poll(1, later).expect("answered").status().is_success(), "block 60 is one of the new ones");
    one.port().world().behaviour.borrow_mut().latency = None;
    assert_eq!(two.poll(0, requests[1]).expect("told").dw0.get(), 0x0004_0002);
    assert_eq!(one.poll(0, requests[0]), None);
    assert_eq!(read(one, 1, 480), (Status::SUCCESS, vec![0; 512]), "what was written before is gone");
}

/// FMT2 with PI7: a host that knows of extended LBA formats sees more than sixteen, and may choose them.
#[test]
fn extended_formats_are_for_hosts_that_know_of_them() {
    let drive = small_drive(CAPACITY, 16384);
    let geometry = GeometryConfig { volumes_max: 2, metadata_bytes_per_unit: 2048, ..drive.geometry };
    let build =
        Build { drive: Some(SsdConfig { geometry, ..drive }), namespaces: vec![(512, 1024)], ..Build::default() };
    let mut host = build.host();
    assert_ne!(host.identify_controller().expect("mandatory").ctratt.get() & 1 << 15, 0, "ELBAS");
    assert_eq!(host.identify_namespace(1).expect("active").nlbaf_z, 15);
    assert_eq!(format(&mut host, 1, 16, 0), Status::INVALID_NAMESPACE);
    let mut behavior = [0; HOST_BEHAVIOR_BYTES];
    behavior[2] = 1;
    host.set_feature_data(FeatureId::HOST_BEHAVIOR, 0, &behavior).expect("changeable");
    let data = host.identify_namespace(1).expect("active");
    assert_eq!((data.nlbaf_z, data.format_index()), (23, 0));
    assert_eq!(format(&mut host, 1, 23, 0), Status::SUCCESS);
    let data = host.identify_namespace(1).expect("active");
    assert_eq!((data.format_index(), data.format().lbads, data.format().ms.get()), (23, 14, 64));
}

/// Where metadata lies is chosen with the format, and kept with the namespace; a drive of fixed namespaces keeps to its configuration.
#[test]
fn metadata_lies_where_the_format_says() {
    let with_metadata = F512 + 1;
    let mut host = host();
    made(&mut host, 64, F512, &[0]);
    assert_eq!(host.identify_namespace(1).expect("active").mc, 0b11);
    assert_eq!(format(&mut host, 1, with_metadata, 1 << 4), Status::SUCCESS);
    assert!(host.identify_namespace(1).expect("active").has_extended_metadata());
    let (answer, data) = host.execute_in(1, block_command(NvmOpcode::READ, 1, 0, 2), 1040).expect("room");
    assert!(answer.status().is_success() && data == vec![0; 1040]);
    let mut host = restored(host.into_port());
    let data = host.identify_namespace(1).expect("active");
    assert!(data.has_extended_metadata() && data.format_index() == with_metadata, "P1");
    assert_eq!(format(&mut host, 1, F4096, 1 << 4), Status::SUCCESS);
    assert_eq!(
        host.identify_namespace(1).expect("active").flbas & FormattedSize::EXTENDED.bits(),
        0,
        "without any there is no place"
    );

    let separate = NamespaceOptions { ms: 8, ..NamespaceOptions::default() };
    let mut fixed = Build { namespaces: vec![(512, 64)], identities: vec![separate], ..build_fixed() }.host();
    assert_eq!(fixed.identify_namespace(1).expect("active").mc, 0b10);
    assert_eq!(format(&mut fixed, 1, with_metadata, 1 << 4), Status::INVALID_FORMAT);
    assert_eq!(format(&mut fixed, 1, with_metadata, 0), Status::SUCCESS);
}

/// The same machine after a power loss, with a host.
fn restored(mut rig: Rig) -> Host<Rig> {
    rig.subsystem.power_cut(&Cut::default());
    recovered(rig)
}

fn recovered(mut rig: Rig) -> Host<Rig> {
    rig.subsystem.power_restore(None).expect("recovered");
    let mut host = Host::enable(rig, build().setup).expect("the controller comes up");
    host.create_queue_pair(1, 64, Some(1)).expect("room");
    host
}

/// FMT14, P2: a power loss on the way leaves the old format or the new one; old blocks are as they were or empty, new ones empty, and
/// Format works again.
#[test]
fn power_that_goes_in_a_format_leaves_one_of_both() {
    let mut seen = [false; 2];
    for nth in 1.. {
        let mut host = host();
        made(&mut host, 64, F512, &[0]);
        for lba in 0..64 {
            assert_eq!(write(&mut host, 1, lba, 0x77), Status::SUCCESS);
        }
        assert_eq!(host.flush(1), Ok(Status::SUCCESS));
        host.port_mut().subsystem.crash_arm(Arming::AnyStep(nth), Cut::default());
        let cid = host.submit(0, command(1, F4096, ERASE)).expect("room");
        for _ in 0..200 {
            host.port_mut().step();
        }
        let answered = host.poll(0, cid).is_some();
        if host.port_mut().subsystem.power_is_on() {
            assert!(answered);
            break;
        }
        let mut host = recovered(host.into_port());
        let data = host.identify_namespace(1).expect("active");
        let new = data.format_index() == F4096;
        assert!(new || !answered, "step {nth}: what was answered is durable");
        assert_eq!(data.nsze.get(), if new { 8 } else { 64 });
        seen[usize::from(new)] = true;
        for lba in 0..data.nsze.get() {
            let (status, block) = read(&mut host, 1, lba);
            let zeroes = block.iter().all(|byte| *byte == 0);
            assert!(status.is_success() && (zeroes || !new && block == [0x77; 512]), "step {nth}, block {lba}");
        }
        assert_eq!(format(&mut host, 1, F4096, ERASE), Status::SUCCESS);
        assert_eq!(read(&mut host, 1, 7), (Status::SUCCESS, vec![0; 4096]));
    }
    assert_eq!(seen, [true, true], "both were met");
}

/// FMT6, FMT8: whoever asks while a Format is being made durable is told of old blocks or of new ones, and what they take.
#[test]
fn identify_answers_while_a_format_is_made_durable() {
    let mut host = host();
    made(&mut host, 64, F512, &[0]);
    host.port().behaviour.borrow_mut().latency = Some(Nanoseconds(1_000_000));
    let cid = host.submit(0, command(1, F4096, 0)).expect("room");
    for _ in 0..5 {
        host.port_mut().step();
    }
    assert_eq!(host.poll(0, cid), None, "the media has it");
    let data = host.identify_namespace(1).expect("active");
    assert_eq!(data.nvmcap.get(), 64 * 512);
    assert_eq!(data.nsze.get() << data.format().lbads, 64 * 512);
    host.port().behaviour.borrow_mut().latency = None;
    assert!(host.wait(0, cid).expect("answered").status().is_success());
}

/// A reset of the controller that asked for it does not stop a Format that was begun; nothing is answered, and the next command is
/// answered for what it is.
#[test]
fn a_reset_does_not_take_the_answer_of_another_command_for_its_own() {
    let mut host = host();
    made(&mut host, 64, F512, &[0]);
    host.port().behaviour.borrow_mut().latency = Some(Nanoseconds(1_000_000));
    host.submit(0, command(1, F4096, 0)).expect("room");
    host.port_mut().step();
    host.disable().expect("it stops");
    host.start().expect("it comes up");
    host.port().behaviour.borrow_mut().latency = None;
    let data = host.execute_in(
        0,
        Command { cdw10: u32::from(Cns::CONTROLLER.0).into(), ..admin_command(AdminOpcode::IDENTIFY) },
        4096,
    );
    assert!(data.expect("answered").0.status().is_success());
    assert_eq!(host.surprises(), []);
}
