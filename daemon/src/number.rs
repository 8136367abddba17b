//! Whole numbers on the command line. A message names the valid values.

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
