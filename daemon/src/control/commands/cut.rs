//! How a power loss is resolved, as the socket speaks of it.

use media::power::{Cut, CutPolicy, Profile as CutProfile};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Refusal;

/// Which of what was not durable survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Nothing.
    #[default]
    NoneSurvive,
    /// Everything that was wholly in the cache, as capacitors would have it.
    AllSurvive,
    /// Each piece by a draw from `seed`.
    Random,
    /// The pieces that `survivors` says.
    Choose,
}

/// What may become of a write above the atomic unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Each block is old or new, and can be read.
    #[default]
    Strict,
    /// The letter of the specification, which promises nothing of such blocks.
    Literal,
}

/// The words that say how.
pub struct Words {
    pub policy: Policy,
    pub seed: Option<u64>,
    pub survivors: Option<Vec<bool>>,
    pub tear: bool,
    pub profile: Profile,
}

impl Words {
    /// What they mean together.
    ///
    /// # Errors
    /// The words that do not go together.
    pub fn cut(self) -> Result<Cut, Refusal> {
        let policy = match (self.policy, self.seed, self.survivors) {
            (Policy::NoneSurvive, None, None) => CutPolicy::NoneSurvive,
            (Policy::AllSurvive, None, None) => CutPolicy::AllSurvive,
            (Policy::Random, Some(seed), None) => CutPolicy::Random(seed),
            (Policy::Choose, None, Some(survivors)) => CutPolicy::Choose(survivors),
            (Policy::Random, None, _) => return Err(Refusal::new("policy=random needs a seed")),
            (Policy::Choose, _, None) => return Err(Refusal::new("policy=choose needs survivors")),
            (_, Some(seed), _) => return Err(Refusal::new(format!("seed={seed} goes with policy=random only"))),
            (_, None, Some(_)) => return Err(Refusal::new("survivors go with policy=choose only")),
        };
        let profile = match self.profile {
            Profile::Strict => CutProfile::Strict,
            Profile::Literal => CutProfile::Literal,
        };
        Ok(Cut { policy, tear: self.tear, profile })
    }
}
