//! Which mutant is switched on: none, one, or none and it is noted which would have been reached. Written into each mutated crate.

use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

const UNREAD: u32 = u32::MAX;
const NONE: u32 = u32::MAX - 1;
const RECORDING: u32 = u32::MAX - 2;

static ACTIVE: AtomicU32 = AtomicU32::new(UNREAD);
static REACHED: [AtomicBool; COUNT_OF_MUTANTS] = [const { AtomicBool::new(false) }; COUNT_OF_MUTANTS];
static RECORD: OnceLock<Option<std::fs::File>> = OnceLock::new();

/// Whether a mutant is switched on.
#[inline]
pub(crate) fn is(number: u32) -> bool {
    let active = ACTIVE.load(Relaxed);
    if active < RECORDING { active == number } else { active != NONE && special(number) }
}

#[cold]
#[inline(never)]
fn special(number: u32) -> bool {
    let record = RECORD.get_or_init(|| {
        let path = std::env::var_os("MUTANTS_RECORD")?;
        std::fs::OpenOptions::new().append(true).create(true).open(path).ok()
    });
    if let Some(mut record) = record.as_ref() {
        ACTIVE.store(RECORDING, Relaxed);
        if !REACHED[number as usize].swap(true, Relaxed) {
            let _ = record.write_all(format!("{number}\n").as_bytes());
        }
        return false;
    }
    let active = std::env::var("MUTANTS_ACTIVE").ok().and_then(|text| text.parse().ok()).unwrap_or(NONE);
    ACTIVE.store(active, Relaxed);
    active == number
}
