//! Mistakes made on purpose, one at a time, and each is found by the simulator: `make mutations`. Without a mistake nothing is.
//! `SEED=n` begins elsewhere, `MUTATION=name` makes one, which may be an ordering of the host's disk that is left out.

use media::ordering::{Order, leave_out};
use media::power::mutation::{Mutation, make};
use oracle::simulator::{Campaign, Tally, Wishes};

/// Cuts within which every mistake shows.
const CUTS_MAX: u64 = 100_000;

fn campaign(cuts: u64) -> Campaign {
    let given = std::env::var("SEED").ok().map(|text| text.parse().expect("SEED is a number"));
    let (seed, wishes) = (given.unwrap_or(1), Wishes::default());
    Campaign { seed, cuts, shard: (0, 1), runs: 1, wishes, keep_going: false }
}

fn run(cuts: u64) -> (Tally, String) {
    let mut said = String::new();
    let tally = campaign(cuts).run(|judged| {
        if let Err(failure) = &judged.outcome {
            said = format!("seed {}: {failure}", judged.seed);
        }
    });
    (tally, said)
}

/// Says how soon a mistake is found; gives its name back if it is not.
fn find(name: &'static str, make: impl FnOnce(), unmake: impl FnOnce()) -> Option<&'static str> {
    let wanted = std::env::var("MUTATION").ok();
    if wanted.is_some_and(|wanted| wanted != name) {
        return None;
    }
    make();
    let (tally, said) = run(CUTS_MAX);
    unmake();
    println!("{name:24} {:6} cuts  {}", tally.cuts, said.lines().next().unwrap_or_default());
    (tally.illegal == 0).then_some(name)
}

#[test]
fn every_mistake_is_found() {
    std::panic::set_hook(Box::new(|_| {}));
    let mistakes = Mutation::ALL.iter().map(|&mistake| find(mistake.name(), || make(Some(mistake)), || make(None)));
    let missed: Vec<_> = mistakes.flatten().collect();
    // How soon drives of every shape meet these; that each is found, the histories of `media::ordering` see to, made for it.
    let left_out = Order::ALL.iter().map(|&order| find(order.name(), || leave_out(Some(order)), || leave_out(None)));
    let met = left_out.filter(Option::is_none).count();
    let (tally, said) = run(5_000);
    drop(std::panic::take_hook());
    assert!(missed.is_empty(), "not found: {missed:?}");
    assert!(met > Order::ALL.len() / 2, "only {met} of the orderings are met");
    assert_eq!(tally.illegal, 0, "without a mistake: {said}");
}
