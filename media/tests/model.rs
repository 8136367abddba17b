//! The drive against a plain map of block → versions, over random requests, small geometries and power losses at random places.
//!
//! What is checked after each loss (the contract is in `volume.rs`): a block shows the last version that was promised to be durable
//! or a later one, whole; a write of at most the atomic unit is there wholly or not at all; what was read once stays. After each
//! step the ledger balances, and every so often all invariants of the translation layer are asserted.
//!
//! `MEDIA_SEED=n` runs one seed, `MEDIA_CASES=n` and `MEDIA_STEPS=n` make it longer.

mod figures;
mod harness;

use harness::{Harness, variable};
use media::store::{ImageStore, MemoryStore, TwinDisk};
use proptest::prelude::*;

fn memory(geometry: &media::geometry::Geometry) -> MemoryStore {
    MemoryStore::new(geometry).unwrap()
}

fn twin(geometry: &media::geometry::Geometry) -> ImageStore<TwinDisk> {
    // Larger than any metadata region of these small drives.
    ImageStore::create(geometry, 4 << 20, TwinDisk::new(geometry.config.user_bytes)).unwrap()
}

fn run_on_a_failing_disk(seed: u64, steps: u64) {
    println!("MEDIA_SEED={seed} on a failing disk");
    let mut harness = Harness::new(seed, twin);
    for _ in 0..steps {
        harness.step();
    }
    harness.finish();
}

#[test]
fn the_drive_agrees_with_the_map_when_the_disk_under_it_loses_what_was_not_synced() {
    let steps = variable("MEDIA_STEPS", 300);
    if let Ok(seed) = std::env::var("MEDIA_SEED") {
        run_on_a_failing_disk(seed.parse().expect("MEDIA_SEED is a number"), steps);
        return;
    }
    for seed in 0..variable("MEDIA_CASES", 60) {
        run_on_a_failing_disk(seed, steps);
    }
}

fn run(seed: u64, steps: u64) {
    println!("MEDIA_SEED={seed}");
    let mut harness = Harness::new(seed, memory);
    for _ in 0..steps {
        harness.step();
    }
    harness.finish();
}

#[test]
fn the_drive_agrees_with_a_map_of_versions_through_power_losses() {
    let steps = variable("MEDIA_STEPS", 400);
    if let Ok(seed) = std::env::var("MEDIA_SEED") {
        run(seed.parse().expect("MEDIA_SEED is a number"), steps);
        return;
    }
    for seed in 0..variable("MEDIA_CASES", 120) {
        run(seed, steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_seed_agrees_and_a_failure_shrinks_to_few_steps(seed in 1000u64.., steps in 1u64..300) {
        run(seed, steps);
    }
}
