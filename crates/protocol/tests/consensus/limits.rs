//! As much as may come at once, and what comes of it.

use {
    crate::cluster::{Cluster, Id, committed, peer},
    core::time::Duration,
    mosaik_protocol::consensus::{
        Body, Index, Input, Lineage, LogIndex, Member, Message, OpRun, Origin, Outcome,
        SnapshotMeta, Term, limits, message::Resubmit,
    },
};

/// Proposes as many commands as one proposal may have, and waits until they are committed.
fn fill(cluster: &mut Cluster, ids: &[Id], what: &str) {
    let commands: Vec<_> = (0..limits::ENTRY_COMMANDS)
        .map(|n| format!("{what}{n}"))
        .collect();
    let commands: Vec<_> = commands.iter().map(String::as_str).collect();
    let proposals: Vec<_> = ids
        .iter()
        .map(|id| (*id, cluster.propose_many(*id, &commands)))
        .collect();
    for (id, proposal) in proposals {
        let outcome = cluster.outcome(id, proposal);
        assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    }
}

/// Small commands of one member, so many that a batch bounded by bytes alone held more of them
/// than a message may: it could not be read, and the merge never ended.
#[test]
fn a_merge_hands_over_more_small_commands_than_fit_one_message() {
    let mut cluster = Cluster::new([]);
    for id in 1..=5 {
        cluster.add(crate::cluster::config(id));
        cluster.cut_silently(&[1, 2]);
    }
    cluster.partition(&[1, 2]);
    cluster.until("both sides have founded", |c| {
        c.leaders.len() == 2 && c.nodes.values().all(|n| n.status().commit >= LogIndex(2))
    });
    fill(&mut cluster, &[2, 2], "s");
    fill(&mut cluster, &[4, 4, 4], "l");
    cluster.heal();
    cluster.all_applied(5 * limits::ENTRY_COMMANDS);
    let mut texts = cluster.texts(1);
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 2 * limits::ENTRY_COMMANDS);
}

/// Nothing is committed while this holds.
fn starve(cluster: &mut Cluster) {
    cluster.filter = Some(Box::new(|message| {
        !matches!(
            message.body,
            Body::AppendAck { .. } | Body::HeartbeatAck { .. }
        )
    }));
}

/// Two members take turns, so that no two entries of one of them are neighbours.
#[test]
fn what_is_yet_to_be_handed_out_does_not_end_as_unknown() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    let others = cluster.others(leader);
    starve(&mut cluster);
    let mut proposals = Vec::new();
    for n in 0..limits::WINDOW_RUNS * 2 {
        for id in &others {
            proposals.push((*id, cluster.propose(*id, &n.to_string())));
            cluster.run(Duration::from_millis(3));
        }
    }
    cluster.filter = None;
    for ((id, proposal), n) in proposals.into_iter().zip(1..) {
        assert_eq!(cluster.outcome(id, proposal), committed(n));
    }
}

/// What a snapshot says of operations is what the log says up to there, whatever follows.
#[test]
fn a_snapshot_knows_the_latest_operations_up_to_its_end_and_none_after_it() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    let others = cluster.others(leader);
    for n in 1..=limits::WINDOW_RUNS as u64 * 2 {
        assert_eq!(cluster.execute(others[n as usize % 2], "a"), committed(n));
    }
    let meta = |cluster: &Cluster| {
        let core = cluster.nodes[&leader].core.as_ref().unwrap();
        core.snapshot_meta(core.status().applied).unwrap()
    };
    let before = meta(&cluster);
    assert_eq!(SnapshotMeta::decode(before.encode()), Ok(before.clone()));
    starve(&mut cluster);
    for _ in 0..limits::WINDOW_RUNS * 2 {
        for id in &others {
            cluster.propose(*id, "b");
            cluster.run(Duration::from_millis(3));
        }
    }
    assert_eq!(meta(&cluster), before);
}

#[test]
fn a_leader_takes_from_others_whatever_it_would_take_from_its_own_callers() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    let command = "x".repeat(200);
    let commands = vec![command.as_str(); limits::ENTRY_COMMANDS];
    let follower = cluster.others(leader)[0];
    let proposal = cluster.propose_many(follower, &commands);
    assert_eq!(cluster.outcome(follower, proposal), committed(1));
}

/// Bytes of commands of 2 MiB that are in a member's log and not committed.
fn backlog(cluster: &Cluster, id: Id) -> usize {
    let status = cluster.nodes[&id].status();
    status.last.index.distance(status.commit) as usize * (2 << 20)
}

#[test]
fn a_leader_holds_no_more_bytes_that_are_not_committed_than_it_may() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    let large = "x".repeat(2 << 20);
    starve(&mut cluster);
    let mut proposals = Vec::new();
    for _ in 0..16 {
        for id in 1..=3 {
            proposals.push((id, cluster.propose(id, &large)));
        }
    }
    cluster.run(Duration::from_millis(100));
    let held = backlog(&cluster, leader);
    let most = limits::BACKLOG_BYTES + (2 << 20);
    assert!((most / 2..=most).contains(&held), "{held}");
    cluster.filter = None;
    for (id, proposal) in proposals {
        let outcome = cluster.outcome(id, proposal);
        assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    }
}

#[test]
fn a_leader_takes_no_more_of_another_lineage_than_it_may_hold() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    let command = bytes::Bytes::from(vec![b'x'; 2 << 20]);
    starve(&mut cluster);
    for id in 10..60 {
        let member = Member::new(peer(id), 1_000);
        let run = OpRun {
            origin: Origin::Member(member),
            first: 1,
            count: 1,
        };
        let body = Body::Resubmit(Resubmit {
            upto: Index(1),
            runs: vec![run],
            commands: vec![command.clone()],
        });
        let message = Message {
            lineage: Lineage([7; 32]),
            from: member,
            to: cluster.nodes[&leader].status().me,
            term: Term(1),
            body,
        };
        cluster.input(leader, Input::Receive(message));
    }
    let held = backlog(&cluster, leader);
    let most = limits::BACKLOG_BYTES + (2 << 20);
    assert!((most / 2..=most).contains(&held), "{held}");
}
