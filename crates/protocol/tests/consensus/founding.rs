//! Founding where it takes more than half of all nodes.

use {
    crate::cluster::{Cluster, committed, config, peer},
    core::time::Duration,
    mosaik_protocol::consensus::{Body, Config, Lineage, RoleName},
    std::collections::BTreeSet,
};

const SECOND: Duration = Duration::from_secs(1);

/// A node of a group that three found.
fn of_three(id: u8) -> Config {
    let mut config = config(id);
    config.min_voters = 3;
    config
}

/// Three nodes that hear each other; two have taken a genesis that the third has never got.
fn two_of_three_founders() -> Cluster {
    let mut cluster = Cluster::new([]);
    for id in 1..=3 {
        cluster.add(of_three(id));
    }
    cluster.filter = Some(Box::new(|message| {
        message.to.peer != peer(3) || !matches!(message.body, Body::Genesis(_))
    }));
    cluster.until("two have taken a genesis", |c| {
        let taken = |id: &u8| c.nodes[id].status().lineage != Lineage::NONE;
        [1, 2].iter().all(taken)
    });
    assert_eq!(cluster.nodes[&3].status().lineage, Lineage::NONE);
    cluster
}

fn lineages_with_leaders(cluster: &Cluster) -> usize {
    let lineages = cluster.leaders.keys().map(|(lineage, _)| *lineage);
    lineages.collect::<BTreeSet<_>>().len()
}

/// Two of five nodes, a majority of the three that their genesis named, went on without the third,
/// which had founded with the other two: what each side acknowledged had to be merged, though
/// more than half of all nodes had to found.
#[test]
fn a_named_member_that_founds_elsewhere_leaves_too_few_to_lead() {
    let mut cluster = two_of_three_founders();
    for (a, b) in [(1, 4), (1, 5), (2, 4), (2, 5)] {
        cluster.cut.extend([(a, b), (b, a)]);
    }
    cluster.partition(&[1, 2]);
    cluster.filter = None;
    for id in [4, 5] {
        cluster.add(of_three(id));
    }
    cluster.until("the other three have founded", |c| {
        c.nodes[&3].status().role == RoleName::Leader
    });
    assert_eq!(cluster.execute(4, "a"), committed(1));
    cluster.run(SECOND * 20);
    assert_eq!(lineages_with_leaders(&cluster), 1);
    cluster.heal();
    cluster.until("all five are one group", |c| {
        c.nodes.keys().all(|id| {
            let status = c.nodes[id].status();
            status.leader.is_some() && status.membership.len() == 5
        })
    });
    assert_eq!(lineages_with_leaders(&cluster), 1);
    assert_eq!(cluster.execute(1, "b"), committed(2));
}

#[test]
fn a_named_member_that_comes_back_founds_with_the_others() {
    for forgets in [false, true] {
        let mut cluster = two_of_three_founders();
        cluster.crash(3);
        cluster.filter = None;
        cluster.run(SECOND * 5);
        assert_eq!(cluster.leader(), None, "two are too few");
        if forgets {
            cluster.wipe(3);
        }
        cluster.start(3);
        cluster.until("all three are one group", |c| {
            c.nodes.keys().all(|id| {
                let status = c.nodes[id].status();
                status.leader.is_some() && status.membership.voters().len() == 3
            })
        });
        assert_eq!(lineages_with_leaders(&cluster), 1);
        assert_eq!(cluster.execute(3, "a"), committed(1));
    }
}

/// The tests of this file, for those who want to see them fail.
#[cfg(mosaik_mutants)]
pub(crate) const ALL: &[(&str, fn())] = &[
    (
        "a_named_member_that_founds_elsewhere_leaves_too_few_to_lead",
        a_named_member_that_founds_elsewhere_leaves_too_few_to_lead,
    ),
    (
        "a_named_member_that_comes_back_founds_with_the_others",
        a_named_member_that_comes_back_founds_with_the_others,
    ),
];
