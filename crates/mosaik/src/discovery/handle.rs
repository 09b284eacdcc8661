//! [`Discovery`]: the program's handle.

use {
    super::{
        AnnounceEvent, Catalog, Config, Error, Event, PeerEntry, PeerInfo, SignedPeerEntry,
        authority::node_key,
        driver::Driver,
        gossip::Gossip,
        introduce::Introducer,
        lookup::{CatalogLookup, Hints},
        mdns, rendezvous,
        state::State,
        transport::Transport,
        wire::Greeting,
    },
    crate::{
        PeerId,
        network::{
            Preset,
            links::{LinkError, Links, Protocol},
        },
        primitives::IntoIterOrSingle,
        streams::StreamId,
        tickets::{Ticket, TicketClass},
    },
    core::fmt,
    iroh::EndpointAddr,
    mosaik_primitives::{Digest, Tag, UniqueId},
    mosaik_protocol::catalog::Input,
    std::{
        collections::{BTreeSet, HashSet},
        sync::Arc,
        time::Duration,
    },
    tokio::{
        sync::{broadcast, watch},
        time::Instant,
    },
};

/// How long an unknown peer that contacted us has to show its entry.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Who is in the network: the local peer's entry, and everybody else's. Cheap to clone.
#[derive(Clone)]
pub struct Discovery(Arc<Inner>);

struct Inner {
    config: Config,
    state: Arc<State>,
    introducer: Introducer,
    rendezvous: Option<rendezvous::Rendezvous>,
}

impl Discovery {
    /// Starts discovery on the links: returns when the local entry is published and everything
    /// is served; finding peers goes on in the background.
    #[expect(clippy::unused_async, reason = "must run inside the runtime")]
    pub(crate) async fn start(
        links: &Links,
        config: Config,
        preset: Preset,
    ) -> Result<Self, Error> {
        let endpoint = links.endpoint().ok_or(Error::Cancelled)?;
        let entry = PeerEntry::starting_now(*links.network_id(), endpoint.addr())
            .add_tags(config.tags.clone());
        let secret = endpoint.secret_key().clone();
        let state = Arc::new(State::new(&config, links.limits(), secret, entry)?);
        let hints = Hints::default();
        let lookup = CatalogLookup::new(state.watch(), hints.clone());
        endpoint
            .address_lookup()
            .map_err(|_| Error::Cancelled)?
            .add(lookup);

        let (transport, arrivals) = Transport::start(links, Arc::clone(&state));
        let bootstrap = config.bootstrap_peers_ids();
        let (gossip, neighbor_news) =
            Gossip::start(links, &endpoint, &transport, Arc::clone(&state), Vec::new());
        let driver = Driver {
            state: Arc::clone(&state),
            transport: transport.clone(),
            gossip: gossip.clone(),
            arrivals,
            neighbor_news,
            bootstrap,
            rtt_probe_interval: config.rtt_probe_interval,
            neighbors: BTreeSet::new(),
            linked: HashSet::new(),
            wanted: Vec::new(),
        };
        let tasks = links.tasks().clone();
        tasks.spawn(driver.run());
        let introducer = Introducer {
            state: Arc::clone(&state),
            transport,
            gossip,
            hints,
            tasks,
            pending: Arc::default(),
        };
        for address in &config.bootstrap_peers {
            introducer.keep(address.clone());
        }
        let rendezvous = preset
            .has_rendezvous()
            .then(|| rendezvous::start(links, &introducer))
            .flatten();
        if preset.has_mdns() {
            mdns::start(links, &introducer);
        }
        Ok(Self(Arc::new(Inner {
            config,
            state,
            introducer,
            rendezvous,
        })))
    }

    /// Announces the departure, and resolves when the neighbours have it or
    /// [`Config::graceful_departure_window`] is over. The local entry changes no more.
    pub(crate) async fn leave(&self) {
        let Introducer {
            state, transport, ..
        } = &self.0.introducer;
        if let Some(rendezvous) = &self.0.rendezvous {
            rendezvous.leave().await;
        }
        let alone = state.snapshot().signed_peers_count() == 0;
        state.leave();
        let handed_on = state.handed_on();
        let window = self.0.config.graceful_departure_window;
        let farewell = async {
            if !alone {
                // Fails where the driver has ended, and then nothing is on its way.
                let _ = handed_on.await;
                // What is said in person is answered, which takes longer than sending a broadcast.
                transport.flushed().await;
            }
        };
        if tokio::time::timeout(window, farewell).await.is_err() {
            tracing::debug!("some neighbours may not know of the departure");
        }
    }

    /// Ends what keeps the transport alive, whatever became of the farewell.
    pub(crate) async fn close(&self) {
        let Introducer {
            transport, gossip, ..
        } = &self.0.introducer;
        gossip.shutdown().await;
        transport.close();
    }

    /// Gets to know the given peers, in the background: each is contacted a few times, its
    /// catalog is merged, and it is asked to become a gossip neighbour.
    #[expect(clippy::unused_async, reason = "programs await it")]
    pub async fn dial<V>(&self, peers: impl IntoIterOrSingle<EndpointAddr, V>) {
        for address in peers.iterator() {
            self.0.introducer.try_to_reach(address);
        }
    }

