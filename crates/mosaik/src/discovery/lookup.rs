//! [`CatalogLookup`]: lets the transport dial peers by id, with the addresses discovery knows.

use {
    super::Catalog,
    crate::network::PeerId,
    futures::{StreamExt, stream, stream::BoxStream},
    iroh::{
        EndpointAddr,
        address_lookup::{AddressLookup, EndpointInfo, Error, Item},
    },
    parking_lot::Mutex,
    std::{
        collections::{BTreeMap, VecDeque},
        sync::Arc,
    },
    tokio::sync::watch,
};

/// Addresses remembered of peers that are in no catalog yet; beyond it the oldest is forgotten.
const HINTS: usize = 4_096;

/// Resolves the ids of the catalog's peers, and of those that were named with an address.
#[derive(Clone, Debug)]
pub(super) struct CatalogLookup {
    catalog: watch::Receiver<Catalog>,
    hints: Hints,
}

/// Where peers are said to be that are in no catalog yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Hints(Arc<Mutex<Hinted>>);

#[derive(Debug, Default)]
struct Hinted {
    addresses: BTreeMap<PeerId, EndpointAddr>,
    oldest: VecDeque<PeerId>,
}

impl CatalogLookup {
    pub(super) const fn new(catalog: watch::Receiver<Catalog>, hints: Hints) -> Self {
        Self { catalog, hints }
    }

    fn address(&self, peer: &PeerId) -> Option<EndpointAddr> {
        let known = self
            .catalog
            .borrow()
            .get(peer)
            .map(|entry| entry.address().clone());
        let hinted = self.hints.get(peer);
        let address = match (known, hinted) {
            // A peer may have moved without having told us yet: try both.
            (Some(known), Some(hinted)) => known.with_addrs(hinted.addrs),
            (known, hinted) => known.or(hinted)?,
        };
        (!address.is_empty()).then_some(address)
    }
}

impl AddressLookup for CatalogLookup {
    fn resolve(&self, peer: PeerId) -> Option<BoxStream<'static, Result<Item, Error>>> {
        let item = Item::new(
            EndpointInfo::from(self.address(&peer)?),
            "mosaik-catalog",
            None,
        );
        Some(stream::iter([Ok(item)]).boxed())
    }
}

impl Hints {
    /// Remembers where a peer is said to be, in place of what was said before.
    pub(super) fn put(&self, address: EndpointAddr) {
        if address.is_empty() {
            return;
        }
        let mut hinted = self.0.lock();
        let peer = address.id;
        if hinted.addresses.insert(peer, address).is_some() {
            return;
        }
        hinted.oldest.push_back(peer);
        if hinted.oldest.len() > HINTS
            && let Some(oldest) = hinted.oldest.pop_front()
        {
            hinted.addresses.remove(&oldest);
        }
    }

    fn get(&self, peer: &PeerId) -> Option<EndpointAddr> {
        self.0.lock().addresses.get(peer).cloned()
    }
}

#[cfg(test)]
mod tests {
    use {
        super::*,
        crate::{discovery::PeerEntry, network::NetworkId},
        iroh::SecretKey,
    };

    fn secret(n: u32) -> SecretKey {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_le_bytes());
        SecretKey::from_bytes(&bytes)
    }

    fn address(n: u32, port: u16) -> EndpointAddr {
        EndpointAddr::new(secret(n).public()).with_ip_addr(([127, 0, 0, 1], port).into())
    }

    #[tokio::test]
    async fn catalog_and_hints_are_both_tried() {
        let entry = |n, port| PeerEntry::starting_now(NetworkId::from("net"), address(n, port));
        let local = entry(1, 1).sign(&secret(1)).unwrap();
        let mut catalog = Catalog::new(Arc::new(local));
        catalog.put_signed(Arc::new(entry(2, 2).sign(&secret(2)).unwrap()));
        let (_keep, receiver) = watch::channel(catalog);
        let hints = Hints::default();
        let lookup = CatalogLookup::new(receiver, hints.clone());
        hints.put(address(2, 22));
        hints.put(address(3, 3));
        hints.put(EndpointAddr::new(secret(4).public()));
        assert_eq!(
            lookup
                .address(&secret(2).public())
                .unwrap()
                .ip_addrs()
                .count(),
            2
        );
        assert!(lookup.resolve(secret(4).public()).is_none());
        let mut found = lookup.resolve(secret(3).public()).unwrap();
        assert_eq!(
            found.next().await.unwrap().unwrap().to_endpoint_addr(),
            address(3, 3)
        );
    }

    #[test]
    fn the_oldest_hint_is_forgotten() {
        let hints = Hints::default();
        for n in 0..=HINTS as u32 {
            hints.put(address(n, 1));
        }
        assert!(hints.get(&secret(0).public()).is_none());
        assert!(hints.get(&secret(1).public()).is_some());
        assert!(hints.get(&secret(HINTS as u32).public()).is_some());
    }
}
