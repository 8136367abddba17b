//! Of a power loss that nothing survived: which of the other images that it may have left are judged too.

use std::collections::BTreeSet;

use anyhow::Context as _;
use media::power::Random;
use serde_json::{Value, json};

use super::drive::Drive;

/// Images of the power loss that is not over, by the drive's numbers.
#[derive(Debug, Default)]
pub struct OtherImages {
    numbers: Vec<u64>,
    seed: u64,
}

impl OtherImages {
    /// So many of them at most; chance chooses where there are more.
    ///
    /// # Errors
    /// The drive does not know them.
    pub fn of_loss(drive: &mut Drive, wanted: u64, seed: u64) -> anyhow::Result<Self> {
        let loss = drive.order("crash-images", &json!({ "seed": seed }))?;
        let states = loss["states"].as_u64().context("a power loss has images")?;
        let exhaustive = loss["exhaustive"].as_bool().context("the drive says whether these are all")?;
        Ok(Self { numbers: numbers(states, exhaustive, wanted, seed), seed })
    }

    /// Their numbers.
    pub fn numbers(&self) -> impl Iterator<Item = u64> + use<> {
        self.numbers.clone().into_iter()
    }

    /// Power comes back with one of them.
    ///
    /// # Errors
    /// It does not.
    pub fn show(&self, drive: &mut Drive, number: u64) -> anyhow::Result<Value> {
        drive.order("crash-image", &json!({ "number": number, "seed": self.seed }))
    }
}

/// What the drive numbers so: 0 is the image that nothing survived, which is judged anyway, and the last the one that everything did. Where
/// there are more than have numbers, that is 1, and all others are drawn.
fn numbers(states: u64, exhaustive: bool, wanted: u64, seed: u64) -> Vec<u64> {
    if !exhaustive {
        return (1..=wanted).collect();
    }
    let others = states.saturating_sub(1);
    if others <= wanted {
        return (1..states).collect();
    }
    let mut random = Random::new(seed);
    let mut chosen = BTreeSet::from([others]);
    while (chosen.len() as u64) < wanted {
        chosen.insert(1 + random.below(others));
    }
    chosen.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_others_are_taken_or_as_many_as_are_wanted() {
        assert_eq!(numbers(1, true, 5, 1), [0; 0], "nothing was volatile");
        assert_eq!(numbers(4, true, 5, 1), [1, 2, 3]);
        assert_eq!(numbers(4, true, 3, 1), [1, 2, 3]);
        assert_eq!(numbers(u64::MAX, false, 3, 1), [1, 2, 3]);
        let some = numbers(1 << 16, true, 5, 1);
        assert_eq!(some, numbers(1 << 16, true, 5, 1));
        assert_ne!(some, numbers(1 << 16, true, 5, 2));
        let distinct: BTreeSet<u64> = some.iter().copied().collect();
        assert_eq!((some.len(), distinct.len(), distinct.last()), (5, 5, Some(&0xffff)));
        assert!(distinct.iter().all(|number| (1..1 << 16).contains(number)));
        assert_eq!(numbers(9, true, 1, 1), [8]);
    }
}
