//! Formation, elections, replication and reads, each promise once.

use {
    crate::cluster::{Cluster, committed, config, peer},
    core::time::Duration,
    mosaik_protocol::consensus::{
        Body, Index, Input, LogIndex, NotDone, Outcome, Preference, ReadOutcome, RoleName, limits,
    },
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_lone_node_founds_alone_after_the_bootstrap_delay() {
    let mut cluster = Cluster::new([1]);
    let took = cluster.until("it leads", |c| c.leader() == Some(1));
    assert!(took >= config(1).bootstrap_delay, "{took:?}");
    assert_eq!(cluster.execute(1, "a"), committed(1));
}

#[test]
fn three_fresh_nodes_found_one_lineage_with_three_voters() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    assert_eq!(cluster.leader(), Some(1));
    assert_eq!(cluster.membership(2).voters().len(), 3);
    assert_eq!(cluster.leaders.len(), 1);
    assert_eq!(cluster.nodes[&2].status().committed, Index(0));
    assert_eq!(cluster.execute(1, "a"), committed(1));
    assert_eq!(cluster.execute(2, "b"), committed(2));
    assert_eq!(cluster.execute(3, "c"), committed(3));
    cluster.all_applied(3);
    assert_eq!(cluster.texts(3), ["a", "b", "c"]);
}

#[test]
fn nodes_that_see_all_that_discovery_shows_found_early() {
    let mut cluster = Cluster::new([1, 2, 3]);
    for id in [1, 2, 3] {
        let others = cluster.others(id).into_iter().map(peer).collect();
        cluster.input(id, Input::Discovered(others));
    }
    let took = cluster.until("all follow", |c| {
        c.nodes
            .values()
            .all(|n| n.status().leader.is_some() && n.status().commit >= LogIndex(2))
    });
    assert!(took < SECOND, "{took:?}");
}

#[test]
fn observers_never_found_and_join_as_observers() {
    let mut cluster = Cluster::new([]);
    let mut observer = config(1);
    observer.preference = Preference::Observer;
    cluster.add(observer);
    cluster.run(SECOND * 20);
    assert_eq!(cluster.nodes[&1].status().role, RoleName::Fresh);
    cluster.add(config(2));
    cluster.until("the observer follows", |c| {
        c.nodes
            .values()
            .all(|n| n.status().leader == Some(c.nodes[&2].status().me))
    });
    cluster.execute(1, "from an observer");
    cluster.all_applied(1);
    assert_eq!(cluster.membership(1).voters().len(), 1);
    assert_eq!(cluster.membership(1).observers().len(), 1);
}

#[test]
fn min_voters_keeps_too_few_from_founding() {
    let mut cluster = Cluster::new([]);
    for id in [1, 2] {
        let mut config = config(id);
        config.min_voters = 3;
        cluster.add(config);
    }
    cluster.run(SECOND * 20);
    assert_eq!(cluster.leader(), None);
    let mut third = config(3);
    third.min_voters = 3;
    cluster.add(third);
    cluster.lead();
}

#[test]
fn a_late_node_joins_as_learner_and_becomes_a_voter_up_to_the_limit() {
    let mut cluster = Cluster::formed([1, 2, 3, 4]);
    for command in 0..10 {
        cluster.execute(2, &command.to_string());
    }
    for id in [5, 6, 7] {
        cluster.add(config(id));
        let took = cluster.until("the late node has everything", |c| {
            c.nodes[&id].machine.len() == 10
        });
        assert!(took < Duration::from_millis(300), "{took:?}");
    }
    cluster.run(SECOND * 3);
    let membership = cluster.membership(7);
    assert_eq!(membership.voters().len(), 5);
    assert_eq!(membership.learners().len(), 2);
}

