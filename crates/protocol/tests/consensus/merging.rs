//! Lineages that give way to others which then are not there any more.

use {
    crate::cluster::{Cluster, committed, config, peer},
    core::time::Duration,
    mosaik_protocol::consensus::{
        Body, Event, Input, Lineage, LogIndex, Member, MergePolicy, Message, RoleName, Term,
        message::Hello,
    },
};

const SECOND: Duration = Duration::from_secs(1);

/// Two of five found apart from the other three, and each side has commands of its own.
pub(crate) fn split(policy: MergePolicy) -> Cluster {
    let mut cluster = Cluster::new([]);
    for id in 1..=5 {
        let mut config = config(id);
        config.merge = policy;
        cluster.add(config);
        cluster.cut_silently(&[1, 2]);
    }
    cluster.partition(&[1, 2]);
    cluster.until("both sides have founded", |c| {
        c.leaders.len() == 2 && c.nodes.values().all(|n| n.status().commit >= LogIndex(2))
    });
    for n in 0..5 {
        cluster.execute(2, &format!("small {n}"));
    }
    for n in 0..10 {
        cluster.execute(4, &format!("large {n}"));
    }
    cluster
}

fn all_of(cluster: &Cluster, ids: &[u8], role: RoleName) -> bool {
    ids.iter().all(|id| cluster.nodes[id].status().role == role)
}

/// Both members of the small side have sealed it, and handed nothing over.
pub(crate) fn sealed() -> Cluster {
    let mut cluster = split(MergePolicy::Resubmit);
    cluster.filter = Some(Box::new(|message| {
        !matches!(message.body, Body::Resubmit(_))
    }));
    cluster.heal();
    cluster.until("the small side is sealed", |c| {
        all_of(c, &[1, 2], RoleName::Retired)
    });
    cluster
}

#[test]
fn a_sealed_lineage_goes_on_when_the_one_it_gave_way_to_is_gone() {
    let mut cluster = sealed();
    for id in 3..=5 {
        cluster.crash(id);
    }
    cluster.filter = None;
    for _ in 0..10 {
        cluster.run(SECOND * 10);
    }
    let lineage = cluster.nodes[&1].status().lineage;
    assert_eq!(cluster.nodes[&2].status().lineage, lineage);
    assert_eq!(cluster.execute(1, "more"), committed(6));
    cluster.all_applied_by(&[1, 2], 6);
    let mut expected: Vec<_> = (0..5).map(|n| format!("small {n}")).collect();
    expected.push("more".into());
    assert_eq!(cluster.texts(1), expected);
    let continued = |n: &crate::cluster::Node| {
        let mut events = n.events.iter();
        events.any(|event| matches!(event, Event::Continued { .. }))
    };
    assert!(cluster.nodes.values().any(continued));

    // The others are back: everything comes together, nothing is lost and nothing repeated.
    for id in 3..=5 {
        cluster.start(id);
    }
    cluster.until("there is one lineage", |c| {
        let lineage = c.nodes[&1].status().lineage;
        c.nodes.values().all(|n| n.status().lineage == lineage)
    });
    cluster.all_applied(16);
    for id in 1..=5 {
        let mut texts = cluster.texts(id);
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), 16);
    }
}

#[test]
fn a_sealed_lineage_waits_for_the_one_it_gave_way_to() {
    let mut cluster = sealed();
    let lineage = cluster.nodes[&1].status().lineage;
    cluster.partition(&[1, 2]);
    cluster.run(SECOND * 30);
    assert!(all_of(&cluster, &[1, 2], RoleName::Retired));
    assert_eq!(cluster.nodes[&1].status().lineage, lineage);
    cluster.filter = None;
    cluster.heal();
    cluster.all_applied(15);
}

