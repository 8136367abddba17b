//! What is wrong with a drive that keeps running: with the host's disk below it, or with its data. Owns the list of warnings, from when
//! a condition began until after it ended. Knows no clock (times are arguments) and notifies nobody: observers compare
//! [`Warnings::changes`].

use crate::unit::Nanoseconds;

crate::named! {
    /// What is wrong.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    WarningKind:
    /// The host's file system has no room for the media file, or the file may not grow.
    HostDiskFull = "host-disk-full",
    /// The host could not read, write or sync the media file.
    HostDiskFailed = "host-disk-failed",
    /// Stored data is not what was written.
    MediaDamaged = "media-damaged",
    /// A drive in memory is full: new data is refused until something is deallocated.
    MemoryFull = "memory-full",
}

impl WarningKind {
    /// Nothing can be written while it is active: an attempt fails, and is repeated until it succeeds.
    #[must_use]
    pub const fn stops_writes(self) -> bool {
        matches!(self, Self::HostDiskFull | Self::HostDiskFailed)
    }
}

/// A condition that is wrong, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaWarning {
    /// What.
    pub kind: WarningKind,
    /// When it began.
    pub since: Nanoseconds,
    /// When it ended, if it has.
    pub over: Option<Nanoseconds>,
    /// How often it occurred since it began.
    pub count: u64,
    /// The last occurrence, as text.
    pub detail: String,
}

impl MediaWarning {
    /// It has not ended.
    #[must_use]
    pub const fn stands(&self) -> bool {
        self.over.is_none()
    }
}

/// The last warning of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Warnings {
    list: Vec<MediaWarning>,
    changes: u64,
}

impl Warnings {
    /// Nothing was ever wrong.
    pub const NONE: &Self = &Self { list: Vec::new(), changes: 0 };

    /// It occurred (again): it begins, or is counted once more.
    pub fn meet(&mut self, kind: WarningKind, now: Nanoseconds, detail: impl Into<String>) {
        self.meet_times(kind, 1, now, detail);
    }

    /// It occurred this many times more.
    pub fn meet_times(&mut self, kind: WarningKind, times: u64, now: Nanoseconds, detail: impl Into<String>) {
        let detail = detail.into();
        if let Some(standing) = self.list.iter_mut().find(|warning| warning.kind == kind && warning.stands()) {
            standing.count += times;
            standing.detail = detail;
            return;
        }
        self.list.retain(|warning| warning.kind != kind);
        self.list.push(MediaWarning { kind, since: now, over: None, count: times, detail });
        self.list.sort_by_key(|warning| warning.kind);
        self.changes += 1;
    }

    /// It ends, if it is active.
    pub fn end(&mut self, kind: WarningKind, now: Nanoseconds) {
        if let Some(standing) = self.list.iter_mut().find(|warning| warning.kind == kind && warning.stands()) {
            standing.over = Some(now);
            self.changes += 1;
        }
    }

    /// The last warning of each kind, active or ended.
    #[must_use]
    pub fn all(&self) -> &[MediaWarning] {
        &self.list
    }

    /// The active warnings.
    pub fn standing(&self) -> impl Iterator<Item = &MediaWarning> {
        self.list.iter().filter(|warning| warning.stands())
    }

    /// How often one began or ended: a different number than last time means that there is something to report.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_told_when_it_begins_and_when_it_is_over_and_counted_in_between() {
        let mut warnings = Warnings::default();
        let kind = WarningKind::HostDiskFull;
        warnings.end(kind, Nanoseconds(1));
        assert_eq!(&warnings, Warnings::NONE, "what never began is not over");
        for time in 5..8 {
            warnings.meet(kind, Nanoseconds(time), format!("try {time}"));
        }
        warnings.meet_times(WarningKind::MediaDamaged, 2, Nanoseconds(9), "unit 7");
        let expected = MediaWarning { kind, since: Nanoseconds(5), over: None, count: 3, detail: "try 7".into() };
        assert_eq!((warnings.changes(), &warnings.all()[0]), (2, &expected));
        assert_eq!((warnings.all()[1].count, warnings.standing().count()), (2, 2));
        warnings.end(kind, Nanoseconds(10));
        warnings.end(kind, Nanoseconds(11));
        let over = MediaWarning { over: Some(Nanoseconds(10)), ..expected };
        assert_eq!((warnings.changes(), &warnings.all()[0]), (3, &over));
        warnings.meet(kind, Nanoseconds(20), "again");
        let again = MediaWarning { kind, since: Nanoseconds(20), over: None, count: 1, detail: "again".into() };
        assert_eq!((warnings.changes(), &warnings.all()[0]), (4, &again));
    }
}
