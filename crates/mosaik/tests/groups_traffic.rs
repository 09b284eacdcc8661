//! Much traffic between members, and all of them dialling at once.

mod support;

use {
    futures::future::join_all,
    mosaik::{
        Network, UniqueId,
        groups::{ApplyContext, ConsensusConfig, Consistency, Group, LogReplaySync, StateMachine},
    },
    std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    support::{
        groups::{join_with, sum, together},
        network_id, nodes, patience, until, within,
    },
    tokio::sync::Barrier,
};

/// Counts the bytes it is given.
#[derive(Default)]
struct Scale(u64);

impl StateMachine for Scale {
    type Command = Vec<u8>;
    type Query = ();
    type QueryResult = u64;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        UniqueId::from("scale")
    }

    fn apply(&mut self, command: Vec<u8>, _: &dyn ApplyContext) {
        self.0 += command.len() as u64;
    }

    fn start_over(&mut self) -> bool {
        self.0 = 0;
        true
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }
}

/// For so many members that start together. Much is under way on a machine that may have much
/// else to do.
fn patient(members: usize) -> ConsensusConfig {
    ConsensusConfig {
        forward_timeout: patience(60),
        query_timeout: patience(60),
        ..together(members)
    }
}

fn scale(node: &Network, key: &str, members: usize) -> Group<Scale> {
    node.groups()
        .with_key(key)
        .with_state_machine(Scale::default())
        .with_consensus_config(patient(members))
        .join()
}

/// Large commands.
const LARGE: usize = 3 << 20;
const COUNT: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sides_that_send_large_commands_at_once_block_neither_each_other_nor_anybody_else() {
    let nodes = nodes(network_id(), 2).await;
    let heavy: Vec<_> = nodes
        .iter()
        .map(|node| scale(node, "heavy", nodes.len()))
        .collect();
    let light: Vec<_> = nodes
        .iter()
        .map(|node| join_with(node, patient(nodes.len())))
        .collect();
    for node in 0..2 {
        within("online", heavy[node].when().online()).await;
        within("online", light[node].when().online()).await;
    }
    let is_over = Arc::new(AtomicBool::new(false));
    // A small group between the same two goes on all the while, from both sides.
    let beside = light.iter().map(|group| {
        let (group, is_over) = (group.clone(), Arc::clone(&is_over));
        tokio::spawn(async move {
            let mut count = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                within("a small command", group.execute(1))
                    .await
                    .expect("executed");
                count += 1;
            }
            count
        })
    });
    let beside: Vec<_> = beside.collect();
    // The follower forwards as much as the leader sends it.
    let sides = heavy.iter().map(|group| {
        let commands = (0..COUNT).map(|_| group.execute(vec![7; LARGE]));
        within("large commands", join_all(commands))
    });
    for outcome in join_all(sides).await.into_iter().flatten() {
        outcome.expect("executed");
    }
    is_over.store(true, Ordering::Relaxed);
    let mut small = 0;
    for task in beside {
        small += within("the small group", task).await.expect("it goes on");
    }
    assert!(small > 2, "only {small} small commands went through");
    assert_eq!(
        sum(&light[0]).await,
        (i64::try_from(small).expect("not so many"), small)
    );
    for group in &heavy {
        let held = group
            .query((), Consistency::Strong)
            .await
            .expect("answered");
        assert_eq!(held.result, 2 * (COUNT * LARGE) as u64);
    }
    for node in nodes {
        within("close", node.close()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_dial_each_other_at_the_same_moment_are_bonded_once() {
    const GROUPS: usize = 20;
    let nodes = nodes(network_id(), 3).await;
    let members = nodes.len();
    let start = Arc::new(Barrier::new(members));
    let joining = nodes.into_iter().map(|node| {
        let start = Arc::clone(&start);
        tokio::spawn(async move {
            start.wait().await;
            let keys = (0..GROUPS).map(|key| scale(&node, &format!("key {key}"), members));
            (keys.collect::<Vec<_>>(), node)
        })
    });
    let mut joined = Vec::new();
    for node in join_all(joining).await {
        joined.push(node.expect("joined"));
    }
    for (groups, _) in &joined {
        for group in groups {
            within("online", group.when().online()).await;
            until("a bond with each of the others", || {
                group.bonds().len() == 2
            })
            .await;
        }
    }
    for key in 0..GROUPS {
        let executed = join_all(
            joined
                .iter()
                .map(|(groups, _)| groups[key].execute(vec![1])),
        );
        for outcome in within("commands", executed).await {
            outcome.expect("executed");
        }
        let leaders = joined.iter().filter(|(groups, _)| groups[key].is_leader());
        assert_eq!(leaders.count(), 1);
        let held = joined[0].0[key].query((), Consistency::Strong).await;
        assert_eq!(held.expect("answered").result, 3);
    }
    for (groups, node) in joined {
        drop(groups);
        within("close", node.close()).await;
    }
}
