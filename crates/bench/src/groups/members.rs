//! Nodes and their members of a group that counts.

use {
    crate::nodes,
    core::time::Duration,
    iroh::EndpointAddr,
    mosaik::{
        Network, UniqueId, discovery,
        groups::{ApplyContext, ConsensusConfig, Group, LogReplaySync, StateMachine},
        network::Preset,
    },
    std::path::{Path, PathBuf},
};

/// What anything has to end in.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);

/// Counts commands.
#[derive(Default)]
pub(super) struct Count(u64);

impl StateMachine for Count {
    type Command = [u64; 8];
    type Query = ();
    type QueryResult = u64;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        UniqueId::from("mosaik-bench/count")
    }

    fn apply(&mut self, command: [u64; 8], _: &dyn ApplyContext) {
        self.0 += command[0];
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }
}

/// Encodes to 64 bytes.
pub(super) const COMMAND: [u64; 8] = [u64::MAX >> 8; 8];

/// Nodes and their members of one group.
pub(super) struct Members {
    pub(super) nodes: Vec<Network>,
    pub(super) groups: Vec<Group<Count>>,
    pub(super) directory: Option<PathBuf>,
}

pub(super) async fn node(peer: Option<EndpointAddr>, data: Option<PathBuf>) -> Network {
    let mut config = discovery::Config::builder();
    if let Some(peer) = peer {
        config = config.with_bootstrap(peer);
    }
    let mut builder = Network::builder("mosaik-bench")
        .with_preset(Preset::Isolated)
        .with_discovery(config);
    if let Some(data) = data {
        builder = builder.with_data_dir(data);
    }
    builder.build().await.expect("loopback can be bound")
}

pub(super) fn join(node: &Network, key: &str) -> Group<Count> {
    let consensus = ConsensusConfig::builder()
        .with_forward_timeout(PATIENCE)
        .with_query_timeout(PATIENCE)
        .build()
        .expect("a configuration that works");
    node.groups()
        .with_key(key)
        .with_state_machine(Count::default())
        .with_consensus_config(consensus)
        .join()
}

pub(super) async fn online(group: &Group<Count>) {
    tokio::time::timeout(PATIENCE, group.when().online())
        .await
        .expect("a group is online in time");
}

/// Nodes that all know each other.
pub(super) async fn nodes_that_know_each_other(
    count: usize,
    directory: Option<&Path>,
) -> Vec<Network> {
    let mut nodes: Vec<Network> = Vec::new();
    while nodes.len() < count {
        let data = directory.map(|directory| directory.join(nodes.len().to_string()));
        let first = nodes.first().map(|node| node.local().addr());
        let next = node(first, data).await;
        nodes.push(next);
    }
    for node in &nodes {
        let mut catalog = node.discovery().catalog_watch();
        let all = catalog.wait_for(|catalog| catalog.peers_count() >= count - 1);
        tokio::time::timeout(PATIENCE, all)
            .await
            .expect("nodes know each other in time")
            .expect("the node is open");
    }
    nodes
}

impl Members {
    pub(super) async fn form(count: usize) -> Self {
        Self::form_in(count, None).await
    }

    pub(super) async fn form_in(count: usize, directory: Option<PathBuf>) -> Self {
        let nodes = nodes_that_know_each_other(count, directory.as_deref()).await;
        let mut this = Self::of(nodes, count).await;
        this.directory = directory;
        this
    }

    /// The first nodes are members.
    pub(super) async fn of(nodes: Vec<Network>, count: usize) -> Self {
        let members = nodes.iter().take(count);
        let groups: Vec<_> = members.map(|node| join(node, "bench")).collect();
        for group in &groups {
            online(group).await;
        }
        let this = Self {
            nodes,
            groups,
            directory: None,
        };
        this.settle(count).await;
        this
    }

    /// Waits until all members, so many, are voters, and those here know who leads.
    pub(super) async fn settle(&self, count: usize) {
        let voters = |group: &Group<Count>| group.status().voters().count();
        let is_settled = |group: &Group<Count>| group.leader().is_some() && voters(group) == count;
        while !self.groups.iter().all(is_settled) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) fn leader(&self) -> &Group<Count> {
        self.at(true)
    }

    pub(super) fn at(&self, leads: bool) -> &Group<Count> {
        self.groups
            .iter()
            .find(|group| group.is_leader() == leads)
            .expect("there are leaders and followers")
    }

    pub(super) async fn close(self) {
        drop(self.groups);
        nodes::close(self.nodes).await;
        if let Some(directory) = self.directory {
            // What is left in a temporary directory harms nobody.
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}
