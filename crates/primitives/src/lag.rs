//! [`Lag`]: how late this node gets to run, as a measure of how late it may be told things.
//!
//! A node without enough processor time hears everything late, and so must not take lateness of
//! others for their death (the local health of Lifeguard: Dadgar, Phillips, Currey, "Lifeguard:
//! Local Health Awareness for More Accurate Failure Detection", DSN-W 2018).

use {crate::time::Instant, core::time::Duration};

/// After this long a lag counts half.
const HALF_LIFE: Duration = Duration::from_secs(2);
/// Queues that a question to a peer and its answer wait in on their way through both nodes'
/// tasks. Each may be as late as the one that was measured.
const QUEUES: u32 = 8;
/// More is not granted: a node that was stopped for minutes is healthy once it goes on.
const GRACE_MAX: Duration = Duration::from_secs(3);

/// The greatest lateness of this node's own timers of late, forgotten gradually.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lag {
    worst: Duration,
    at: Instant,
}

impl Lag {
    /// A timer that was due at `due` went off at `now`.
    pub fn woke(&mut self, due: Instant, now: Instant) {
        let late = now.since(due);
        if late >= self.remaining(now) {
            self.worst = late;
            self.at = now;
        }
    }

    /// Time to be granted to peers beyond what they would get from a node that is on time; at
    /// most three seconds.
    pub fn grace(&self, now: Instant) -> Duration {
        (self.remaining(now) * QUEUES).min(GRACE_MAX)
    }

    fn remaining(&self, now: Instant) -> Duration {
        let halvings = now.since(self.at).as_nanos() / HALF_LIFE.as_nanos();
        let halvings = u32::try_from(halvings).unwrap_or(u32::MAX);
        self.worst.min(GRACE_MAX) / 1_u32.checked_shl(halvings).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_on_time_grants_nothing() {
        let mut lag = Lag::default();
        let now = Instant::from_millis(1_000);
        lag.woke(now, now);
        assert_eq!(lag.grace(now), Duration::ZERO);
    }

    #[test]
    fn the_worst_counts_and_is_forgotten() {
        let mut lag = Lag::default();
        let at = Instant::from_millis;
        lag.woke(at(1_000), at(1_100));
        lag.woke(at(1_200), at(1_201));
        assert_eq!(lag.grace(at(1_300)), Duration::from_millis(800));
        assert_eq!(lag.grace(at(3_200)), Duration::from_millis(400));
        assert_eq!(lag.grace(Instant::FAR_FUTURE), Duration::ZERO);
    }

    #[test]
    fn a_long_stop_is_granted_no_more_than_the_bound() {
        let mut lag = Lag::default();
        lag.woke(Instant::ZERO, Instant::from_millis(3_600_000));
        assert_eq!(lag.grace(Instant::from_millis(3_600_000)), GRACE_MAX);
    }
}