/// One member of the large side gives up its lineage for lack of a leader; the one it gave way to
/// is not heard of any more. It may be all that its own lineage lacks to elect.
#[test]
fn a_member_that_gave_way_in_vain_goes_back_to_its_lineage() {
    let mut cluster = split(MergePolicy::Resubmit);
    let lineage = cluster.nodes[&5].status().lineage;
    cluster.crash(3);
    cluster.crash(4);
    cluster.filter = Some(Box::new(|message| {
        !matches!(message.body, Body::Resubmit(_))
    }));
    cluster.heal();
    cluster.until("it gives way", |c| all_of(c, &[5], RoleName::Retired));
    cluster.partition(&[5]);
    cluster.until("it goes back", |c| !all_of(c, &[5], RoleName::Retired));
    assert_eq!(cluster.nodes[&5].status().lineage, lineage);
    cluster.cut.retain(|pair| !matches!(pair, (3, 5) | (5, 3)));
    cluster.cut_silently(&[1, 2]);
    cluster.start(3);
    cluster.until("two of three lead", |c| {
        [3, 5]
            .iter()
            .any(|id| c.nodes[id].status().role == RoleName::Leader)
    });
    assert_eq!(cluster.execute(5, "on"), committed(11));
}

/// A snapshot came when the member that had asked for it was handing its log over. It goes back to
/// its lineage later, and is handed out what follows what it has applied by then.
#[test]
fn a_member_that_gives_way_takes_no_snapshot() {
    let mut cluster = split(MergePolicy::Resubmit);
    cluster.all_applied_by(&[3, 4, 5], 10);
    let leads = |id: &u8| cluster.nodes[id].status().role == RoleName::Leader;
    let leader = (3..=5).find(leads).unwrap();
    let member = (3..=5).find(|id| *id != leader).unwrap();
    let (status, now) = (cluster.nodes[&leader].status(), cluster.now);
    let core = cluster.nodes[&leader].core.as_ref().unwrap();
    let mut meta = core.snapshot_meta(status.applied).unwrap();
    meta.last.index = meta.last.index.plus(10);
    let position = meta.last;
    let core = cluster.nodes.get_mut(&member).unwrap().core.as_mut();
    let core = core.unwrap();
    let offer = Message {
        lineage: status.lineage,
        from: status.me,
        to: core.me(),
        term: status.term,
        body: Body::Snapshot(Box::new(meta)),
    };
    core.handle(now, Input::Receive(offer), &mut Vec::new());
    assert!(core.wants_snapshot(position));

    for id in (3..=5).filter(|id| *id != member) {
        cluster.crash(id);
    }
    cluster.filter = Some(Box::new(|message| {
        !matches!(message.body, Body::Resubmit(_))
    }));
    cluster.heal();
    cluster.until("it gives way", |c| all_of(c, &[member], RoleName::Retired));
    let core = cluster.nodes[&member].core.as_ref().unwrap();
    assert!(!core.wants_snapshot(position));
}

/// Waiting is the safe thing to do; somebody who knows better need not wait.
#[test]
fn a_sealed_lineage_goes_on_at_once_when_told_to() {
    let mut cluster = sealed();
    for id in 3..=5 {
        cluster.crash(id);
    }
    cluster.filter = None;
    cluster.input(1, Input::Recover);
    cluster.until("it leads again", |c| {
        c.nodes[&1].status().role == RoleName::Leader
    });
    assert_eq!(cluster.execute(1, "more"), committed(6));
    cluster.until("the other one comes along", |c| {
        c.nodes[&1].status().lineage == c.nodes[&2].status().lineage
    });
    cluster.all_applied_by(&[1, 2], 6);
}

fn snapshots(cluster: &mut Cluster, ids: &[u8]) {
    for id in ids {
        cluster.snapshot(*id);
    }
}

fn lineages(cluster: &Cluster) -> usize {
    let lineages = cluster.nodes.values().map(|n| n.status().lineage);
    lineages.collect::<std::collections::BTreeSet<_>>().len()
}

