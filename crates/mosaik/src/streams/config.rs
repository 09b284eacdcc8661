//! The streams' configuration, and how consumers wait between attempts.

use {
    core::{fmt, time::Duration},
    std::sync::Arc,
};

pub use crate::primitives::BackoffFactory;

/// How a consumer waits between attempts to reach a producer.
pub mod backoff {
    use {core::time::Duration, std::time::Instant};

    /// Yields the time to wait before each next attempt; `None` gives up.
    pub trait Backoff {
        /// Starts over after an attempt that succeeded.
        fn reset(&mut self) {}

        /// How long to wait before the next attempt; `None` when there should be none.
        fn next_backoff(&mut self) -> Option<Duration>;
    }

    impl<B: Backoff + ?Sized> Backoff for Box<B> {
        fn reset(&mut self) {
            (**self).reset();
        }

        fn next_backoff(&mut self) -> Option<Duration> {
            (**self).next_backoff()
        }
    }

    /// Waits that grow by a factor, with jitter, up to a longest wait and a total time.
    #[derive(Clone, Debug)]
    pub struct ExponentialBackoff {
        /// The next wait, before jitter.
        pub current_interval: Duration,
        /// The first wait.
        pub initial_interval: Duration,
        /// Each wait lies between this share less and this share more than its turn's: 0 to 1.
        pub randomization_factor: f64,
        /// How much longer each wait is than the one before.
        pub multiplier: f64,
        /// The longest wait, before jitter.
        pub max_interval: Duration,
        /// When the waits started; set by the first wait and by `reset`.
        pub start_time: Option<Instant>,
        /// Time since the start after which there are no more attempts; `None` is never.
        pub max_elapsed_time: Option<Duration>,
    }

    impl Default for ExponentialBackoff {
        /// From 500 ms by 1.5 to 60 s, half of it jitter, for 15 minutes.
        fn default() -> Self {
            let initial_interval = Duration::from_millis(500);
            Self {
                current_interval: initial_interval,
                initial_interval,
                randomization_factor: 0.5,
                multiplier: 1.5,
                max_interval: Duration::from_mins(1),
                start_time: None,
                max_elapsed_time: Some(Duration::from_mins(15)),
            }
        }
    }

    impl Backoff for ExponentialBackoff {
        fn reset(&mut self) {
            self.current_interval = self.initial_interval;
            self.start_time = None;
        }

        fn next_backoff(&mut self) -> Option<Duration> {
            if self.start_time.is_none() {
                self.start_time = Some(Instant::now());
                self.current_interval = self.initial_interval;
            }
            let elapsed = self
                .start_time
                .map_or(Duration::ZERO, |start| start.elapsed());
            if self.max_elapsed_time.is_some_and(|max| elapsed >= max) {
                return None;
            }
            let turn = self.current_interval.min(self.max_interval);
            let longer = turn.as_secs_f64() * self.multiplier.max(1.0);
            self.current_interval = Duration::try_from_secs_f64(longer)
                .unwrap_or(self.max_interval)
                .min(self.max_interval);
            // Uniform between the share less and the share more.
            let random = f64::from(mosaik_primitives::Digest::random().as_bytes()[0]) / 127.5 - 1.0;
            let share = self.randomization_factor.clamp(0.0, 1.0);
            Some(turn.mul_f64(share.mul_add(random, 1.0)))
        }
    }

    /// Builds an [`ExponentialBackoff`].
    ///
    /// Its settings are made in place, in one expression or in several statements.
    #[derive(Clone, Debug, Default)]
    #[must_use = "a builder does nothing until it is built"]
    pub struct ExponentialBackoffBuilder(ExponentialBackoff);

    impl ExponentialBackoffBuilder {
        /// Starts from the defaults.
        pub fn new() -> Self {
            Self::default()
        }

        /// The first wait.
        pub const fn with_initial_interval(&mut self, value: Duration) -> &mut Self {
            self.0.initial_interval = value;
            self
        }

        /// How much of each wait is jitter, 0 to 1.
        pub const fn with_randomization_factor(&mut self, value: f64) -> &mut Self {
            self.0.randomization_factor = value;
            self
        }

        /// How much longer each wait is than the one before.
        pub const fn with_multiplier(&mut self, value: f64) -> &mut Self {
            self.0.multiplier = value;
            self
        }

        /// The longest wait.
        pub const fn with_max_interval(&mut self, value: Duration) -> &mut Self {
            self.0.max_interval = value;
            self
        }

        /// Time after which there are no more attempts; `None` is never.
        pub const fn with_max_elapsed_time(&mut self, value: Option<Duration>) -> &mut Self {
            self.0.max_elapsed_time = value;
            self
        }

