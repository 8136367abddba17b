//! Our drive through losses of power at any step, judged by the oracle. `SEED=n` runs one seed, `CASES=n` so many.

use std::time::Instant;

use oracle::simulator::{Counts, Wishes, run, scenario, shrink};

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

fn honest(seed: u64) -> Counts {
    let scenario = scenario(seed, &Wishes::default());
    run(&scenario).unwrap_or_else(|failure| {
        let (small, failure) = shrink(&scenario, &failure);
        panic!("SEED={seed}: {failure}\n{small}");
    })
}

#[test]
fn an_honest_drive_shows_nothing_illegal() {
    let seeds = match variable("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("CASES").unwrap_or(300),
    };
    let mut counts = Counts::default();
    let begun = Instant::now();
    for seed in seeds {
        counts.add(&honest(seed));
    }
    println!("{counts:?} in {:?}", begun.elapsed());
    assert!(counts.images > 0 && counts.cuts >= counts.images);
}
