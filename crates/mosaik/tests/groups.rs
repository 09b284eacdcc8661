//! Groups as programs use them: nodes of one process, on loopback.

mod support;

use {
    mosaik::{
        Digest, Network,
        groups::{
            CommandError, ConsensusConfig, Consistency, Event, Halted, Index, PanicPolicy,
            QueryError,
        },
    },
    std::time::Duration,
    support::{
        groups::{Directory, POISON, formed, join, join_with, late, quick, roles, sum, together},
        isolated, network_id, node, node_knowing, nodes, until, within,
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_form_a_group_and_count() {
    let nodes = nodes(network_id(), 3).await;
    let groups = formed(&nodes).await;
    let (leader, follower) = roles(&groups);

    let first = within("a command at the leader", groups[leader].execute(5)).await;
    assert_eq!(u64::from(first.expect("executed")), 1);
    assert_eq!(u64::from(groups[leader].committed()), 1);
    let second = within("one at a follower", groups[follower].execute(-2)).await;
    assert_eq!(u64::from(second.expect("executed")), 2);
    for group in &groups {
        assert_eq!(sum(group).await, (3, 2), "strong reads see everything");
    }

    let many = within("many", groups[follower].execute_many(1..=100)).await;
    let many = many.expect("executed");
    assert_eq!((u64::from(*many.start()), u64::from(*many.end())), (3, 102));
    let weak = groups[follower].query((), Consistency::Weak).await;
    let weak = weak.expect("an answer");
    assert_eq!(weak.result, (5_053, 102), "own commands are applied here");
    assert_eq!(u64::from(weak.at_position), 102);

    let fed = within("fed", groups[follower].feed(1))
        .await
        .expect("accepted");
    within(
        "committed",
        groups[follower].when().committed().reaches(fed),
    )
    .await;
    assert_eq!(sum(&groups[leader]).await, (5_054, 103));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_others_go_on_when_the_leader_leaves() {
    let nodes = nodes(network_id(), 3).await;
    let mut groups = formed(&nodes).await;
    let (leader, _) = roles(&groups);
    within("a command", groups[leader].execute(1))
        .await
        .expect("executed");
    drop(groups.remove(leader));
    for group in &groups {
        let done = within("the next command", group.execute(1)).await;
        done.expect("executed");
    }
    assert_eq!(sum(&groups[0]).await, (3, 3));
    until("two members", || {
        groups
            .iter()
            .all(|group| group.status().voters().count() == 2)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_joiner_catches_up() {
    let network: Digest = network_id();
    let first = node(network).await;
    let one = join(&first);
    within("online", one.when().online()).await;
    within("commands", one.execute_many(1..=1_000))
        .await
        .expect("executed");
    let second = node_knowing(network, &first).await;
    let two = join_with(&second, late());
    within("online", two.when().online()).await;
    assert_eq!(sum(&two).await, (500_500, 1_000));
    within("a command", two.execute(1)).await.expect("executed");
    assert_eq!(sum(&one).await.1, 1_001);
}

/// A node that keeps what it has in a directory.
async fn durable_node(network: Digest, directory: &Directory, peer: Option<&Network>) -> Network {
    let mut discovery = mosaik::discovery::Config::builder();
    if let Some(peer) = peer {
        discovery = discovery.with_bootstrap(peer.local().addr());
    }
    isolated(network)
        .with_data_dir(&directory.0)
        .with_discovery(discovery)
        .build()
        .await
        .expect("a node starts in its directory")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_group_goes_on_after_all_of_it_was_down() {
    let network = network_id();
    let directories = [Directory::new(), Directory::new(), Directory::new()];
    let mut members = Vec::new();
    for round in 0..3 {
        let mut nodes: Vec<Network> = Vec::new();
        for directory in &directories {
            let next = durable_node(network, directory, nodes.first()).await;
            nodes.push(next);
        }
        let groups = formed(&nodes).await;
        assert_eq!(sum(&groups[0]).await, (round * 10, round as u64 * 10));
        for turn in 0..10 {
            let group = &groups[turn % 3];
            within("a command", group.execute(1))
                .await
                .expect("executed");
        }
        let incarnations: Vec<_> = groups
            .iter()
            .map(|group| group.status().incarnation)
            .collect();
        if round == 0 {
            members = incarnations;
        } else {
            assert_eq!(members, incarnations, "they are the members they were");
        }
        assert_eq!(groups[0].status().voters().count(), 3);
        drop(groups);
        within(
            "closed",
            futures::future::join_all(nodes.into_iter().map(Network::close)),
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_for_good_forgets_what_was_stored() {
    let network = network_id();
    let directory = Directory::new();
    let first = durable_node(network, &directory, None).await;
    let group = join(&first);
    within("online", group.when().online()).await;
    within("a command", group.execute(7))
        .await
        .expect("executed");
    let before = group.status().incarnation;
    within("left", group.leave()).await;
    let refused = within("a late command", group.execute(1)).await;
    assert!(refused.is_err_and(|error| error.to_string() == "Group is terminated"));
    drop(group);
    let again = join(&first);
    within("online", again.when().online()).await;
    assert_eq!(sum(&again).await, (0, 0));
    assert_ne!(again.status().incarnation, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joining_twice_gives_the_same_group_and_the_last_handle_leaves() {
    let node = node(network_id()).await;
    let one = join(&node);
    let two = join(&node);
    within("online", one.when().online()).await;
    within("a command", one.execute(4)).await.expect("executed");
    let seen: (i64, u64) = two
        .query((), Consistency::Weak)
        .await
        .expect("an answer")
        .into();
    assert_eq!(seen, (4, 1));
    let ended = one.ended();
    drop(one);
    within("a command", two.execute(1)).await.expect("executed");
    drop(two);
    // Joined again before the old member has left: a new member of a new group.
    let three = join(&node);
    within("the old one has ended", ended).await;
    within("online", three.when().online()).await;
    assert_eq!(sum(&three).await, (0, 0));
    drop(three);
    drop(join(&node));
    within("close", node.close()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_stops_the_group_on_the_node_and_nothing_else() {
    let node = node(network_id()).await;
    let group = join(&node);
    let other = node.groups().with_key("another key").join();
    within("online", group.when().online()).await;
    within("online", other.when().online()).await;
    let mut events = group.events();
    within("a command", group.execute(1))
        .await
        .expect("executed");
    let refused = within("the end of the command", group.execute(POISON)).await;
    assert!(
        matches!(&refused, Err(CommandError::Unknown { commands, .. }) if commands == &[POISON]),
        "committed, but not applied here: {refused:?}"
    );
    within("the end of the group", group.ended()).await;
    let Some(Halted::Panicked { index, message }) = group.status().halted else {
        panic!("it says why: {:?}", group.status());
    };
    assert_eq!(index, Index::from(2_u64));
    assert!(message.contains("what no counter can count"), "{message}");
    let told = within("the event", async {
        loop {
            if let Event::Halted(why) = events.recv().await.expect("an event") {
                return why;
            }
        }
    });
    assert!(matches!(told.await, Halted::Panicked { .. }));
    let late = within("a late query", group.query((), Consistency::Strong)).await;
    assert!(matches!(late, Err(QueryError::GroupTerminated)), "{late:?}");
    within("another group", other.execute(()))
        .await
        .expect("executed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_command_is_skipped_on_every_member_where_that_is_the_policy() {
    let nodes = nodes(network_id(), 3).await;
    let policy = ConsensusConfig {
        panic_policy: PanicPolicy::Skip,
        ..together(3)
    };
    let groups: Vec<_> = nodes
        .iter()
        .map(|node| join_with(node, policy.clone()))
        .collect();
    for group in &groups {
        within("online", group.when().online()).await;
    }
    let mut events = groups[0].events();
    within("commands", groups[0].execute_many([1, POISON, 2]))
        .await
        .expect("executed");
    for group in &groups {
        assert_eq!(sum(group).await, (3, 2));
        assert_eq!(group.committed(), Index::from(3_u64));
    }
    let skipped = within("the event", async {
        loop {
            if let Event::Quarantined { index, .. } = events.recv().await.expect("an event") {
                return index;
            }
        }
    });
    assert_eq!(skipped.await, Index::from(2_u64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_surely_were_not_executed_come_back() {
    let node = node(network_id()).await;
    let alone = ConsensusConfig {
        min_voters: 2,
        forward_timeout: Duration::from_millis(200),
        query_timeout: Duration::from_millis(200),
        ..quick()
    };
    let group = join_with(&node, alone);
    let offline = within("offline", group.execute_many([1, 2])).await;
    assert!(
        matches!(&offline, Err(CommandError::Offline(commands)) if commands == &[1, 2]),
        "{offline:?}"
    );
    let unread = within("unanswered", group.query((), Consistency::Strong)).await;
    assert!(matches!(unread, Err(QueryError::Offline(()))), "{unread:?}");
    let nothing = within("nothing", group.execute_many([])).await;
    assert!(matches!(nothing, Err(CommandError::NoCommands)));
    let too_many = within("too many", group.execute_many(0..70_000)).await;
    assert!(
        matches!(&too_many, Err(CommandError::TooMany { commands, .. }) if commands.len() == 70_000)
    );
    within("close", node.close()).await;
    let closed = within("closed", group.execute(1)).await;
    assert!(
        matches!(closed, Err(CommandError::GroupTerminated)),
        "{closed:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_acknowledged() {
    let mut nodes = nodes(network_id(), 3).await;
    let consensus = ConsensusConfig {
        forward_timeout: Duration::from_secs(1),
        query_timeout: Duration::from_secs(1),
        // Nobody is replaced during the test.
        max_missed_heartbeats: 10_000,
        ..together(3)
    };
    let mut groups: Vec<_> = nodes
        .iter()
        .map(|node| join_with(node, consensus.clone()))
        .collect();
    for group in &groups {
        within("online", group.when().online()).await;
    }
    until("three voters", || {
        groups
            .iter()
            .all(|group| group.status().voters().count() == 3)
    })
    .await;
    within("a command", groups[0].execute(1))
        .await
        .expect("executed");
    let (leader, _) = roles(&groups);
    nodes.swap(0, leader);
    groups.swap(0, leader);
    // Two die without a word: their sockets are gone, and nobody says goodbye.
    for node in nodes.drain(1..) {
        node.local().endpoint().close().await;
        std::mem::forget(node);
    }
    let unknown = within("the end of a command", groups[0].execute(2)).await;
    assert!(
        matches!(
            &unknown,
            Err(CommandError::Unknown { .. } | CommandError::Offline(_))
        ),
        "{unknown:?}"
    );
    let unread = within(
        "the end of a query",
        groups[0].query((), Consistency::Strong),
    )
    .await;
    assert!(matches!(unread, Err(QueryError::Offline(()))), "{unread:?}");
    let weak = groups[0].query((), Consistency::Weak).await;
    assert_eq!(
        weak.expect("an answer").result,
        (1, 1),
        "weak ones are still answered"
    );
    within("offline", groups[0].when().offline()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lost_its_data_comes_back_as_another() {
    let network = network_id();
    let nodes = nodes(network, 2).await;
    let consensus = together(2);
    let groups: Vec<_> = nodes
        .iter()
        .map(|node| join_with(node, consensus.clone()))
        .collect();
    for group in &groups {
        within("online", group.when().online()).await;
    }
    let third = node_knowing(network, &nodes[0]).await;
    let first_life = join_with(&third, consensus.clone());
    within("online", first_life.when().online()).await;
    within("commands", groups[0].execute_many(1..=100))
        .await
        .expect("executed");
    drop(first_life);
    within("close", third.close()).await;
    let third = node_knowing(network, &nodes[0]).await;
    let second_life = join_with(&third, consensus);
    within("online", second_life.when().online()).await;
    let answer = within("an answer", second_life.query((), Consistency::Strong)).await;
    assert_eq!(answer.expect("an answer").result, (5_050, 100));
}
