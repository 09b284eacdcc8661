//! Members that are taken out.

use {
    crate::cluster::{Cluster, config},
    core::time::Duration,
    mosaik_protocol::consensus::{Body, Event, Input, LogIndex, Member, Message, Standing},
};

const MILLI: Duration = Duration::from_millis(1);

/// Nobody sends anything to one that is no member any more, and silence is what a member expects
/// of a group that has nothing to do.
#[test]
fn a_silent_member_that_was_taken_out_finds_out_and_comes_back() {
    let mut cluster = Cluster::formed([1, 2, 3, 4]);
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

/// A paused member passed the wish on when it went on; the one that had left was back by then, as
/// another member, and led.
#[test]
fn a_leader_does_not_answer_what_it_asked_for_before_it_left() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    let follower = cluster.others(leader)[0];
    let (led, followed) = (
        cluster.nodes[&leader].status(),
        cluster.nodes[&follower].status(),
    );
    let member = Member::new(led.me.peer, led.me.incarnation - 1);
    cluster.recorded = Some(Vec::new());
    let wish = Message {
        lineage: led.lineage,
        from: followed.me,
        to: led.me,
        term: led.term,
        body: Body::Leave { member },
    };
    cluster.input(leader, Input::Receive(wish));
    cluster.run(MILLI * 500);
    let mut said = cluster.recorded.take().unwrap();
    said.retain(|message| message.to.peer == message.from.peer);
    assert_eq!(said, []);
}

/// Two voters need each other as three need two of them: taking the third out gains nothing, and
/// cost the group its majority when one of the two died before it had caught up again.
#[test]
fn a_voter_that_is_back_before_it_has_caught_up_still_counts() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    let others = cluster.others(leader);
    let away = cluster.nodes[&others[0]].status().me;
    cluster.crash(others[0]);
    for n in 0..100 {
        cluster.execute(leader, &n.to_string());
        cluster.run(MILLI * 100);
    }
    assert_eq!(cluster.membership(leader).voters().len(), 3);
    // The one that was away takes nothing but votes.
    cluster.filter = Some(Box::new(move |message| {
        message.to != away || !matches!(message.body, Body::Append { .. })
    }));
    cluster.start(others[0]);
    cluster.crash(leader);
    cluster.until("the other one leads", |c| c.leader() == Some(others[1]));
    cluster.filter = None;
    cluster.execute(others[0], "on");
    cluster.all_applied_by(&others, 101);
}

/// Of five, two can be replaced by nobody: without them three need two.
#[test]
fn a_second_dead_voter_of_five_makes_both_go() {
    let mut cluster = Cluster::formed([1, 2, 3, 4, 5]);
    let leader = cluster.lead();
    let others = cluster.others(leader);
    cluster.crash(others[0]);
    cluster.run(MILLI * 20_000);
    assert_eq!(cluster.membership(leader).voters().len(), 5);
    cluster.crash(others[1]);
    cluster.until("three are left", |c| {
        c.leader()
            .is_some_and(|l| c.membership(l).voters().len() == 3)
    });
    cluster.crash(others[2]);
    cluster.execute(leader, "two are enough");
}

/// Where somebody stands by, it takes the place of a dead voter at once.
#[test]
fn a_dead_voter_gives_its_place_to_who_stands_by() {
    let mut cluster = Cluster::new([]);
    for id in 1..=4 {
        let mut config = config(id);
        config.max_voters = 3;
        cluster.add(config);
    }
    cluster.until("one stands by", |c| {
        c.leader().is_some_and(|l| {
            let membership = c.membership(l);
            membership.voters().len() == 3 && membership.learners().len() == 1
        })
    });
    let leader = cluster.lead();
    let dead = cluster.membership(leader).voters().iter().find_map(|v| {
        let id = v.peer.0[0];
        (id != leader).then_some((id, *v))
    });
    let (id, dead) = dead.expect("there are others");
    cluster.crash(id);
    cluster.until("it is replaced", |c| {
        c.leader().is_some_and(|l| {
            let membership = c.membership(l);
            membership.voters().len() == 3 && membership.standing(&dead).is_none()
        })
    });
    cluster.execute(leader, "on");
}

/// Two voters are dead, and another one dies just before they are given up. Taking one out
/// then could never be committed, and would bar the leader from an election with it.
#[test]
fn nobody_is_taken_out_by_a_leader_that_could_not_commit_it() {
    let mut cluster = Cluster::new([]);
    for id in 1..=5 {
        let mut config = config(id);
        config.quiesce = false;
        cluster.add(config);
    }
    cluster.until("the group forms", |c| {
        let formed = |n: &crate::cluster::Node| {
            n.status().commit >= LogIndex(2) && n.status().membership.voters().len() == 5
        };
        c.nodes.values().all(formed) && c.leader().is_some()
    });
    let leader = cluster.lead();
    let [first, second, third, _] = cluster.others(leader)[..] else {
        panic!("there are five")
    };
    cluster.kill_silently(first);
    cluster.kill_silently(second);
    cluster.run(MILLI * 3_600);
    cluster.kill_silently(third);
    cluster.run(MILLI * 6_000);
    assert_eq!(cluster.membership(leader).voters().len(), 5);
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
