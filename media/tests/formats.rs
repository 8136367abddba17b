//! Media files of each format that a release has written: they are read as they were left.
//!
//! `cargo nextest run -p brownout-media --run-ignored only -E 'test(the_file_of_this_format_is_written)'` makes the file of a new format,
//! once: a file that is there stays as it is for ever.

mod settled;

use std::fs;
use std::path::{Path, PathBuf};

use media::geometry::GeometryConfig;
use media::ssd::{Ssd, SsdConfig, VolumeConfig};
use media::store::header::VERSION;
use media::store::{FileOptions, FileStore, inspect};
use media::testing::Bytes;
use media::volume::{Fault, MediaError, Request, Source};
use media::{Lba, LbaRange};
use settled::submit_to;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/formats");
/// Bytes of a block, and blocks: of each volume.
const VOLUMES: [(u32, u64); 2] = [(512, 1024), (4096, 64)];
/// Written twice, deallocated, and made unreadable, all in the first volume.
const TWICE: LbaRange = LbaRange::new(Lba(100), 100);
const DEALLOCATED: LbaRange = LbaRange::new(Lba(304), 96);
const UNREADABLE: LbaRange = LbaRange::new(Lba(513), 2);

fn config() -> SsdConfig {
    let user_bytes = VOLUMES.iter().map(|&(block, blocks)| u64::from(block) * blocks).sum();
    SsdConfig {
        geometry: GeometryConfig {
            channels: 1,
            dies_per_channel: 1,
            planes_per_die: 2,
            pages_per_block: 8,
            page_bytes: 4096,
            unit_bytes: 4096,
            user_bytes,
            spare_per_million_of_user: 600_000,
            replacement_blocks_per_plane: 1,
            factory_bad_blocks: 1,
            metadata_bytes_per_unit: 0,
            volumes_max: 0,
        },
        volumes: VOLUMES.map(|(block, blocks)| VolumeConfig::new(block, 0, blocks)).to_vec(),
        power_atomic_bytes: 16 << 10,
        ..SsdConfig::default()
    }
}

/// Blocks of a volume, as they were written the n-th time: each says all over which it is.
struct Written {
    volume: u32,
    first: u64,
    time: u64,
}

impl Source for Written {
    fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        let block = VOLUMES[self.volume as usize].0 as usize;
        for (n, word) in into.chunks_exact_mut(8).enumerate() {
            let lba = self.first + ((offset + 8 * n) / block) as u64;
            let value = u64::from(self.volume) << 40 | self.time << 32 | lba;
            word.copy_from_slice(&value.to_le_bytes());
        }
        Ok(())
    }
}

/// What a block must hold; none if it cannot be read.
fn expected(volume: u32, lba: u64) -> Option<Vec<u8>> {
    let within = |range: LbaRange| volume == 0 && (range.start.0..range.start.0 + range.blocks).contains(&lba);
    let mut bytes = vec![0; VOLUMES[volume as usize].0 as usize];
    if within(UNREADABLE) {
        return None;
    }
    if !within(DEALLOCATED) {
        let time = if within(TWICE) { 2 } else { 1 };
        Written { volume, first: lba, time }.fill(0, &mut bytes).expect("it never fails");
    }
    Some(bytes)
}

fn path_of(version: u32) -> PathBuf {
    Path::new(FOLDER).join(format!("media-{version}.lz4"))
}

#[test]
#[ignore = "makes the file of a new format"]
fn the_file_of_this_format_is_written() {
    let kept = path_of(VERSION);
    if kept.exists() {
        // And must not change.
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (path, config) = (folder.path().join("disk"), config());
    let geometry = config.checked().expect("sound");
    let entries = config.tuning.journal_entries;
    let store = FileStore::create_file(&path, &geometry, entries, FileOptions::default()).expect("a file");
    let mut ssd = Ssd::create(config, store).expect("a drive");
    let mut submit = |volume, request: Request<'_>| assert_eq!(submit_to(&mut ssd, volume, request), Ok(()));
    for (volume, (_, blocks)) in (0..).zip(VOLUMES) {
        for first in (0..blocks).step_by(8) {
            let range = LbaRange::new(Lba(first), 8);
            submit(volume, Request::Write { range, from: &mut Written { volume, first, time: 1 }, force: false });
        }
    }
    let from = &mut Written { volume: 0, first: TWICE.start.0, time: 2 };
    submit(0, Request::Write { range: TWICE, from, force: false });
    submit(0, Request::Deallocate { ranges: &[DEALLOCATED] });
    submit(0, Request::WriteUncorrectable { range: UNREADABLE });
    submit(0, Request::FlushAll);
    // And no shutdown: it is for whoever opens the file to recover it.
    drop(ssd);
    let bytes = fs::read(&path).expect("the file");
    fs::write(kept, lz4_flex::compress_prepend_size(&bytes)).expect("written");
}

#[test]
fn the_file_of_each_format_is_read_as_it_was_left() {
    assert!(path_of(VERSION).exists(), "the present format has its file");
    let folder = tempfile::tempdir().expect("a folder");
    for entry in fs::read_dir(FOLDER).expect("a folder") {
        let kept = entry.expect("a file").path();
        let bytes = lz4_flex::decompress_size_prepended(&fs::read(&kept).expect("a file")).expect("it is whole");
        let path = folder.path().join("disk");
        fs::write(&path, bytes).expect("written");
        let there = inspect(&path).expect("a media file");
        assert!(!there.root.clean, "{}: it was left without a shutdown", kept.display());
        let geometry = config().checked().expect("sound");
        let store = FileStore::open_file(&path, &geometry, FileOptions::default()).expect("a media file");
        let mut ssd = Ssd::open(config(), store).expect("it is recovered");
        for (volume, (block, blocks)) in (0..).zip(VOLUMES) {
            for lba in 0..blocks {
                let mut found = Bytes(vec![0; block as usize]);
                let range = LbaRange::new(Lba(lba), 1);
                let outcome = submit_to(&mut ssd, volume, Request::Read { range, into: &mut found, force: false });
                match expected(volume, lba) {
                    Some(bytes) => assert!(outcome == Ok(()) && found.0 == bytes, "volume {volume}, block {lba}"),
                    None => assert_eq!(outcome, Err(MediaError::UnrecoveredRead { first: Lba(lba) })),
                }
            }
        }
        ssd.ftl().assert_invariants();
        drop(ssd);
        fs::remove_file(&path).expect("removed");
    }
}
