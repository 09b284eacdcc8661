//! Crashes, lost disks, snapshots, members that die and come back, lineages that meet.

use {
    crate::cluster::{Cluster, committed, config, peer},
    crate::disk::Disk,
    crate::merging::split,
    core::time::Duration,
    mosaik_protocol::consensus::{
        Event, Index, Input, LogIndex, Member, MergePolicy, Outcome, RoleName, Standing,
    },
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_restart_with_the_disk_goes_on_as_the_same_member() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    for n in 1..=20 {
        assert_eq!(cluster.execute(2, &n.to_string()), committed(n));
    }
    let members: Vec<Member> = (1..=3).map(|id| cluster.nodes[&id].status().me).collect();
    for id in 1..=3 {
        cluster.crash(id);
    }
    cluster.run(SECOND);
    for id in 1..=3 {
        cluster.start(id);
    }
    cluster.lead();
    assert_eq!(cluster.execute(3, "on"), committed(21));
    cluster.all_applied(21);
    assert_eq!(
        members,
        (1..=3)
            .map(|id| cluster.nodes[&id].status().me)
            .collect::<Vec<_>>()
    );
}

#[test]
fn nothing_is_acknowledged_before_it_is_stored() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    let others = cluster.others(leader);
    for id in &others {
        cluster.nodes.get_mut(id).unwrap().slow_disk = true;
    }
    let proposal = cluster.propose(leader, "a");
    cluster.run(SECOND / 2);
    assert_eq!(cluster.nodes[&leader].ended(proposal), None);
    cluster.confirm(others[0]);
    assert_eq!(cluster.outcome(leader, proposal), committed(1));
}

/// A candidate that stood again before its vote was stored never became leader.
#[test]
fn a_store_slower_than_an_election_does_not_keep_a_lone_voter_from_leading() {
    let mut cluster = Cluster::formed([1]);
    cluster.crash(1);
    cluster.start(1);
    cluster.nodes.get_mut(&1).unwrap().slow_disk = true;
    for _ in 0..4 {
        cluster.run(SECOND * 3);
        cluster.confirm(1);
    }
    assert_eq!(cluster.leader(), Some(1));
}

#[test]
fn a_leader_does_not_count_itself_before_it_has_stored() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    let others = cluster.others(leader);
    cluster.cut_silently(&[others[0]]);
    cluster.nodes.get_mut(&leader).unwrap().slow_disk = true;
    let proposal = cluster.propose(leader, "a");
    cluster.run(SECOND / 2);
    assert_eq!(cluster.nodes[&leader].ended(proposal), None);
    cluster.confirm(leader);
    assert_eq!(cluster.outcome(leader, proposal), committed(1));
}

#[test]
fn a_member_that_lost_its_disk_comes_back_as_another_one() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    cluster.execute(1, "a");
    let before = cluster.nodes[&3].status().me;
    cluster.crash(3);
    cluster.wipe(3);
    cluster.start(3);
    cluster.until("it votes again, as another", |c| {
        let status = c.nodes[&3].status();
        status.me != before && c.membership(1).standing(&status.me) == Some(Standing::Voter)
    });
    assert_eq!(cluster.membership(1).standing(&before), None);
    cluster.all_applied(1);
}

#[test]
fn a_dead_voter_is_replaced_by_a_standby() {
    let mut cluster = Cluster::new([]);
    for id in 1..=4 {
        let mut config = config(id);
        config.max_voters = 3;
        cluster.add(config);
    }
    cluster.until("three vote and one stands by", |c| {
        c.nodes
            .values()
            .all(|n| n.status().membership.voters().len() == 3)
            && c.nodes
                .values()
                .all(|n| n.status().membership.learners().len() == 1)
    });
    let leader = cluster.lead();
    let dead = cluster
        .membership(leader)
        .voters()
        .iter()
        .map(|m| m.peer.0[0])
        .rfind(|id| *id != leader);
    cluster.crash(dead.unwrap());
    let standby = cluster.membership(leader).learners()[0];
    let took = cluster.until("the standby votes", |c| {
        c.membership(leader).is_voter(&standby)
    });
    assert!(took < SECOND * 8, "{took:?}");
    assert_eq!(cluster.membership(leader).voters().len(), 3);
    cluster.start(dead.unwrap());
    cluster.until("the dead one is back", |c| c.membership(leader).len() == 4);
}

#[test]
fn two_voters_one_dead_are_unavailable_until_it_returns() {
    let mut cluster = Cluster::formed([1, 2]);
    cluster.execute(1, "a");
    cluster.crash(2);
    cluster.run(SECOND * 30);
    assert_eq!(cluster.leader(), None);
    assert_eq!(cluster.membership(1).voters().len(), 2);
    cluster.start(2);
    cluster.lead();
    assert_eq!(cluster.execute(1, "b"), committed(2));
}

