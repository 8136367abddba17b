//! Mistakes made on purpose, one at a time, and each is found by the simulator: `make mutations`. Without a mistake nothing is.
//! `SEED=n` begins elsewhere, `MUTATION=name` makes one.

use media::power::mutation::{Mutation, make};
use oracle::simulator::{Campaign, Tally, Wishes};

/// Cuts within which every mistake shows.
const CUTS_MAX: u64 = 100_000;

fn campaign(cuts: u64) -> Campaign {
    let given = std::env::var("SEED").ok().map(|text| text.parse().expect("SEED is a number"));
    let (seed, wishes) = (given.unwrap_or(1), Wishes::default());
    Campaign { seed, cuts, shard: (0, 1), runs: 1, wishes, keep_going: false }
}

fn run(mutation: Option<Mutation>, cuts: u64) -> (Tally, String) {
    make(mutation);
    let mut said = String::new();
    let tally = campaign(cuts).run(|judged| {
        if let Err(failure) = &judged.outcome {
            said = format!("seed {}: {failure}", judged.seed);
        }
    });
    make(None);
    (tally, said)
}

#[test]
fn every_mistake_is_found() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    let wanted = std::env::var("MUTATION").ok();
    for &mutation in Mutation::ALL.iter().filter(|mutation| wanted.as_ref().is_none_or(|name| name == mutation.name()))
    {
        let (tally, said) = run(Some(mutation), CUTS_MAX);
        println!("{:20} {:6} cuts  {said}", mutation.name(), tally.cuts);
        if tally.illegal == 0 {
            missed.push(mutation.name());
        }
    }
    let (tally, said) = run(None, 5_000);
    drop(std::panic::take_hook());
    assert!(missed.is_empty(), "not found: {missed:?}");
    assert_eq!(tally.illegal, 0, "without a mistake: {said}");
}