    /// The local peer's own entry, with every change made so far.
    pub fn me(&self) -> SignedPeerEntry {
        SignedPeerEntry::clone(&self.0.state.me())
    }

    /// Who is known now.
    pub fn catalog(&self) -> Catalog {
        self.0.state.snapshot()
    }

    /// Who is known, as it changes. The receiver's value is the current catalog.
    pub fn catalog_watch(&self) -> watch::Receiver<Catalog> {
        self.0.state.watch()
    }

    /// Changes of the catalog from now on. A receiver that lags more than
    /// [`Config::events_backlog`] behind is told how many it missed.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.0.state.events()
    }

    /// What peers announce about themselves from now on.
    pub fn announcements(&self) -> broadcast::Receiver<AnnounceEvent> {
        self.0.state.announces()
    }

    /// Merges a peer's catalog into the local one.
    ///
    /// Resolves when everything the peer had and this node lacked is in the local catalog.
    pub fn sync_with<A: Into<EndpointAddr>>(
        &self,
        peer_addr: A,
    ) -> impl Future<Output = Result<(), Error>> + Send + Sync + 'static + use<A> {
        let introducer = self.0.introducer.clone();
        let address = peer_addr.into();
        let (done, outcome) = tokio::sync::oneshot::channel();
        self.0.introducer.tasks.spawn(async move {
            // The caller may have stopped waiting.
            let _ = done.send(introducer.meet(address).await);
        });
        async move { outcome.await.unwrap_or(Err(Error::Cancelled)) }
    }

    /// Feeds a signed entry that came another way; whether it was news.
    ///
    /// An entry of another network, of the local peer, older than `purge_after`, dated in the
    /// future or not newer than the known one is no news.
    pub fn feed(&self, entry: SignedPeerEntry) -> bool {
        self.0.state.feed(entry)
    }

    /// Inserts an entry that nobody vouches for. Only this node sees it; a signed entry of the
    /// peer takes its place. Whether it was news.
    pub fn insert(&self, entry: impl Into<PeerEntry>) -> bool {
        self.0.state.insert(entry.into())
    }

    /// Removes a peer from the local catalog; whether it was there. A peer that lives is back
    /// at its next announcement.
    pub fn remove(&self, peer_id: PeerId) -> bool {
        self.0.state.remove(&peer_id)
    }

    /// Removes all entries that were inserted by hand; whether there were any.
    pub fn clear_unsigned(&self) -> bool {
        self.0.state.clear_unsigned()
    }

    /// Puts labels on the local peer.
    pub fn add_tags<V>(&self, tags: impl IntoIterOrSingle<Tag, V>) {
        self.update_local(|entry| entry.add_tags(tags));
    }

    /// Takes labels off the local peer.
    pub fn remove_tags<V>(&self, tags: impl IntoIterOrSingle<Tag, V>) {
        self.update_local(|entry| entry.remove_tags(tags));
    }

    /// Lets the local peer carry a ticket.
    pub fn add_ticket(&self, ticket: Ticket) {
        self.update_local(|entry| entry.add_ticket(ticket));
    }

    /// Takes a ticket from the local peer.
    pub fn remove_ticket(&self, id: UniqueId) {
        self.update_local(|entry| entry.remove_ticket(id));
    }

    /// Takes all tickets of a class from the local peer.
    pub fn remove_tickets_of(&self, class: TicketClass) {
        self.update_local(|entry| entry.remove_tickets_of(class));
    }

    /// Puts a ticket in place of all of its class, in one version of the entry.
    pub fn replace_ticket(&self, ticket: Ticket) {
        self.update_local(|entry| entry.remove_tickets_of(ticket.class).add_ticket(ticket));
    }

    /// Changes the local entry. It is signed and published within milliseconds, together with
    /// other changes made meanwhile.
    pub(crate) fn update_local(&self, change: impl FnOnce(PeerEntry) -> PeerEntry) {
        self.0.state.update_local(change);
    }

    /// Says that the local peer produces a stream.
    pub(crate) fn add_stream(&self, stream: StreamId) {
        self.update_local(|entry| entry.add_streams(stream));
    }

    /// Says that the local peer no longer produces a stream.
    pub(crate) fn remove_stream(&self, stream: StreamId) {
        self.update_local(|entry| entry.remove_streams(stream));
    }

    /// A peer as it is known now.
    pub(crate) fn entry(&self, peer: &PeerId) -> Option<PeerInfo> {
        self.0.state.info(peer)
    }

    /// A peer that just contacted us and may not be known yet: if not, it is asked for its
    /// entry.
    pub(crate) async fn resolve(&self, peer: PeerId) -> Option<PeerInfo> {
        if let Some(info) = self.entry(&peer) {
            return Some(info);
        }
        let asking = self.0.introducer.resolve(peer);
        match tokio::time::timeout(RESOLVE_TIMEOUT, asking).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(peer = %peer.fmt_short(), %error, "not resolved"),
            Err(_) => tracing::debug!(peer = %peer.fmt_short(), "not resolved in time"),
        }
        self.entry(&peer)
    }

    /// Every peer but the local one, as it is known now.
    pub(crate) fn infos(&self) -> Vec<PeerInfo> {
        self.0.state.infos()
    }

    /// The smoothed round-trip time to a peer, once measured.
    pub fn rtt(&self, peer: &PeerId) -> Option<Duration> {
        self.0.state.rtt(peer)
    }

    /// Told when a peer's round-trip time becomes known, moves by an eighth, or is forgotten.
    pub(crate) fn rtts_watch(&self) -> watch::Receiver<()> {
        self.0.state.rtts_watch()
    }

    /// Time between two measurements of a peer.
    pub(crate) fn measure_interval(&self) -> Duration {
        self.0.config.rtt_probe_interval
    }

    /// Measures the round trip to a peer, over its link or one made for this.
    pub(crate) async fn measure(&self, peer: PeerId) {
        let links = self.0.introducer.transport.links();
        let exchange = || {
            let probe = Greeting::Probe.encode();
            links.open(peer, Protocol::Discovery, Digest::zero(), probe)
        };
        let measured = async {
            let _link = exchange().await?;
            if let Some(rtt) = links.rtt(&peer) {
                return Ok(rtt);
            }
            // The first exchange may have been a dial as well.
            let sent = Instant::now();
            exchange().await?;
            Ok::<_, LinkError>(sent.elapsed())
        };
        match measured.await {
            Ok(rtt) => self.0.state.handle(Input::RttSample {
                peer: node_key(&peer),
                rtt,
            }),
            Err(error) => tracing::debug!(peer = %peer.fmt_short(), %error, "not measured"),
        }
    }

    /// Whether a peer is near enough to be used ([`Config::max_rtt`]).
    pub(crate) fn is_eligible(&self, peer: &PeerInfo) -> bool {
        match (self.0.config.max_rtt, peer.rtt()) {
            (Some(max), Some(rtt)) => rtt <= max,
            _ => true,
        }
    }
}

