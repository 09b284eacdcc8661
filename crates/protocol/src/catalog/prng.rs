//! A small generator for jitter and choices: `SplitMix64` (Steele, Lea, Flood, OOPSLA 2014).
//!
//! Not for secrets.

use core::time::Duration;

#[derive(Clone, Debug)]
pub(super) struct Prng(u64);

impl Prng {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is not zero. The bias is below one in 2^32 for the bounds used here.
    pub(super) const fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0);
        (self.next() % bound as u64) as usize
    }

    /// Uniform in `0.0..1.0`.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// `duration` times a factor that is uniform in `1 - jitter ..= 1 + jitter`.
    pub(super) fn jittered(&mut self, duration: Duration, jitter: f64) -> Duration {
        duration.mul_f64(jitter.mul_add(self.unit() * 2.0 - 1.0, 1.0))
    }
}
