//! The driver: turns sockets and clocks into inputs of the catalog, and its wishes into I/O.

use {
    super::{
        authority::node_key,
        gossip::{Gossip, Neighbor},
        state::{Action, State},
        transport::{Arrived, Transport},
    },
    crate::{PeerId, network::links::LinkEvent},
    bytes::Bytes,
    futures::StreamExt,
    iroh::Watcher,
    mosaik_protocol::catalog::{Input, LinkLoss},
    std::{
        collections::{BTreeSet, HashSet},
        sync::Arc,
        time::Duration,
    },
    tokio::{
        sync::{broadcast, mpsc},
        time::Instant,
    },
};

/// Changes of the local entry that come within this time are published together.
const COALESCE: Duration = Duration::from_millis(5);
/// Arrivals that are handled before the network is looked at again.
const BATCH: usize = 64;
/// Time between two looks at the gossip overlay while it has no neighbours, at first and at most.
const REJOIN_MIN: Duration = Duration::from_secs(1);
const REJOIN_MAX: Duration = Duration::from_secs(10);
/// Peers asked to become neighbours at one time.
const REJOIN_PEERS: usize = 3;
/// Joining the gossip overlay costs the network about ten connections, so nodes of a network of
/// more than so many do not do it the moment they start. Many may be starting at once, and what
/// they need first is each other's entries, which comparisons bring over links that exist.
const JOIN_AT_ONCE: usize = 8;
/// They wait this long, and up to so much longer for each node, to the given bound.
const JOIN_AFTER: Duration = Duration::from_secs(1);
const JOIN_SPREAD_PER_NODE: Duration = Duration::from_millis(40);
const JOIN_SPREAD_MAX: Duration = Duration::from_secs(10);
/// Peers that wait to be asked.
const WANTED: usize = 16;
/// Linked peers told of an own change that there is no gossip neighbour for yet.
const TOLD_DIRECTLY: usize = 8;

/// The task that owns discovery's I/O.
pub(super) struct Driver {
    pub(super) state: Arc<State>,
    pub(super) transport: Transport,
    pub(super) gossip: Gossip,
    pub(super) arrivals: mpsc::Receiver<Arrived>,
    pub(super) neighbor_news: mpsc::Receiver<Neighbor>,
    pub(super) bootstrap: Vec<PeerId>,
    pub(super) rtt_probe_interval: Duration,
    /// Gossip's, which has connections of its own.
    pub(super) neighbors: BTreeSet<PeerId>,
    pub(super) linked: HashSet<PeerId>,
    /// Peers to ask to become neighbours, when it is time.
    pub(super) wanted: Vec<PeerId>,
}

/// What the driver does at certain times.
struct Timers {
    publish: Option<Instant>,
    join: Option<Instant>,
    rejoin: Instant,
    rejoin_delay: Duration,
    measure: Instant,
}

