//! Numbers and times on the command line. A message names the valid values.

use std::time::Duration;

use crate::options::Age;

/// A time with its unit, a day at most.
///
/// # Errors
/// What would do.
pub fn time(text: &str) -> Result<Duration, String> {
    match Age::try_from(text.to_owned()) {
        Ok(age) if age != Age::NONE => Ok(Duration::from_nanos(age.0.0)),
        _ => Err("give a time such as 100ms, 30s or 5min, of 1us to 1440min".to_owned()),
    }
}

/// A number for an option that takes any.
///
/// # Errors
/// What would do.
pub fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "give a whole number from 0 to 18446744073709551615".to_owned())
}

/// A number for an option that counts.
///
/// # Errors
/// What would do.
pub fn count(text: &str) -> Result<u64, String> {
    number(text).ok().filter(|count| *count > 0).ok_or_else(|| "give a whole number from 1 up".to_owned())
}
