//! The media's warnings in the log: one line when a warning begins and one when it ends, however often the condition is met.

use media::{MediaWarning, Nanoseconds, WarningKind, Warnings};

/// What begins and ends more often than this is told once: as it is then.
const INTERVAL: Nanoseconds = Nanoseconds(1_000_000_000);

/// What was logged.
#[derive(Debug, Default)]
pub struct WarningLog {
    changes: u64,
    /// Those that the last lines said stand.
    standing: Vec<WarningKind>,
    /// No line before this.
    quiet_until: Nanoseconds,
}

impl WarningLog {
    /// Logs what is new.
    pub fn look(&mut self, now: Nanoseconds, warnings: &Warnings) {
        for line in self.lines(now, warnings) {
            match line {
                Line::Begun(MediaWarning { kind, detail, .. }) => tracing::warn!(
                    warning = kind.name(),
                    "{detail}{}",
                    if kind.stops_writes() {
                        "; writes fail until that is over, and nothing that was promised is lost"
                    } else {
                        ""
                    }
                ),
                Line::Over(MediaWarning { kind, since, count, .. }) => {
                    tracing::info!(
                        warning = kind.name(),
                        seconds = now.0.saturating_sub(since.0) / 1_000_000_000,
                        times = count,
                        "the warning is over"
                    );
                }
            }
        }
    }

    /// When to look again, whatever happens until then.
    pub fn due(&self, warnings: &Warnings) -> Option<Nanoseconds> {
        (warnings.changes() != self.changes).then_some(self.quiet_until)
    }

    fn lines<'a>(&mut self, now: Nanoseconds, warnings: &'a Warnings) -> Vec<Line<'a>> {
        if warnings.changes() == self.changes || now < self.quiet_until {
            return Vec::new();
        }
        (self.changes, self.quiet_until) = (warnings.changes(), now.plus(INTERVAL));
        let mut lines = Vec::new();
        for warning in warnings.all() {
            let told = self.standing.contains(&warning.kind);
            match (warning.stands(), told) {
                (true, false) => lines.push(Line::Begun(warning)),
                (false, true) => lines.push(Line::Over(warning)),
                _ => {}
            }
        }
        self.standing = warnings.standing().map(|warning| warning.kind).collect();
        lines
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Begun(&'a MediaWarning),
    Over(&'a MediaWarning),
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: WarningKind = WarningKind::HostDiskFull;

    #[test]
    fn a_warning_is_one_line_when_it_begins_and_one_when_it_is_over() {
        let (mut log, mut warnings) = (WarningLog::default(), Warnings::default());
        assert_eq!((log.lines(Nanoseconds(0), &warnings), log.due(&warnings)), (vec![], None));
        for try_z in 0..100 {
            warnings.meet(FULL, Nanoseconds(try_z), "full");
            let lines = log.lines(Nanoseconds(try_z), &warnings);
            assert_eq!(lines, if try_z == 0 { vec![Line::Begun(&warnings.all()[0])] } else { vec![] });
        }
        warnings.end(FULL, Nanoseconds(200));
        assert_eq!(log.lines(Nanoseconds(200), &warnings), []);
        let due = log.due(&warnings).expect("a line is owed");
        assert_eq!(log.lines(due, &warnings), [Line::Over(&warnings.all()[0])]);
        assert_eq!(log.due(&warnings), None);
    }

    #[test]
    fn what_comes_and_goes_again_and_again_is_told_as_it_is_now_and_then() {
        let (mut log, mut warnings) = (WarningLog::default(), Warnings::default());
        let mut lines = 0;
        for millisecond in 0..3000 {
            let now = Nanoseconds(millisecond * 1_000_000);
            warnings.meet(FULL, now, "full");
            lines += log.lines(now, &warnings).len();
            warnings.end(FULL, now);
            lines += log.lines(now, &warnings).len();
        }
        assert!((1..=4).contains(&lines), "{lines} lines in three seconds");
    }
}
