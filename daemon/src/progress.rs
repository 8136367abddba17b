//! Progress of long work: how much is done, the rate and the time left. A line that changes on a terminal, nothing in a pipe; on
//! standard error, like all messages.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use media::Nanoseconds;

/// The progress of one piece of work. Its line goes when it is dropped.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Work that is called `what`, which is counted in `unit`s.
    pub fn new(what: &'static str, unit: &str) -> Self {
        // Twice a second: a campaign counts to some thousands meanwhile. Where standard error is no terminal it draws nothing.
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(2));
        let template =
            format!("{{msg}}: {{percent}} % [{{bar:20}}] {{pos}} of {{len}} {unit}, {{per_sec}}, {{eta}} left");
        let style = ProgressStyle::with_template(&template).expect("a template that a test has tried");
        bar.set_style(style.progress_chars("=> "));
        bar.set_message(what);
        Self { bar }
    }

    /// So much of so much is done.
    pub fn at(&self, done: u64, all: u64) {
        self.bar.set_length(all);
        self.bar.set_position(done);
    }

    /// So much of so much is done after so long; with `limit` it ends then at the latest, with as much as can be done until then.
    pub fn within(&self, done: u64, all: u64, elapsed: Nanoseconds, limit: Option<Nanoseconds>) {
        let until_limit = limit.map(|limit| expected(done, elapsed, limit));
        self.at(done, until_limit.unwrap_or(all).min(all));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// How much will be done by `limit` at the pace so far; at least what is done.
fn expected(done: u64, elapsed: Nanoseconds, limit: Nanoseconds) -> u64 {
    let by_then = u128::from(done) * u128::from(limit.0) / u128::from(elapsed.0.max(1));
    u64::try_from(by_then).unwrap_or(u64::MAX).max(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_in_time_is_an_end_that_can_be_foreseen() {
        let seconds = |seconds: u64| Nanoseconds(seconds * 1_000_000_000);
        assert_eq!(expected(50, seconds(10), seconds(60)), 300);
        assert_eq!(expected(50, seconds(61), seconds(60)), 50, "as much as is done");
        assert_eq!(expected(0, seconds(0), seconds(60)), 0);

        let progress = Progress::new("cutting power", "cuts");
        progress.within(50, 1000, seconds(10), Some(seconds(60)));
        assert_eq!((progress.bar.position(), progress.bar.length()), (50, Some(300)));
        progress.within(60, 100, seconds(11), Some(seconds(60)));
        assert_eq!((progress.bar.position(), progress.bar.length()), (60, Some(100)), "it is over before");
        progress.within(70, 100, seconds(12), None);
        assert_eq!((progress.bar.position(), progress.bar.length()), (70, Some(100)));
    }
}
