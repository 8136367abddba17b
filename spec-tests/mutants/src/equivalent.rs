//! Mutants that nobody could notice, each with its reason. They are named by what they change, not by where, so they outlive edits.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::sites::Mutant;

/// The kept list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Equivalents {
    /// All of them.
    #[serde(default)]
    pub equivalent: Vec<Equivalent>,
}

/// One entry, which may stand for several mutants of one function.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Equivalent {
    /// Path from the root.
    pub file: String,
    /// `Type::function`.
    pub function: String,
    /// What is there; anything if not given. Runs of blanks are as one.
    pub original: Option<String>,
    /// What would be there instead; anything if not given.
    pub replacement: Option<String>,
    /// Why nobody could notice.
    pub reason: String,
}

impl Equivalents {
    /// Reads the list.
    ///
    /// # Errors
    /// If it cannot be read, or an entry has no reason.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let list: Self = toml::from_str(&text).with_context(|| format!("{} is not as it should be", path.display()))?;
        for entry in &list.equivalent {
            ensure!(
                !entry.reason.trim().is_empty(),
                "{}: the entry for {} gives no reason",
                path.display(),
                entry.function
            );
        }
        Ok(list)
    }

    /// Why a mutant is equivalent, if it is in the list.
    #[must_use]
    pub fn reason(&self, file: &str, mutant: &Mutant) -> Option<&str> {
        self.equivalent.iter().find(|entry| entry.matches(file, mutant)).map(|entry| entry.reason.as_str())
    }
}

impl Equivalent {
    /// Whether it speaks of this mutant.
    #[must_use]
    pub fn matches(&self, file: &str, mutant: &Mutant) -> bool {
        let is =
            |wanted: &Option<String>, have: &str| wanted.as_ref().is_none_or(|text| one_line(text) == one_line(have));
        self.file == file
            && self.function == mutant.function
            && is(&self.original, &mutant.original)
            && is(&self.replacement, &mutant.replacement)
    }
}

/// A text with each run of blanks made one.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::Equivalents;
    use crate::sites::Mutant;

    #[test]
    fn an_entry_is_found_wherever_the_line_has_moved_to() {
        let text = "[[equivalent]]\nfile = \"a.rs\"\nfunction = \"A::f\"\noriginal = \"a < b\"\nreason = \"so\"\n";
        let list: Equivalents = toml::from_str(text).expect("a list");
        let mutant = |function: &str, original: &str| Mutant {
            function: function.into(),
            line: 77,
            original: original.into(),
            replacement: "a <= b".into(),
        };
        assert_eq!(list.reason("a.rs", &mutant("A::f", "a\n    < b")), Some("so"));
        assert_eq!(list.reason("a.rs", &mutant("A::g", "a < b")), None);
        assert_eq!(list.reason("b.rs", &mutant("A::f", "a < b")), None);
        assert_eq!(list.reason("a.rs", &mutant("A::f", "a > b")), None);
    }
}
