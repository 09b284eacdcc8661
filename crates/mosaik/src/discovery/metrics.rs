//! The counters and gauges of discovery.

use {
    crate::network::NetworkId,
    metrics::{Counter, Gauge, counter, gauge},
    mosaik_primitives::ShortFmtExt,
    mosaik_protocol::catalog::Refusal,
};

/// Handles to the metrics of one network's discovery.
pub(super) struct Metrics {
    network: String,
    pub(super) catalog_size: Gauge,
    pub(super) gossip_neighbors: Gauge,
    pub(super) syncs: Counter,
    pub(super) discovered: Counter,
    pub(super) updated: Counter,
    pub(super) departed: Counter,
}

impl Metrics {
    pub(super) fn new(network: &NetworkId) -> Self {
        let network = network.short().to_string();
        let label = [("network", network.clone())];
        Self {
            catalog_size: gauge!("mosaik.discovery.catalog.size", &label),
            gossip_neighbors: gauge!("mosaik.discovery.gossip.neighbors", &label),
            syncs: counter!("mosaik.discovery.catalog.syncs", &label),
            discovered: counter!("mosaik.discovery.peers.discovered", &label),
            updated: counter!("mosaik.discovery.peers.updated", &label),
            departed: counter!("mosaik.discovery.peers.departed", &label),
            network,
        }
    }

    /// Counts something that a peer sent and that was turned away.
    pub(super) fn refused(&self, refusal: Refusal) {
        let reason = match refusal {
            Refusal::Message => "malformed",
            Refusal::EntryTooLarge => "oversized",
            Refusal::Entry(_) | Refusal::Signature => "invalid",
            Refusal::FutureDated => "future-dated",
            Refusal::Stale => "stale",
            Refusal::Superseded => "superseded",
            Refusal::Departed => "departed",
            Refusal::CatalogFull => "catalog-full",
            Refusal::Stranger => "stranger",
            Refusal::Unannounced => "unannounced",
            Refusal::NotMine => "not-mine",
            _ => "other",
        };
        self.refused_for(reason);
    }

    /// Counts messages that did not fit the queue; whoever sent them will again.
    pub(super) fn overloaded(&self) {
        self.refused_for("overloaded");
    }

    /// Counts what a peer said that the protocol does not allow.
    pub(super) fn violation(&self) {
        self.refused_for("protocol-violation");
    }

    fn refused_for(&self, reason: &'static str) {
        let network = self.network.clone();
        counter!("mosaik.discovery.refused", "network" => network, "reason" => reason).increment(1);
    }
}