/// What was cut off a log cannot be handed over: whoever can, gives way to who cannot.
#[test]
fn a_lineage_that_has_cut_its_log_is_given_way_to() {
    let mut cluster = split(MergePolicy::Resubmit);
    cluster.all_applied_by(&[1, 2], 5);
    snapshots(&mut cluster, &[1, 2]);
    let winner = cluster.nodes[&1].status().lineage;
    cluster.heal();
    cluster.until("all are of the smaller lineage", |c| {
        c.nodes.values().all(|n| n.status().lineage == winner)
    });
    cluster.all_applied(15);
}

#[test]
fn lineages_that_have_cut_their_logs_stay_apart_and_lose_nothing() {
    let mut cluster = split(MergePolicy::Resubmit);
    cluster.all_applied_by(&[1, 2], 5);
    cluster.all_applied_by(&[3, 4, 5], 10);
    snapshots(&mut cluster, &[1, 2, 3, 4, 5]);
    cluster.heal();
    for _ in 0..10 {
        cluster.run(SECOND * 10);
    }
    assert_eq!(lineages(&cluster), 2);
    let apart = |n: &crate::cluster::Node| {
        let mut events = n.events.iter();
        events.any(|event| matches!(event, Event::Apart(_)))
    };
    assert!(cluster.nodes.values().any(apart), "somebody is told");
    assert_eq!(cluster.execute(1, "here"), committed(6));
    assert_eq!(cluster.execute(4, "there"), committed(11));

    // Somebody decides: one side is started with another policy.
    for id in [1, 2] {
        cluster.nodes.get_mut(&id).unwrap().config.merge = MergePolicy::Discard;
        cluster.crash(id);
        cluster.start(id);
    }
    cluster.until("there is one lineage", |c| lineages(c) == 1);
    cluster.all_applied(11);
}

/// One member of the sealed side has cut its log. It leaves only when the others have handed over
/// what it has the effect of, for it may be the last who has that.
#[test]
fn a_member_that_has_cut_its_log_waits_for_others_to_hand_it_over() {
    let mut cluster = split(MergePolicy::Resubmit);
    cluster.all_applied_by(&[1, 2], 5);
    let leader = [1, 2]
        .into_iter()
        .find(|id| cluster.nodes[id].status().role == RoleName::Leader)
        .unwrap();
    let cut = 3 - leader;
    cluster.snapshot(cut);
    let member = cluster.nodes[&leader].status().me;
    // The leader has the whole log, and is kept from handing it over.
    cluster.filter = Some(Box::new(move |message| {
        !matches!(message.body, Body::Resubmit(_)) || message.from != member
    }));
    let old = cluster.nodes[&cut].status().lineage;
    cluster.heal();
    cluster.until("the small side is sealed", |c| {
        all_of(c, &[1, 2], RoleName::Retired)
    });
    cluster.run(SECOND * 30);
    assert_eq!(cluster.nodes[&cut].status().lineage, old);
    cluster.filter = None;
    cluster.until("there is one lineage", |c| lineages(c) == 1);
    cluster.all_applied(15);
}

/// Commands reach a lineage in order or not at all: one that is turned to in the middle has none of
/// those before, and would take them for skipped.
#[test]
fn a_hand_over_that_turns_to_another_lineage_begins_from_the_start() {
    let mut cluster = Cluster::new([]);
    for id in 1..=6 {
        let mut config = config(id);
        config.append_bytes = 1;
        cluster.add(config);
        cluster.cut_silently(&[1, 2]);
        cluster.cut_silently(&[6]);
    }
    cluster.partition(&[1, 2]);
    cluster.partition(&[6]);
    cluster.until("three sides have founded", |c| {
        lineages(c) == 3 && c.nodes.values().all(|n| n.status().commit >= LogIndex(2))
    });
    for n in 0..5 {
        cluster.execute(2, &format!("small {n}"));
    }
    for n in 0..10 {
        cluster.execute(4, &format!("large {n}"));
    }
    // Two of five are handed over, then the other side is gone.
    cluster.filter = Some(Box::new(|message| match &message.body {
        Body::Resubmit(resubmit) => resubmit.upto.0 <= 2,
        _ => true,
    }));
    cluster.cut.retain(|(a, b)| [*a, *b].contains(&6));
    for id in 1..=5 {
        cluster.crash(id);
        cluster.start(id);
    }
    cluster.until("two commands are handed over", |c| {
        c.nodes[&4].machine.len() == 12 && all_of(c, &[1, 2], RoleName::Retired)
    });
    for id in 3..=5 {
        cluster.crash(id);
    }
    cluster.filter = None;
    cluster.heal();
    cluster.until("the last side has them all", |c| {
        c.nodes[&6].machine.len() == 5
    });
    let expected: Vec<_> = (0..5).map(|n| format!("small {n}")).collect();
    assert_eq!(cluster.texts(6), expected);
}

