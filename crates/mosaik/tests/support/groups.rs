//! A counter that groups replicate, and how tests join them.

use {
    super::{until, within},
    mosaik::{
        Digest, Network, UniqueId,
        groups::{
            ApplyContext, ConsensusConfig, Consistency, Event, Group, LogReplaySync, StateMachine,
        },
    },
    std::{path::PathBuf, time::Duration},
};

/// The command at which counters panic.
pub const POISON: i64 = i64::MIN;

/// Adds up; also remembers how many commands it was given.
#[derive(Default)]
pub struct Counter {
    sum: i64,
    commands: u64,
}

impl StateMachine for Counter {
    type Command = i64;
    type Query = ();
    type QueryResult = (i64, u64);
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        UniqueId::from("counter")
    }

    fn apply(&mut self, command: i64, _: &dyn ApplyContext) {
        assert_ne!(command, POISON, "what no counter can count");
        self.sum += command;
        self.commands += 1;
    }

    fn start_over(&mut self) -> bool {
        *self = Self::default();
        true
    }

    fn query(&self, (): ()) -> (i64, u64) {
        (self.sum, self.commands)
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }
}

/// Timing that suits loopback and tests.
pub fn quick() -> ConsensusConfig {
    ConsensusConfig::builder()
        .with_heartbeat_interval(Duration::from_millis(100))
        .with_heartbeat_jitter(Duration::from_millis(20))
        .with_election_timeout(Duration::from_millis(400))
        .with_election_timeout_jitter(Duration::from_millis(200))
        .with_bootstrap_delay(Duration::from_millis(500))
        .with_forward_timeout(Duration::from_secs(10))
        .with_query_timeout(Duration::from_secs(10))
        .build()
        .expect("a configuration that works")
}

/// [`quick`], for so many voters that are started at the same time, and for whoever joins them
/// later. None of them founds the group without all the others: on a machine that is slow enough,
/// two could each found it before they see each other.
pub fn together(voters: usize) -> ConsensusConfig {
    ConsensusConfig {
        min_voters: u32::try_from(voters).expect("a few"),
        ..quick()
    }
}

/// [`quick`], for whoever joins a group that is there. It founds none, however long it takes to see
/// the group.
pub fn late() -> ConsensusConfig {
    ConsensusConfig {
        bootstrap_delay: Duration::from_hours(1),
        ..quick()
    }
}

/// A directory that is gone at the end of the test.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new() -> Self {
        Self(std::env::temp_dir().join(format!("mosaik-groups-{}", Digest::random())))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Leaving it behind is no failure of what is tested.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn join(node: &Network) -> Group<Counter> {
    join_with(node, quick())
}

pub fn join_with(node: &Network, consensus: ConsensusConfig) -> Group<Counter> {
    node.groups()
        .with_key("the key")
        .with_state_machine(Counter::default())
        .with_consensus_config(consensus)
        .join()
}

/// A group of which every node is a member that takes commands. It forms once, of them all.
pub async fn formed(nodes: &[Network]) -> Vec<Group<Counter>> {
    let consensus = together(nodes.len());
    let groups: Vec<_> = nodes
        .iter()
        .map(|node| join_with(node, consensus.clone()))
        .collect();
    for group in &groups {
        within("online", group.when().online()).await;
    }
    let leader = groups[0].leader();
    until("one leader", || {
        groups
            .iter()
            .all(|group| group.leader() == leader && leader.is_some())
            || groups
                .iter()
                .all(|group| group.leader() == groups[0].leader())
    })
    .await;
    groups
}

/// The groups' leader and one of its followers.
pub fn roles(groups: &[Group<Counter>]) -> (usize, usize) {
    let leader = groups
        .iter()
        .position(Group::is_leader)
        .expect("one of them leads");
    (leader, (leader + 1) % groups.len())
}

pub async fn sum(group: &Group<Counter>) -> (i64, u64) {
    let answer = within("an answer", group.query((), Consistency::Strong)).await;
    answer.expect("an answer").into()
}

/// The first event that `find` has something to say about.
pub async fn event<T>(
    events: &mut tokio::sync::broadcast::Receiver<Event>,
    find: impl Fn(Event) -> Option<T>,
) -> T {
    within("the event", async {
        loop {
            if let Some(found) = find(events.recv().await.expect("an event")) {
                return found;
            }
        }
    })
    .await
}
