//! Getting to know peers by their address: bootstrap, `dial`, the rendezvous directory, mDNS.

use {
    super::{Error, gossip::Gossip, lookup::Hints, state::State, transport::Transport},
    crate::{
        PeerId,
        network::{links::LinkError, tasks::Tasks},
    },
    backon::{BackoffBuilder, ExponentialBuilder},
    iroh::EndpointAddr,
    parking_lot::Mutex,
    std::{collections::HashSet, sync::Arc, time::Duration},
};

/// Between attempts to reach a peer, at first and at most.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// Attempts to reach a peer that the program, or something on the local network, named once.
const ATTEMPTS: usize = 8;
/// Peers named by others than the program that are being reached at one time.
const PENDING: usize = 64;
/// How often it is checked that a bootstrap peer is still known.
const RECHECK: Duration = Duration::from_secs(10);

/// Introduces this node to peers. Cheap to clone.
#[derive(Clone)]
pub(super) struct Introducer {
    pub(super) state: Arc<State>,
    pub(super) transport: Transport,
    pub(super) gossip: Gossip,
    pub(super) hints: Hints,
    pub(super) tasks: Tasks,
    /// Peers that somebody on the local network named and that are being reached.
    pub(super) pending: Arc<Mutex<HashSet<PeerId>>>,
}

impl Introducer {
    /// Keeps a bootstrap peer known for as long as the network runs: one that comes late, or
    /// comes back, is found as well.
    pub(super) fn keep(&self, address: EndpointAddr) {
        let introducer = self.clone();
        self.hints.put(address.clone());
        self.tasks.spawn(async move {
            let patience = patience().without_max_times();
            loop {
                introducer.reach(&address, patience).await;
                tokio::time::sleep(RECHECK).await;
            }
        });
    }

    /// Tries a few times to reach a peer, in the background.
    pub(super) fn try_to_reach(&self, address: EndpointAddr) {
        let introducer = self.clone();
        self.hints.put(address.clone());
        self.tasks.spawn(async move {
            introducer
                .reach(&address, patience().with_max_times(ATTEMPTS))
                .await;
        });
    }

    /// As [`Introducer::try_to_reach`], for peers that others than the program named: each once
    /// at a time, and not too many. What is left out is named again.
    pub(super) fn found(&self, address: EndpointAddr) {
        let peer = address.id;
        let mut pending = self.pending.lock();
        if self.state.knows(&peer) || pending.len() >= PENDING || !pending.insert(peer) {
            return;
        }
        drop(pending);
        let introducer = self.clone();
        self.hints.put(address.clone());
        self.tasks.spawn(async move {
            introducer
                .reach(&address, patience().with_max_times(ATTEMPTS))
                .await;
            introducer.pending.lock().remove(&peer);
        });
    }

    /// Reaches a peer, unless it is known, within the given attempts.
    async fn reach(&self, address: &EndpointAddr, patience: ExponentialBuilder) {
        let mut delays = patience.build();
        while !self.state.knows(&address.id) {
            match self.meet(address.clone()).await {
                Ok(()) | Err(Error::Link(LinkError::OwnId | LinkError::Shutdown)) => return,
                Err(error) => {
                    tracing::debug!(peer = %address.id.fmt_short(), %error, "not reached");
                }
            }
            match delays.next() {
                Some(delay) => tokio::time::sleep(delay).await,
                None => return,
            }
        }
    }

    /// Exchanges entries with a peer and merges its catalog.
    pub(super) async fn meet(&self, address: EndpointAddr) -> Result<(), Error> {
        let peer = address.id;
        self.hints.put(address.clone());
        let entry = self.transport.who_are_you(address).await?;
        self.state.feed(entry);
        let compared = self.state.sync_with(&peer).await;
        // Only now is it known how large the network is, and so whether that is urgent.
        self.state.want_neighbor(peer);
        match compared {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Link(LinkError::Timeout)),
            Err(_) => Err(Error::Cancelled),
        }
    }

    /// The entry of a peer that may be so new that only the peer itself can tell.
    pub(super) async fn resolve(&self, peer: PeerId) -> Result<(), Error> {
        let entry = self.transport.who_are_you(peer).await?;
        self.state.feed(entry);
        Ok(())
    }
}

fn patience() -> ExponentialBuilder {
    ExponentialBuilder::new()
        .with_min_delay(RETRY_MIN)
        .with_max_delay(RETRY_MAX)
        .with_factor(2.0)
        .with_jitter()
}
