//! What groups of processes survive.

use super::process::{Cluster, SOME};

#[test]
fn killed_members_go_on_with_what_they_had_stored() {
    let mut cluster = Cluster::start(3, true);
    cluster.wait_progress(SOME);
    for round in 0..4 {
        let leader = cluster.wait_leader(None);
        let victim = if round % 2 == 0 {
            leader
        } else {
            (leader + 1) % 3
        };
        cluster.kill(victim);
        cluster.wait_progress(SOME);
        cluster.spawn(victim);
        cluster.wait_voter(victim);
        cluster.wait_progress(SOME);
    }
    cluster.conclude();
}

#[test]
fn a_group_whose_members_are_all_killed_at_once_has_lost_nothing() {
    let mut cluster = Cluster::start(3, true);
    for _ in 0..2 {
        cluster.wait_progress(SOME);
        for member in 0..cluster.len() {
            cluster.kill(member);
        }
        for member in 0..cluster.len() {
            cluster.spawn(member);
        }
        for member in 0..cluster.len() {
            cluster.wait_voter(member);
        }
    }
    cluster.wait_progress(SOME);
    cluster.conclude();
}

#[test]
fn members_that_lost_everything_are_replaced_by_their_next_lives() {
    let mut cluster = Cluster::start(5, false);
    cluster.wait_progress(SOME);
    for round in 0..4 {
        let leader = cluster.wait_leader(None);
        let victim = if round % 2 == 0 {
            leader
        } else {
            (leader + 2) % 5
        };
        cluster.kill(victim);
        cluster.wait_progress(SOME);
        cluster.spawn(victim);
        cluster.wait_voter(victim);
    }
    cluster.conclude();
}

#[test]
fn a_leader_that_stands_still_is_replaced_and_answers_nothing_stale_when_it_wakes() {
    let cluster = Cluster::start(3, false);
    cluster.wait_progress(SOME);
    for _ in 0..3 {
        let leader = cluster.wait_leader(None);
        cluster.pause(leader, true);
        cluster.wait_leader(Some(leader));
        cluster.wait_progress(SOME);
        cluster.pause(leader, false);
        cluster.wait_progress(SOME);
    }
    cluster.conclude();
}

#[test]
fn a_group_works_while_its_members_are_restarted_one_after_another() {
    let mut cluster = Cluster::start(3, true);
    cluster.wait_progress(SOME);
    for member in 0..cluster.len() {
        cluster.quit(member);
        cluster.wait_progress(SOME);
        cluster.spawn(member);
        cluster.wait_voter(member);
        cluster.wait_progress(SOME);
    }
    cluster.conclude();
}
