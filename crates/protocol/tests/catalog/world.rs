//! A deterministic world of catalogs: virtual time, latency, loss, partitions, crashes, costs.
//!
//! Modelled: links that cost a handshake and close when idle; messages over them, delayed by
//! retransmission when a packet is lost; probes, lost when a packet is lost; a broadcast overlay
//! of five neighbours a node with one eager tree and lazy announcements of message ids on the
//! other edges (Plumtree, as iroh-gossip does). Not modelled: bandwidth, and the overlay's own
//! upkeep, which is a message a minute.

#[path = "keys.rs"]
mod keys;

pub(crate) use keys::{Keys, entry, key};

use {
    bytes::Bytes,
    mosaik_primitives::{
        Digest,
        time::{Instant, UnixMillis},
    },
    mosaik_protocol::catalog::{
        Catalog, Config, Event, Input, LinkLoss, NodeKey, Output, Outputs, Version,
    },
    std::{
        cmp::Reverse,
        collections::{BTreeMap, BTreeSet, BinaryHeap},
        time::Duration,
    },
};

/// UDP, IP and QUIC headers and tag around one packet, bytes.
const PACKET_OVERHEAD: u64 = 60;
const PACKET_BYTES: u64 = 1_200;
/// Sent by each side when a connection is made, bytes.
const HANDSHAKE_BYTES: u64 = 3_000;
const IDLE_CLOSE: Duration = Duration::from_secs(30);
const OVERLAY_DEGREE: usize = 5;
const WALL_AT_ZERO: u64 = 1_700_000_000_000;

/// What a node paid for, bytes sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) messages: u64,
    pub(crate) probes: u64,
    pub(crate) gossip: u64,
    pub(crate) handshakes: u64,
}

impl Cost {
    pub(crate) fn total(&self) -> u64 {
        self.messages + self.probes + self.gossip + self.handshakes
    }
}

pub(crate) struct Node {
    pub(crate) catalog: Catalog<Keys>,
    pub(crate) alive: bool,
    pub(crate) cost: Cost,
    pub(crate) events: Vec<(Instant, Event)>,
    pub(crate) refused: Vec<Output>,
    pub(crate) synced: Vec<(Instant, NodeKey)>,
    pub(crate) version: Version,
    overlay: BTreeSet<usize>,
    links: BTreeMap<usize, Instant>,
    scheduled: Instant,
    group: usize,
    paused_until: Instant,
}

#[derive(Debug)]
enum Happening {
    Tick(usize),
    Start(usize),
    Deliver {
        to: usize,
        from: usize,
        input: Input,
    },
    Probe {
        to: usize,
        from: usize,
        nonce: u64,
    },
    Sweep,
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) nodes: Vec<Node>,
    pub(crate) loss: f64,
    pub(crate) latency: (Duration, Duration),
    pub(crate) entry_bytes: usize,
    configure: fn(&mut Config),
    index: BTreeMap<NodeKey, usize>,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    sequence: u64,
    random: u64,
    seed: u64,
}

impl World {
    pub(crate) fn new(seed: u64, configure: fn(&mut Config)) -> Self {
        let mut world = Self {
            now: Instant::ZERO,
            nodes: Vec::new(),
            loss: 0.0,
            latency: (Duration::from_millis(1), Duration::from_millis(40)),
            entry_bytes: 300,
            configure,
            index: BTreeMap::new(),
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            sequence: 0,
            random: seed,
            seed,
        };
        world.at(Instant::ZERO, Happening::Sweep);
        world
    }

