//! [`SplitMix`]: the random numbers of faults and of the conformance suite.

/// The `SplitMix64` generator (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators,
/// 2014). The same seed gives the same numbers on every machine and in every version.
#[derive(Clone, Debug)]
pub struct SplitMix(u64);

impl SplitMix {
    /// A generator that starts at `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `bound`, which is above 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "there is no number below 0");
        self.next() % bound
    }

    /// True in `permille` of 1,000 cases.
    pub const fn chance(&mut self, permille: u32) -> bool {
        // Drawn in any case, so that another rate does not shift all that follows.
        self.below(1_000) < permille as u64
    }
}
