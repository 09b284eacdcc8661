//! [`Prng`]: jitter and choices that come from a seed.

use core::time::Duration;

/// A small generator: `SplitMix64` (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number
/// Generators", OOPSLA 2014). The same seed gives the same numbers. Not for secrets.
#[derive(Clone, Debug)]
pub struct Prng(u64);

impl Prng {
    /// The generator of `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`. The bias is below one in 2^32 for bounds up to 2^32.
    ///
    /// # Panics
    /// When `bound` is zero.
    pub const fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "nothing is below zero");
        (self.next() % bound as u64) as usize
    }

    /// Uniform in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A duration from zero to `max`.
    pub fn upto(&mut self, max: Duration) -> Duration {
        let nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX - 1);
        Duration::from_nanos(self.next() % (nanos + 1))
    }

    /// `duration` times a factor that is uniform in `1 - jitter ..= 1 + jitter`; `jitter` is at
    /// most 1.
    pub fn jittered(&mut self, duration: Duration, jitter: f64) -> Duration {
        duration.mul_f64(jitter.mul_add(self.unit() * 2.0 - 1.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_paper() {
        let mut prng = Prng::new(1_234_567);
        let numbers = [prng.next(), prng.next(), prng.next()];
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(numbers, expected);
    }

    #[test]
    fn what_is_drawn_stays_within_its_bounds() {
        let mut prng = Prng::new(7);
        let second = Duration::from_secs(1);
        for _ in 0..1_000 {
            assert!(prng.below(3) < 3);
            assert!((0.0..1.0).contains(&prng.unit()));
            assert!(prng.upto(second) <= second);
            let jittered = prng.jittered(second, 0.25);
            assert!(jittered >= second * 3 / 4 && jittered <= second * 5 / 4);
        }
        assert_eq!(prng.upto(Duration::ZERO), Duration::ZERO);
    }
}
