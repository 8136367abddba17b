//! The drive against a plain map of block → versions, over random requests, small geometries and losses of power at random places.
//!
//! What is checked after each loss (the contract is in `volume.rs`): a block shows the last version that was promised to be durable
//! or a later one, whole; a write of at most the atomic unit is there wholly or not at all; what was read once stays. After each
//! step the ledger balances, and every so often all invariants of the translation layer are asserted.
//!
//! `MEDIA_SEED=n` runs one seed, `MEDIA_CASES=n` and `MEDIA_STEPS=n` make it longer.

mod harness;

use harness::{Harness, variable};
use media::store::MemoryStore;
use proptest::prelude::*;

fn memory(geometry: &media::geometry::Geometry) -> MemoryStore {
    MemoryStore::new(geometry)
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
fn the_drive_agrees_with_a_map_of_versions_through_losses_of_power() {
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
