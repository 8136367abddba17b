//! What a block holds: who wrote it, where it belongs, and a checksum over all of it, so that any single wrong sector shows. Owns the
//! bytes; does not know what is legal.

/// Who wrote a block, and which block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// The command, from 1.
    pub command: u32,
    /// The pass (from one power loss to the next) that it belongs to.
    pub pass: u32,
    /// The namespace.
    pub nsid: u32,
    /// The block.
    pub lba: u64,
}

/// What a block was found to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    /// Zeroes, in metadata too.
    Zeroes,
    /// A whole stamped block.
    Stamp(Stamp),
    /// Anything else: torn inside the block, or damaged.
    Garbage,
    /// A stamped block with metadata that is not its own.
    WrongMetadata(Stamp),
    /// The read ended with an error.
    Unreadable,
}

const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
const WORD: usize = 8;
const HEAD_WORDS: usize = 4;

impl Stamp {
    /// The checksum: every later word of the block follows from it.
    const fn check(self) -> u64 {
        let mut word = MIX;
        let parts = [self.command as u64 | (self.pass as u64) << 32, self.lba, self.nsid as u64];
        let mut n = 0;
        while n < parts.len() {
            word = (word ^ parts[n]).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word ^= word >> 29;
            n += 1;
        }
        word | 1
    }

    const fn head(self) -> [u64; HEAD_WORDS] {
        [self.command as u64 | (self.pass as u64) << 32, self.lba, self.nsid as u64, self.check()]
    }

    /// Fills a block of at least 32 bytes.
    pub fn fill(self, block: &mut [u8]) {
        let (head, body) = block.split_at_mut(HEAD_WORDS * WORD);
        put(head, self.head().into_iter());
        put(body, sequence(self.check()));
    }

    /// Fills the block's metadata, which may be empty.
    pub fn fill_metadata(self, metadata: &mut [u8]) {
        put(metadata, sequence(!self.check()));
    }
}

/// A word for each place, none like its neighbours.
fn sequence(from: u64) -> impl Iterator<Item = u64> {
    (1..).map(move |place: u64| from.wrapping_add(place.wrapping_mul(MIX)))
}

fn put(into: &mut [u8], words: impl Iterator<Item = u64>) {
    for (place, word) in into.as_chunks_mut::<WORD>().0.iter_mut().zip(words) {
        *place = word.to_le_bytes();
    }
}

fn holds(bytes: &[u8], mut words: impl Iterator<Item = u64>) -> bool {
    bytes.as_chunks::<WORD>().0.iter().all(|place| words.next().map(u64::to_le_bytes) == Some(*place))
}

impl Found {
    /// The stamp of a whole block that has one.
    #[must_use]
    pub const fn stamp(self) -> Option<Stamp> {
        match self {
            Self::Stamp(stamp) => Some(stamp),
            _ => None,
        }
    }

    /// Looks at a block and its metadata.
    #[must_use]
    pub fn look(block: &[u8], metadata: &[u8]) -> Self {
        let (head, body) = block.split_at(HEAD_WORDS * WORD);
        let word = |n: usize| u64::from_le_bytes(head.as_chunks::<WORD>().0[n]);
        if word(3) == 0 {
            let zero = block.iter().chain(metadata).all(|byte| *byte == 0);
            return if zero { Self::Zeroes } else { Self::Garbage };
        }
        let [c0, c1, c2, c3, p0, p1, p2, p3] = word(0).to_le_bytes();
        let Ok(nsid) = u32::try_from(word(2)) else { return Self::Garbage };
        let (command, pass) = (u32::from_le_bytes([c0, c1, c2, c3]), u32::from_le_bytes([p0, p1, p2, p3]));
        let stamp = Stamp { command, pass, nsid, lba: word(1) };
        if word(3) != stamp.check() || !holds(body, sequence(word(3))) {
            return Self::Garbage;
        }
        if holds(metadata, sequence(!word(3))) { Self::Stamp(stamp) } else { Self::WrongMetadata(stamp) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { command: 7, pass: 3, nsid: 2, lba: 99 };

    #[test]
    fn a_block_is_known_again_and_one_wrong_sector_shows() {
        let (mut block, mut metadata) = ([0; 2048], [0; 16]);
        assert_eq!(Found::look(&block, &metadata), Found::Zeroes);
        STAMP.fill(&mut block);
        STAMP.fill_metadata(&mut metadata);
        assert_eq!(Found::look(&block, &metadata), Found::Stamp(STAMP));
        let mut other = [0; 2048];
        Stamp { command: 8, ..STAMP }.fill(&mut other);
        for sector in 0..4 {
            let mut torn = block;
            torn[sector * 512..][..512].copy_from_slice(&other[sector * 512..][..512]);
            assert_eq!(Found::look(&torn, &metadata), Found::Garbage, "sector {sector}");
        }
    }

    #[test]
    fn metadata_of_another_version_shows() {
        let (mut block, mut metadata) = ([0; 512], [0; 8]);
        STAMP.fill(&mut block);
        Stamp { command: 8, ..STAMP }.fill_metadata(&mut metadata);
        assert_eq!(Found::look(&block, &metadata), Found::WrongMetadata(STAMP));
        assert_eq!(Found::look(&[0; 512], &metadata), Found::Garbage);
    }
}
