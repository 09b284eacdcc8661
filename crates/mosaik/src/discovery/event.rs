//! What discovery reports as it happens.

use {
    super::{PeerEntry, PeerEntryVersion, SignedPeerEntry},
    crate::network::PeerId,
};

/// A change of the catalog, manual changes included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A peer that was not in the catalog is.
    PeerDiscovered(PeerEntry),
    /// A peer's entry was replaced by a newer one.
    PeerUpdated(PeerEntry),
    /// A peer is no longer in the catalog: it left, fell silent or was removed.
    PeerDeparted(PeerId),
}

/// What peers themselves announced, as opposed to what the local catalog made of it.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "entries are what mostly arrives, and the contract names the variants"
)]
pub enum AnnounceEvent {
    /// A peer's entry arrived, new or newer than the one that was known.
    PeerEntryReceived(SignedPeerEntry),
    /// A peer said that it leaves; this was its last version.
    PeerDeparted(PeerId, PeerEntryVersion),
}
