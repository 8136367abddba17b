//! Fixed histories, and what they cost: bytes programmed by reason, erases, what recovery found, and a sum over every outcome on the way.
//! Whoever changes how the drive collects, checkpoints, levels wear or recovers sees here by how much, and says so by a new table:
//! `MEDIA_FIGURES=write` writes it. Nothing in it is a promise by itself; that it changes unnoticed is what must not be.

mod harness;

use std::fmt::Write as _;
use std::fs;

use harness::{Crash, Harness};
use media::geometry::Geometry;
use media::store::{ImageStore, MemoryStore, TwinDisk};
use media::testing::OpenDisk;

fn memory(geometry: &Geometry) -> MemoryStore {
    MemoryStore::new(geometry).expect("memory")
}

fn image(geometry: &Geometry) -> ImageStore<OpenDisk> {
    ImageStore::create(geometry, 4 << 20, OpenDisk::default()).expect("memory")
}

fn failing(geometry: &Geometry) -> ImageStore<TwinDisk> {
    ImageStore::create(geometry, 4 << 20, TwinDisk::new(geometry.config.user_bytes)).expect("memory")
}

fn compare<S: Crash>(kind: &str, make: fn(&Geometry) -> S, seeds: u64, steps: u64) {
    let path = format!("{}/tests/figures/{kind}.txt", env!("CARGO_MANIFEST_DIR"));
    let (writes, known) = (std::env::var("MEDIA_FIGURES").is_ok(), fs::read_to_string(&path).unwrap_or_default());
    let (mut known, mut table) = (known.lines(), String::new());
    for seed in 0..seeds {
        let mut harness = Harness::new(seed, make);
        for _ in 0..steps {
            harness.step();
        }
        harness.finish();
        let line = format!("{seed}: {}", harness.figures());
        assert!(writes || known.next() == Some(&line), "{kind}: {path} says something else than\n{line}");
        writeln!(table, "{line}").expect("a string takes everything");
    }
    if writes {
        fs::create_dir_all(format!("{}/tests/figures", env!("CARGO_MANIFEST_DIR"))).expect("a folder");
        fs::write(&path, table).expect("a file");
    }
}

#[test]
fn a_drive_in_memory_costs_what_it_did() {
    compare("memory", memory, 60, 300);
}

#[test]
fn a_drive_on_a_disk_costs_what_it_did() {
    compare("image", image, 40, 200);
}

#[test]
fn a_drive_on_a_disk_that_fails_costs_what_it_did() {
    compare("failing", failing, 40, 200);
}
