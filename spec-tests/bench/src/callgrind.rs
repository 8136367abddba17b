//! Reads what callgrind writes: instructions by function and by the source file they were inlined from.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;

/// Functions that copy or fill memory.
const COPIES: [&str; 5] = ["memcpy", "memmove", "memset", "memcmp", "mapping::caches::copy_non_temporal"];
/// Shares below this are not printed.
const PRINTED_MIN: f64 = 0.5;

/// Instructions by place: function, and source file.
#[derive(Clone, Debug, Default)]
pub struct Profile(BTreeMap<(String, String), f64>);

impl Profile {
    /// From the text of an output file with names written in full.
    ///
    /// # Errors
    /// It is not such a file.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut found = BTreeMap::new();
        let (mut function, mut file) = (String::new(), String::new());
        let mut inclusive = false;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("fn=") {
                name.clone_into(&mut function);
            } else if let Some(name) = ["fl=", "fi=", "fe="].into_iter().find_map(|prefix| line.strip_prefix(prefix)) {
                name.clone_into(&mut file);
            } else if line.starts_with("calls=") {
                // The next line is what the callee and all below it cost.
                inclusive = true;
            } else if line.starts_with(|first: char| first.is_ascii_digit()) && !std::mem::take(&mut inclusive) {
                let cost = line.split(' ').nth(1).unwrap_or("0");
                let cost: f64 = cost.parse().with_context(|| format!("callgrind wrote {line:?}"))?;
                *found.entry((function.clone(), file.clone())).or_insert(0.0) += cost;
            }
        }
        anyhow::ensure!(!found.is_empty(), "callgrind counted nothing: is the function to collect still there?");
        Ok(Self(found))
    }

    /// What this has more than another.
    #[must_use]
    pub fn less(mut self, other: &Self) -> Self {
        for (place, cost) in &other.0 {
            *self.0.entry(place.clone()).or_insert(0.0) -= cost;
        }
        self
    }

    /// All numbers divided.
    #[must_use]
    pub fn divided(mut self, by: f64) -> Self {
        self.0.values_mut().for_each(|cost| *cost /= by);
        self
    }

    /// All instructions.
    #[must_use]
    pub fn all(&self) -> f64 {
        self.0.values().sum()
    }

    /// Those of functions that do not only copy.
    #[must_use]
    pub fn without_copies(&self) -> f64 {
        self.0.iter().filter(|((function, _), _)| !is_copy(function)).map(|(_, cost)| cost).sum()
    }

    /// The larger shares, by source file and by function.
    pub fn print(&self) {
        for (title, name) in [("by source file", 1), ("by function", 0)] {
            println!("  {title}");
            let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
            for ((function, file), cost) in self.0.iter().filter(|((function, _), _)| !is_copy(function)) {
                *sums.entry(if name == 1 { short(file) } else { function }).or_insert(0.0) += cost;
            }
            let mut sums: Vec<_> = sums.into_iter().filter(|(_, cost)| *cost >= PRINTED_MIN).collect();
            sums.sort_by(|one, other| other.1.total_cmp(&one.1));
            for (place, cost) in sums {
                println!("    {cost:8.1} {place}");
            }
        }
    }
}

fn is_copy(function: &str) -> bool {
    COPIES.iter().any(|name| function.contains(name))
}

/// A file of ours from the root on, one of the standard library from its folder on.
fn short(file: &str) -> &str {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).and_then(Path::to_str);
    let ours = root.and_then(|root| file.strip_prefix(root)).map(|file| file.trim_start_matches('/'));
    ours.or_else(|| file.find("/library/").map(|at| &file[at + 1..])).unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::Profile;

    const OUT: &str = "events: Ir\n\nfl=a.rs\nfn=work\n10 5\nfi=inlined.rs\n3 2\nfe=a.rs\ncfn=__memcpy_avx\ncalls=1 0\n\
                       11 100\n12 1\n\nfl=copy.S\nfn=__memcpy_avx\n0 100\n\ntotals: 108\n";

    #[test]
    fn what_a_callee_costs_is_counted_once_and_copies_are_told_apart() {
        let profile = Profile::parse(OUT).unwrap();
        assert!((profile.all() - 108.0).abs() < 1e-9);
        assert!((profile.without_copies() - 8.0).abs() < 1e-9);
        let more = Profile::parse(&OUT.replace("10 5", "10 25")).unwrap();
        assert!((more.less(&profile).divided(10.0).without_copies() - 2.0).abs() < 1e-9);
        assert!(Profile::parse("events: Ir\n").is_err());
    }
}