/// A founder that nobody has answered holds a genesis and nothing that anyone relies on. It does
/// not insist on it, whatever lineages do that have more.
#[test]
fn a_genesis_that_nobody_took_is_forgotten_for_any_lineage() {
    let mut cluster = Cluster::new([]);
    cluster.filter = Some(Box::new(|message| {
        message.from.peer.0[0] != 1 || !matches!(message.body, Body::Genesis(_))
    }));
    for id in 1..=3 {
        let mut config = config(id);
        config.merge = MergePolicy::Refuse;
        cluster.add(config);
        cluster.cut_silently(&[3]);
    }
    cluster.partition(&[3]);
    cluster.until("the first has founded for two", |c| {
        !c.nodes[&1].status().lineage.is_none()
    });
    cluster.crash(2);
    cluster.wipe(2);
    cluster.heal();
    cluster.partition(&[1]);
    cluster.start(2);
    cluster.until("the others have founded too", |c| {
        [2, 3]
            .iter()
            .all(|id| c.nodes[id].status().commit >= LogIndex(2))
    });
    assert_eq!(cluster.nodes[&1].status().commit, LogIndex::ZERO);
    cluster.heal();
    cluster.until("there is one lineage", |c| {
        lineages(c) == 1 && c.nodes[&1].status().commit >= LogIndex(2)
    });
}

/// A snapshot may be under way to the disk when its lineage is sealed, and replaces the one before
/// there. A member that then goes on offered the one before, which nobody had any more.
#[test]
fn a_snapshot_stored_while_giving_way_is_the_one_offered_afterwards() {
    let mut cluster = split(MergePolicy::Resubmit);
    cluster.all_applied_by(&[1, 2], 5);
    // Cut before the first command, so that the lineage may give way.
    let upto = LogIndex(1);
    let taken = |c: &mut Cluster, id: u8| {
        let node = c.nodes.get_mut(&id).unwrap();
        let core = node.core.as_ref().unwrap();
        let meta = core.snapshot_meta(core.status().applied).unwrap();
        node.disk.snapshot = Some((meta.clone(), node.machine.clone()));
        Input::SnapshotTaken { meta, upto }
    };
    for id in [1, 2] {
        let input = taken(&mut cluster, id);
        cluster.input(id, input);
    }
    for n in 5..8 {
        cluster.execute(2, &format!("small {n}"));
    }
    cluster.all_applied_by(&[1, 2], 8);
    let late = [1, 2].map(|id| (id, taken(&mut cluster, id)));
    cluster.filter = Some(Box::new(|message| {
        !matches!(message.body, Body::Resubmit(_))
    }));
    cluster.heal();
    cluster.until("the small side is sealed", |c| {
        all_of(c, &[1, 2], RoleName::Retired)
    });
    for (id, input) in late {
        cluster.input(id, input);
    }
    for id in 3..=5 {
        cluster.crash(id);
    }
    cluster.filter = None;
    for _ in 0..10 {
        cluster.run(SECOND * 10);
    }
    assert_eq!(cluster.execute(1, "more"), committed(9));
    cluster.add(config(6));
    cluster.all_applied_by(&[1, 2, 6], 9);
}

