//! [`PeerEntryVersion`]: which of two entries of one peer is the newer.

use {
    chrono::{DateTime, Utc},
    core::fmt,
    mosaik_protocol::catalog::Version,
    serde::{Deserialize, Serialize},
    std::time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The version of a peer's entry: when the peer started, then when the entry last changed.
///
/// Ordered: any entry of a later start is newer than all of an earlier one; within one start
/// every change is newer than the last, whatever the peer's clock did in between. Both are the
/// peer's own wall clock (milliseconds and microseconds since the Unix epoch) and are claims,
/// not proofs.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct PeerEntryVersion(u64, u64);

impl PeerEntryVersion {
    /// For statements that have no version.
    pub(super) const NONE: Self = Self(0, 0);

    /// The first version of a peer that starts now.
    pub(super) fn starting_now() -> Self {
        let now_us = unix_micros();
        Self(now_us / 1_000, now_us)
    }

    #[cfg(test)]
    pub(super) const fn from_parts(started_ms: u64, updated_us: u64) -> Self {
        Self(started_ms, updated_us)
    }

    pub(super) const fn started_ms(self) -> u64 {
        self.0
    }

    pub(super) const fn updated_us(self) -> u64 {
        self.1
    }

    /// The version after this one: now, or just above this where the clock has not moved on.
    #[must_use]
    pub(super) fn next(self) -> Self {
        Self(self.0, unix_micros().max(self.1.saturating_add(1)))
    }

    /// When the entry last changed, by its peer's clock.
    pub fn updated_at(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(i64::try_from(self.1).unwrap_or(i64::MAX))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// When the peer started, by its own clock.
    pub fn started_at(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(i64::try_from(self.0).unwrap_or(i64::MAX))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

impl fmt::Display for PeerEntryVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0, self.1)
    }
}

impl From<PeerEntryVersion> for Version {
    fn from(version: PeerEntryVersion) -> Self {
        Self {
            start: version.0,
            seq: version.1,
        }
    }
}

impl From<Version> for PeerEntryVersion {
    fn from(version: Version) -> Self {
        Self(version.start, version.seq)
    }
}

/// The wall clock, microseconds since the Unix epoch; zero for clocks set before it.
pub(super) fn unix_micros() -> u64 {
    let since_epoch: Duration = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_start_beats_any_update_of_an_earlier_one() {
        let old = PeerEntryVersion::from_parts(1, 1_000);
        let new = PeerEntryVersion::from_parts(2, 2);
        assert!(new > old);
        assert!(old.next() > old);
        assert!(Version::from(new) > Version::from(old));
    }

    #[test]
    fn versions_rise_though_the_clock_stands_still() {
        let ahead = PeerEntryVersion::from_parts(u64::MAX, u64::MAX - 2);
        assert_eq!(ahead.next().updated_us(), u64::MAX - 1);
        assert_eq!(ahead.updated_at(), DateTime::<Utc>::MAX_UTC);
        assert_eq!(ahead.started_at(), DateTime::<Utc>::MAX_UTC);
    }
}
