//! A seeded generator. Owns nothing but its state.

/// A seeded generator (splitmix64): for tests and cuts, never for the media's own decisions.
#[derive(Clone, Debug, Default)]
pub struct Random(u64);

impl Random {
    /// The generator of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `limit`, which is not zero.
    pub fn below(&mut self, limit: u64) -> u64 {
        assert!(limit > 0, "nothing is below zero");
        // The high half of a product: no division, and a bias too small to matter below 2^32.
        u64::try_from((u128::from(self.draw()) * u128::from(limit)) >> 64).expect("a product's high half")
    }
}
