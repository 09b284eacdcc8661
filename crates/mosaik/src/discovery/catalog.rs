//! [`Catalog`]: a snapshot of who is known.

use {
    super::{PeerEntry, PeerInfo, SignedPeerEntry},
    crate::network::{NetworkId, PeerId},
    std::{collections::BTreeMap, sync::Arc, time::Duration},
};

/// A snapshot of who is in the network, as this node knows it. Cheap to clone.
///
/// Holds the local peer's own entry, the signed entries of others, and the unsigned ones that
/// the program inserted by hand. A peer has at most one of the latter two: signed beats
/// unsigned. Iteration is in the order of peer ids, signed entries before unsigned ones.
#[derive(Clone, Debug)]
pub struct Catalog {
    local_id: PeerId,
    network_id: NetworkId,
    local: Arc<SignedPeerEntry>,
    /// Shared with other snapshots until one of them changes.
    signed: Arc<BTreeMap<PeerId, Arc<SignedPeerEntry>>>,
    unsigned: Arc<BTreeMap<PeerId, Arc<PeerEntry>>>,
}

impl Catalog {
    pub(super) fn new(local: Arc<SignedPeerEntry>) -> Self {
        Self {
            local_id: *local.id(),
            network_id: *local.network_id(),
            local,
            signed: Arc::default(),
            unsigned: Arc::default(),
        }
    }

    /// The local peer's id.
    pub const fn local_id(&self) -> PeerId {
        self.local_id
    }

    /// The network's id.
    pub const fn network_id(&self) -> NetworkId {
        self.network_id
    }

    /// All peers but the local one.
    pub fn peers(&self) -> impl DoubleEndedIterator<Item = &PeerEntry> {
        self.signed_peers()
            .map(AsRef::as_ref)
            .chain(self.unsigned_peers())
    }

    /// The peers that vouch for their entries themselves, but the local one.
    pub fn signed_peers(&self) -> impl DoubleEndedIterator<Item = &SignedPeerEntry> {
        self.signed.values().map(AsRef::as_ref)
    }

    /// The peers that the program inserted by hand.
    pub fn unsigned_peers(&self) -> impl DoubleEndedIterator<Item = &PeerEntry> {
        self.unsigned.values().map(AsRef::as_ref)
    }

