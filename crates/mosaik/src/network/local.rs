//! [`LocalNode`]: this node as others see it.

use {
    super::{NetworkId, PeerId},
    core::fmt,
    iroh::{Endpoint, EndpointAddr, SecretKey, Watcher},
};

/// This node: its identity and its socket.
#[derive(Clone, Debug)]
pub struct LocalNode {
    endpoint: Endpoint,
    network_id: NetworkId,
}

impl LocalNode {
    pub(super) const fn new(endpoint: Endpoint, network_id: NetworkId) -> Self {
        Self {
            endpoint,
            network_id,
        }
    }

    /// The network this node is part of.
    pub const fn network_id(&self) -> &NetworkId {
        &self.network_id
    }

    /// The transport's endpoint.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Where this node can be dialled, as far as is known now.
    pub fn addr(&self) -> EndpointAddr {
        self.endpoint.addr()
    }

    /// This node's id.
    pub fn id(&self) -> PeerId {
        self.endpoint.id()
    }

    /// The key that this node's id is the public half of.
    pub fn secret_key(&self) -> &SecretKey {
        self.endpoint.secret_key()
    }

    /// Resolves when the node can be used: its socket is bound and its protocols are served.
    /// That is so from the start.
    #[expect(clippy::unused_async, reason = "programs await it")]
    pub async fn online(&self) {}

    /// Resolves when a relay or an address outside loopback is known.
    ///
    /// It may never: a network of the presets Isolated and Local has neither.
    pub async fn reachable(&self) {
        let mut addresses = self.endpoint.watch_addr();
        let mut addr = addresses.get();
        loop {
            let outside = addr.ip_addrs().any(|ip| !ip.ip().is_loopback());
            if outside || addr.relay_urls().next().is_some() {
                return;
            }
            match addresses.updated().await {
                Ok(next) => addr = next,
                // The endpoint is closed: it will not become reachable.
                Err(_) => std::future::pending().await,
            }
        }
    }
}

impl fmt::Display for LocalNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.id(), self.network_id)
    }
}
