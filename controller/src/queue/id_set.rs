//! A set of queue identifiers that is cheap to walk when it is nearly empty.

/// Identifiers from 0 to 1023.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IdSet {
    words: [u64; 16],
}

impl IdSet {
    /// Identifiers are below this.
    pub(crate) const LIMIT: u16 = 1024;

    pub(crate) fn insert(&mut self, id: u16) {
        assert!(id < Self::LIMIT);
        self.words[usize::from(id / 64)] |= 1 << (id % 64);
    }

    pub(crate) fn remove(&mut self, id: u16) {
        assert!(id < Self::LIMIT);
        self.words[usize::from(id / 64)] &= !(1 << (id % 64));
    }

    /// Adds every member of `other` and empties it.
    pub(crate) fn absorb(&mut self, other: &mut Self) {
        for (into, from) in self.words.iter_mut().zip(&mut other.words) {
            *into |= std::mem::take(from);
        }
    }

    /// The smallest member that is at least `from`.
    pub(crate) fn first_from(&self, from: u16) -> Option<u16> {
        let start = usize::from(from / 64);
        let first = self.words.get(start)? & (u64::MAX << (from % 64));
        if first != 0 {
            return Some(from / 64 * 64 + trailing(first));
        }
        (0_u16..)
            .zip(self.words)
            .skip(start + 1)
            .find_map(|(index, word)| (word != 0).then(|| index * 64 + trailing(word)))
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

fn trailing(word: u64) -> u16 {
    u16::try_from(word.trailing_zeros()).expect("at most 64")
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
        set.remove(1023);
        assert_eq!(set.first_from(701), None);
        let mut other = IdSet::default();
        other.absorb(&mut set);
        assert!(set.first_from(0).is_none() && other.first_from(0) == Some(0));
    }
}
