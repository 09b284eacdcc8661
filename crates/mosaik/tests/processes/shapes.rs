//! The shapes in which a network is divided, and what a group does in each.

use {
    super::{
        process::{Cluster, SOME},
        router::Way,
    },
    std::{collections::BTreeSet, time::Instant},
};

/// Which ways between five members are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Nobody hears this one, which hears nobody.
    Alone(usize),
    /// Nobody hears this one, which hears everybody.
    Mute(usize),
    /// This one hears nobody, and everybody hears it.
    Deaf(usize),
    /// These two on one side, the others on the other.
    Minority(usize, usize),
    /// What the first says does not reach the second.
    OneWay(usize, usize),
    /// Everybody sees the next and the one before.
    Ring,
    /// Two sides that do not see each other, and one member that sees both.
    Bridge(usize),
}

impl Shape {
    /// The ways that are cut among so many members.
    pub(crate) fn cut(self, members: usize) -> BTreeSet<Way> {
        let ways = (0..members).flat_map(|from| (0..members).map(move |to| (from, to)));
        ways.filter(|(from, to)| from != to && self.cuts(*from, *to, members))
            .collect()
    }

    fn cuts(self, from: usize, to: usize, members: usize) -> bool {
        match self {
            Self::Alone(one) => from == one || to == one,
            Self::Mute(one) => from == one,
            Self::Deaf(one) => to == one,
            Self::Minority(a, b) => [a, b].contains(&from) != [a, b].contains(&to),
            Self::OneWay(a, b) => (from, to) == (a, b),
            Self::Ring => (from + 1) % members != to && (to + 1) % members != from,
            Self::Bridge(middle) => {
                let left = |member| (member + members - middle) % members <= members / 2;
                from != middle && to != middle && left(from) != left(to)
            }
        }
    }

    /// Members that cannot be online while this lasts.
    fn silent(self) -> Vec<usize> {
        match self {
            Self::Alone(one) | Self::Mute(one) | Self::Deaf(one) => vec![one],
            Self::Minority(a, b) => vec![a, b],
            Self::OneWay(..) | Self::Ring | Self::Bridge(_) => Vec::new(),
        }
    }

    /// Members of which one at least must get its commands through, however long this lasts.
    pub(crate) fn working(self, members: usize) -> Vec<usize> {
        let all = 0..members;
        match self {
            Self::Alone(one) | Self::Mute(one) | Self::Deaf(one) => {
                all.filter(|member| *member != one).collect()
            }
            Self::Minority(a, b) => all.filter(|member| ![a, b].contains(member)).collect(),
            Self::OneWay(..) | Self::Ring | Self::Bridge(_) => all.collect(),
        }
    }
}

/// Divides the network, lets the group work in it, mends it, and waits until everybody works.
fn endure(cluster: &mut Cluster, shape: Shape) {
    let members = cluster.len();
    let begun = Instant::now();
    cluster.cut(&shape.cut(members));
    let silent = shape.silent();
    for member in &silent {
        cluster.wait_online(*member, false);
        cluster.wait_failure(*member);
    }
    // Nobody notices that only some do not see some: so many that heartbeats would be missed.
    let operations = if silent.is_empty() {
        20 * SOME
    } else {
        2 * SOME
    };
    cluster.wait_progress_of(&shape.working(members), operations);
    let divided = begun.elapsed();
    cluster.cut(&BTreeSet::new());
    let mended = Instant::now();
    for member in 0..members {
        cluster.wait_online(member, true);
        cluster.wait_progress_of(&[member], SOME / 10);
    }
    println!(
        "{shape:?}: went on for {divided:.1?}, whole again in {:.1?}",
        mended.elapsed()
    );
}

#[test]
fn a_divided_group_goes_on_where_a_majority_is_and_is_one_again_afterwards() {
    let Some(mut cluster) = Cluster::routed(5, true) else {
        return;
    };
    cluster.wait_progress(SOME);
    let next = |member| (member + 1) % 5;
    let leader = cluster.wait_leader(None);
    endure(&mut cluster, Shape::Alone(next(leader)));
    let leader = cluster.wait_leader(None);
    endure(&mut cluster, Shape::Alone(leader));
    let leader = cluster.wait_leader(None);
    endure(
        &mut cluster,
        Shape::Minority(next(leader), next(next(leader))),
    );
    let leader = cluster.wait_leader(None);
    endure(&mut cluster, Shape::Minority(leader, next(leader)));
    endure(&mut cluster, Shape::Ring);
    cluster.conclude();
}

#[test]
fn a_group_goes_on_in_a_network_in_which_not_everybody_sees_everybody() {
    let Some(mut cluster) = Cluster::routed(5, true) else {
        return;
    };
    cluster.wait_progress(SOME);
    let next = |member| (member + 1) % 5;
    let leader = cluster.wait_leader(None);
    endure(&mut cluster, Shape::Bridge(next(leader)));
    let leader = cluster.wait_leader(None);
    endure(&mut cluster, Shape::Mute(leader));
    let leader = cluster.wait_leader(None);
    endure(&mut cluster, Shape::Deaf(leader));
    let leader = cluster.wait_leader(None);
    endure(&mut cluster, Shape::OneWay(next(leader), leader));
    for _ in 0..3 {
        let leader = cluster.wait_leader(None);
        let cut = Shape::Alone(leader).cut(5);
        cluster.cut(&cut);
        cluster.wait_leader(Some(leader));
        cluster.cut(&BTreeSet::new());
    }
    for member in 0..5 {
        cluster.wait_progress_of(&[member], SOME / 10);
    }
    cluster.conclude();
}

#[test]
fn the_shapes_are_what_their_names_say() {
    let ways = |cut: &[Way]| cut.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(Shape::Mute(0).cut(3), ways(&[(0, 1), (0, 2)]));
    assert_eq!(Shape::Deaf(0).cut(3), ways(&[(1, 0), (2, 0)]));
    assert_eq!(Shape::Alone(1).cut(2), ways(&[(0, 1), (1, 0)]));
    assert_eq!(Shape::OneWay(2, 1).cut(3), ways(&[(2, 1)]));
    assert_eq!(Shape::Minority(0, 2).cut(5).len(), 2 * 6);
    assert_eq!(Shape::Ring.cut(5).len(), 2 * 5);
    let bridge = Shape::Bridge(4).cut(5);
    assert_eq!(bridge.len(), 2 * 4);
    assert!(bridge.contains(&(0, 2)) && !bridge.contains(&(0, 1)) && !bridge.contains(&(4, 2)));
}

#[test]
fn a_member_that_nobody_hears_leaves_all_the_same() {
    let Some(mut cluster) = Cluster::routed(3, true) else {
        return;
    };
    cluster.wait_progress(SOME);
    for member in 0..2 {
        cluster.cut(&Shape::Alone(member).cut(3));
        cluster.quit(member);
        cluster.spawn(member);
        // Nobody hears this life either, which is not online yet, and obeys all the same.
        cluster.stop_member(member);
        cluster.quit(member);
        cluster.cut(&BTreeSet::new());
        cluster.spawn(member);
        cluster.wait_voter(member);
    }
    cluster.conclude();
}
