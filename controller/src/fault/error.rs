//! Why a fault was refused.

use std::fmt::{self, Display, Formatter};

/// Why a fault cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultError {
    /// The field that is to blame, with those around it.
    pub field: &'static str,
    /// What was given.
    pub value: String,
    /// What would do.
    pub remedy: String,
}

impl Display for FaultError {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self.value.as_str() {
            "" => write!(formatter, "{}: {}", self.field, self.remedy),
            value => write!(formatter, "{}={value}: {}", self.field, self.remedy),
        }
    }
}

impl std::error::Error for FaultError {}

/// Refuses a field.
pub(super) fn refuse<T>(field: &'static str, value: &str, remedy: &str) -> Result<T, FaultError> {
    Err(FaultError { field, value: value.to_owned(), remedy: remedy.to_owned() })
}
