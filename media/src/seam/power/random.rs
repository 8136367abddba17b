//! The project's seeded random number generator: the same seed gives the same numbers on every machine. Owns nothing but its state.

/// A seeded generator (SplitMix64: a counter, mixed): for tests, cuts, and orders that are chosen by a seed; never for the media's own
/// decisions.
#[derive(Clone, Debug, Default)]
pub struct Random(u64);

impl Random {
    /// The generator of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// 32 bits.
    pub const fn draw_u32(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.draw().to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// 8 bits.
    pub const fn draw_u8(&mut self) -> u8 {
        self.draw().to_le_bytes()[0]
    }

    /// A number below `limit`.
    ///
    /// # Panics
    /// If `limit` is zero.
    pub fn below(&mut self, limit: u64) -> u64 {
        assert!(limit > 0, "nothing is below zero");
        // The high half of a product: no division, and a bias too small to matter below 2^32.
        u64::try_from((u128::from(self.draw()) * u128::from(limit)) >> 64).expect("a product's high half")
    }

    /// An index below `limit`.
    ///
    /// # Panics
    /// If `limit` is zero.
    pub fn index(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).expect("below an index")
    }

    /// True once in `times`.
    ///
    /// # Panics
    /// If `times` is zero.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// True one time in two.
    pub const fn coin(&mut self) -> bool {
        self.draw() & 1 == 0
    }

    /// One of these.
    ///
    /// # Panics
    /// If there are none.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }

    /// Puts a list into another order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for index in (1..list.len()).rev() {
            let other = self.index(index + 1);
            list.swap(index, other);
        }
    }

    /// This many bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length.next_multiple_of(8)];
        bytes.as_chunks_mut::<8>().0.iter_mut().for_each(|chunk| *chunk = self.draw().to_le_bytes());
        bytes.truncate(length);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn the_numbers_are_those_of_split_mix_64() {
        let mut random = Random::new(0);
        let numbers = [random.draw(), random.draw(), random.draw()];
        assert_eq!(numbers, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
        let mut random = Random::new(0);
        assert_eq!([random.coin(), random.coin(), random.coin()], [false, true, false], "true where a number is even");
    }

    #[test]
    fn a_seed_repeats_and_a_shuffle_loses_nothing() {
        let shuffled = |seed| {
            let mut list: Vec<u32> = (0..20).collect();
            Random::new(seed).shuffle(&mut list);
            list
        };
        assert_eq!(shuffled(7), shuffled(7));
        assert_ne!(shuffled(7), shuffled(8));
        let mut sorted = shuffled(7);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..20).collect::<Vec<u32>>());
    }

    #[test]
    fn numbers_stay_below_their_limit_and_reach_all_of_it() {
        let mut random = Random::new(3);
        let drawn: Vec<u64> = (0..1000).map(|_| random.below(10)).collect();
        assert!((0..10).all(|number| drawn.contains(&number)) && drawn.iter().all(|number| *number < 10));
        assert_eq!(random.bytes(13).len(), 13);
    }
}