/// What is read back from a store is bounded by its size alone. A message with more entries than
/// any member takes got the leader cut off by the newcomer, for ever.
#[test]
fn a_late_node_is_sent_many_small_entries_in_messages_that_it_can_read() {
    let mut cluster = Cluster::new([]);
    for id in [1, 2, 3] {
        let mut config = config(id);
        config.cache_bytes = 1_000;
        cluster.add(config);
    }
    let leader = cluster.lead();
    let entries = 3 * limits::APPEND_ENTRIES;
    for _ in 0..entries {
        cluster.execute(leader, "x");
    }
    cluster.add(config(4));
    cluster.until("the late node has everything", |c| {
        c.nodes[&4].machine.len() == entries
    });
}

#[test]
fn an_idle_group_is_silent_and_wakes_for_work_and_for_loss() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    cluster.execute(2, "a");
    cluster.until("all are quiet", |c| {
        c.nodes.values().all(|n| n.status().quiet)
    });
    let sent = cluster.sent;
    cluster.run(SECOND * 600);
    assert_eq!(cluster.sent, sent);
    assert!(
        cluster
            .nodes
            .values()
            .all(|n| n.core.as_ref().unwrap().next_deadline().is_none())
    );
    assert_eq!(cluster.execute(3, "b"), committed(2));
    cluster.until("all are quiet", |c| {
        c.nodes.values().all(|n| n.status().quiet)
    });
    cluster.crash(1);
    let took = cluster.until("another leads", |c| c.leader().is_some());
    assert!(took < SECOND, "{took:?}");
    assert_eq!(cluster.execute(3, "c"), committed(3));
}

#[test]
fn a_leader_that_dies_in_silence_is_replaced_within_a_second_and_a_half() {
    for seed in 0..20 {
        let mut cluster = Cluster::new([]);
        for id in 1..=3 {
            let mut config = config(id);
            config.seed = seed * 3 + u64::from(id);
            config.quiesce = false;
            cluster.add(config);
        }
        let leader = cluster.lead();
        cluster.execute(leader, "a");
        cluster.run(Duration::from_millis(seed * 37));
        cluster.kill_silently(leader);
        let took = cluster.until("another leads", |c| c.leader().is_some());
        assert!(took < SECOND * 3 / 2, "seed {seed}: {took:?}");
        assert_eq!(cluster.execute(3, "b"), committed(2));
    }
}

#[test]
fn a_follower_cut_off_does_not_disturb_the_others() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    let term = cluster.nodes[&leader].status().term;
    cluster.partition(&[3]);
    for _ in 0..10 {
        cluster.execute(2, "x");
        cluster.run(SECOND);
    }
    cluster.heal();
    cluster.run(SECOND * 10);
    assert_eq!(cluster.leader(), Some(leader));
    assert_eq!(cluster.nodes[&3].status().term, term);
    cluster.all_applied(10);
}

#[test]
fn a_leader_cut_off_steps_down_and_answers_nothing() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    cluster.cut_silently(&[leader]);
    let lost = cluster.propose(leader, "lost");
    assert_eq!(cluster.read(leader).0, ReadOutcome::Offline);
    assert_eq!(cluster.outcome(leader, lost), Outcome::Unknown);
    let untried = Outcome::NotDone(NotDone::Offline);
    assert_eq!(cluster.execute(leader, "not even tried"), untried);
    cluster.run(SECOND * 5);
    assert!(!cluster.nodes[&leader].core.as_ref().unwrap().is_leader());
    let other = cluster.lead();
    assert_ne!(other, leader);
    assert_eq!(cluster.execute(other, "kept"), committed(1));
    cluster.heal();
    cluster.all_applied(1);
}

#[test]
fn proposals_keep_their_callers_order_whatever_is_lost() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let mut count = 0u32;
    cluster.filter = Some(Box::new(move |_| {
        count += 1;
        !count.is_multiple_of(5)
    }));
    let proposals: Vec<_> = (0..100)
        .map(|n| cluster.propose(2, &format!("{n:03}")))
        .collect();
    for proposal in proposals {
        assert!(matches!(
            cluster.outcome(2, proposal),
            Outcome::Committed { .. }
        ));
    }
    cluster.filter = None;
    cluster.all_applied(100);
    assert!(cluster.texts(3).is_sorted());
}

