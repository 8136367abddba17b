//! Which controllers of a subsystem.

use std::fmt;
use std::ops::BitXor;

/// How many controllers a subsystem can have.
pub const CONTROLLERS_MAX: u16 = 64;

/// CNTLID: a controller of a subsystem, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ControllerId(pub u16);

impl ControllerId {
    /// The first one, which every subsystem has.
    pub const FIRST: Self = Self(0);

    #[inline]
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Some controllers of a subsystem: a bit for each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ControllerSet(pub u64);

impl ControllerSet {
    /// None.
    pub const NONE: Self = Self(0);
    /// All that there may be.
    pub const ALL: Self = Self(u64::MAX);

    /// One.
    #[must_use]
    pub const fn one(id: ControllerId) -> Self {
        Self(1 << id.0)
    }

    /// Reads identifiers with colons between them, ascending, such as `0:2`; nothing if they are not.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut set = Self::NONE;
        for word in text.split(':') {
            let digits = word.bytes().all(|byte| byte.is_ascii_digit());
            let id = word.parse().ok().filter(|id: &u16| digits && *id < CONTROLLERS_MAX)?;
            if set.0 >> id != 0 {
                return None;
            }
            set.0 |= 1 << id;
        }
        Some(set)
    }

    /// Whether a controller is among them.
    #[must_use]
    pub const fn has(self, id: ControllerId) -> bool {
        self.0 >> id.0 & 1 != 0
    }

    /// Adds a controller, or takes it away; whether that changed anything.
    pub const fn set(&mut self, id: ControllerId, member: bool) -> bool {
        let changed = self.has(id) != member;
        self.0 ^= (changed as u64) << id.0;
        changed
    }

    /// How many.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Those below a number.
    #[must_use]
    pub const fn first(count: u16) -> Self {
        Self(u64::MAX.unbounded_shr(CONTROLLERS_MAX as u32 - count as u32))
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Each, ascending.
    pub fn iter(self) -> impl Iterator<Item = ControllerId> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let next = left.trailing_zeros();
            left &= left.wrapping_sub(1);
            u16::try_from(next).ok().filter(|next| *next < CONTROLLERS_MAX).map(ControllerId)
        })
    }
}

/// Those that are in one of both.
impl BitXor for ControllerSet {
    type Output = Self;

    fn bitxor(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }
}

/// As [`ControllerSet::parse`] reads them.
impl fmt::Display for ControllerSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.iter().map(|id| id.0.to_string()).collect();
        formatter.write_str(&all.join(":"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_read_and_written_in_ascending_order() {
        let set = ControllerSet::parse("0:2:63").expect("a list");
        assert_eq!((set.0, set.count(), set.to_string().as_str()), (1 << 63 | 0b101, 3, "0:2:63"));
        assert_eq!(set.iter().collect::<Vec<_>>(), [ControllerId(0), ControllerId(2), ControllerId(63)]);
        for wrong in ["", "64", "1:0", "1:1", "0:", "-1", "+1", "a", "0,1"] {
            assert_eq!(ControllerSet::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn members_come_and_go_and_only_changes_count() {
        let mut set = ControllerSet::NONE;
        assert!(set.set(ControllerId(63), true) && !set.set(ControllerId(63), true) && set.has(ControllerId(63)));
        assert!(set.set(ControllerId(63), false) && !set.set(ControllerId(63), false) && set == ControllerSet::NONE);
        assert_eq!(ControllerSet::first(2).and(ControllerSet(0b110)), ControllerSet(0b10));
        assert_eq!((ControllerSet::first(64), ControllerSet::first(0)), (ControllerSet::ALL, ControllerSet::NONE));
    }
}
