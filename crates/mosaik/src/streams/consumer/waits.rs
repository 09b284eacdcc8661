//! How long a worker waits between attempts: as its backoff says, within bounds of its own.
//!
//! Giving up is absent on purpose: what refuses today may accept tomorrow without any news of it.

use {
    crate::{primitives::BackoffFactory, streams::backoff::Backoff},
    core::time::Duration,
};

/// A producer that serves as many as it may is asked this often, so that a place that becomes
/// free is taken soon.
const FULL: Duration = Duration::from_secs(1);
/// No less than this is waited once the backoff has given up, however short its waits were.
const GIVEN_UP_MIN: Duration = Duration::from_secs(1);

/// The waits of one worker.
pub(super) struct Waits {
    backoff: Box<dyn Backoff + Send + Sync>,
    longest: Duration,
}

impl Waits {
    pub(super) fn new(backoff: &BackoffFactory) -> Self {
        Self {
            backoff: backoff(),
            longest: GIVEN_UP_MIN,
        }
    }

    /// Starts over with the first wait.
    pub(super) fn reset(&mut self) {
        self.backoff.reset();
    }

    /// The next wait; a backoff that has given up goes on at its longest.
    pub(super) fn next(&mut self, full: bool) -> Duration {
        let wait = self.backoff.next_backoff();
        if let Some(wait) = wait {
            self.longest = self.longest.max(wait);
        }
        let wait = wait.unwrap_or(self.longest);
        if full { wait.min(FULL) } else { wait }
    }
}

#[cfg(test)]
mod tests {
    use {super::*, crate::streams::backoff::ExponentialBackoff, std::sync::Arc};

    /// Two waits, and no more until it is reset.
    #[derive(Clone)]
    struct Two(u32);

    impl Backoff for Two {
        fn reset(&mut self) {
            self.0 = 0;
        }

        fn next_backoff(&mut self) -> Option<Duration> {
            self.0 += 1;
            (self.0 <= 2).then(|| Duration::from_secs(5) * self.0)
        }
    }

    fn waits<B: Backoff + Clone + Send + Sync + 'static>(backoff: B) -> Waits {
        let factory: BackoffFactory = Arc::new(move || Box::new(backoff.clone()));
        Waits::new(&factory)
    }

    #[test]
    fn a_backoff_that_gave_up_goes_on_at_its_longest_wait() {
        let mut waits = waits(Two(0));
        let secs: Vec<_> = (0..5).map(|_| waits.next(false).as_secs()).collect();
        assert_eq!(secs, [5, 10, 10, 10, 10]);
        waits.reset();
        assert_eq!(waits.next(false).as_secs(), 5);
    }

    #[test]
    fn a_backoff_that_gave_up_at_once_does_not_spin() {
        let never = ExponentialBackoff {
            max_elapsed_time: Some(Duration::ZERO),
            ..ExponentialBackoff::default()
        };
        assert_eq!(waits(never).next(false), GIVEN_UP_MIN);
    }

    #[test]
    fn a_full_producer_is_asked_again_soon_however_long_the_backoff_waits() {
        let mut waits = waits(Two(0));
        assert_eq!((0..4).map(|_| waits.next(true)).max(), Some(FULL));
    }
}