    fn next_random(&mut self) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let hash = Digest::hash(&self.random.to_le_bytes());
        u64::from_le_bytes(*hash.as_bytes().first_chunk().unwrap())
    }

    fn unit(&mut self) -> f64 {
        (self.next_random() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn at(&mut self, when: Instant, happening: Happening) {
        self.sequence += 1;
        self.queue.push(Reverse((when, self.sequence)));
        self.happenings.insert(self.sequence, happening);
    }

    fn one_way(&mut self) -> Duration {
        let (min, max) = self.latency;
        min + max.checked_sub(min).unwrap().mul_f64(self.unit())
    }

    /// Latency of something that is retransmitted until it arrives.
    fn reliable(&mut self) -> Duration {
        let mut delay = self.one_way();
        let mut timeout = Duration::from_millis(150);
        while self.loss > 0.0 && self.unit() < self.loss {
            delay += timeout;
            timeout *= 2;
        }
        delay
    }

    pub(crate) fn wall(&self) -> UnixMillis {
        UnixMillis(WALL_AT_ZERO + self.now.as_millis())
    }

    /// Adds a node that starts at `when`, knowing nothing but node 0.
    pub(crate) fn add(&mut self, when: Instant) -> usize {
        let index = self.nodes.len();
        let me = key(index);
        let network = Digest::hash(b"simulated");
        let seed = self.seed ^ (index as u64) << 32;
        let mut config = Config::new(me, network, seed, UnixMillis(WALL_AT_ZERO));
        (self.configure)(&mut config);
        let catalog = Catalog::new(when, config, Keys(me)).unwrap();
        self.index.insert(me, index);
        self.nodes.push(Node {
            catalog,
            alive: false,
            cost: Cost::default(),
            events: Vec::new(),
            refused: Vec::new(),
            synced: Vec::new(),
            version: Version {
                start: WALL_AT_ZERO + when.as_millis(),
                seq: 0,
            },
            overlay: BTreeSet::new(),
            links: BTreeMap::new(),
            scheduled: Instant::FAR_FUTURE,
            group: 0,
            paused_until: Instant::ZERO,
        });
        self.at(when, Happening::Start(index));
        index
    }

    fn start(&mut self, index: usize) {
        self.nodes[index].alive = true;
        self.publish(index, self.entry_bytes);
        if index == 0 {
            return;
        }
        self.connect(index, 0);
        let joined: Vec<_> = (0..self.nodes.len())
            .filter(|i| self.nodes[*i].alive && *i != index)
            .collect();
        for _ in 0..OVERLAY_DEGREE {
            let neighbour = joined[self.next_random() as usize % joined.len()];
            if self.nodes[neighbour].overlay.len() < 2 * OVERLAY_DEGREE {
                self.connect(index, neighbour);
                self.nodes[index].overlay.insert(neighbour);
                self.nodes[neighbour].overlay.insert(index);
            }
        }
    }

    /// Publishes a new version of a node's entry.
    pub(crate) fn publish(&mut self, index: usize, len: usize) {
        self.nodes[index].version.seq += 1;
        let bytes = entry(key(index), self.nodes[index].version, self.wall(), len);
        self.input(index, Input::Publish(bytes));
    }

    pub(crate) fn kill(&mut self, index: usize) {
        self.nodes[index].alive = false;
    }

    /// A killed node's process is started again: empty, with the same key.
    pub(crate) fn restart(&mut self, index: usize) {
        let me = key(index);
        let mut config = Config::new(
            me,
            Digest::hash(b"simulated"),
            self.next_random(),
            UnixMillis(WALL_AT_ZERO),
        );
        (self.configure)(&mut config);
        let neighbours = self.nodes[index].overlay.clone();
        let node = &mut self.nodes[index];
        node.catalog = Catalog::new(self.now, config, Keys(me)).unwrap();
        node.scheduled = Instant::FAR_FUTURE;
        node.links.clear();
        node.version = Version {
            start: WALL_AT_ZERO + self.now.as_millis(),
            seq: 0,
        };
        for other in &mut self.nodes {
            other.links.remove(&index);
        }
        self.nodes[index].alive = true;
        self.publish(index, self.entry_bytes);
        for neighbour in neighbours {
            self.connect(index, neighbour);
        }
    }

    /// The node gets no CPU for a while.
    pub(crate) fn pause(&mut self, index: usize, duration: Duration) {
        self.nodes[index].paused_until = self.now + duration;
    }

    pub(crate) fn partition(&mut self, group_of: impl Fn(usize) -> usize) {
        for (index, node) in self.nodes.iter_mut().enumerate() {
            node.group = group_of(index);
        }
    }

    pub(crate) fn input(&mut self, index: usize, input: Input) {
        let mut out = Outputs::new();
        let now = self.now;
        self.nodes[index].catalog.handle(now, input, &mut out);
        for output in out {
            self.carry_out(index, output);
        }
        let deadline = self.nodes[index].catalog.next_deadline();
        assert!(deadline > now, "whatever was due has been done");
        if deadline < self.nodes[index].scheduled {
            self.nodes[index].scheduled = deadline;
            self.at(
                deadline.max(self.now + Duration::from_micros(1)),
                Happening::Tick(index),
            );
        }
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        match output {
            Output::Broadcast(bytes) => self.broadcast(index, &bytes),
            Output::Send { peer, bytes } => {
                let Some(to) = self.index.get(&peer).copied() else {
                    return;
                };
                self.connect(index, to);
                let packets = (bytes.len() as u64).div_ceil(PACKET_BYTES).max(1);
                self.nodes[index].cost.messages += bytes.len() as u64 + packets * PACKET_OVERHEAD;
                let when = self.now + self.reliable();
                let input = Input::Message {
                    from: key(index),
                    bytes,
                };
                self.at(
                    when,
                    Happening::Deliver {
                        to,
                        from: index,
                        input,
                    },
                );
            }
            Output::Probe { peer, nonce } => {
                let Some(to) = self.index.get(&peer).copied() else {
                    return;
                };
                self.connect(index, to);
                self.nodes[index].cost.probes += PACKET_OVERHEAD + 12;
                if self.unit() >= self.loss {
                    let when = self.now + self.one_way();
                    self.at(
                        when,
                        Happening::Probe {
                            to,
                            from: index,
                            nonce,
                        },
                    );
                }
            }
            Output::Event(event) => {
                let now = self.now;
                self.nodes[index].events.push((now, event));
            }
            Output::Synced(peer) => {
                let now = self.now;
                self.nodes[index].synced.push((now, peer));
            }
            Output::Refused { .. } => self.nodes[index].refused.push(output),
            Output::SyncFailed(_) | Output::Superseded(_) => {}
            other => panic!("an output this world does not know: {other:?}"),
        }
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        self.nodes[to].alive && self.nodes[from].group == self.nodes[to].group
    }

    fn connect(&mut self, a: usize, b: usize) {
        let now = self.now;
        if let Some(used) = self.nodes[a].links.get_mut(&b) {
            *used = now;
            if let Some(used) = self.nodes[b].links.get_mut(&a) {
                *used = now;
            }
            return;
        }
        self.nodes[a].cost.handshakes += HANDSHAKE_BYTES;
        if !self.reaches(a, b) {
            return;
        }
        self.nodes[b].cost.handshakes += HANDSHAKE_BYTES;
        for (from, to) in [(a, b), (b, a)] {
            self.nodes[from].links.insert(to, now);
            let when = now + self.reliable() * 2;
            let input = Input::LinkUp(key(from));
            self.at(when, Happening::Deliver { to, from, input });
        }
    }

    /// Closes idle links and those to the dead.
    fn sweep(&mut self) {
        let mut closed = Vec::new();
        for (a, node) in self.nodes.iter().enumerate() {
            for (b, used) in &node.links {
                if node.overlay.contains(b) && self.reaches(a, *b) {
                    continue;
                }
                if self.now.since(*used) > IDLE_CLOSE {
                    closed.push((a, *b));
                }
            }
        }
        for (a, b) in closed {
            self.nodes[a].links.remove(&b);
            if self.nodes[a].alive {
                let loss = if self.reaches(a, b) {
                    LinkLoss::Closed
                } else {
                    LinkLoss::Lost
                };
                self.input(a, Input::LinkDown { peer: key(b), loss });
            }
        }
        self.at(self.now + Duration::from_secs(5), Happening::Sweep);
    }

    fn broadcast(&mut self, origin: usize, bytes: &Bytes) {
        let len = bytes.len() as u64;
        assert!(len <= 3_072, "a broadcast fits a gossip message");
        let mut reached = BTreeSet::from([origin]);
        let mut queue = BinaryHeap::from([Reverse((self.now, origin))]);
        while let Some(Reverse((when, node))) = queue.pop() {
            for next in self.nodes[node].overlay.clone() {
                if !self.reaches(node, next) || !reached.insert(next) {
                    // The message's id goes over the edges that are not in the tree, in batches.
                    self.nodes[node].cost.gossip += 40;
                    continue;
                }
                self.nodes[node].cost.gossip += len + 34 + PACKET_OVERHEAD;
                let arrival = when + self.reliable();
                let input = Input::Gossip {
                    from: key(node),
                    bytes: bytes.clone(),
                };
                self.at(
                    arrival,
                    Happening::Deliver {
                        to: next,
                        from: node,
                        input,
                    },
                );
                queue.push(Reverse((arrival, next)));
            }
        }
    }

    /// Runs until the next happening is later than `end`.
    pub(crate) fn run_until(&mut self, end: Instant) {
        while let Some(Reverse((when, id))) = self.queue.peek().copied() {
            if when > end {
                break;
            }
            self.queue.pop();
            self.now = when;
            let happening = self.happenings.remove(&id).unwrap();
            self.happen(happening);
        }
        self.now = end;
    }

    pub(crate) fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    fn happen(&mut self, happening: Happening) {
        let who = match &happening {
            Happening::Tick(to) | Happening::Deliver { to, .. } | Happening::Probe { to, .. } => {
                *to
            }
            Happening::Start(index) => return self.start(*index),
            Happening::Sweep => return self.sweep(),
        };
        if !self.nodes[who].alive {
            return;
        }
        let paused_until = self.nodes[who].paused_until;
        if paused_until > self.now {
            return self.at(paused_until, happening);
        }
        match happening {
            Happening::Tick(index) => {
                if self.nodes[index].scheduled <= self.now {
                    self.nodes[index].scheduled = Instant::FAR_FUTURE;
                }
                self.input(index, Input::Tick);
            }
            Happening::Deliver { to, from, input } => {
                if self.nodes[from].group == self.nodes[to].group {
                    self.input(to, input);
                }
            }
            Happening::Probe { to, from, nonce } => {
                if self.nodes[from].group != self.nodes[to].group {
                    return;
                }
                self.nodes[to].cost.probes += PACKET_OVERHEAD + 12;
                if self.unit() >= self.loss {
                    let when = self.now + self.one_way();
                    let input = Input::ProbeAck {
                        peer: key(to),
                        nonce,
                    };
                    self.at(
                        when,
                        Happening::Deliver {
                            to: from,
                            from: to,
                            input,
                        },
                    );
                }
            }
            Happening::Start(_) | Happening::Sweep => unreachable!("handled above"),
        }
    }

    pub(crate) fn alive(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.nodes.iter().enumerate().filter(|(_, node)| node.alive)
    }

    /// Whether every live node's catalog holds the newest entry of every live node, and no others.
    pub(crate) fn is_complete(&self) -> bool {
        let expected: BTreeMap<_, _> = self
            .alive()
            .map(|(index, node)| (key(index), node.version))
            .collect();
        self.alive().all(|(_, node)| {
            node.catalog.len() == expected.len()
                && node
                    .catalog
                    .iter()
                    .all(|r| expected.get(&r.peer) == Some(&r.version))
        })
    }

    /// Runs until complete, and how long that took.
    pub(crate) fn run_until_complete(&mut self, within: Duration) -> Duration {
        let start = self.now;
        while !self.is_complete() {
            assert!(
                self.now.since(start) < within,
                "not complete within {within:?}: {:?}",
                self.alive()
                    .map(|(_, node)| node.catalog.len())
                    .collect::<Vec<_>>()
            );
            self.run_for(Duration::from_millis(50));
        }
        self.now.since(start)
    }

    /// Bits a second that a live node sent on average over `duration`, and the most of any.
    pub(crate) fn measure(&mut self, duration: Duration) -> (f64, f64, Cost) {
        let before: Vec<_> = self.nodes.iter().map(|node| node.cost).collect();
        self.run_for(duration);
        let seconds = duration.as_secs_f64();
        let mut sum = Cost::default();
        let (mut max, mut count) = (0.0f64, 0u64);
        for (node, before) in self
            .nodes
            .iter()
            .zip(&before)
            .filter(|(node, _)| node.alive)
        {
            let spent = node.cost.total() - before.total();
            max = max.max(spent as f64 * 8.0 / seconds);
            sum.messages += node.cost.messages - before.messages;
            sum.probes += node.cost.probes - before.probes;
            sum.gossip += node.cost.gossip - before.gossip;
            sum.handshakes += node.cost.handshakes - before.handshakes;
            count += 1;
        }
        (sum.total() as f64 * 8.0 / seconds / count as f64, max, sum)
    }

    /// When each live node reported that `index` departed, after `since`.
    pub(crate) fn departures(&self, index: usize, since: Instant) -> Vec<Option<Instant>> {
        let gone = key(index);
        self.alive()
            .map(|(_, node)| {
                let departed = node.events.iter().filter(|(at, event)| {
                    *at >= since && matches!(event, Event::Departed { peer, .. } if *peer == gone)
                });
                departed.map(|(at, _)| *at).next()
            })
            .collect()
    }

    /// Departures of nodes that are alive, as all live nodes saw them.
    pub(crate) fn false_departures(&self, since: Instant) -> usize {
        let events = self.alive().flat_map(|(_, node)| &node.events);
        events
            .filter(|(at, event)| {
                *at >= since
                    && matches!(event, Event::Departed { peer, .. } if self.nodes[self.index[peer]].alive)
            })
            .count()
    }
}
