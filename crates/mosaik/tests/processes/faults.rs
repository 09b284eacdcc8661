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

#[test]
fn leadership_goes_where_it_is_handed_and_nothing_is_lost_on_the_way() {
    let mut cluster = Cluster::start(3, true);
    cluster.wait_progress(SOME);
    for _ in 0..3 {
        let leader = cluster.wait_leader(None);
        let next = (leader + 1) % 3;
        cluster.hand_over(leader, next);
        cluster.wait_leads(next);
        cluster.wait_progress(SOME);
    }
    cluster.conclude();
}

#[test]
fn a_lost_majority_is_given_up_where_it_is_asked_for_and_not_before() {
    let mut cluster = Cluster::start(3, true);
    cluster.wait_progress(SOME);
    cluster.stop();
    // What it holds is everything that was acknowledged.
    let held = cluster.held(0);
    for member in 1..3 {
        cluster.kill(member);
        cluster.wipe(member);
    }
    cluster.wait_online(0, false);
    // Their next lives cannot replace them: no majority is left that could agree to that.
    cluster.spawn(1);
    cluster.stays_offline(0);
    cluster.recover(0);
    cluster.wait_online(0, true);
    cluster.spawn(2);
    for member in 0..3 {
        cluster.wait_voter(member);
    }
    cluster.wait_progress(SOME);
    let now = cluster.held(0);
    assert!(now.starts_with(&held), "nothing is missing");
    cluster.conclude();
}

#[test]
fn members_that_cut_their_logs_lose_nothing_when_they_are_killed_or_robbed_of_their_data() {
    let mut cluster = Cluster::cutting(3);
    for member in 0..3 {
        cluster.wait_cut(member);
    }
    for victim in 0..3 {
        cluster.kill(victim);
        cluster.wait_progress(SOME);
        if victim > 0 {
            cluster.wipe(victim);
        }
        cluster.spawn(victim);
        cluster.wait_voter(victim);
        cluster.wait_progress_of(&[victim], SOME);
        // From the state that it has saved, or that it was handed.
        cluster.wait_cut(victim);
    }
    cluster.conclude();
}
