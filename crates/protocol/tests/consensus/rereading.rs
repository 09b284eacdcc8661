//! Entries that are read back from the store, and answers that come late.

use {
    crate::cluster::{Cluster, Id, config},
    core::time::Duration,
    mosaik_protocol::consensus::{
        Body, Core, Entry, Input, LogIndex, Message, Output, Outputs, Position, Restored, Term,
    },
};

const SECOND: Duration = Duration::from_secs(1);

/// A group whose members keep nothing in memory that they need not, one of whom has missed some.
fn with_a_laggard() -> (Cluster, Id, Id) {
    let mut cluster = Cluster::new([]);
    for id in 1..=5 {
        let mut config = config(id);
        config.cache_bytes = 0;
        cluster.add(config);
    }
    cluster.until("the group forms", |c| {
        let formed = |n: &crate::cluster::Node| n.status().membership.voters().len() == 5;
        c.nodes.values().all(formed)
    });
    let leader = cluster.lead();
    let laggard = cluster.others(leader)[0];
    cluster.execute(leader, "first");
    cluster.all_applied(1);
    cluster.cut_silently(&[laggard]);
    for n in 0..5 {
        cluster.execute(leader, &n.to_string());
    }
    (cluster, leader, laggard)
}

/// Hands an input to a member's core, without carrying out what it asks for.
fn tell(cluster: &mut Cluster, id: Id, input: Input) -> Outputs {
    let now = cluster.now;
    let node = cluster.nodes.get_mut(&id).unwrap();
    let mut out = Vec::new();
    node.core.as_mut().unwrap().handle(now, input, &mut out);
    out
}

/// Has the laggard say that it lacks `prev`, and its log ends at `hint`. What the leader reads.
fn reject(
    cluster: &mut Cluster,
    (leader, laggard): (Id, Id),
    prev: LogIndex,
    hint: Position,
) -> Vec<(LogIndex, LogIndex)> {
    let status = cluster.nodes[&leader].status();
    let message = Message {
        lineage: status.lineage,
        from: cluster.nodes[&laggard].status().me,
        to: status.me,
        term: status.term,
        body: Body::AppendReject { prev, hint },
    };
    fetches(&tell(cluster, leader, Input::Receive(message)))
}

fn fetches(out: &Outputs) -> Vec<(LogIndex, LogIndex)> {
    let range = |output: &Output| match *output {
        Output::Fetch { from, upto, .. } => Some((from, upto)),
        _ => None,
    };
    out.iter().filter_map(range).collect()
}

fn stored(cluster: &Cluster, id: Id, range: (LogIndex, LogIndex)) -> Vec<Entry> {
    let entries = cluster.nodes[&id].disk.entries.values();
    let wanted = |entry: &&Entry| range.0 <= entry.index && entry.index <= range.1;
    entries.filter(wanted).cloned().collect()
}

/// The driver asked its store again and again, and did nothing else.
#[test]
fn entries_that_the_store_does_not_give_are_not_asked_for_again_at_once() {
    let (mut cluster, leader, laggard) = with_a_laggard();
    let last = cluster.nodes[&laggard].status().last;
    let asked = reject(&mut cluster, (leader, laggard), last.index.next(), last);
    let [(from, _)] = asked[..] else {
        panic!("it reads once: {asked:?}")
    };
    let entries = Vec::new();
    let out = tell(&mut cluster, leader, Input::Fetched { from, entries });
    assert_eq!(fetches(&out), []);
    // But some time later: the laggard gets what it lacks.
    cluster.heal();
    cluster.all_applied(6);
}

#[test]
fn what_is_to_be_handed_out_is_asked_for_again_after_a_while() {
    let mut cluster = Cluster::formed([1]);
    let large = "x".repeat(700 << 10);
    for _ in 0..3 {
        cluster.execute(1, &large);
    }
    let disk = cluster.nodes[&1].disk.clone();
    let entries: Vec<_> = disk.entries.values().cloned().collect();
    let mut hard = disk.hard.unwrap();
    hard.commit = entries.last().unwrap().index;
    let restored = Restored {
        hard_state: Some(hard),
        snapshot: None,
        entries: entries.clone(),
    };
    let (now, mut out) = (cluster.now, Vec::new());
    let mut core = Core::new(config(1), restored, now, &mut out).unwrap();
    let [(from, _)] = fetches(&out)[..] else {
        panic!("it reads once: {out:?}")
    };
    let mut out = Vec::new();
    let nothing = Input::Fetched {
        from,
        entries: vec![],
    };
    core.handle(now, nothing, &mut out);
    assert_eq!(fetches(&out), []);
    let mut due = now;
    while fetches(&out).is_empty() {
        due = core.next_deadline().unwrap();
        core.handle(due, Input::Tick, &mut out);
    }
    assert!(due > now && due < now + SECOND);
    out.clear();
    core.handle(due, Input::Fetched { from, entries }, &mut out);
    let handed_out = |output: &Output| matches!(output, Output::Apply(_));
    assert!(out.iter().any(handed_out), "{out:?}");
}

/// Of a question asked in an earlier reign the answer came in a later one. It held entries that had
/// been replaced in the meantime.
#[test]
fn a_late_answer_holds_nothing_that_has_been_replaced_since() {
    let (mut cluster, leader, laggard) = with_a_laggard();
    let others: Vec<_> = cluster.others(leader);
    let others: Vec<_> = others.into_iter().filter(|id| *id != laggard).collect();
    cluster.cut_silently(&[leader]);
    for n in 0..5 {
        cluster.propose(leader, &format!("lost {n}"));
    }
    let last = cluster.nodes[&laggard].status().last;
    let asked = reject(&mut cluster, (leader, laggard), last.index.next(), last);
    let [range] = asked[..] else {
        panic!("it reads once: {asked:?}")
    };
    let late = stored(&cluster, leader, range);
    assert!(late.len() > 1);
    // Another leads, and replaces what the first one could not commit.
    cluster.until("another leads", |c| {
        c.leader().is_some_and(|id| others.contains(&id))
    });
    let new = cluster.leader().unwrap();
    for n in 0..5 {
        cluster.execute(new, &format!("kept {n}"));
    }
    cluster.cut.clear();
    cluster.cut_silently(&[laggard]);
    cluster.until("it has caught up", |c| {
        c.nodes[&leader].machine.len() == c.nodes[&new].machine.len()
    });
    let target = cluster.nodes[&leader].status().me;
    cluster.run(SECOND);
    cluster.input(new, Input::Transfer(Some(target)));
    cluster.until("it leads again", |c| {
        let status = c.nodes[&leader].status();
        c.leader() == Some(leader) && status.commit == status.last.index
    });
    // It looks for where the two logs meet, and comes to ask the same again.
    let mut sent: Vec<(LogIndex, Term)> = Vec::new();
    for prev in (1..=cluster.nodes[&leader].status().last.index.0).rev() {
        reject(&mut cluster, (leader, laggard), LogIndex(prev), last);
        let (from, entries) = (range.0, late.clone());
        let out = tell(&mut cluster, leader, Input::Fetched { from, entries });
        let entries = out.iter().filter_map(|output| match output {
            Output::Send(Message {
                body: Body::Append { entries, .. },
                ..
            }) => Some(entries.iter().map(|entry| (entry.index, entry.term))),
            _ => None,
        });
        sent.extend(entries.flatten());
    }
    assert!(!sent.is_empty());
    let log = &cluster.nodes[&leader].disk.entries;
    for (index, term) in sent {
        assert_eq!(log[&index.0].term, term, "entry {index}");
    }
}
