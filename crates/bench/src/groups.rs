//! Groups: how fast they form, commit and answer, and what many of them cost.

use {
    crate::{
        measure::{Counter, Rate, ended, median},
        nodes,
        raw::Pair,
        report::{Figure, Goal, Outcome},
    },
    core::time::Duration,
    mosaik::{
        Network, UniqueId, discovery,
        groups::{ApplyContext, ConsensusConfig, Consistency, Group, LogReplaySync, StateMachine},
        network::Preset,
        primitives::Digest,
    },
    std::{
        fs::File,
        io::{Seek, Write},
        path::{Path, PathBuf},
        time::Instant,
    },
    tokio::runtime::Runtime,
};

/// Calls that wait at the same time.
const WAITING: usize = 64;
/// Commands of one `execute_many`.
const MANY: usize = 1_000;
/// Commands that a late joiner has to catch up with.
const REPLAY: usize = 1_000_000;
/// Groups that three nodes have in common.
const GROUPS: usize = 1_000;
/// What anything has to end in.
const PATIENCE: Duration = Duration::from_mins(2);
/// The raw stream on the machine that the goals are for: what others leave of a machine shows in
/// both.
const RAW_BYTES_AT_GOAL: f64 = 900e6;

pub(crate) const FIGURES: &[Figure] = &[
    figure(
        "group-execute",
        "3 members, one execute after another, at the leader",
        "µs",
        Some("raw round trip"),
        Some(Goal::RatioAtMost(1.6)),
    ),
    figure(
        "group-execute-task",
        "the same from a spawned task",
        "µs",
        Some("raw round trip"),
        None,
    ),
    figure(
        "group-execute-follower",
        "3 members, one execute after another, at a follower",
        "µs",
        Some("raw round trip"),
        Some(Goal::RatioAtMost(3.0)),
    ),
    figure(
        "group-64",
        "3 members, 64 waiting execute, at the leader",
        "commands/s",
        Some("150 k at raw 900 MB/s"),
        Some(Goal::RatioAtLeast(1.0)),
    ),
    figure(
        "group-64-follower",
        "3 members, 64 waiting execute, at a follower",
        "commands/s",
        Some("90 k at raw 900 MB/s"),
        Some(Goal::RatioAtLeast(1.0)),
    ),
    figure(
        "group-many",
        "3 members, execute_many by 1,000",
        "commands/s",
        Some("1.2 M at raw 900 MB/s"),
        Some(Goal::RatioAtLeast(1.0)),
    ),
    figure(
        "group-five",
        "5 members, 64 waiting execute, at the leader",
        "commands/s",
        Some("90 k at raw 900 MB/s"),
        Some(Goal::RatioAtLeast(1.0)),
    ),
    figure(
        "group-durable",
        "3 members durable, 64 waiting execute",
        "commands/s",
        Some("64 × fsyncs/s"),
        Some(Goal::RatioAtLeast(0.7)),
    ),
    figure(
        "group-read",
        "strong query at a follower, one after another",
        "µs",
        Some("raw round trip"),
        Some(Goal::RatioAtMost(1.6)),
    ),
    figure(
        "group-read-task",
        "the same from a spawned task",
        "µs",
        Some("raw round trip"),
        None,
    ),
    figure(
        "group-read-64",
        "strong queries at a follower, 64 waiting",
        "queries/s",
        Some("200 k at raw 900 MB/s"),
        Some(Goal::RatioAtLeast(1.0)),
    ),
    figure(
        "group-form",
        "3 fresh nodes that know each other: to online",
        "s",
        None,
        Some(Goal::AtMost(1.5)),
    ),
    figure(
        "group-join",
        "joining an existing group: to online",
        "s",
        None,
        Some(Goal::AtMost(0.3)),
    ),
    figure(
        "group-leave",
        "leader leaves: to the next commit",
        "s",
        None,
        Some(Goal::AtMost(0.3)),
    ),
    figure(
        "group-late",
        "late joiner, 1,000,000 commands of 64 B to replay",
        "s",
        None,
        Some(Goal::AtMost(6.0)),
    ),
    figure(
        "group-1000",
        "1,000 groups on 3 nodes: to online",
        "s",
        None,
        Some(Goal::AtMost(20.0)),
    ),
    figure(
        "group-1000-idle",
        "1,000 groups on 3 nodes, idle: share of one core",
        "%",
        None,
        Some(Goal::AtMost(5.0)),
    ),
    figure(
        "group-memory",
        "memory of one member of one of 1,000 idle groups",
        "KiB",
        None,
        Some(Goal::AtMost(50.0)),
    ),
];

