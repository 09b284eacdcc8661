//! Guests: connections of other application protocols than ours.
//!
//! A protocol that is not multiplexed gets its connections whole and keeps them as long as it
//! likes. Here they are counted, within the same limits as links, and watched for those that
//! come and say nothing.
//!
//! Not here: the connections that such a protocol dials itself; how many these are is its own
//! affair.

use {
    super::table::{Links, close},
    crate::{
        PeerId,
        network::close::{HandshakeTimeout, TooManyConnections},
    },
    futures::future::BoxFuture,
    iroh::endpoint::{Connection, WeakConnectionHandle},
    std::collections::HashMap,
};

/// Who serves the connections of one protocol.
pub(crate) struct AlpnServer {
    /// Takes a connection over.
    pub(crate) take: Box<dyn Fn(Connection) -> BoxFuture<'static, ()> + Send + Sync>,
    /// Whether the protocol talks to this peer, be it over another connection: one of both
    /// sides' that dialled at once stays silent for long.
    pub(crate) knows: Box<dyn Fn(&PeerId) -> bool + Send + Sync>,
}

/// How many guests there are, by peer.
#[derive(Debug, Default)]
pub(super) struct Guests(HashMap<PeerId, usize>);

impl Guests {
    pub(super) fn total(&self) -> usize {
        self.0.values().sum()
    }
}

/// One guest's place; gives it back when dropped.
struct Place {
    links: Links,
    peer: PeerId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.links.0.table.lock();
        let Some(held) = table.guests.0.get_mut(&self.peer) else {
            return;
        };
        *held -= 1;
        if *held == 0 {
            table.guests.0.remove(&self.peer);
        }
    }
}

impl Links {
    /// Hands a connection to its protocol, and counts it until it is closed. One for which the
    /// limits leave no room is closed instead.
    pub(super) async fn host(&self, connection: Connection, server: &AlpnServer) {
        let peer = connection.remote_id();
        let Some(_place) = self.place(peer) else {
            self.0.meter.refused("too-many-connections");
            close(&connection, TooManyConnections::REASON);
            return;
        };
        self.0.meter.opened.increment(1);
        // A handle of our own would keep open what its protocol has let go of.
        let weak = connection.weak_handle();
        let closed = weak.closed();
        tokio::pin!(closed);
        (server.take)(connection).await;
        let patience = self.0.limits.handshake_timeout;
        if tokio::time::timeout(patience, &mut closed).await.is_err() {
            if !(server.knows)(&peer) {
                self.close_if_silent(&weak);
            }
            closed.await;
        }
    }

    fn place(&self, peer: PeerId) -> Option<Place> {
        let limits = &self.0.limits;
        let mut table = self.0.table.lock();
        let held = table.guests.0.get(&peer).copied().unwrap_or(0);
        if table.total() >= limits.connections || held >= limits.connections_per_peer {
            return None;
        }
        table.guests.0.insert(peer, held + 1);
        drop(table);
        Some(Place {
            links: self.clone(),
            peer,
        })
    }

    /// Closes a guest that has said nothing.
    fn close_if_silent(&self, guest: &WeakConnectionHandle) {
        if let Some(connection) = guest.upgrade()
            && connection.stats().frame_rx.stream == 0
        {
            self.0.meter.refused("silent");
            close(&connection, HandshakeTimeout::REASON);
        }
    }
}