#[cfg(test)]
impl Discovery {
    pub(super) fn state(&self) -> &State {
        &self.0.state
    }

    pub(super) fn links(&self) -> &Links {
        self.0.introducer.transport.links()
    }

    /// Makes a peer seem as far away.
    pub(crate) fn pretend_rtt(&self, peer: &PeerId, rtt: Duration) {
        let peer = node_key(peer);
        self.0.state.handle(Input::RttSample { peer, rtt });
    }
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let catalog = self.catalog();
        f.debug_struct("Discovery")
            .field("local_id", &catalog.local_id().fmt_short().to_string())
            .field("peers", &catalog.peers_count())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use {
        super::*,
        iroh::SecretKey,
        mosaik_primitives::{Digest, Limits},
        mosaik_protocol::catalog::LinkLoss,
    };

    /// A state of its own, whose driver never comes.
    fn state(mine: &SecretKey) -> State {
        let config = Config::builder().build().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let _runtime = runtime.unwrap().enter();
        State::new(&config, &Limits::default(), mine.clone(), entry(mine)).unwrap()
    }

    fn entry(of: &SecretKey) -> PeerEntry {
        PeerEntry::starting_now(Digest::from_u8(1), EndpointAddr::new(of.public()))
    }

    #[test]
    fn a_round_trip_is_told_when_it_is_new_and_when_it_moves_and_when_it_is_lost() {
        let (mine, theirs) = (SecretKey::generate(), SecretKey::generate());
        let state = state(&mine);
        let mut told = state.rtts_watch();
        let mut is_told = || {
            let changed = told.has_changed().unwrap();
            told.mark_unchanged();
            changed
        };
        let peer = node_key(&theirs.public());
        let sample = |ms| {
            let rtt = Duration::from_millis(ms);
            state.handle(Input::RttSample { peer, rtt });
        };
        sample(100);
        assert!(!is_told(), "of a stranger nobody asks");
        assert!(state.insert(entry(&theirs)));
        sample(100);
        assert!(is_told(), "it is new");
        sample(110);
        assert!(!is_told(), "it hardly moved");
        sample(400);
        assert!(is_told(), "it moved");
        let loss = LinkLoss::Closed;
        state.handle(Input::LinkDown { peer, loss });
        assert!(is_told(), "it is forgotten");
        assert!(state.remove(&theirs.public()));
        sample(400);
        assert!(state.insert(entry(&theirs)));
        sample(400);
        assert!(is_told(), "it is new again");
    }

    #[test]
    fn an_entry_that_said_farewell_stays_as_it_is() {
        let state = state(&SecretKey::generate());
        let before = state.me().update_version();
        state.leave();
        state.take_actions();
        state.update_local(|entry| entry.add_tags("late"));
        state.publish();
        assert!(state.take_actions().is_empty());
        assert_eq!(state.me().update_version(), before);
    }
}
