//! How far long work has come: a line that changes on a terminal, a line for each tenth in a pipe. To stderr, as all messages.

use std::io::{self, IsTerminal as _, Write as _};

use media::Nanoseconds;

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

    /// So much of so much is done after so long; with `limit` it ends then at the latest. Says how fast it goes, and how long it will take.
    pub fn within(&mut self, done: u64, all: u64, elapsed: Nanoseconds, limit: Option<Nanoseconds>) {
        let part = |done: u64, all: u64| done.min(all) * 1_000_000 / all.max(1);
        let of_time = limit.map_or(0, |limit| part(elapsed.0 / 1_000_000, limit.0 / 1_000_000));
        let millionths = part(done, all).max(of_time);
        if let Some(line) = self.line_with(millionths / 10_000, &pace(done, millionths, elapsed)) {
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }

    /// What to say at so many percent, if anything.
    fn line(&mut self, percent: u64) -> Option<String> {
        self.line_with(percent, "")
    }

    fn line_with(&mut self, percent: u64, pace: &str) -> Option<String> {
        let step = if self.terminal { percent } else { percent / 10 * 10 };
        if self.shown.replace(step) == Some(step) {
            return None;
        }
        let end = if !self.terminal || percent == 100 { "\n" } else { "" };
        let start = if self.terminal { "\r" } else { "" };
        Some(format!("{start}{}: {step} %{pace}{end}", self.what))
    }
}

/// How fast it goes, and how long it will take if it goes on like that.
fn pace(done: u64, millionths: u64, elapsed: Nanoseconds) -> String {
    if done == 0 || millionths == 0 || elapsed.0 == 0 {
        return String::new();
    }
    let per_minute = u128::from(done) * 60_000_000_000 / u128::from(elapsed.0);
    let rate =
        if per_minute < 600 { format!("{per_minute} a minute") } else { format!("{} a second", per_minute / 60) };
    let left = u128::from(elapsed.0) * u128::from(1_000_000 - millionths) / u128::from(millionths) / 1_000_000_000;
    let left = match left {
        0..120 => format!("{left} s"),
        120..7200 => format!("{} min", left / 60),
        _ => format!("{} h", left / 3600),
    };
    // A shorter line that follows on a terminal leaves nothing of a longer one.
    format!(", {rate}, {left} left  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_told_in_units_that_can_be_read() {
        assert_eq!(pace(0, 0, Nanoseconds(5)), "");
        assert_eq!(pace(5, 100_000, Nanoseconds(60_000_000_000)), ", 5 a minute, 9 min left  ");
        assert_eq!(pace(5000, 500_000, Nanoseconds(10_000_000_000)), ", 500 a second, 10 s left  ");
        assert_eq!(pace(1, 1000, Nanoseconds(60_000_000_000)), ", 1 a minute, 16 h left  ");
    }

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