#[test]
fn a_member_that_was_removed_while_away_is_taken_back() {
    let mut cluster = Cluster::formed([1, 2, 3, 4]);
    cluster.crash(4);
    cluster.until("it is removed", |c| {
        c.leader()
            .is_some_and(|l| c.membership(l).voters().len() == 3)
    });
    cluster.execute(1, "a");
    cluster.start(4);
    cluster.until("it votes again", |c| {
        c.leader()
            .is_some_and(|l| c.membership(l).voters().len() == 4)
    });
    cluster.all_applied(1);
}

#[test]
fn a_member_beyond_the_log_catches_up_by_snapshot_and_keeps_the_applied_operations() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    cluster.partition(&[3]);
    for n in 1..=50 {
        cluster.execute(1, &n.to_string());
    }
    cluster.all_applied_by(&[1, 2], 50);
    cluster.snapshot(1);
    cluster.snapshot(2);
    assert!(cluster.nodes[&1].status().base > LogIndex(40));
    cluster.execute(2, "after");
    cluster.heal();
    cluster.all_applied(51);
    for id in 1..=3 {
        cluster.crash(id);
        cluster.start(id);
    }
    cluster.lead();
    assert_eq!(cluster.execute(3, "on"), committed(52));
    cluster.all_applied(52);
    let applied = cluster.nodes[&1].status().applied;
    let windows: Vec<_> = (1..=3)
        .map(|id| {
            cluster.nodes[&id]
                .core
                .as_ref()
                .unwrap()
                .snapshot_meta(applied)
                .unwrap()
        })
        .collect();
    assert_eq!(windows[0], windows[1]);
    assert_eq!(windows[0], windows[2]);
}

#[test]
fn entries_that_left_memory_are_read_back_from_the_store() {
    let mut cluster = Cluster::new([]);
    for id in 1..=3 {
        let mut config = config(id);
        config.cache_bytes = 256;
        config.append_bytes = 512;
        cluster.add(config);
    }
    cluster.lead();
    cluster.run(SECOND);
    cluster.partition(&[3]);
    for n in 1..=200 {
        cluster.execute(1, &n.to_string());
    }
    cluster.heal();
    cluster.all_applied(200);
    for id in 1..=3 {
        cluster.crash(id);
    }
    for id in 1..=3 {
        cluster.start(id);
    }
    cluster.all_applied(200);
}

#[test]
fn lineages_that_meet_become_one_and_nothing_acknowledged_is_lost() {
    let mut cluster = split(MergePolicy::Resubmit);
    let winner = cluster.nodes[&4].status().lineage;
    cluster.heal();
    cluster.until("all are of one lineage", |c| {
        c.nodes.values().all(|n| n.status().lineage == winner)
    });
    cluster.all_applied(15);
    let mut texts = cluster.texts(1);
    texts.retain(|text| text.starts_with("small"));
    assert_eq!(
        texts,
        ["small 0", "small 1", "small 2", "small 3", "small 4"]
    );
    assert_eq!(cluster.execute(1, "together"), committed(16));
    cluster.until("all vote", |c| c.membership(1).voters().len() == 5);
    let merged = |e: &Event| {
        matches!(
            e,
            Event::Merged {
                commands: Index(5),
                dropped: 0,
                ..
            }
        )
    };
    assert!(cluster.nodes[&1].events.iter().any(merged));
    // Both members of the losing side agree on where it ended.
    for id in [1, 2] {
        let sealed = |e: &Event| {
            matches!(
                e,
                Event::Sealed {
                    commands: Index(5),
                    ..
                }
            )
        };
        assert!(
            cluster.nodes[&id].events.iter().any(sealed),
            "{id} saw no seal"
        );
    }
}

#[test]
fn a_merge_survives_a_crash_of_everyone_in_the_middle() {
    for step in 0..40 {
        let mut cluster = split(MergePolicy::Resubmit);
        let winner = cluster.nodes[&4].status().lineage;
        cluster.heal();
        cluster.run(Duration::from_millis(step * 17));
        for id in 1..=5 {
            cluster.crash(id);
        }
        for id in 1..=5 {
            cluster.start(id);
        }
        cluster.until("all are of one lineage", |c| {
            c.nodes.values().all(|n| n.status().lineage == winner)
        });
        cluster.all_applied(15);
    }
}

