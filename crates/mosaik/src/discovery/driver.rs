//! The driver: turns sockets and clocks into inputs of the catalog, and its wishes into I/O.

use {
    super::{
        authority::node_key,
        gossip::{Gossip, Neighbor},
        state::{Action, State},
        transport::{Arrived, Transport},
    },
    crate::{PeerId, network::links::LinkEvent},
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

/// The task that owns discovery's I/O.
pub(super) struct Driver {
    pub(super) state: Arc<State>,
    pub(super) transport: Transport,
    pub(super) gossip: Gossip,
    pub(super) arrivals: mpsc::Receiver<Arrived>,
    pub(super) neighbor_news: mpsc::Receiver<Neighbor>,
    pub(super) bootstrap: Vec<PeerId>,
    pub(super) rtt_probe_interval: Duration,
    /// Gossip neighbours and linked peers; together they are the catalog's links.
    pub(super) neighbors: BTreeSet<PeerId>,
    pub(super) linked: HashSet<PeerId>,
}

/// What the driver does at certain times.
struct Timers {
    publish: Option<Instant>,
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
                Action::Broadcast(bytes) => self.gossip.broadcast(bytes),
                Action::Send { peer, bytes } => self.transport.send(peer, bytes),
                Action::Probe { peer, nonce } => self.transport.probe(peer, nonce),
                Action::Publish => timers.publish = Some(Instant::now() + COALESCE),
                Action::Discovered => {
                    if self.neighbors.is_empty() {
                        timers.hurry_rejoin();
                    }
                }
            }
        }
    }

    fn on_time(&mut self, timers: &mut Timers) {
        let now = Instant::now();
        if timers.publish.is_some_and(|at| at <= now) {
            timers.publish = None;
            self.state.publish();
        }
        if self.neighbors.is_empty() && timers.rejoin <= now {
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
                if self.neighbors.insert(peer) && !self.linked.contains(&peer) {
                    self.state.handle(Input::LinkUp(node_key(&peer)));
                }
            }
            Neighbor::Down(peer) => {
                if self.neighbors.remove(&peer) && !self.linked.contains(&peer) {
                    self.link_down(&peer, LinkLoss::Closed);
                }
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
                if self.linked.insert(peer) && !self.neighbors.contains(&peer) {
                    self.state.handle(Input::LinkUp(node_key(&peer)));
                }
                self.measure([peer]);
            }
            LinkEvent::Closed(peer) => {
                if self.linked.remove(&peer) && !self.neighbors.contains(&peer) {
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
        let mut chosen = Vec::with_capacity(REJOIN_PEERS + self.bootstrap.len());
        while chosen.len() < REJOIN_PEERS && !known.is_empty() {
            chosen.push(known.swap_remove(random_below(known.len())));
        }
        for peer in self.bootstrap.iter().take(REJOIN_PEERS) {
            if !chosen.contains(peer) {
                chosen.push(*peer);
            }
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
        let rejoin = alone.then_some(self.rejoin);
        [self.publish, rejoin]
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

/// A number below `bound`, which must not be zero. Not for secrets.
pub(super) fn random_below(bound: usize) -> usize {
    let random = mosaik_primitives::Digest::random();
    let (bytes, _) = random
        .as_bytes()
        .split_first_chunk()
        .expect("a digest has eight bytes");
    (u64::from_le_bytes(*bytes) % bound as u64) as usize
}
