//! Random numbers for tests: a seed in, the same numbers out, on every machine.

/// A generator (SplitMix64: a counter, mixed).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Begins at a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// 32 bits.
    pub const fn next_u32(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.next().to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// 8 bits.
    pub const fn next_u8(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// A number below `limit`.
    ///
    /// # Panics
    /// If there is none.
    pub const fn below(&mut self, limit: u64) -> u64 {
        assert!(limit > 0);
        self.next() % limit
    }

    /// An index below `limit`.
    ///
    /// # Panics
    /// If there is none.
    pub fn index(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).expect("below an index")
    }

    /// True once in `times`.
    pub const fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    ///
    /// # Panics
    /// If there are none.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }

    /// So many bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length.next_multiple_of(8)];
        bytes.as_chunks_mut::<8>().0.iter_mut().for_each(|chunk| *chunk = self.next().to_le_bytes());
        bytes.truncate(length);
        bytes
    }
}

/// The seed of a random test: `SEED` of the environment, or `default`. It is printed, so that a failure can be had again.
///
/// # Panics
/// If `SEED` is not a number.
#[must_use]
pub fn seed(default: u64) -> u64 {
    let seed = variable("SEED").unwrap_or(default);
    println!("SEED={seed}");
    seed
}

/// How many cases a random test shall run: `CASES` of the environment, or `default`.
///
/// # Panics
/// If `CASES` is not a number.
#[must_use]
pub fn cases(default: u64) -> u64 {
    variable("CASES").unwrap_or(default)
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}
