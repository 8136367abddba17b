//! How far long work has come: a line that changes on a terminal, a line for each tenth in a pipe. To stderr, as all messages.

use std::io::{self, IsTerminal as _, Write as _};

/// The progress of one piece of work.
pub struct Progress {
    what: &'static str,
    terminal: bool,
    shown: Option<u64>,
}

impl Progress {
    /// Work that is called `what`.
    pub fn new(what: &'static str) -> Self {
        Self { what, terminal: io::stderr().is_terminal(), shown: None }
    }

    /// So much of so much is done.
    pub fn at(&mut self, done: u32, all: u32) {
        let percent = u64::from(done) * 100 / u64::from(all.max(1));
        if let Some(line) = self.line(percent) {
            // Whether anybody sees it does not matter to the work.
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }

    /// What to say at so many percent, if anything.
    fn line(&mut self, percent: u64) -> Option<String> {
        let step = if self.terminal { percent } else { percent / 10 * 10 };
        if self.shown.replace(step) == Some(step) {
            return None;
        }
        let end = if !self.terminal || percent == 100 { "\n" } else { "" };
        let start = if self.terminal { "\r" } else { "" };
        Some(format!("{start}{}: {step} %{end}", self.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_gets_eleven_lines_and_a_terminal_one_that_changes() {
        let said = |terminal| {
            let mut progress = Progress { what: "reading", terminal, shown: None };
            (0..=1000).filter_map(|n| progress.line(n / 10)).collect::<Vec<_>>()
        };
        assert_eq!((said(false).len(), said(true).len()), (11, 101));
        assert_eq!(said(false)[1], "reading: 10 %\n");
        assert_eq!(said(true).last().map(String::as_str), Some("\rreading: 100 %\n"));
        assert_eq!(said(true).concat().matches('\n').count(), 1);
    }
}
