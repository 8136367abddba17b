//! A set of queue identifiers that is cheap to iterate when it is nearly empty.

/// Identifiers from 0 to 1023.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IdSet {
    words: [u64; 16],
    /// Bit n: word n has members.
    filled: u16,
}

impl IdSet {
    /// Identifiers are below this.
    pub(crate) const LIMIT: u16 = 1024;

    #[inline]
    pub(crate) fn insert(&mut self, id: u16) {
        assert!(id < Self::LIMIT);
        self.words[usize::from(id / 64)] |= 1 << (id % 64);
        self.filled |= 1 << (id / 64);
    }

    #[inline]
    pub(crate) fn remove(&mut self, id: u16) {
        assert!(id < Self::LIMIT);
        let word = &mut self.words[usize::from(id / 64)];
        *word &= !(1 << (id % 64));
        if *word == 0 {
            self.filled &= !(1 << (id / 64));
        }
    }

    #[inline]
    pub(crate) fn contains(&self, id: u16) -> bool {
        self.words.get(usize::from(id / 64)).is_some_and(|word| word >> (id % 64) & 1 != 0)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Whether this member is the only one.
    #[inline]
    pub(crate) fn is_only(&self, id: u16) -> bool {
        let word = usize::from(id / 64);
        self.filled == 1 << word && self.words[word] == 1 << (id % 64)
    }

    /// Adds every member of `other` and empties it.
    pub(crate) fn absorb(&mut self, other: &mut Self) {
        for (into, from) in self.words.iter_mut().zip(&mut other.words) {
            *into |= std::mem::take(from);
        }
        self.filled |= std::mem::take(&mut other.filled);
    }

    /// The smallest member that is at least `from`.
    pub(crate) fn first_from(&self, from: u16) -> Option<u16> {
        let start = from / 64;
        let first = self.words.get(usize::from(start))? & (u64::MAX << (from % 64));
        if first != 0 {
            return Some(start * 64 + narrow(first.trailing_zeros()));
        }
        let behind = u32::from(self.filled) >> start >> 1;
        let word = (behind != 0).then(|| start + 1 + narrow(behind.trailing_zeros()))?;
        Some(word * 64 + narrow(self.words[usize::from(word)].trailing_zeros()))
    }

    /// Takes the largest member out.
    #[inline]
    pub(crate) fn take_last(&mut self) -> Option<u16> {
        let word = u16::BITS.checked_sub(self.filled.leading_zeros() + 1)?;
        let bit = u64::BITS - 1 - self.words[word as usize].leading_zeros();
        let last = narrow(word * 64 + bit);
        self.remove(last);
        Some(last)
    }

    /// The members, in ascending order.
    pub(crate) fn iter(self) -> impl Iterator<Item = u16> {
        let mut from = Some(0);
        std::iter::from_fn(move || {
            let found = self.first_from(from?)?;
            from = found.checked_add(1).filter(|next| *next < Self::LIMIT);
            Some(found)
        })
    }
}

fn narrow(number: u32) -> u16 {
    u16::try_from(number).expect("below the limit")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn walks_what_was_put_in() {
        let mut set = IdSet::default();
        let members: BTreeSet<u16> = [0, 1, 63, 64, 127, 700, 1023].into();
        members.iter().for_each(|id| set.insert(*id));
        assert_eq!(set.iter().collect::<BTreeSet<_>>(), members);
        assert_eq!(set.first_from(65), Some(127));
        assert!(!set.is_only(127));
        let mut descending = set;
        assert!(std::iter::from_fn(|| descending.take_last()).eq(members.iter().rev().copied()));
        set.remove(1023);
        assert_eq!(set.first_from(701), None);
        let mut other = IdSet::default();
        other.absorb(&mut set);
        assert!(set.first_from(0).is_none() && other.first_from(0) == Some(0));
        set.insert(700);
        assert!(set.is_only(700) && !set.is_only(701) && !set.is_only(0));
        set.insert(701);
        assert!(!set.is_only(700));
    }
}
