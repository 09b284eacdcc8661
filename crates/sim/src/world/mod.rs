//! The world: nodes, time, network and disks, with every fact shown to the invariants.
//!
//! What is here knows nothing of plans: seeds ([`crate::run`]) and scripts ([`crate::scenario`])
//! drive it.

mod agreement;
mod clients;
mod drive;
mod events;
mod faults;
mod links;

pub use {
    clients::Ended,
    events::{Event, Halt},
    links::Filter,
};

use {
    crate::{
        chronicle::Chronicle,
        failure::Failure,
        history::{History, OperationId},
        invariants::{Fact, Invariants, Scene},
        network::Network,
        node::Node,
        queue::{MILLI, Nanos, Queue},
        rng::Rng,
        trace::Trace,
    },
    bytes::Bytes,
    links::Links,
    mosaik_protocol::consensus::{Lineage, Member, Outputs},
    std::collections::{BTreeMap, BTreeSet},
};

/// How the drivers of a world behave.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Entries applied between snapshots; `None`: only when asked.
    pub snapshot_every: Option<u64>,
    /// Entries that stay in the log behind a snapshot.
    pub keep_entries: u64,
    /// Longest time between an apply and the core's hearing of it.
    pub apply_lag: Nanos,
    /// Whether a link that is cut one way only is reported as up for ever.
    pub one_way_unseen: bool,
    /// Longest time until a lost link is reported.
    pub link_loss: Nanos,
    /// Reads in a thousand whose answer comes late.
    pub stalled_reads: u32,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            snapshot_every: None,
            keep_entries: 0,
            apply_lag: 0,
            one_way_unseen: false,
            link_loss: 3_000 * MILLI,
            stalled_reads: 20,
        }
    }
}

/// A whole simulated world.
pub struct World {
    /// Virtual time.
    pub queue: Queue<Event>,
    /// The paths between nodes.
    pub network: Network,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// How drivers behave.
    pub habits: Habits,
    /// What happened, for readers.
    pub trace: Trace,
    /// What happened, for invariants.
    pub chronicle: Chronicle,
    /// What clients saw.
    pub history: History,
    /// The lineage in which an operation was answered.
    pub answered_in: BTreeMap<OperationId, Lineage>,
    /// Commands acknowledged, by tag, with the lineage that did.
    pub acknowledged: BTreeMap<u64, Lineage>,
    /// Command tags by operation.
    pub tags: BTreeMap<u64, OperationId>,
    /// Operations that ended since somebody looked, with the client to tell.
    pub ended: Vec<(OperationId, Option<usize>, Ended)>,
    /// Nodes that just acted as leaders, for the hunter.
    pub acted: Vec<usize>,
    /// Whether to halt when a node acts as a leader.
    pub watch_leaders: bool,
    /// Commands that merges could not move, as their members said.
    pub dropped: u64,
    /// Members whose disks were lost.
    pub wiped: BTreeSet<Member>,
    /// Message filters of a scenario.
    pub filters: Vec<Filter>,
    /// Messages that a filter holds.
    pub held: Vec<(usize, usize, Bytes)>,
    pub(crate) links: Links,
    invariants: Invariants,
    seed: u64,
    starts: u64,
    numbers: u64,
    net_rng: Rng,
    disk_rng: Rng,
    rng: Rng,
    outputs: Outputs,
}

impl World {
    /// A world of nodes that have not started.
    pub fn new(seed: u64, nodes: Vec<Node>, habits: Habits, trace: Trace) -> Self {
        let len = nodes.len();
        Self {
            queue: Queue::default(),
            network: Network::new(len),
            links: Links::new(len),
            nodes,
            habits,
            trace,
            chronicle: Chronicle::default(),
            history: History::default(),
            answered_in: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            tags: BTreeMap::new(),
            ended: Vec::new(),
            acted: Vec::new(),
            watch_leaders: false,
            dropped: 0,
            wiped: BTreeSet::new(),
            filters: Vec::new(),
            held: Vec::new(),
            invariants: Invariants::default(),
            seed,
            starts: 0,
            numbers: 0,
            net_rng: Rng::split(seed, "network"),
            disk_rng: Rng::split(seed, "disk"),
            rng: Rng::split(seed, "world"),
            outputs: Outputs::new(),
        }
    }

    /// The true time.
    pub fn now(&self) -> Nanos {
        self.queue.now()
    }

    /// Records something in the trace.
    pub fn tell(&mut self, key: u64, text: impl FnOnce() -> String) {
        self.trace.event(self.queue.now(), key, text);
    }

    /// Shows a fact about a node to every invariant.
    pub(crate) fn fact(&mut self, node: usize, fact: &Fact<'_>) -> Result<(), Failure> {
        let scene = Scene {
            chronicle: &self.chronicle,
            nodes: &self.nodes,
        };
        let subject = self.nodes[node].subject();
        self.invariants
            .see(&subject, fact, &scene)
            .map_err(|mut failure| {
                failure.at = self.queue.now();
                failure
            })
    }

    /// A failure at this time.
    pub fn failure(&self, what: &'static str, facts: impl Into<String>) -> Failure {
        Failure {
            at: self.now(),
            what,
            facts: facts.into(),
        }
    }

    /// The next unused number.
    pub(crate) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}
