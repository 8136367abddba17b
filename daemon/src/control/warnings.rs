//! The media's warnings as peers read them: in `query-status`, in `query-media` and in the event `MEDIA_WARNING`.

use std::time::Duration;

use media::{MediaWarning, Nanoseconds, Warnings};
use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::since_1970;

/// Something that is wrong with the media or with the host's disk under it, or that was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct WarningState {
    /// What: `host-disk-full`, `host-disk-failed`, `media-damaged`, or `memory-full`.
    kind: &'static str,
    /// It is not over.
    stands: bool,
    /// When it began, in seconds since 1970.
    since_seconds: u64,
    /// When it was over, likewise; null while it stands.
    over_seconds: Option<u64>,
    /// How often it was met since it began.
    count: u64,
    /// What was met last, for people.
    detail: String,
}

impl WarningState {
    fn of(warning: &MediaWarning, now: Nanoseconds) -> Self {
        let at = |time: Nanoseconds| {
            since_1970().saturating_sub(Duration::from_nanos(now.0.saturating_sub(time.0))).as_secs()
        };
        Self {
            kind: warning.kind.name(),
            stands: warning.stands(),
            since_seconds: at(warning.since),
            over_seconds: warning.over.map(at),
            count: warning.count,
            detail: warning.detail.clone(),
        }
    }
}

/// All of them; `now` is by the clock of the device.
pub fn warning_states(warnings: &Warnings, now: Nanoseconds) -> Vec<WarningState> {
    warnings.all().iter().map(|warning| WarningState::of(warning, now)).collect()
}
