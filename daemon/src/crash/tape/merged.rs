//! Shards of a campaign over a tape: each went along the whole tape and judged its own images.

use anyhow::Context as _;

use super::super::Arguments;
use super::super::merge::given::Given;
use super::super::shards::{Missing, Shards};
use super::{Found, Run};
use crate::failure::Failure;

/// Tells of all shards as of one campaign; returns whether it failed.
pub fn tell(to: &Arguments, asked: &Arguments, whole: &[&Given], missing: Vec<Missing>) -> Result<bool, Failure> {
    let (mut found, mut shards) = (Found::default(), Shards { work: "images", there: Vec::new(), missing });
    for given in whole {
        let of_shard: Found = serde_json::from_value(given.end.clone())
            .with_context(|| format!("cannot understand {}", given.path.display()))?;
        let (work, bad) = (of_shard.images, of_shard.bad.len() as u64);
        shards.there.push(given.shard(work, bad));
        found.add(of_shard);
    }
    found.bad.sort_by_key(|bad| bad.place);
    let ends_early = whole.first().and_then(|given| given.end["ends-early"].as_str());
    let (took, interrupted) = (shards.time(), !shards.missing.is_empty());
    found.tell(to.report()?, &Run { arguments: asked, ends_early, took, interrupted, shards: &shards })?;
    Ok(!found.bad.is_empty())
}

impl Found {
    /// What another shard found. All of them go to the same places, unless something is bad and they end there.
    fn add(&mut self, other: Self) {
        self.places = self.places.max(other.places);
        self.exhaustive = self.exhaustive.max(other.exhaustive);
        self.images += other.images;
        self.equal += other.equal;
        self.bad.extend(other.bad);
        for (place, (pieces, judged)) in other.by_place {
            self.by_place.entry(place).or_insert((pieces, 0)).1 += judged;
        }
    }
}

/// How a cause is written: as pieces that survive and pieces that are lost, or as nothing.
pub mod cause {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use tape::shrink::Cause;

    #[derive(Serialize, Deserialize)]
    struct Pieces {
        survive: Vec<usize>,
        lost: Vec<usize>,
    }

    pub fn serialize<S: Serializer>(cause: &Option<Cause>, to: S) -> Result<S::Ok, S::Error> {
        let pieces = |cause: &Cause| Pieces { survive: cause.survive.clone(), lost: cause.lost.clone() };
        cause.as_ref().map(pieces).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Cause>, D::Error> {
        let pieces = Option::<Pieces>::deserialize(from)?;
        Ok(pieces.map(|Pieces { survive, lost }| Cause { survive, lost }))
    }
}
