//! Round-trip times, smoothed as RFC 6298 does.

use core::time::Duration;

/// The smoothed round-trip time to a peer and how much it varies (RFC 6298, section 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rtt {
    smoothed: Duration,
    variation: Duration,
    samples: u64,
}

impl Rtt {
    /// Adds a measured round trip.
    pub fn sample(&mut self, rtt: Duration) {
        if self.samples == 0 {
            self.smoothed = rtt;
            self.variation = rtt / 2;
        } else {
            self.variation = (self.variation * 3 + self.smoothed.abs_diff(rtt)) / 4;
            self.smoothed = (self.smoothed * 7 + rtt) / 8;
        }
        self.samples = self.samples.saturating_add(1);
    }

    /// SRTT, once there is a sample.
    pub fn smoothed(&self) -> Option<Duration> {
        (self.samples > 0).then_some(self.smoothed)
    }

    /// RTTVAR.
    pub const fn variation(&self) -> Duration {
        self.variation
    }

    /// How many round trips were measured.
    pub const fn samples(&self) -> u64 {
        self.samples
    }

    /// How long to wait for an answer before asking again: SRTT + 4 RTTVAR, within the bounds;
    /// the upper bound while there is no sample.
    pub fn timeout(&self, min: Duration, max: Duration) -> Duration {
        if self.samples == 0 {
            return max;
        }
        (self.smoothed + self.variation * 4).clamp(min, max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn follows_the_rfc() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.smoothed(), None);
        assert_eq!(rtt.timeout(ms(10), ms(500)), ms(500));
        rtt.sample(ms(100));
        assert_eq!((rtt.smoothed(), rtt.variation()), (Some(ms(100)), ms(50)));
        rtt.sample(ms(180));
        // RTTVAR = 3/4 * 50 + 1/4 * |100 - 180|, then SRTT = 7/8 * 100 + 1/8 * 180.
        assert_eq!(rtt.variation(), Duration::from_micros(57_500));
        assert_eq!(rtt.smoothed(), Some(ms(110)));
        assert_eq!(rtt.timeout(ms(10), ms(1_000)), ms(340));
    }
}
