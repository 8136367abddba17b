//! How a verb fails, and with which exit code.

use thiserror::Error;

use crate::options::OptionError;

/// Why nothing came of it.
#[derive(Debug, Error)]
pub enum Failure {
    /// The user must change an option.
    #[error(transparent)]
    Usage(#[from] OptionError),
    /// The options were right; the thing failed.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

impl Failure {
    /// 1 is what failed, 2 is wrong use, as clap has it too.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
        }
    }
}