impl Driver {
    pub(super) async fn run(mut self) {
        let links = self.transport.links().clone();
        let mut link_events = links.events();
        let Some(endpoint) = links.endpoint() else {
            return;
        };
        let mut addresses = endpoint.watch_addr().stream();
        drop(endpoint);
        let mut timers = Timers {
            publish: None,
            join: None,
            rejoin: Instant::now() + REJOIN_MIN,
            rejoin_delay: REJOIN_MIN,
            measure: Instant::now() + self.measure_delay(),
        };
        self.relink();
        loop {
            let machine = self.state.next_deadline();
            let wake_at = timers.next(self.neighbors.is_empty()).min(machine);
            tokio::select! {
                biased;
                () = self.state.wake.notified() => {}
                Some(first) = self.arrivals.recv() => self.take_arrivals(first),
                Some(news) = self.neighbor_news.recv() => self.neighbor(news),
                event = link_events.recv() => match event {
                    Ok(event) => self.link(event),
                    Err(broadcast::error::RecvError::Lagged(_)) => self.relink(),
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                Some(address) = addresses.next() => {
                    self.state.update_local(|entry| {
                        entry.update_address(address).expect("the endpoint keeps its id")
                    });
                }
                () = tokio::time::sleep_until(wake_at) => self.on_time(&mut timers),
            }
            self.act(&mut timers);
        }
    }

    fn take_arrivals(&mut self, first: Arrived) {
        let mut inputs = Vec::with_capacity(BATCH.min(1 + self.arrivals.len()));
        // The room that an arrival takes is free again when its input has been handled.
        let mut rooms = Vec::with_capacity(inputs.capacity());
        let mut next = Some(first);
        while let Some(arrived) = next {
            let (input, room) = arrived.into_parts();
            inputs.push(input);
            rooms.push(room);
            next = (inputs.len() < BATCH)
                .then(|| self.arrivals.try_recv().ok())
                .flatten();
        }
        self.state.handle_all(inputs);
    }

    fn act(&mut self, timers: &mut Timers) {
        for action in self.state.take_actions() {
            match action {
                Action::Broadcast(bytes) if self.neighbors.is_empty() => self.tell(&bytes),
                Action::Broadcast(bytes) => self.gossip.broadcast(bytes),
                Action::Send { peer, bytes } => self.transport.send(peer, bytes),
                Action::Probe { peer, nonce } => self.transport.probe(peer, nonce),
                Action::Publish => timers.publish = Some(Instant::now() + COALESCE),
                Action::Discovered => {
                    if self.neighbors.is_empty() && timers.join.is_none() {
                        timers.hurry_rejoin();
                    }
                }
                Action::Join(peer) => self.want(peer, timers),
                // Messages were handed to the transport in place; broadcasts wait for their task.
                Action::Acknowledge(done) => self.gossip.acknowledge(done),
            }
        }
    }

    /// Asks a peer to become a neighbour: at once, unless this node has just started in a network
    /// that many others may be starting in too.
    fn want(&mut self, peer: PeerId, timers: &mut Timers) {
        let nodes = self.state.snapshot().signed_peers_count();
        if !self.neighbors.is_empty() || nodes <= JOIN_AT_ONCE {
            return self.gossip.join(vec![peer]);
        }
        if self.wanted.len() < WANTED && !self.wanted.contains(&peer) {
            self.wanted.push(peer);
        }
        timers.join.get_or_insert_with(|| {
            let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
            let spread = JOIN_SPREAD_PER_NODE
                .saturating_mul(nodes)
                .min(JOIN_SPREAD_MAX);
            Instant::now() + JOIN_AFTER + spread.mul_f64(random_unit())
        });
    }

    /// Tells linked peers what there is nobody to broadcast to for. Others find it by comparisons.
    fn tell(&self, gossip: &Bytes) {
        let Some(message) = self.state.as_direct(gossip) else {
            return;
        };
        // Only over links that exist: whoever has gone meanwhile is not dialled for this.
        let links = self.transport.links().connected().into_iter();
        for peer in links.take(TOLD_DIRECTLY) {
            self.transport.send(peer, message.clone());
        }
    }

    fn on_time(&mut self, timers: &mut Timers) {
        let now = Instant::now();
        if timers.join.is_some_and(|at| at <= now) {
            timers.join = None;
            self.gossip.join(std::mem::take(&mut self.wanted));
            timers.rejoin = now + REJOIN_MIN;
        }
        if timers.publish.is_some_and(|at| at <= now) {
            timers.publish = None;
            self.state.publish();
        }
        if self.neighbors.is_empty() && timers.join.is_none() && timers.rejoin <= now {
            self.rejoin();
            timers.rejoin_delay = (timers.rejoin_delay * 2).min(REJOIN_MAX);
            timers.rejoin = now + timers.rejoin_delay;
        }
        if timers.measure <= now {
            timers.measure = now + self.measure_delay();
            self.transport.release_links();
            let linked = self.transport.links().connected();
            self.measure(linked);
        }
        self.state.tick();
    }

    fn neighbor(&mut self, news: Neighbor) {
        match news {
            Neighbor::Up(peer) => {
                // What was broadcast before there was anybody to hear it was lost.
                if self.neighbors.is_empty()
                    && let Some(bytes) = self.state.introduction()
                {
                    self.gossip.broadcast(bytes);
                }
                self.neighbors.insert(peer);
                if !self.state.knows(&peer) {
                    self.state.handle(Input::SyncWith(node_key(&peer)));
                }
            }
            Neighbor::Down(peer) => {
                self.neighbors.remove(&peer);
            }
        }
        self.state
            .metrics
            .gossip_neighbors
            .set(self.neighbors.len() as f64);
    }

    fn link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up(peer) => {
                if self.linked.insert(peer) {
                    self.state.handle(Input::LinkUp(node_key(&peer)));
                }
                self.measure([peer]);
            }
            LinkEvent::Closed(peer) => {
                if self.linked.remove(&peer) {
                    self.link_down(&peer, LinkLoss::Closed);
                }
            }
            // Though gossip may still take it for a neighbour.
            LinkEvent::Lost(peer) => {
                self.linked.remove(&peer);
                self.link_down(&peer, LinkLoss::Lost);
            }
        }
    }

    fn link_down(&self, peer: &PeerId, loss: LinkLoss) {
        self.state.handle(Input::LinkDown {
            peer: node_key(peer),
            loss,
        });
    }

    /// Catches up with the table of links after news were missed.
    fn relink(&mut self) {
        let now: HashSet<PeerId> = self.transport.links().connected().into_iter().collect();
        let gone: Vec<PeerId> = self.linked.difference(&now).copied().collect();
        let new: Vec<PeerId> = now.difference(&self.linked).copied().collect();
        for peer in gone {
            self.link(LinkEvent::Closed(peer));
        }
        for peer in new {
            self.link(LinkEvent::Up(peer));
        }
    }

    /// Looks for gossip neighbours among those who are known.
    fn rejoin(&self) {
        let catalog = self.state.snapshot();
        let mut known: Vec<PeerId> = catalog.signed_peers().map(|entry| *entry.id()).collect();
        let mut chosen = Vec::with_capacity(REJOIN_PEERS + 1);
        while chosen.len() < REJOIN_PEERS && !known.is_empty() {
            chosen.push(known.swap_remove(random_below(known.len())));
        }
        // A bootstrap peer may be the only way to those who are not known.
        if let Some(peer) = self
            .bootstrap
            .get(random_below(self.bootstrap.len().max(1)))
            && !chosen.contains(peer)
        {
            chosen.push(*peer);
        }
        if !chosen.is_empty() {
            self.gossip.join(chosen);
        }
    }

    /// Takes the transport's own measurements of linked peers.
    fn measure(&self, peers: impl IntoIterator<Item = PeerId>) {
        let links = self.transport.links();
        let samples: Vec<Input> = peers
            .into_iter()
            .filter_map(|peer| {
                let rtt = links.rtt(&peer)?;
                Some(Input::RttSample {
                    peer: node_key(&peer),
                    rtt,
                })
            })
            .collect();
        self.state.handle_all(samples);
    }

    /// Between half and one and a half of the interval.
    fn measure_delay(&self) -> Duration {
        let part = 0.5 + random_below(1_000) as f64 / 1_000.0;
        // A configuration of centuries is as good as one of an hour.
        self.rtt_probe_interval
            .min(Duration::from_hours(1))
            .mul_f64(part)
    }
}

impl Timers {
    fn next(&self, alone: bool) -> Instant {
        let rejoin = (alone && self.join.is_none()).then_some(self.rejoin);
        [self.publish, self.join, rejoin]
            .into_iter()
            .flatten()
            .fold(self.measure, Instant::min)
    }

    fn hurry_rejoin(&mut self) {
        let soon = Instant::now() + REJOIN_MIN;
        if self.rejoin > soon {
            self.rejoin = soon;
            self.rejoin_delay = REJOIN_MIN;
        }
    }
}

/// Uniform in `0.0..1.0`, in steps that are fine enough for delays.
fn random_unit() -> f64 {
    random_below(1 << 20) as f64 / f64::from(1 << 20)
}

/// A number below `bound`, which must not be zero. Not for secrets.
pub(super) fn random_below(bound: usize) -> usize {
    let random = mosaik_primitives::Digest::random();
    let (bytes, _) = random
        .as_bytes()
        .split_first_chunk()
        .expect("a digest has eight bytes");
    (u64::from_le_bytes(*bytes) % bound as u64) as usize
}