const fn figure(
    name: &'static str,
    what: &'static str,
    unit: &'static str,
    reference: Option<&'static str>,
    goal: Option<Goal>,
) -> Figure {
    Figure {
        name,
        what,
        unit,
        reference,
        goal,
    }
}

/// Counts commands.
#[derive(Default)]
struct Count(u64);

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
const COMMAND: [u64; 8] = [u64::MAX >> 8; 8];

/// Nodes and their members of one group.
struct Members {
    nodes: Vec<Network>,
    groups: Vec<Group<Count>>,
    directory: Option<PathBuf>,
}

async fn node(peer: Option<&Network>, data: Option<PathBuf>) -> Network {
    let mut config = discovery::Config::builder();
    if let Some(peer) = peer {
        config = config.with_bootstrap(peer.local().addr());
    }
    let mut builder = Network::builder("mosaik-bench")
        .with_preset(Preset::Isolated)
        .with_discovery(config);
    if let Some(data) = data {
        builder = builder.with_data_dir(data);
    }
    builder.build().await.expect("loopback can be bound")
}

fn join(node: &Network, key: &str) -> Group<Count> {
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

async fn online(group: &Group<Count>) {
    tokio::time::timeout(PATIENCE, group.when().online())
        .await
        .expect("a group is online in time");
}

/// Nodes that all know each other.
async fn nodes_that_know_each_other(count: usize, directory: Option<&Path>) -> Vec<Network> {
    let mut nodes: Vec<Network> = Vec::new();
    while nodes.len() < count {
        let data = directory.map(|directory| directory.join(nodes.len().to_string()));
        let next = node(nodes.first(), data).await;
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
    async fn form(count: usize) -> Self {
        Self::form_in(count, None).await
    }

    async fn form_in(count: usize, directory: Option<PathBuf>) -> Self {
        let nodes = nodes_that_know_each_other(count, directory.as_deref()).await;
        let groups: Vec<_> = nodes.iter().map(|node| join(node, "bench")).collect();
        for group in &groups {
            online(group).await;
        }
        let this = Self {
            nodes,
            groups,
            directory,
        };
        // All are voters, and know who leads.
        while !this.is_settled() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        this
    }

    fn is_settled(&self) -> bool {
        let voters = |group: &Group<Count>| group.status().voters().count();
        self.groups.iter().any(Group::is_leader)
            && self
                .groups
                .iter()
                .all(|group| voters(group) == self.groups.len())
    }

    fn leader(&self) -> &Group<Count> {
        self.at(true)
    }

    fn at(&self, leads: bool) -> &Group<Count> {
        self.groups
            .iter()
            .find(|group| group.is_leader() == leads)
            .expect("there are leaders and followers")
    }

    async fn close(self) {
        drop(self.groups);
        nodes::close(self.nodes).await;
        if let Some(directory) = self.directory {
            // What is left in a temporary directory harms nobody.
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

/// Measures one figure once.
pub(crate) fn measure(runtime: &Runtime, name: &str, window: Duration) -> Outcome {
    match name {
        "group-execute" => runtime.block_on(one_by_one(window, true, execute)),
        "group-execute-task" => spawned(runtime, one_by_one(window, true, execute)),
        "group-execute-follower" => runtime.block_on(one_by_one(window, false, execute)),
        "group-read" => runtime.block_on(one_by_one(window, false, read)),
        "group-read-task" => spawned(runtime, one_by_one(window, false, read)),
        "group-64" => runtime.block_on(waiting((3, true, 1), 150e3, window, execute)),
        "group-64-follower" => runtime.block_on(waiting((3, false, 1), 90e3, window, execute)),
        "group-many" => runtime.block_on(waiting((3, true, MANY), 1.2e6, window, execute_many)),
        "group-five" => runtime.block_on(waiting((5, true, 1), 90e3, window, execute)),
        "group-durable" => runtime.block_on(durable(window)),
        "group-read-64" => runtime.block_on(waiting((3, false, 1), 200e3, window, read)),
        "group-form" => Outcome::alone(runtime.block_on(forming())),
        "group-join" => Outcome::alone(runtime.block_on(joining())),
        "group-leave" => Outcome::alone(runtime.block_on(leaving())),
        "group-late" => Outcome::alone(runtime.block_on(late())),
        "group-1000" => Outcome::alone(nodes::memory_of("group-1000")),
        "group-1000-idle" => Outcome::alone(nodes::memory_of("group-1000-idle")),
        "group-memory" => Outcome::alone(nodes::memory_of("group-memory")),
        other => unreachable!("{other} is listed but not measured"),
    }
}

fn spawned(
    runtime: &Runtime,
    measurement: impl Future<Output = Outcome> + Send + 'static,
) -> Outcome {
    let task = runtime.spawn(measurement);
    runtime
        .block_on(task)
        .expect("the measurement does not panic")
}

async fn execute(group: Group<Count>) {
    group.execute(COMMAND).await.expect("executed");
}

async fn execute_many(group: Group<Count>) {
    let commands = std::iter::repeat_n(COMMAND, MANY);
    group.execute_many(commands).await.expect("executed");
}

async fn read(group: Group<Count>) {
    group
        .query((), Consistency::Strong)
        .await
        .expect("answered");
}

/// The median of one call after another, next to the raw round trip.
async fn one_by_one<F>(window: Duration, at_leader: bool, call: fn(Group<Count>) -> F) -> Outcome
where
    F: Future<Output = ()> + Send + 'static,
{
    let pair = Pair::connect(None).await;
    let raw = pair.round_trip(window).await;
    pair.close().await;
    let members = Members::form(3).await;
    let group = members.at(at_leader).clone();
    for _ in 0..200 {
        call(group.clone()).await;
    }
    let (started, mut samples) = (Instant::now(), Vec::new());
    while started.elapsed() < window {
        let before = Instant::now();
        call(group.clone()).await;
        samples.push(before.elapsed());
    }
    drop(group);
    members.close().await;
    Outcome::against(median(&mut samples), raw)
}

/// The rate of many calls at once, of so many members, at the leader or not, each for so many
/// commands; next to the goal at what the raw stream reaches.
async fn waiting<F>(
    (count, at_leader, each): (usize, bool, usize),
    goal: f64,
    window: Duration,
    call: fn(Group<Count>) -> F,
) -> Outcome
where
    F: Future<Output = ()> + Send + 'static,
{
    let pair = Pair::connect(None).await;
    let raw = pair.byte_rate(window).await;
    pair.close().await;
    let members = Members::form(count).await;
    let group = members.at(at_leader).clone();
    let tasks = if each > 1 { 4 } else { WAITING };
    let rate = calls(&group, tasks, window, call, each).await;
    drop(group);
    members.close().await;
    Outcome::rates(rate, raw.per(RAW_BYTES_AT_GOAL / goal))
}

async fn calls<F>(
    group: &Group<Count>,
    tasks: usize,
    window: Duration,
    call: fn(Group<Count>) -> F,
    each: usize,
) -> Rate
where
    F: Future<Output = ()> + Send + 'static,
{
    let counter = Counter::default();
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let (group, counter) = (group.clone(), counter.clone());
            tokio::spawn(async move {
                loop {
                    call(group.clone()).await;
                    counter.add(each);
                }
            })
        })
        .collect();
    let rate = counter.rate(window).await;
    for task in tasks {
        task.abort();
        ended(task).await;
    }
    rate
}

/// Commands a second of a durable group, next to what its disk can sync.
async fn durable(window: Duration) -> Outcome {
    let directory = std::env::temp_dir().join(format!("mosaik-bench-{}", Digest::random()));
    std::fs::create_dir_all(&directory).expect("a directory can be made");
    let syncs = fsyncs(&directory, window);
    let members = Members::form_in(3, Some(directory)).await;
    let group = members.leader().clone();
    let rate = calls(&group, WAITING, window, execute, 1).await;
    drop(group);
    members.close().await;
    Outcome::against(rate.a_second, syncs * WAITING as f64)
}

/// How often a second a small write can be made durable.
fn fsyncs(directory: &Path, window: Duration) -> f64 {
    let mut file = File::create(directory.join("fsyncs")).expect("a file can be made");
    file.write_all(&vec![0; 1 << 20]).expect("written");
    file.sync_all().expect("synced");
    let (started, mut count) = (Instant::now(), 0_u32);
    while started.elapsed() < window {
        file.seek(std::io::SeekFrom::Start(u64::from(count % 200) * 4_096))
            .expect("found");
        file.write_all(&[1; 4_096]).expect("written");
        file.sync_data().expect("synced");
        count += 1;
    }
    f64::from(count) / started.elapsed().as_secs_f64()
}

async fn forming() -> f64 {
    let nodes = nodes_that_know_each_other(3, None).await;
    let started = Instant::now();
    let groups: Vec<_> = nodes.iter().map(|node| join(node, "bench")).collect();
    for group in &groups {
        online(group).await;
    }
    let took = started.elapsed();
    drop(groups);
    nodes::close(nodes).await;
    took.as_secs_f64()
}

async fn joining() -> f64 {
    let mut nodes = nodes_that_know_each_other(4, None).await;
    let last = nodes.pop().expect("four were made");
    let groups: Vec<_> = nodes.iter().map(|node| join(node, "bench")).collect();
    for group in &groups {
        online(group).await;
    }
    groups[0].execute(COMMAND).await.expect("executed");
    let started = Instant::now();
    let late = join(&last, "bench");
    online(&late).await;
    let took = started.elapsed();
    drop((groups, late));
    nodes.push(last);
    nodes::close(nodes).await;
    took.as_secs_f64()
}

async fn leaving() -> f64 {
    let mut members = Members::form(3).await;
    members.leader().execute(COMMAND).await.expect("executed");
    let leader = members.groups.iter().position(Group::is_leader);
    let leader = members.groups.remove(leader.expect("one leads"));
    let started = Instant::now();
    drop(leader);
    let other = members.groups[0].clone();
    other.execute(COMMAND).await.expect("executed");
    let took = started.elapsed();
    drop(other);
    members.close().await;
    took.as_secs_f64()
}

/// Seconds that a member which joins late needs to catch up.
async fn late() -> f64 {
    let mut nodes = nodes_that_know_each_other(4, None).await;
    let last = nodes.pop().expect("four were made");
    let groups: Vec<_> = nodes.iter().map(|node| join(node, "bench")).collect();
    for group in &groups {
        online(group).await;
    }
    let leader = groups.iter().find(|group| group.is_leader());
    let leader = leader.expect("one leads").clone();
    for _ in 0..REPLAY / MANY {
        execute_many(leader.clone()).await;
    }
    let upto = leader.committed();
    let started = Instant::now();
    let late = join(&last, "bench");
    let caught_up = late.when().committed().reaches(upto);
    tokio::time::timeout(PATIENCE, caught_up)
        .await
        .expect("caught up in time");
    let took = started.elapsed();
    drop((groups, leader, late));
    nodes.push(last);
    nodes::close(nodes).await;
    took.as_secs_f64()
}

/// What many groups cost, measured in a process that does nothing else.
pub(crate) async fn many_here(what: &str) -> f64 {
    const SETTLING: Duration = Duration::from_secs(8);
    let nodes = nodes_that_know_each_other(3, None).await;
    let first: Vec<_> = nodes.iter().map(|node| join(node, "first")).collect();
    for group in &first {
        online(group).await;
    }
    let before = nodes::resident_kib();
    let started = Instant::now();
    let groups: Vec<_> = (0..GROUPS)
        .flat_map(|number| nodes.iter().map(move |node| (node, number)))
        .map(|(node, number)| join(node, &format!("bench {number}")))
        .collect();
    for group in &groups {
        online(group).await;
    }
    let took = started.elapsed().as_secs_f64();
    if what == "group-1000" {
        return took;
    }
    tokio::time::sleep(SETTLING).await;
    if what == "group-memory" {
        return (nodes::resident_kib() - before) / (GROUPS * 3) as f64;
    }
    Counter::busy(Duration::from_secs(10)).await * 100.0
}
