//! Bonds as programs see them, and what is told of a group beside what it shows.

mod support;

use {
    core::{error::Error, fmt},
    mosaik::{
        Network,
        groups::{Bond, Event, Group},
        iroh::endpoint::{ApplicationClose, VarInt},
        network::CloseReason,
    },
    support::{
        groups::{Counter, formed, join, join_with, sum, together},
        network_id, node, node_knowing, nodes, within,
    },
    tokio::sync::broadcast::error::RecvError,
};

/// A reason that is none of mosaik's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Maintenance;

const MAINTENANCE: u32 = 77_000;

impl fmt::Display for Maintenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("maintenance")
    }
}

impl Error for Maintenance {}

impl From<Maintenance> for ApplicationClose {
    fn from(_: Maintenance) -> Self {
        Self {
            error_code: VarInt::from_u32(MAINTENANCE),
            reason: b"maintenance".as_slice().into(),
        }
    }
}

impl PartialEq<ApplicationClose> for Maintenance {
    fn eq(&self, close: &ApplicationClose) -> bool {
        close.error_code == VarInt::from_u32(MAINTENANCE)
    }
}

impl CloseReason for Maintenance {}

/// The only bond of a group of two.
async fn bond(group: &Group<Counter>) -> Bond<Counter> {
    let bonds = group.bonds();
    loop {
        if let Some(bond) = bonds.iter().next() {
            return bond;
        }
        within("a bond", bonds.changed()).await;
    }
}

/// Reasons that mosaik does not know were told as `UnexpectedClose`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_s_own_reason_reaches_both_ends_of_a_bond_and_the_bond_is_made_anew() {
    let nodes = nodes(network_id(), 2).await;
    let groups = formed(&nodes).await;
    let (here, there) = (bond(&groups[0]).await, bond(&groups[1]).await);
    assert_eq!(here.id(), there.id(), "both ends name the same bond");
    assert_eq!(*here.peer().id(), nodes[1].local().id());
    let (ended_here, ended_there) = (here.terminated(), there.terminated());
    assert!(!here.is_terminated() && !there.is_terminated());

    within("closed", here.close(Maintenance)).await;
    let (here, there) = (
        within("the end here", ended_here).await,
        within("the end there", ended_there).await,
    );
    assert!(Maintenance == here, "told {here:?}");
    assert!(Maintenance == there, "told {there:?}");

    // Lost bonds are made anew, and the group works.
    for group in &groups {
        bond(group).await;
        within("a command", group.execute(1))
            .await
            .expect("executed");
    }
    assert_eq!(sum(&groups[0]).await, (2, 2));
    for node in nodes {
        within("close", node.close()).await;
    }
}

/// What changed between a look and the wait that followed it went by unseen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_looks_at_bonds_and_then_waits_misses_none() {
    let network = network_id();
    let first = node(network).await;
    let group = join(&first);
    let bonds = group.bonds();
    assert!(bonds.is_empty());
    let changed = bonds.changed();
    let second = node_knowing(network, &first).await;
    let other = join(&second);
    // The bond is there before anybody waits for it.
    within("online", other.when().online()).await;
    within("bonded", async {
        while other.bonds().is_empty() || group.bonds().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    within("the change that was not looked at", changed).await;
    assert_eq!(bonds.len(), 1);
    let next = bonds.changed();
    drop(other);
    within("close", second.close()).await;
    within("the end of the bond", next).await;
    assert!(bonds.is_empty());
}

/// Events were told before what they tell of was to be seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_of_a_group_can_be_seen_by_then() {
    let nodes = nodes(network_id(), 2).await;
    let join = |node: &Network| join_with(node, together(2));
    let groups: Vec<_> = nodes.iter().map(join).collect();
    let watching = groups.iter().map(|group| {
        let (group, mut events) = (group.clone(), group.events());
        tokio::spawn(async move {
            let mut seen = 0;
            loop {
                match events.recv().await {
                    Ok(Event::Leader { term, .. }) => assert!(group.status().term >= term),
                    Ok(Event::Membership) => assert!(!group.status().members.is_empty()),
                    Ok(Event::Lineage(_)) => assert!(group.status().lineage.is_some()),
                    Ok(_) => continue,
                    Err(RecvError::Closed) => return seen,
                    Err(lagged) => panic!("{lagged}"),
                }
                seen += 1;
                if group.status().members.len() == 2 && group.leader().is_some() {
                    return seen;
                }
            }
        })
    });
    let watching: Vec<_> = watching.collect();
    for group in &groups {
        within("online", group.when().online()).await;
        let status = group.status();
        assert!(
            !status.members.is_empty() && status.lineage.is_some() && status.leader.is_some(),
            "online, and {status:?}"
        );
    }
    for watcher in watching {
        assert!(within("all that is told", watcher).await.expect("seen") > 0);
    }
}

/// Handles of a group that was left kept everybody from joining it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_was_left_can_be_joined_again_while_old_handles_live() {
    let node = node(network_id()).await;
    let old = join(&node);
    within("online", old.when().online()).await;
    within("a command", old.execute(3)).await.expect("executed");
    within("left", old.clone().leave()).await;
    let new = join(&node);
    within("online", new.when().online()).await;
    within("a command", new.execute(4)).await.expect("executed");
    assert_eq!(sum(&new).await, (4, 1));
    assert!(old.execute(1).await.is_err(), "what was left stays left");
    drop(old);
    within("a command", new.execute(5)).await.expect("executed");
    let same = join(&node);
    assert_eq!(sum(&same).await, (9, 2), "there is one group");
    within("close", node.close()).await;
}
