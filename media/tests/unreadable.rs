//! A disk that cannot be read for a while: power does not come back then, nothing is lost, and whoever asks again when the disk is there
//! gets the drive.

use media::geometry::GeometryConfig;
use media::power::{Arming, CutPolicy, Step};
use media::ssd::{CacheConfig, Ssd, SsdConfig, VolumeConfig};
use media::store::{ImageStore, StoreError};
use media::testing::Fill;
use media::testing::OpenDisk;
use media::volume::{Fault, Media, MediaError, Outcome, Request, Sink, Submitted, Token, VolumeId};
use media::{Lba, LbaRange, Nanoseconds};

type Drive = Ssd<ImageStore<OpenDisk>>;

const BLOCKS: u64 = 256;

fn config(capacitors: bool) -> SsdConfig {
    SsdConfig {
        geometry: GeometryConfig {
            channels: 1,
            dies_per_channel: 1,
            planes_per_die: 2,
            pages_per_block: 8,
            page_bytes: 4096,
            unit_bytes: 4096,
            user_bytes: BLOCKS * 4096,
            spare_per_million_of_user: 600_000,
            ..GeometryConfig::default()
        },
        volumes: vec![VolumeConfig::new(4096, 0, BLOCKS)],
        cache: CacheConfig { bytes: 32 << 10, capacitors, ..CacheConfig::default() },
        tuning: media::config::Tuning { journal_entries: 128, ..media::config::Tuning::default() },
        power_atomic_bytes: 4096,
        ..SsdConfig::default()
    }
}

fn drive(capacitors: bool) -> (Drive, OpenDisk) {
    let (config, disk) = (config(capacitors), OpenDisk::default());
    let geometry = config.checked().expect("a configuration");
    let store = ImageStore::create(&geometry, 1 << 20, disk.clone()).expect("memory");
    (Ssd::create(config, store).expect("a drive"), disk)
}

fn submit(drive: &mut Drive, request: Request<'_>) -> Outcome {
    match drive.submit(Nanoseconds(0), Token(1), VolumeId(0), request) {
        Submitted::Done(outcome) => outcome,
        Submitted::Pending => {
            let mut ended = None;
            drive.poll(Nanoseconds(0), &mut |_, outcome| ended = Some(outcome));
            ended.expect("this disk is never late")
        }
    }
}

fn write(drive: &mut Drive, lba: u64, byte: u8, force: bool) -> Outcome {
    let range = LbaRange::new(Lba(lba), 1);
    submit(drive, Request::Write { range, from: &mut Fill(byte), force })
}

/// The first byte of a block.
struct First(u8);

impl Sink for First {
    fn take(&mut self, offset: usize, from: &[u8]) -> Result<(), Fault> {
        if offset == 0 {
            self.0 = from[0];
        }
        Ok(())
    }
}

fn shown(drive: &mut Drive, lba: u64) -> u8 {
    let mut first = First(0xaa);
    let range = LbaRange::new(Lba(lba), 1);
    assert_eq!(submit(drive, Request::Read { range, into: &mut first, force: false }), Ok(()));
    first.0
}

/// Overwrites until lines were collected; then block n holds n + 1, and block 7 holds 99, which is in the cache alone.
fn used(capacitors: bool) -> (Drive, OpenDisk) {
    let (mut drive, disk) = drive(capacitors);
    for round in [5, 3, 1] {
        for lba in 0..BLOCKS {
            assert_eq!(write(&mut drive, lba, lba.to_le_bytes()[0].wrapping_add(round), false), Ok(()));
        }
    }
    assert_eq!(submit(&mut drive, Request::Flush), Ok(()));
    assert_eq!(write(&mut drive, 7, 99, false), Ok(()));
    (drive, disk)
}

/// Whatever read fails, of recovery or of putting down what survives, the drive is there once all of them succeed.
#[test]
fn power_that_could_not_come_back_comes_back_once_the_disk_can_be_read() {
    for (capacitors, expected) in [(false, 8), (true, 99)] {
        for step in [1, 7, 30] {
            let (mut drive, disk) = used(capacitors);
            disk.fail_reads_after(Some(0));
            let report = drive.cut(&CutPolicy::NoneSurvive.into());
            assert_eq!((report.entries.len(), report.entries[0].survives()), (1, capacitors));
            let (mut tries, mut reads) = (0, 0);
            let recovery = loop {
                disk.fail_reads_after(Some(reads));
                // An arming of an attempt that failed does not stay.
                let arming = (tries == 0).then_some(Arming::Hit(Step::RecoveryDone, 1));
                match drive.restore(arming) {
                    Ok(recovery) => break recovery,
                    Err(error) => assert!(matches!(error, StoreError::Failed(_)), "{error}"),
                }
                assert!(drive.breaker().lost() && drive.breaker().arming().is_none());
                assert_eq!(write(&mut drive, 0, 0, false), Err(MediaError::PowerLost));
                (tries, reads) = (tries + 1, reads + step);
            };
            assert!(tries > 1, "{tries} tries");
            disk.fail_reads_after(None);
            assert!(!recovery.clean && !drive.breaker().lost());
            assert_eq!(drive.status().counters.power_cycles, 2, "those that failed were none");
            drive.ftl().assert_invariants();
            for lba in (0..BLOCKS).filter(|lba| *lba != 7) {
                assert_eq!(shown(&mut drive, lba), lba.to_le_bytes()[0].wrapping_add(1), "block {lba}");
            }
            assert_eq!(shown(&mut drive, 7), expected);
            // And it is a drive like any other.
            assert_eq!(write(&mut drive, 7, 5, true), Ok(()));
            drive.cut(&CutPolicy::NoneSurvive.into());
            drive.restore(None).expect("nothing fails any more");
            assert_eq!(shown(&mut drive, 7), 5);
        }
    }
}

/// What is collected cannot be left out: a drive whose victim cannot be read takes nothing more, and still shows everything.
#[test]
fn a_drive_whose_lines_cannot_be_read_for_collection_takes_nothing_more_and_loses_nothing() {
    let (mut drive, disk) = used(false);
    assert_eq!(submit(&mut drive, Request::Flush), Ok(()));
    disk.fail_reads_after(Some(0));
    let (mut refused, mut accepted) = (None, 0);
    for n in 0..10 * BLOCKS {
        let outcome = write(&mut drive, n % 2, 200, false);
        if outcome != Ok(()) {
            refused = Some(outcome);
            break;
        }
        accepted += 1;
    }
    assert!(matches!(refused, Some(Err(MediaError::WriteFailed { .. }))), "{refused:?}");
    assert!(drive.status().read_only);
    disk.fail_reads_after(None);
    assert!(
        (2..BLOCKS).filter(|lba| *lba != 7).all(|lba| shown(&mut drive, lba) == lba.to_le_bytes()[0].wrapping_add(1))
    );
    assert_eq!((shown(&mut drive, 0), shown(&mut drive, 7)), (if accepted > 0 { 200 } else { 1 }, 99));
    drive.cut(&CutPolicy::NoneSurvive.into());
    drive.restore(None).expect("it can be read");
    assert!(!drive.status().read_only);
    assert_eq!(write(&mut drive, 3, 4, true), Ok(()));
}
