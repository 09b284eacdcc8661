//! Groups that end, cannot start, or are asked for something in the middle of that: nobody who
//! waits is left waiting.

mod support;

use {
    futures::future::join_all,
    mosaik::{
        Network,
        groups::{
            ApplyContext, CommandError, ConsensusConfig, Consistency, Group, Halted, LogReplaySync,
            QueryError, StateMachine,
        },
        primitives::UniqueId,
    },
    serde::{Deserialize, Deserializer, Serialize},
    std::time::Duration,
    support::{
        groups::{Counter, Directory, POISON, formed, join, join_with, quick, roles, sum},
        isolated, network_id, node, nodes, until, within,
    },
};

#[tokio::test]
async fn a_weak_query_of_a_group_joined_after_the_network_closed_is_answered() {
    let node = node(network_id()).await;
    let groups = node.groups().clone();
    within("closed", node.close()).await;
    let late = groups
        .with_key("the key")
        .with_state_machine(Counter::default())
        .with_consensus_config(quick())
        .join();
    let answer = within("an answer", late.query((), Consistency::Weak)).await;
    assert!(
        matches!(answer, Err(QueryError::GroupTerminated)),
        "{answer:?}"
    );
    within("ended", late.ended()).await;
}

#[test]
fn nobody_waits_for_a_network_that_was_dropped_outside_its_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let (mut nodes, groups) = runtime.block_on(async {
        let nodes = nodes(network_id(), 2).await;
        let groups = formed(&nodes).await;
        until("a bond", || groups[0].bonds().iter().next().is_some()).await;
        (nodes, groups)
    });
    let bond = groups[0].bonds().iter().next().expect("a bond");
    drop(nodes.remove(0));
    runtime.block_on(async {
        within("the bond ends", bond.terminated()).await;
        within("the group ends", groups[0].ended()).await;
        let answer = within("an answer", groups[0].query((), Consistency::Weak)).await;
        assert!(
            matches!(answer, Err(QueryError::GroupTerminated)),
            "{answer:?}"
        );
    });
}

/// A number whose decoding panics at [`POISON`].
#[derive(Clone, Debug, Serialize)]
struct Touchy(i64);

impl<'de> Deserialize<'de> for Touchy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        assert_ne!(number, POISON, "what cannot be read");
        Ok(Self(number))
    }
}

#[derive(Default)]
struct TouchyCounter(i64);

