//! Drives that break one promise each are found out, from whatever seed on. `cargo test -- --nocapture` shows how soon.

use media::fault::Misbehaviour;
use oracle::simulator::{Campaign, Wishes};

/// Cuts within which every broken promise shows.
const CUTS_MAX: u64 = 4_000;

fn campaign(seed: u64, name: &str) -> Campaign {
    let mut misbehaviour = Misbehaviour::default();
    assert!(misbehaviour.switch_on(name), "{name} is the name of a switch");
    let wishes = Wishes { misbehaviour, ..Wishes::default() };
    Campaign { seed, cuts: CUTS_MAX, shard: (0, 1), runs: 1, wishes, keep_going: false }
}

#[test]
fn every_way_to_misbehave_is_found_in_every_campaign() {
    std::panic::set_hook(Box::new(|stopped| {
        if std::thread::current().name() == Some("main") {
            eprintln!("{stopped}");
        }
    }));
    for name in Misbehaviour::NAMES {
        for seed in [1, 1_000, 1_000_000] {
            let mut rule = None;
            let tally = campaign(seed, name).run(|judged| {
                rule = judged.outcome.as_ref().err().map(|failure| failure.violation.rule.name());
            });
            println!("{name}: from seed {seed} on {rule:?} after {} cuts", tally.cuts);
            assert_eq!(tally.illegal, 1, "{name}: nothing was found in {} cuts from seed {seed} on", tally.cuts);
        }
    }
}
