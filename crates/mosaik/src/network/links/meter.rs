//! The links' metrics.

use {
    super::conn::Conn,
    mosaik_primitives::{Digest, ShortFmtExt},
};

/// The metrics of one network's links, looked up once.
pub(super) struct Meter {
    network: String,
    pub(super) opened: metrics::Counter,
    pub(super) lost: metrics::Counter,
    egress: metrics::Counter,
    ingress: metrics::Counter,
}

impl Meter {
    pub(super) fn new(network_id: &Digest) -> Self {
        let network = network_id.short().to_string();
        let counter = |name: &'static str| metrics::counter!(name, "network" => network.clone());
        Self {
            opened: counter("mosaik.network.connections.opened"),
            lost: counter("mosaik.network.connections.lost"),
            egress: counter("mosaik.network.egress.bytes"),
            ingress: counter("mosaik.network.ingress.bytes"),
            network,
        }
    }

    /// Counts an incoming connection that was refused.
    pub(super) fn refused(&self, reason: &'static str) {
        let network = self.network.clone();
        metrics::counter!(
            "mosaik.network.connections.refused", "network" => network, "reason" => reason
        )
        .increment(1);
    }

    /// Counts a sub-stream that was refused at its header.
    pub(super) fn refused_substream(&self, reason: &'static str) {
        let network = self.network.clone();
        metrics::counter!(
            "mosaik.network.substreams.refused", "network" => network, "reason" => reason
        )
        .increment(1);
    }

    /// Counts what a connection has carried since it was last counted.
    pub(super) fn bytes(&self, conn: &Conn) {
        let (sent, received) = conn.take_bytes();
        self.egress.increment(sent);
        self.ingress.increment(received);
    }
}
