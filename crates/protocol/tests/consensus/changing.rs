//! Members that are taken out.

use {
    crate::cluster::{Cluster, config},
    core::time::Duration,
    mosaik_protocol::consensus::{Event, Input, LogIndex, Standing},
};

const MILLI: Duration = Duration::from_millis(1);

/// Nobody sends anything to one that is no member any more, and silence is what a member expects
/// of a group that has nothing to do.
#[test]
fn a_silent_member_that_was_taken_out_finds_out_and_comes_back() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    cluster.until("the group falls silent", |c| {
        c.nodes.values().all(|n| n.status().quiet)
    });
    let leader = cluster.lead();
    let away = cluster.others(leader)[0];
    let member = cluster.nodes[&away].status().me;
    cluster.cut_silently(&[away]);
    cluster.execute(leader, "wake up");
    cluster.until("it is taken out", |c| {
        c.membership(leader).standing(&member).is_none()
    });
    assert!(cluster.nodes[&away].status().quiet);
    cluster.cut.clear();
    cluster.until("it votes again", |c| {
        c.membership(leader).standing(&member) == Some(Standing::Voter)
    });
    cluster.all_applied(1);
}

/// A voter is dead, and another one dies just before the first is given up. Taking the first out
/// then could never be committed, and would bar the leader from an election with it.
#[test]
fn nobody_is_taken_out_by_a_leader_that_could_not_commit_it() {
    let mut cluster = Cluster::new([]);
    for id in 1..=3 {
        let mut config = config(id);
        config.quiesce = false;
        cluster.add(config);
    }
    cluster.until("the group forms", |c| {
        let formed = |n: &crate::cluster::Node| {
            n.status().commit >= LogIndex(2) && n.status().membership.voters().len() == 3
        };
        c.nodes.values().all(formed) && c.leader().is_some()
    });
    let leader = cluster.lead();
    let [first, second] = cluster.others(leader)[..] else {
        panic!("there are three")
    };
    cluster.kill_silently(first);
    cluster.run(MILLI * 3_600);
    cluster.kill_silently(second);
    cluster.run(MILLI * 6_000);
    assert_eq!(cluster.membership(leader).voters().len(), 3);
    cluster.start(first);
    cluster.lead();
    cluster.execute(first, "on");
}

#[test]
fn nobody_is_let_go_by_a_leader_that_could_not_commit_it() {
    let mut cluster = Cluster::new([]);
    for id in 1..=3 {
        let mut config = config(id);
        config.quiesce = false;
        cluster.add(config);
    }
    cluster.until("the group forms", |c| {
        let formed = |n: &crate::cluster::Node| {
            n.status().commit >= LogIndex(2) && n.status().membership.voters().len() == 3
        };
        c.nodes.values().all(formed) && c.leader().is_some()
    });
    let leader = cluster.lead();
    let [dead, leaver] = cluster.others(leader)[..] else {
        panic!("there are three")
    };
    cluster.kill_silently(dead);
    cluster.run(MILLI * 1_500);
    cluster.input(leaver, Input::Leave);
    cluster.run(MILLI * 400);
    assert_eq!(cluster.membership(leader).voters().len(), 3);
    cluster.start(dead);
    cluster.until("it may go", |c| {
        c.nodes[&leaver].events.contains(&Event::Left)
    });
}