        /// The backoff.
        pub fn build(&self) -> ExponentialBackoff {
            ExponentialBackoff {
                current_interval: self.0.initial_interval,
                ..self.0.clone()
            }
        }
    }
}

/// The streams' configuration.
#[derive(Clone)]
pub struct Config {
    /// Makes the backoff of each attempt of a consumer to keep a producer.
    pub backoff: BackoffFactory,
}

impl Config {
    /// A builder with the defaults.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").finish_non_exhaustive()
    }
}

/// Builds a [`Config`].
#[derive(Clone, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct ConfigBuilder {
    backoff: Option<BackoffFactory>,
}

impl fmt::Debug for ConfigBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigBuilder").finish_non_exhaustive()
    }
}

/// Why a configuration cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigBuilderError {
    /// A required setting is missing.
    #[error("`{0}` must be initialized")]
    UninitializedField(&'static str),
    /// A setting cannot work.
    #[error("{0}")]
    ValidationError(String),
}

impl From<String> for ConfigBuilderError {
    fn from(text: String) -> Self {
        Self::ValidationError(text)
    }
}

impl ConfigBuilder {
    /// How consumers wait between attempts. Default: exponential, for at most 5 minutes.
    ///
    /// A consumer never gives a producer up: where the backoff yields no more waits, it goes on
    /// with the longest it yielded, at least 1 s. It starts over when the producer's entry changes.
    pub fn with_backoff<B>(mut self, backoff: B) -> Self
    where
        B: backoff::Backoff + Clone + Send + Sync + 'static,
    {
        self.backoff = Some(factory(backoff));
        self
    }

    /// The configuration, checked: a backoff that yields no first wait, or a first wait of over
    /// a day, is refused.
    pub fn build(self) -> Result<Config, ConfigBuilderError> {
        let backoff = self.backoff.unwrap_or_else(|| factory(default_backoff()));
        match backoff().next_backoff() {
            None => Err("the backoff allows no attempt at all".to_owned().into()),
            Some(wait) if wait > Duration::from_hours(24) => {
                Err(format!("the backoff's first wait is {wait:?}").into())
            }
            Some(_) => Ok(Config { backoff }),
        }
    }
}

/// From 100 ms by 1.5 to 15 s, half of it jitter, for 5 minutes.
fn default_backoff() -> backoff::ExponentialBackoff {
    backoff::ExponentialBackoffBuilder::new()
        .with_initial_interval(Duration::from_millis(100))
        .with_max_interval(Duration::from_secs(15))
        .with_max_elapsed_time(Some(Duration::from_mins(5)))
        .build()
}

/// A factory of copies of `backoff`.
pub(super) fn factory<B>(backoff: B) -> BackoffFactory
where
    B: backoff::Backoff + Clone + Send + Sync + 'static,
{
    Arc::new(move || Box::new(backoff.clone()))
}

#[cfg(test)]
mod tests {
    use {
        super::{backoff::Backoff, *},
        backoff::{ExponentialBackoff, ExponentialBackoffBuilder},
    };

    #[test]
    fn waits_grow_to_the_longest_and_start_over() {
        let mut backoff = ExponentialBackoffBuilder::new()
            .with_initial_interval(Duration::from_millis(10))
            .with_multiplier(2.0)
            .with_max_interval(Duration::from_millis(35))
            .with_randomization_factor(0.0)
            .build();
        let waits: Vec<_> = (0..4)
            .map(|_| backoff.next_backoff().unwrap().as_millis())
            .collect();
        assert_eq!(waits, [10, 20, 35, 35]);
        backoff.reset();
        assert_eq!(backoff.next_backoff().unwrap().as_millis(), 10);
    }

    #[test]
    fn a_builder_is_set_in_place_and_can_be_used_again() {
        let mut builder = ExponentialBackoffBuilder::new();
        builder.with_initial_interval(Duration::from_millis(10));
        if builder.build().max_elapsed_time.is_some() {
            builder
                .with_max_elapsed_time(None)
                .with_randomization_factor(0.0);
        }
        let mut backoff = builder.build();
        assert_eq!(backoff.current_interval, Duration::from_millis(10));
        assert_eq!(backoff.next_backoff(), Some(Duration::from_millis(10)));
        assert_eq!(backoff.max_elapsed_time, None);
        let other = builder.with_multiplier(3.0).build();
        assert!(other.multiplier > backoff.multiplier && other.start_time.is_none());
    }

    #[test]
    fn a_backoff_without_attempts_is_a_configuration_error() {
        let never = ExponentialBackoff {
            max_elapsed_time: Some(Duration::ZERO),
            ..ExponentialBackoff::default()
        };
        assert!(Config::builder().with_backoff(never).build().is_err());
        assert!(Config::builder().build().is_ok());
    }
}