/// Members that can hand over nothing gave way in turn for lack of a leader, each before the other
/// had stood for election, and back again, for ever.
#[test]
fn members_that_have_cut_their_logs_elect_before_they_give_way() {
    let mut cluster = split(MergePolicy::Resubmit);
    cluster.all_applied_by(&[1, 2], 5);
    cluster.all_applied_by(&[3, 4, 5], 10);
    snapshots(&mut cluster, &[1, 2, 3, 4, 5]);
    cluster.crash(1);
    cluster.crash(2);
    cluster.filter = Some(Box::new(|message| {
        !matches!(message.body, Body::PreVote { .. } | Body::Vote { .. })
    }));
    cluster.heal();
    cluster.start(1);
    cluster.start(2);
    let patience = config(1).death_timeout();
    let role = |c: &Cluster, id: u8| c.nodes[&id].status().role;
    for _ in 0..40 {
        cluster.run(patience / 10);
        for id in [1, 2] {
            assert_ne!(role(&cluster, id), RoleName::Retired);
        }
    }
    cluster.filter = None;
    cluster.until("one of them leads", |c| {
        [1, 2].iter().any(|id| role(c, *id) == RoleName::Leader)
    });
    assert_eq!(cluster.execute(1, "here"), committed(6));
}

/// What was handed over was counted as often as it was sent.
#[test]
fn what_is_handed_over_again_is_counted_once() {
    let mut cluster = split(MergePolicy::Resubmit);
    let mut lost = 0;
    cluster.filter = Some(Box::new(move |message| match &message.body {
        Body::Resubmit(resubmit) if !resubmit.commands.is_empty() => {
            lost += 1;
            lost > 6
        }
        _ => true,
    }));
    cluster.heal();
    cluster.all_applied(15);
    let counted = cluster.nodes.values().flat_map(|n| &n.events);
    let counted: Vec<_> = counted
        .filter_map(|event| match event {
            Event::Merged { resubmitted, .. } => Some(*resubmitted),
            _ => None,
        })
        .collect();
    assert!(counted.len() == 2 && counted.contains(&5), "{counted:?}");
    assert!(counted.iter().all(|count| *count <= 5), "{counted:?}");
}

/// The tests of this file, for those who want to see them fail.
#[cfg(mosaik_mutants)]
pub(crate) const ALL: &[(&str, fn())] = named![
    lineages_that_have_cut_their_logs_stay_apart_and_lose_nothing,
    a_lineage_that_has_cut_its_log_is_given_way_to,
];

/// The other side had said hello when it was the heavier one, and gave way on the answer. What it
/// was answered has to hold: were there fewer voters to this side now, both would give way.
#[test]
fn a_side_that_lost_a_voter_does_not_give_way_to_one_that_was_told_of_it() {
    let mut cluster = Cluster::formed([1, 2, 3, 4]);
    let leader = cluster.lead();
    let leaver = cluster.others(leader)[0];
    cluster.input(leaver, Input::Leave);
    cluster.until("a voter has left", |c| {
        c.membership(leader).voters().len() == 3
    });
    let greet = |cluster: &mut Cluster, voters| {
        let member = Member::new(peer(9), 1_000);
        let hello = Hello {
            group: cluster.nodes[&leader].config.group,
            formed: true,
            leader: Some(member),
            voters,
            ..Hello::default()
        };
        let message = Message {
            lineage: Lineage([1; 32]),
            from: member,
            to: cluster.nodes[&leader].status().me,
            term: Term(1),
            body: Body::Hello(Box::new(hello)),
        };
        assert!(Lineage([1; 32]) < cluster.nodes[&leader].status().lineage);
        cluster.input(leader, Input::Receive(message));
        cluster.nodes[&leader].status().sealed
    };
    assert!(!greet(&mut cluster, 3));
    assert!(greet(&mut cluster, 5));
}