#[test]
fn strong_reads_see_what_was_acknowledged_before() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    for n in 1..=5 {
        cluster.execute(2, &n.to_string());
        for id in [1, 2, 3] {
            let (outcome, seen) = cluster.read(id);
            assert!(matches!(outcome, ReadOutcome::Ready(_)));
            assert!(seen >= n, "member {id} saw {seen} of {n}");
        }
    }
}

#[test]
fn in_a_group_of_three_a_question_to_the_leader_is_answered_without_a_round() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    cluster.execute(leader, "a");
    cluster.all_applied(1);
    cluster.filter = Some(Box::new(|message| {
        !matches!(message.body, Body::HeartbeatAck { .. })
    }));
    let asker = cluster.others(leader)[0];
    let (outcome, seen) = cluster.read(asker);
    assert!(matches!(outcome, ReadOutcome::Ready(_)));
    assert_eq!(seen, 1);
}

#[test]
fn leadership_is_handed_over_at_once() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    cluster.execute(leader, "a");
    cluster.input(leader, Input::Transfer(Some(cluster.nodes[&3].status().me)));
    let took = cluster.until("the target leads", |c| c.leader() == Some(3));
    assert!(took < Duration::from_millis(50), "{took:?}");
    assert_eq!(cluster.execute(leader, "b"), committed(2));
}

#[test]
fn a_leader_that_leaves_hands_over_and_is_removed() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    cluster.execute(leader, "a");
    cluster.input(leader, Input::Leave);
    let took = cluster.until("it has left", |c| {
        c.nodes[&leader].status().role == RoleName::Stopped
    });
    assert!(took < Duration::from_millis(300), "{took:?}");
    cluster.crash(leader);
    let other = cluster.lead();
    assert_eq!(cluster.execute(other, "b"), committed(2));
    assert_eq!(cluster.membership(other).voters().len(), 2);
}

/// The tests of this file, for those who want to see them fail.
#[cfg(mosaik_mutants)]
pub(crate) const ALL: &[(&str, fn())] = &[
    (
        "a_lone_node_founds_alone_after_the_bootstrap_delay",
        a_lone_node_founds_alone_after_the_bootstrap_delay,
    ),
    (
        "three_fresh_nodes_found_one_lineage_with_three_voters",
        three_fresh_nodes_found_one_lineage_with_three_voters,
    ),
    (
        "nodes_that_see_all_that_discovery_shows_found_early",
        nodes_that_see_all_that_discovery_shows_found_early,
    ),
    (
        "observers_never_found_and_join_as_observers",
        observers_never_found_and_join_as_observers,
    ),
    (
        "min_voters_keeps_too_few_from_founding",
        min_voters_keeps_too_few_from_founding,
    ),
    (
        "a_late_node_joins_as_learner_and_becomes_a_voter_up_to_the_limit",
        a_late_node_joins_as_learner_and_becomes_a_voter_up_to_the_limit,
    ),
    (
        "an_idle_group_is_silent_and_wakes_for_work_and_for_loss",
        an_idle_group_is_silent_and_wakes_for_work_and_for_loss,
    ),
    (
        "a_leader_that_dies_in_silence_is_replaced_within_a_second_and_a_half",
        a_leader_that_dies_in_silence_is_replaced_within_a_second_and_a_half,
    ),
    (
        "a_follower_cut_off_does_not_disturb_the_others",
        a_follower_cut_off_does_not_disturb_the_others,
    ),
    (
        "a_leader_cut_off_steps_down_and_answers_nothing",
        a_leader_cut_off_steps_down_and_answers_nothing,
    ),
    (
        "proposals_keep_their_callers_order_whatever_is_lost",
        proposals_keep_their_callers_order_whatever_is_lost,
    ),
    (
        "strong_reads_see_what_was_acknowledged_before",
        strong_reads_see_what_was_acknowledged_before,
    ),
    (
        "leadership_is_handed_over_at_once",
        leadership_is_handed_over_at_once,
    ),
    (
        "a_leader_that_leaves_hands_over_and_is_removed",
        a_leader_that_leaves_hands_over_and_is_removed,
    ),
];
