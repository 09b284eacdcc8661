//! [`Expiration`]: how long an acceptance lasts.

use {
    chrono::{DateTime, Duration, Utc},
    serde::{Deserialize, Serialize},
};

/// How long a validator's acceptance lasts, by the wall clock of the node that validates.
///
/// Ordered by how soon it ends, so the minimum of several is the one that binds:
/// `At(earlier) < At(later) < Never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expiration {
    /// Accepted without end.
    Never,
    /// Accepted until this moment, exclusive.
    At(DateTime<Utc>),
}

impl Expiration {
    /// Whether the moment has come.
    pub fn is_expired(&self) -> bool {
        match self {
            Self::Never => false,
            Self::At(moment) => *moment <= Utc::now(),
        }
    }

    /// Time left; `None` when it never ends, zero when it has ended.
    pub fn remaining(&self) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::At(moment) => Some((*moment - Utc::now()).max(Duration::zero())),
        }
    }

    /// [`Expiration::Never`].
    pub const fn never() -> Self {
        Self::Never
    }

    /// A moment in the past: refused wherever it is looked at.
    pub fn already_expired() -> Self {
        Self::At(DateTime::<Utc>::UNIX_EPOCH)
    }

    /// `duration` from now. A duration that leaves the calendar saturates at its end.
    pub fn after(duration: impl Into<Duration>) -> Self {
        let duration = duration.into();
        let end = if duration < Duration::zero() {
            DateTime::<Utc>::MIN_UTC
        } else {
            DateTime::<Utc>::MAX_UTC
        };
        Self::At(Utc::now().checked_add_signed(duration).unwrap_or(end))
    }

    /// `hours` from now; negative hours are in the past.
    pub fn in_n_hours(hours: i64) -> Self {
        let limit = if hours < 0 {
            Duration::MIN
        } else {
            Duration::MAX
        };
        Self::after(Duration::try_hours(hours).unwrap_or(limit))
    }

    /// One hour from now.
    pub fn in_1h() -> Self {
        Self::in_n_hours(1)
    }

    /// Three hours from now.
    pub fn in_3h() -> Self {
        Self::in_n_hours(3)
    }

    /// Six hours from now.
    pub fn in_6h() -> Self {
        Self::in_n_hours(6)
    }

    /// Twenty-four hours from now.
    pub fn in_24h() -> Self {
        Self::in_n_hours(24)
    }
}

impl PartialOrd for Expiration {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Expiration {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        match (self, other) {
            (Self::Never, Self::Never) => std::cmp::Ordering::Equal,
            (Self::Never, Self::At(_)) => std::cmp::Ordering::Greater,
            (Self::At(_), Self::Never) => std::cmp::Ordering::Less,
            (Self::At(a), Self::At(b)) => a.cmp(b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soonest_expiration_is_the_smallest() {
        let soon = Expiration::in_1h();
        let late = Expiration::in_24h();
        assert_eq!(
            [Expiration::Never, late, soon].into_iter().min(),
            Some(soon)
        );
        assert!(late < Expiration::never());
        assert_eq!(
            Expiration::Never.cmp(&Expiration::Never),
            std::cmp::Ordering::Equal
        );
    }

    #[test]
    fn remaining_time_ends_at_zero() {
        assert_eq!(Expiration::Never.remaining(), None);
        assert_eq!(
            Expiration::already_expired().remaining(),
            Some(Duration::zero())
        );
        assert!(Expiration::already_expired().is_expired());
        assert!(Expiration::in_n_hours(-1).is_expired());
        let left = Expiration::in_3h().remaining().unwrap();
        assert!(left <= Duration::hours(3) && left > Duration::hours(2));
        assert!(!Expiration::in_6h().is_expired());
    }

    #[test]
    fn absurd_durations_saturate() {
        assert_eq!(
            Expiration::in_n_hours(i64::MAX),
            Expiration::At(DateTime::<Utc>::MAX_UTC)
        );
        assert_eq!(
            Expiration::in_n_hours(i64::MIN),
            Expiration::At(DateTime::<Utc>::MIN_UTC)
        );
        assert!(!Expiration::after(Duration::MAX).is_expired());
    }

    #[test]
    fn it_survives_encoding() {
        for expiration in [Expiration::Never, Expiration::in_1h()] {
            let bytes = postcard::to_stdvec(&expiration).unwrap();
            assert_eq!(
                postcard::from_bytes::<Expiration>(&bytes).unwrap(),
                expiration
            );
        }
    }
}
