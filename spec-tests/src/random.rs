//! The seed of a random test, and how long it runs.

pub use media::power::Random;

/// The seed of a random test: `SEED` of the environment, or `default`. It is printed, so that a failure can be had again.
///
/// # Panics
/// If `SEED` is not a number.
#[must_use]
pub fn seed(default: u64) -> u64 {
    let seed = variable("SEED").unwrap_or(default);
    println!("SEED={seed}");
    seed
}

/// How many cases a random test shall run: `CASES` of the environment, or `default`.
///
/// # Panics
/// If `CASES` is not a number.
#[must_use]
pub fn cases(default: u64) -> u64 {
    variable("CASES").unwrap_or(default)
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}
