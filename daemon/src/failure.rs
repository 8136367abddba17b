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
    /// A guest that was to run a script did not finish in time.
    #[error("{0}")]
    TimedOut(String),
    /// It ended, and there is no exit code of its script.
    #[error("{0}")]
    NoExitCode(String),
}

/// What is said of errors of the system without the numbers that programs know them by.
pub fn plain(text: &str) -> String {
    const BEGIN: &str = " (os error ";
    let mut rest = text;
    let mut said = String::with_capacity(text.len());
    while let Some((before, behind)) = rest.split_once(BEGIN) {
        let number = behind.find(')').filter(|end| behind[..*end].bytes().all(|byte| byte.is_ascii_digit()));
        said.push_str(before);
        rest = match number {
            Some(end) => &behind[end + 1..],
            None => {
                said.push_str(BEGIN);
                behind
            }
        };
    }
    said + rest
}

impl Failure {
    /// 1 is what failed, 2 is wrong use, as clap has it too; 124 and 125 as timeout(1) has them, because the others may be the script's.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::TimedOut(_) => 124,
            Self::NoExitCode(_) => 125,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_system_are_left_out_and_nothing_else() {
        let error = std::io::Error::from_raw_os_error(2);
        let said = plain(&format!("cannot use a: {error}; nor b: {error}"));
        assert_eq!(said, "cannot use a: No such file or directory; nor b: No such file or directory");
        for text in ["", "as it is", "a (os error", "a (os error x) b", "(os error 2)"] {
            assert_eq!(plain(text), text);
        }
    }
}
