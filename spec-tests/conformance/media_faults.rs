//! Faults and times of the drive behind the namespace, as a host meets them (rules B88, B94 and items 9 and 10 of the media's contract:
//! a fault is a status or nothing at all, and the device never stops for one).

use media::Nanoseconds;
use media::fault::CORRECTABLE_BITS;
use media::nand::timing::NandTimes;
use media::ssd::CacheConfig;
use nvme_host::Host;
use nvme_host::admin::LogArguments;
use nvme_spec::Status;
use nvme_spec::log::{ErrorEntry, LogId, Smart};
use spec_tests::golden::parsed;
use spec_tests::rig::{Build, DriveFaults, MEMORY, Rig, STEP, small_drive};

use crate::support::{read_block, reap_all};
use crate::verbs::bare;

const BLOCK: usize = 4096;

/// A drive of 4 MiB in blocks and units of 4 KiB, with lines of 128 KiB.
fn build(faults: DriveFaults) -> Build {
    let drive = small_drive(4 << 20, 4096);
    Build { namespaces: vec![(4096, 1024)], drive: Some(drive), faults, ..Build::default() }
}

fn smart(host: &mut Host<Rig>) -> Smart {
    parsed(&host.get_log(LogId::SMART, 512, LogArguments::default()).expect("mandatory"))
}

/// B88: an unreadable block is 2/81h with its address in the error log, its neighbours are not touched, and writing heals it. Within
/// the budget of the error correction nobody notices.
#[test]
fn an_unreadable_block_is_a_status_until_it_is_written() {
    let flipped = vec![(1, 5, CORRECTABLE_BITS + 1), (1, 9, CORRECTABLE_BITS)];
    let mut host = build(DriveFaults { flipped, ..DriveFaults::default() }).host();
    let data: Vec<u8> = (0..10 * BLOCK).map(|at| u8::try_from(at / BLOCK + 1).expect("small")).collect();
    // Around the blocks with flipped bits: a write would heal them.
    assert_eq!(host.write(1, 0, &data[..5 * BLOCK], false), Ok(Status::SUCCESS));
    assert_eq!(host.write(1, 6, &data[6 * BLOCK..9 * BLOCK], false), Ok(Status::SUCCESS));
    assert_eq!(host.read(1, 9, 1).expect("carried").0, Status::SUCCESS, "corrected");
    assert_eq!(bare(host.read(1, 4, 3).expect("carried").0), Status::UNRECOVERED_READ);
    let entry: ErrorEntry = parsed(&host.get_log(LogId::ERROR, 64, LogArguments::default()).expect("mandatory"));
    assert_eq!((entry.error_count.get(), entry.lba.get(), entry.nsid.get()), (1, 5, 1));
    assert_eq!(smart(&mut host).media_errors.get(), 1);
    for lba in [4_usize, 6] {
        let (status, read) = host.read(1, lba as u64, 1).expect("carried");
        assert_eq!((status, &read[..]), (Status::SUCCESS, &data[lba * BLOCK..][..BLOCK]), "block {lba}");
    }
    assert_eq!(host.write(1, 5, &data[5 * BLOCK..6 * BLOCK], false), Ok(Status::SUCCESS));
    assert_eq!(host.read(1, 4, 3).expect("carried"), (Status::SUCCESS, data[4 * BLOCK..7 * BLOCK].to_vec()));
}

/// Programs and erases that fail cost spare and nothing else: every write is carried out and reads back.
#[test]
fn failing_programs_and_erases_cost_spare_and_no_data() {
    let faults = DriveFaults { programs: vec![3, 40, 41, 200], erases: vec![(2, 1), (5, 0)], ..DriveFaults::default() };
    let mut host = build(faults).host();
    let block = |pass: u64, lba: u64| vec![u8::try_from((pass * 31 + lba * 7) % 251 + 1).expect("small"); BLOCK];
    for pass in 0..8 {
        for lba in 0..256 {
            assert_eq!(host.write(1, lba, &block(pass, lba), false), Ok(Status::SUCCESS), "pass {pass}, block {lba}");
        }
        assert_eq!(host.flush(1), Ok(Status::SUCCESS));
    }
    for lba in 0..256 {
        assert_eq!(host.read(1, lba, 1).expect("carried"), (Status::SUCCESS, block(7, lba)), "block {lba}");
    }
    let smart = smart(&mut host);
    assert!(smart.available_spare_percent < 100, "blocks were replaced");
    assert_eq!(smart.media_errors.get(), 0, "no data was lost");
}

/// Blocks that are bad at birth are the maker's: the host sees all of its spare.
#[test]
fn blocks_that_are_bad_at_birth_are_not_seen() {
    let mut build = build(DriveFaults::default());
    let drive = build.drive.as_mut().expect("a drive");
    drive.geometry.factory_bad_blocks = 7;
    let mut host = build.host();
    for lba in 0..1024 {
        assert_eq!(host.write(1, lba, &[7; BLOCK], false), Ok(Status::SUCCESS));
    }
    assert_eq!(host.read(1, 1000, 8).expect("carried"), (Status::SUCCESS, vec![7; 8 * BLOCK]));
    assert_eq!(smart(&mut host).available_spare_percent, 100);
}

/// F8, as a host sees it: a read takes the array's time and the transfer's; two of one die take turns, and two of two dies do not.
#[test]
fn a_read_takes_the_time_of_the_nand() {
    let mut build = build(DriveFaults::default());
    let drive = build.drive.as_mut().expect("a drive");
    drive.times = Some(NandTimes::TLC);
    drive.cache = CacheConfig { present: false, ..CacheConfig::default() };
    build.setup.relax_max = 1_000_000;
    let mut host = build.host();
    // Eight pages of four blocks: even ones on the first die, odd ones on the second.
    assert_eq!(host.write(1, 0, &[1; 32 * BLOCK], false), Ok(Status::SUCCESS));
    host.port_mut().wait(Nanoseconds(1_000_000_000));
    let mut duration = |reads: &[u64]| {
        let begun = host.port().now;
        let commands = reads.iter().map(|&lba| read_block(lba, MEMORY.start));
        let submitted: Vec<_> = commands.map(|command| host.submit(1, command).expect("room")).collect();
        let mut ended = 0;
        while ended < submitted.len() {
            assert!(host.port().now.0 - begun.0 < 100_000_000, "reads end");
            host.port_mut().step();
            ended += reap_all(&mut host, 1).len();
        }
        let duration = host.port().now.0 - begun.0;
        host.port_mut().wait(Nanoseconds(1_000_000_000));
        duration
    };
    let alone = NandTimes::TLC.read_ns + NandTimes::TLC.transfer_ns(4096);
    let near = |measured: u64, exact: u64| (exact..exact + 8 * STEP.0).contains(&measured);
    let (one, same, other) = (duration(&[0]), duration(&[0, 8]), duration(&[0, 4]));
    assert!(near(one, alone), "{one} for one read, against {alone}");
    assert!(near(same, 2 * alone), "{same} for two reads of one die");
    assert!(near(other, alone), "{other} for two reads of two dies");
}