#[test]
fn a_losing_side_without_a_leader_brings_what_it_knows() {
    let mut cluster = split(MergePolicy::Resubmit);
    cluster.run(SECOND);
    cluster.crash(2);
    let winner = cluster.nodes[&4].status().lineage;
    cluster.heal();
    cluster.until("the survivor has joined", |c| {
        c.nodes[&1].status().lineage == winner
    });
    cluster.all_applied(15);
    cluster.start(2);
    cluster.until("the other has joined", |c| {
        c.nodes[&2].status().lineage == winner
    });
    cluster.all_applied(15);
}

#[test]
fn refused_lineages_stay_apart() {
    let mut cluster = split(MergePolicy::Refuse);
    let (a, b) = (
        cluster.nodes[&1].status().lineage,
        cluster.nodes[&4].status().lineage,
    );
    cluster.heal();
    cluster.run(SECOND * 30);
    assert_eq!(cluster.nodes[&2].status().lineage, a);
    assert_eq!(cluster.nodes[&5].status().lineage, b);
    assert!(cluster.nodes[&1].events.contains(&Event::Apart(b)));
    assert_eq!(cluster.execute(1, "apart"), committed(6));
}

#[test]
fn discarded_commands_are_dropped_and_counted() {
    let mut cluster = split(MergePolicy::Discard);
    let winner = cluster.nodes[&4].status().lineage;
    cluster.heal();
    cluster.until("all are of one lineage", |c| {
        c.nodes.values().all(|n| n.status().lineage == winner)
    });
    cluster.all_applied(10);
    let merged = |e: &Event| {
        matches!(
            e,
            Event::Merged {
                resubmitted: 0,
                dropped: 5,
                ..
            }
        )
    };
    assert!(cluster.nodes[&1].events.iter().any(merged));
}

#[test]
fn one_survivor_goes_on_when_told_and_others_rejoin_without_repeating_anything() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    for n in 1..=5 {
        cluster.execute(1, &n.to_string());
    }
    cluster.all_applied(5);
    cluster.crash(1);
    cluster.crash(2);
    cluster.run(SECOND * 10);
    assert_eq!(cluster.leader(), None);
    cluster.input(3, Input::Recover);
    cluster.lead();
    assert_eq!(cluster.execute(3, "alone"), committed(6));
    cluster.start(1);
    cluster.start(2);
    let lineage = cluster.nodes[&3].status().lineage;
    cluster.until("all are of one lineage", |c| {
        c.nodes.values().all(|n| n.status().lineage == lineage)
    });
    cluster.all_applied(6);
}

#[test]
fn a_founder_that_dies_early_does_not_keep_the_others_from_forming() {
    for delay in 0..30 {
        let mut cluster = Cluster::new([1, 2, 3]);
        cluster.run(Duration::from_millis(2_995 + delay));
        cluster.crash(1);
        cluster.nodes.get_mut(&1).unwrap().disk = Disk::default();
        cluster.until("the others form", |c| c.leader().is_some());
        let leader = cluster.lead();
        assert!(
            matches!(cluster.execute(leader, "a"), Outcome::Committed { .. }),
            "{delay}"
        );
    }
}

#[test]
fn a_stopped_store_stops_the_member() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    cluster.input(3, Input::StorageFailed);
    assert_eq!(cluster.nodes[&3].status().role, RoleName::Stopped);
    assert!(
        cluster.nodes[&3]
            .core
            .as_ref()
            .unwrap()
            .next_deadline()
            .is_none()
    );
    cluster.input(1, Input::LinkDown(peer(3)));
    let leader = cluster.lead();
    assert_eq!(cluster.execute(leader, "a"), committed(1));
}

#[test]
fn oversized_and_empty_proposals_are_refused_and_surely_not_done() {
    use mosaik_protocol::consensus::{NotDone, Proposal};
    let mut cluster = Cluster::formed([1, 2, 3]);
    let large = bytes::Bytes::from(vec![0; config(1).proposal_bytes + 1]);
    for (id, commands) in [(900, vec![]), (901, vec![large])] {
        cluster.input(2, Input::Propose(vec![Proposal { id, commands }]));
        assert_eq!(
            cluster.nodes[&2].ended(id),
            Some(Outcome::NotDone(NotDone::Size))
        );
    }
}

#[test]
fn a_genesis_is_stored_before_it_is_answered() {
    let mut cluster = Cluster::new([1, 2, 3]);
    for id in [2, 3] {
        cluster.nodes.get_mut(&id).unwrap().slow_disk = true;
    }
    cluster.run(SECOND * 10);
    assert_eq!(cluster.leader(), None);
    cluster.nodes.get_mut(&2).unwrap().slow_disk = false;
    cluster.confirm(2);
    assert_eq!(cluster.lead(), 1);
}

