//! [`PeerInfo`]: a peer as this node sees it.

use {
    super::{PeerEntry, SignedPeerEntry},
    core::ops::Deref,
    std::{sync::Arc, time::Duration},
};

/// A peer's entry together with what this node measured about it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    entry: Held,
    rtt: Option<Duration>,
}

#[derive(Clone, Debug)]
enum Held {
    Signed(Arc<SignedPeerEntry>),
    Unsigned(Arc<PeerEntry>),
}

impl PeerInfo {
    pub(super) const fn signed(entry: Arc<SignedPeerEntry>, rtt: Option<Duration>) -> Self {
        Self {
            entry: Held::Signed(entry),
            rtt,
        }
    }

    pub(super) const fn unsigned(entry: Arc<PeerEntry>, rtt: Option<Duration>) -> Self {
        Self {
            entry: Held::Unsigned(entry),
            rtt,
        }
    }

    /// The smoothed round-trip time; `None` while the peer was not measured.
    pub const fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Whether the peer was measured and is nearer than `threshold`.
    pub fn rtt_below(&self, threshold: Duration) -> bool {
        self.rtt.is_some_and(|rtt| rtt < threshold)
    }

    /// The same peer, had it been measured so.
    pub(crate) fn with_rtt(&self, rtt: Duration) -> Self {
        Self {
            entry: self.entry.clone(),
            rtt: Some(rtt),
        }
    }

    /// The entry, where the peer vouches for it.
    pub(crate) fn as_signed(&self) -> Option<&Arc<SignedPeerEntry>> {
        match &self.entry {
            Held::Signed(entry) => Some(entry),
            Held::Unsigned(_) => None,
        }
    }

    /// The entry alone.
    pub fn into_entry(self) -> PeerEntry {
        match self.entry {
            Held::Signed(entry) => Arc::unwrap_or_clone(entry).into_unsigned(),
            Held::Unsigned(entry) => Arc::unwrap_or_clone(entry),
        }
    }
}

impl Deref for PeerInfo {
    type Target = PeerEntry;

    fn deref(&self) -> &PeerEntry {
        match &self.entry {
            Held::Signed(entry) => entry,
            Held::Unsigned(entry) => entry,
        }
    }
}

impl AsRef<PeerEntry> for PeerInfo {
    fn as_ref(&self) -> &PeerEntry {
        self
    }
}

impl From<PeerInfo> for PeerEntry {
    fn from(info: PeerInfo) -> Self {
        info.into_entry()
    }
}