impl StateMachine for TouchyCounter {
    type Command = Touchy;
    type Query = ();
    type QueryResult = i64;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        UniqueId::from("touchy")
    }

    fn apply(&mut self, Touchy(number): Touchy, _: &dyn ApplyContext) {
        self.0 += number;
    }

    fn query(&self, (): ()) -> i64 {
        self.0
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_while_a_command_is_decoded_stops_its_group_and_says_why() {
    let node = node(network_id()).await;
    let other = join(&node);
    let group = node
        .groups()
        .with_key("touchy")
        .with_state_machine(TouchyCounter::default())
        .with_consensus_config(quick())
        .join();
    within("online", group.when().online()).await;
    let done = within("a command", group.execute(Touchy(1))).await;
    done.expect("executed");
    let failed = within("an outcome", group.execute(Touchy(POISON))).await;
    assert!(failed.is_err(), "it was not applied");
    within("the group ends", group.ended()).await;
    let halted = group.status().halted;
    assert!(
        matches!(&halted, Some(Halted::Undecodable { index, message })
            if u64::from(*index) == 2 && message.contains("what cannot be read")),
        "{halted:?}"
    );
    within("the other goes on", other.when().online()).await;
    let done = within("a command", other.execute(1)).await;
    done.expect("executed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_for_a_group_that_has_halted_are_handed_back_with_the_reason() {
    let node = node(network_id()).await;
    let group = join(&node);
    within("online", group.when().online()).await;
    // Whether it was applied anywhere is not known.
    drop(within("an outcome", group.execute(POISON)).await);
    within("the group ends", group.ended()).await;
    let failed = within("an outcome", group.execute(5)).await;
    assert!(
        matches!(&failed, Err(CommandError::Halted(commands, Halted::Panicked { .. }))
            if commands == &[5]),
        "{failed:?}"
    );
}

async fn durable(directory: &Directory) -> Network {
    let builder = isolated(network_id()).with_data_dir(&directory.0);
    builder.build().await.expect("a node")
}

/// On one thread the driver sees nothing before all has been asked for.
#[tokio::test(flavor = "current_thread")]
async fn a_group_that_is_left_while_much_is_asked_of_it_and_it_is_starting_is_left() {
    let directory = Directory::new();
    let node = durable(&directory).await;
    let group = join(&node);
    let fed: Vec<_> = (0..5_000).map(|_| group.feed(1)).collect();
    let asked = group.query((), Consistency::Strong);
    within("left", group.leave()).await;
    let overloaded = |failed: &Result<_, CommandError<Counter>>| matches!(failed, Err(CommandError::Overloaded(commands)) if commands == &[1]);
    let fed = within("outcomes", join_all(fed)).await;
    assert_eq!(fed.iter().filter(|failed| overloaded(failed)).count(), 904);
    let answer = within("an answer", asked).await;
    assert!(
        matches!(answer, Err(QueryError::Overloaded(()))),
        "{answer:?}"
    );
    let again = join(&node);
    within("online", again.when().online()).await;
}

/// Goes by the name of [`Counter`].
#[derive(Default)]
struct Impostor;

impl StateMachine for Impostor {
    type Command = i64;
    type Query = ();
    type QueryResult = ();
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        Counter::default().signature()
    }

    fn apply(&mut self, _: i64, _: &dyn ApplyContext) {}

    fn query(&self, (): ()) {}

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_joined_with_another_machine_of_the_same_name_does_not_wait_for_ever() {
    let node = node(network_id()).await;
    let group = join(&node);
    let other: Group<Impostor> = node
        .groups()
        .with_key("the key")
        .with_state_machine(Impostor)
        .with_consensus_config(quick())
        .join();
    assert_eq!(other.id(), group.id());
    within("it ends", other.ended()).await;
    let halted = other.status().halted;
    assert!(matches!(halted, Some(Halted::Other(_))), "{halted:?}");
    let failed = within("an outcome", other.execute(1)).await;
    assert!(
        matches!(&failed, Err(CommandError::Halted(commands, _)) if commands == &[1]),
        "{failed:?}"
    );
    within("the first goes on", group.when().online()).await;
    within("a command", group.execute(1))
        .await
        .expect("executed");
    let same = join(&node);
    assert_eq!(sum(&same).await, (1, 1), "joining it again gives the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_handed_to_a_stranger_stays_where_it_is() {
    let nodes = nodes(network_id(), 3).await;
    let groups = formed(&nodes).await;
    let (leader, follower) = roles(&groups);
    let stranger = node(network_id()).await;
    let term = groups[leader].status().term;
    groups[leader].transfer_leadership(Some(stranger.local().id()));
    for _ in 0..50 {
        let done = within("a command", groups[follower].execute(1)).await;
        done.expect("executed");
    }
    assert!(groups[leader].is_leader());
    assert_eq!(groups[leader].status().term, term);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_joined_while_its_network_closes_ends() {
    let closing = node(network_id()).await;
    let group = join(&closing);
    within("online", group.when().online()).await;
    let groups = closing.groups().clone();
    let closed = tokio::spawn(closing.close());
    within("left", group.ended()).await;
    let late = groups
        .with_key("another key")
        .with_state_machine(Counter::default())
        .with_consensus_config(quick())
        .join();
    within("it ends", late.ended()).await;
    let failed = within("an outcome", late.execute(1)).await;
    assert!(
        matches!(failed, Err(CommandError::GroupTerminated)),
        "{failed:?}"
    );
    within("closed", closed).await.expect("closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_more_to_come_is_proposed_before_its_group_is_left() {
    let directory = Directory::new();
    let node = durable(&directory).await;
    let alone = ConsensusConfig {
        heartbeat_interval: Duration::from_millis(20),
        heartbeat_jitter: Duration::from_millis(5),
        election_timeout: Duration::from_millis(80),
        election_timeout_jitter: Duration::from_millis(40),
        bootstrap_delay: Duration::from_millis(50),
        ..quick()
    };
    let mut asked = 0;
    for _ in 0..40 {
        let group = join_with(&node, alone.clone());
        within("online", group.when().online()).await;
        assert_eq!(sum(&group).await, (asked, asked as u64));
        // Some find others under way, which makes them wait for more.
        for _ in 0..6 {
            drop(group.execute(1));
            asked += 1;
            tokio::task::yield_now().await;
        }
        let ended = group.ended();
        drop(group);
        within("left", ended).await;
    }
}
