//! Which of QEMU's events are wanted: names with `*` and `?`, one after the other; a leading `-` switches off.

use controller::watch::Detail;
use thiserror::Error;

use super::table::{EVENTS, Name, PREFIX};
use super::unavailable::UNAVAILABLE;

/// How many names a refusal suggests.
const NEAREST: usize = 3;

/// A pattern that no event has.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnknownPattern {
    /// Nothing is called so.
    #[error("no event matches {pattern}: {nearest} are the nearest, and `help` lists all")]
    Nothing {
        /// What was given.
        pattern: String,
        /// Names that are like it.
        nearest: String,
    },
    /// Only events that are QEMU's alone.
    #[error("{pattern} is an event of QEMU's that this device does not have: {reason}")]
    Unavailable {
        /// What was given.
        pattern: String,
        /// Why not.
        reason: &'static str,
    },
}

/// What can be said of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// This device does not have it.
    Unavailable,
    /// It is not wanted.
    Disabled,
    /// It is.
    Enabled,
}

/// Events that are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    wanted: [bool; EVENTS.len()],
}

impl Default for Selection {
    fn default() -> Self {
        Self { wanted: [false; EVENTS.len()] }
    }
}

impl Selection {
    /// Switches on, or off with a leading `-`, what the pattern matches. Events that this device does not have are passed over where the
    /// pattern matches others.
    ///
    /// # Errors
    /// It matches nothing.
    pub fn apply(&mut self, pattern: &str) -> Result<(), UnknownPattern> {
        let (pattern, enable) = pattern.strip_prefix('-').map_or((pattern, true), |rest| (rest, false));
        self.set(pattern, enable)
    }

    /// Switches what the pattern matches on or off.
    ///
    /// # Errors
    /// It matches nothing.
    pub fn set(&mut self, pattern: &str, enable: bool) -> Result<(), UnknownPattern> {
        let mut any = false;
        for (wanted, event) in self.wanted.iter_mut().zip(EVENTS) {
            if matches(pattern, event.name) {
                *wanted = enable;
                any = true;
            }
        }
        if any { Ok(()) } else { Err(unknown(pattern)) }
    }

    /// Wants what another one wants as well.
    pub fn join(&mut self, other: &Self) {
        self.wanted.iter_mut().zip(other.wanted).for_each(|(wanted, more)| *wanted |= more);
    }

    /// Whether an event is wanted.
    #[must_use]
    pub fn has(&self, name: Name) -> bool {
        self.wanted[name.index()]
    }

    /// How much has to be heard of the controller, so that none of the wanted events is missed; nothing if none is wanted.
    #[must_use]
    pub fn needs(&self) -> Option<Detail> {
        Name::ALL.iter().filter(|&&name| self.has(name)).map(|name| name.needs()).max()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.wanted.contains(&true)
    }

    /// Every event of QEMU's that the pattern matches, with what can be said of it.
    pub fn states(&self, pattern: &str) -> impl Iterator<Item = (String, State)> {
        let state = |&wanted: &bool| if wanted { State::Enabled } else { State::Disabled };
        let ours = self.wanted.iter().zip(EVENTS).map(move |(wanted, event)| (event.name.to_owned(), state(wanted)));
        let others = unavailable().map(|(name, _)| (name, State::Unavailable));
        ours.chain(others).filter(|(name, _)| matches(pattern, name))
    }
}

/// The names of the events that this device has, in QEMU's order.
#[must_use]
pub fn names() -> Vec<&'static str> {
    EVENTS.iter().map(|event| event.name).collect()
}

/// Whether a name is what a pattern says: `*` stands for any text, `?` for one character.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut of) = (0, 0);
    // Where the last star was, and what it stands for so far.
    let mut star: Option<(usize, usize)> = None;
    while of < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, of));
                at += 1;
            }
            Some(&letter) if letter == b'?' || letter == name[of] => (at, of) = (at + 1, of + 1),
            _ => match &mut star {
                Some((place, end)) => {
                    *end += 1;
                    (at, of) = (*place + 1, *end);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&letter| letter == b'*')
}

fn unavailable() -> impl Iterator<Item = (String, &'static str)> {
    UNAVAILABLE.iter().flat_map(|&(reason, names)| names.iter().map(move |name| (format!("{PREFIX}{name}"), reason)))
}

fn unknown(pattern: &str) -> UnknownPattern {
    let pattern = pattern.to_owned();
    if let Some((_, reason)) = unavailable().find(|(name, _)| matches(&pattern, name)) {
        return UnknownPattern::Unavailable { pattern, reason };
    }
    let mut near = names();
    near.sort_by_key(|name| strsim::damerau_levenshtein(&pattern, name));
    UnknownPattern::Nothing { nearest: near[..NEAREST].join(", "), pattern }
}