/// It followed the leader that had fallen silent, which was there and led no more, and nobody
/// else's greeting made it ask.
#[test]
fn a_silent_member_that_the_next_leader_took_out_is_taken_back() {
    let mut cluster = Cluster::new([]);
    for id in 1..=4 {
        let mut config = config(id);
        config.max_voters = 3;
        cluster.add(config);
    }
    let all_quiet = |c: &Cluster| c.nodes.values().all(|n| n.status().quiet);
    cluster.until("all are in and quiet", |c| {
        all_quiet(c) && c.nodes.values().all(|n| n.status().membership.len() == 4)
    });
    let old = cluster.leader().unwrap();
    let away = (1..=4).find(|id| {
        !cluster
            .membership(old)
            .is_voter(&cluster.nodes[id].status().me)
    });
    let away = away.unwrap();
    cluster.cut_silently(&[away]);
    cluster.input(old, Input::Transfer(None));
    cluster.until("another leads", |c| c.leader().is_some_and(|id| id != old));
    let new = cluster.leader().unwrap();
    assert_eq!(cluster.execute(new, "a"), committed(1));
    cluster.until("it is taken out", |c| c.membership(new).len() == 3);
    assert!(cluster.nodes[&away].status().quiet);
    cluster.cut.clear();
    cluster.until("it is taken back", |c| {
        let status = c.nodes[&away].status();
        status.leader == Some(c.nodes[&new].status().me) && c.nodes[&away].machine.len() == 1
    });
}

/// The tests of this file, for those who want to see them fail.
#[cfg(mosaik_mutants)]
pub(crate) const ALL: &[(&str, fn())] = &[
    (
        "a_store_slower_than_an_election_does_not_keep_a_lone_voter_from_leading",
        a_store_slower_than_an_election_does_not_keep_a_lone_voter_from_leading,
    ),
    (
        "a_restart_with_the_disk_goes_on_as_the_same_member",
        a_restart_with_the_disk_goes_on_as_the_same_member,
    ),
    (
        "nothing_is_acknowledged_before_it_is_stored",
        nothing_is_acknowledged_before_it_is_stored,
    ),
    (
        "a_leader_does_not_count_itself_before_it_has_stored",
        a_leader_does_not_count_itself_before_it_has_stored,
    ),
    (
        "a_member_that_lost_its_disk_comes_back_as_another_one",
        a_member_that_lost_its_disk_comes_back_as_another_one,
    ),
    (
        "a_dead_voter_is_replaced_by_a_standby",
        a_dead_voter_is_replaced_by_a_standby,
    ),
    (
        "two_voters_one_dead_are_unavailable_until_it_returns",
        two_voters_one_dead_are_unavailable_until_it_returns,
    ),
    (
        "a_member_that_was_removed_while_away_is_taken_back",
        a_member_that_was_removed_while_away_is_taken_back,
    ),
    (
        "a_member_beyond_the_log_catches_up_by_snapshot_and_keeps_the_applied_operations",
        a_member_beyond_the_log_catches_up_by_snapshot_and_keeps_the_applied_operations,
    ),
    (
        "entries_that_left_memory_are_read_back_from_the_store",
        entries_that_left_memory_are_read_back_from_the_store,
    ),
    (
        "lineages_that_meet_become_one_and_nothing_acknowledged_is_lost",
        lineages_that_meet_become_one_and_nothing_acknowledged_is_lost,
    ),
    (
        "a_merge_survives_a_crash_of_everyone_in_the_middle",
        a_merge_survives_a_crash_of_everyone_in_the_middle,
    ),
    (
        "a_losing_side_without_a_leader_brings_what_it_knows",
        a_losing_side_without_a_leader_brings_what_it_knows,
    ),
    ("refused_lineages_stay_apart", refused_lineages_stay_apart),
    (
        "discarded_commands_are_dropped_and_counted",
        discarded_commands_are_dropped_and_counted,
    ),
    (
        "one_survivor_goes_on_when_told_and_others_rejoin_without_repeating_anything",
        one_survivor_goes_on_when_told_and_others_rejoin_without_repeating_anything,
    ),
    (
        "a_founder_that_dies_early_does_not_keep_the_others_from_forming",
        a_founder_that_dies_early_does_not_keep_the_others_from_forming,
    ),
    (
        "a_silent_member_that_the_next_leader_took_out_is_taken_back",
        a_silent_member_that_the_next_leader_took_out_is_taken_back,
    ),
    (
        "a_stopped_store_stops_the_member",
        a_stopped_store_stops_the_member,
    ),
];