    /// All peers, the local one first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &PeerEntry> {
        std::iter::once(self.local())
            .map(AsRef::as_ref)
            .chain(self.peers())
    }

    /// All signed entries, the local one first.
    pub fn iter_signed(&self) -> impl DoubleEndedIterator<Item = &SignedPeerEntry> {
        std::iter::once(self.local()).chain(self.signed_peers())
    }

    /// The entry of a peer, be it the local one, signed or unsigned.
    pub fn get(&self, peer_id: &PeerId) -> Option<&PeerEntry> {
        match self.get_signed(peer_id) {
            Some(entry) => Some(entry.as_ref()),
            None => self.unsigned.get(peer_id).map(AsRef::as_ref),
        }
    }

    /// The signed entry of a peer, be it the local one or another.
    pub fn get_signed(&self, peer_id: &PeerId) -> Option<&SignedPeerEntry> {
        if *peer_id == self.local_id {
            return Some(&self.local);
        }
        self.signed.get(peer_id).map(AsRef::as_ref)
    }

    /// The local peer's own entry, as it was last published.
    pub fn local(&self) -> &SignedPeerEntry {
        &self.local
    }

    /// How many signed entries there are, the local one left out.
    pub fn signed_peers_count(&self) -> usize {
        self.signed.len()
    }

    /// How many peers there are, the local one left out.
    pub fn peers_count(&self) -> usize {
        self.signed.len() + self.unsigned.len()
    }

    /// All peers but the local one, each with its round-trip time.
    pub(crate) fn infos(
        &self,
        rtt: impl Fn(&PeerId) -> Option<Duration>,
    ) -> impl Iterator<Item = PeerInfo> {
        let of = Arc::new(rtt);
        let signed_rtt = Arc::clone(&of);
        let signed = self
            .signed
            .iter()
            .map(move |(peer, entry)| PeerInfo::signed(Arc::clone(entry), signed_rtt(peer)));
        let unsigned = self
            .unsigned
            .iter()
            .map(move |(peer, entry)| PeerInfo::unsigned(Arc::clone(entry), of(peer)));
        signed.chain(unsigned)
    }

    pub(super) fn info(&self, peer: &PeerId, rtt: Option<Duration>) -> Option<PeerInfo> {
        if *peer == self.local_id {
            return Some(PeerInfo::signed(Arc::clone(&self.local), rtt));
        }
        if let Some(entry) = self.signed.get(peer) {
            return Some(PeerInfo::signed(Arc::clone(entry), rtt));
        }
        self.unsigned
            .get(peer)
            .map(|entry| PeerInfo::unsigned(Arc::clone(entry), rtt))
    }

    pub(super) fn set_local(&mut self, local: Arc<SignedPeerEntry>) {
        assert_eq!(*local.id(), self.local_id, "the local peer never changes");
        self.local = local;
    }

    /// Puts a signed entry in, in place of any entry of the peer.
    pub(super) fn put_signed(&mut self, entry: Arc<SignedPeerEntry>) {
        let peer = *entry.id();
        if self.unsigned.contains_key(&peer) {
            Arc::make_mut(&mut self.unsigned).remove(&peer);
        }
        Arc::make_mut(&mut self.signed).insert(peer, entry);
    }

    pub(super) fn remove_signed(&mut self, peer: &PeerId) -> bool {
        self.signed.contains_key(peer) && Arc::make_mut(&mut self.signed).remove(peer).is_some()
    }

    /// Puts an unsigned entry in; `None` where a signed one or a newer one is known. Says
    /// whether the peer was there before.
    pub(super) fn put_unsigned(&mut self, entry: Arc<PeerEntry>) -> Option<bool> {
        let peer = *entry.id();
        if self.get_signed(&peer).is_some() {
            return None;
        }
        let before = self.unsigned.get(&peer);
        if before.is_some_and(|before| before.update_version() >= entry.update_version()) {
            return None;
        }
        let was_there = before.is_some();
        Arc::make_mut(&mut self.unsigned).insert(peer, entry);
        Some(was_there)
    }

    pub(super) fn remove_unsigned(&mut self, peer: &PeerId) -> bool {
        self.unsigned.contains_key(peer) && Arc::make_mut(&mut self.unsigned).remove(peer).is_some()
    }

    pub(super) fn clear_unsigned(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.unsigned).keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use {
        super::*,
        iroh::{EndpointAddr, SecretKey},
    };

    fn secret(n: u8) -> SecretKey {
        SecretKey::from_bytes(&[n; 32])
    }

    fn entry(n: u8) -> PeerEntry {
        let address = EndpointAddr::new(secret(n).public());
        PeerEntry::starting_now(NetworkId::from("net"), address)
    }

    fn signed(n: u8) -> Arc<SignedPeerEntry> {
        Arc::new(entry(n).sign(&secret(n)).unwrap())
    }

    #[test]
    fn the_local_peer_is_found_but_not_counted() {
        let catalog = Catalog::new(signed(1));
        assert_eq!(catalog.local_id(), secret(1).public());
        assert!(catalog.get(&secret(1).public()).is_some());
        assert_eq!((catalog.peers_count(), catalog.peers().count()), (0, 0));
        assert_eq!(
            (catalog.iter().count(), catalog.iter_signed().count()),
            (1, 1)
        );
    }

    #[test]
    fn signed_beats_unsigned() {
        let mut catalog = Catalog::new(signed(1));
        assert_eq!(catalog.put_unsigned(Arc::new(entry(2))), Some(false));
        assert!(catalog.get_signed(&secret(2).public()).is_none());
        assert_eq!(catalog.unsigned_peers().count(), 1);
        catalog.put_signed(signed(2));
        assert_eq!(catalog.unsigned_peers().count(), 0);
        assert!(catalog.get_signed(&secret(2).public()).is_some());
        assert_eq!(catalog.put_unsigned(Arc::new(entry(2))), None);
        assert_eq!(catalog.put_unsigned(Arc::new(entry(1))), None);
    }

    #[test]
    fn an_unsigned_entry_gives_way_to_a_newer_one_only() {
        let mut catalog = Catalog::new(signed(1));
        let old = entry(2);
        let new = old.clone().add_tags("new");
        assert_eq!(catalog.put_unsigned(Arc::new(new.clone())), Some(false));
        assert_eq!(catalog.put_unsigned(Arc::new(old)), None);
        assert_eq!(catalog.put_unsigned(Arc::new(new.clone())), None);
        assert_eq!(
            catalog.put_unsigned(Arc::new(new.add_tags("newer"))),
            Some(true)
        );
        assert_eq!(catalog.clear_unsigned(), [secret(2).public()]);
        assert_eq!(catalog.peers_count(), 0);
    }

    #[test]
    fn a_snapshot_does_not_change_with_its_successors() {
        let mut catalog = Catalog::new(signed(1));
        catalog.put_signed(signed(2));
        let snapshot = catalog.clone();
        catalog.put_signed(signed(3));
        assert!(catalog.remove_signed(&secret(2).public()));
        assert!(!catalog.remove_signed(&secret(2).public()));
        let ids = |catalog: &Catalog| catalog.peers().map(|e| *e.id()).collect::<Vec<_>>();
        assert_eq!(ids(&snapshot), [secret(2).public()]);
        assert_eq!(ids(&catalog), [secret(3).public()]);
    }
}
