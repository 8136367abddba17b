//! Errors of an option. The message names the place, the option, the value and the valid values.

use std::fmt;

use serde::de;
use thiserror::Error;

/// An option that was refused: `--namespace lba=3000: give a power of two from 512 to 65536`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Error)]
pub struct OptionError {
    /// Where the option stands: `--device`, `--namespace`, or a place in a file. Empty while it is not known yet.
    pub place: String,
    /// The option with its value as the user wrote them. Empty while it is not known yet.
    pub option: String,
    /// What is accepted.
    pub remedy: String,
}

impl OptionError {
    /// A refusal of `option` (`name=value`, or one word) at `place`.
    pub fn new(place: impl Into<String>, option: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { place: place.into(), option: option.into(), remedy: remedy.into() }
    }

    /// A refusal of a name that is none of `known`, which are listed with the most similar first.
    pub fn unknown(place: impl Into<String>, name: &str, known: &[&str]) -> Self {
        Self::new(place, name, format!("no such option; known are {}", nearest_first(name, known)))
    }
}

impl fmt::Display for OptionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = [self.place.as_str(), self.option.as_str()].into_iter().filter(|part| !part.is_empty());
        write!(formatter, "{}: {}", place.collect::<Vec<_>>().join(" "), self.remedy)
    }
}

/// What serde reports while it fills a structure: only the remedy is known then; the reader adds the place.
impl de::Error for OptionError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { remedy: message.to_string(), ..Self::default() }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self { remedy: format!("give one of {}", nearest_first(variant, expected)), ..Self::default() }
    }
}

fn nearest_first(name: &str, known: &[&str]) -> String {
    let mut sorted = known.to_vec();
    // A stable sort: names that are equally far keep the order of the structure.
    sorted.sort_by_key(|candidate| strsim::damerau_levenshtein(name, candidate));
    sorted.join(", ")
}
