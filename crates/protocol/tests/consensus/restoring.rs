//! Starting from what a crash left in the store.

use {
    crate::cluster::{Cluster, committed, config},
    core::time::Duration,
    mosaik_primitives::time::Instant,
    mosaik_protocol::consensus::{
        Body, Core, Entry, EntryBody, Input, Message, Output, Position, Restored, RoleName, Write,
    },
};

/// The resets that a member asks for when it starts from `restored`.
fn resets(restored: Restored) -> Vec<Position> {
    let mut out = Vec::new();
    Core::new(config(3), restored, Instant::from_millis(1), &mut out).unwrap();
    let writes = out.into_iter().filter_map(|output| match output {
        Output::Persist { writes, .. } => Some(writes),
        _ => None,
    });
    let position = |write| match write {
        Write::Reset(position) => Some(position),
        _ => None,
    };
    writes.flatten().filter_map(position).collect()
}

/// A member's log may be cut to nothing when another's snapshot is installed. A crash before the
/// log is moved to where the snapshot ends leaves an empty log that would go on too early.
#[test]
fn an_empty_log_behind_an_installed_snapshot_is_moved_to_its_end() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    for n in 1..=5 {
        cluster.execute(1, &n.to_string());
    }
    cluster.all_applied(5);
    cluster.snapshot(1);
    cluster.crash(3);
    let (meta, _) = cluster.nodes[&1].disk.snapshot.clone().unwrap();
    let restored = |entries| Restored {
        hard_state: cluster.nodes[&3].disk.hard.clone(),
        snapshot: Some(meta.clone()),
        entries,
    };
    let stored: Vec<_> = cluster.nodes[&3].disk.entries.values().cloned().collect();
    assert_eq!(stored.last().map(Entry::position), Some(meta.last));
    assert_eq!(resets(restored(vec![])), [meta.last]);
    assert_eq!(resets(restored(stored[..2].to_vec())), [meta.last]);
    assert_eq!(resets(restored(stored)), []);
}

/// The hard state is stored before the entry that makes it alone: a crash in between leaves a
/// lineage of one whose log names voters who will never vote in it.
#[test]
fn going_on_alone_survives_a_crash_in_the_middle_of_its_write() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    cluster.execute(1, "a");
    cluster.all_applied(1);
    cluster.crash(2);
    cluster.crash(3);
    cluster.run(Duration::from_secs(3));
    let before = cluster.nodes[&1].disk.clone();
    cluster.input(1, Input::Recover);
    let mut torn = before.clone();
    torn.hard = cluster.nodes[&1].disk.hard.clone();
    assert_ne!(
        torn.hard.as_ref().map(|hard| hard.lineage),
        before.hard.map(|hard| hard.lineage)
    );
    cluster.crash(1);
    cluster.nodes.get_mut(&1).unwrap().disk = torn;
    cluster.start(1);
    cluster.until("it leads alone", |c| {
        c.nodes[&1].status().role == RoleName::Leader
    });
    assert_eq!(cluster.execute(1, "b"), committed(2));
}

/// An answer to a question from before the crash may come after it: were the question's number
/// used again, a strong read would be answered with an index from before it began.
#[test]
fn a_restarted_member_does_not_number_its_reads_as_before() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    let follower = cluster.others(leader)[0];
    let mut asked = || {
        cluster.recorded = Some(Vec::new());
        cluster.read(follower);
        let recorded = cluster.recorded.take().unwrap();
        cluster.crash(follower);
        cluster.start(follower);
        cluster.until("it follows again", |c| {
            c.nodes[&follower].status().leader.is_some()
        });
        recorded
            .iter()
            .find_map(|message| match message.body {
                Body::ReadIndex { seq } => Some(seq),
                _ => None,
            })
            .expect("a follower asks")
    };
    let first = asked();
    assert_ne!(first, asked());
}

/// The snapshot is where the state machine starts; the log still begins where the store's does.
#[test]
fn a_log_reaches_back_behind_the_snapshot_after_a_restart() {
    let mut cluster = Cluster::formed([1]);
    for n in 1..=5 {
        cluster.execute(1, &n.to_string());
    }
    let entries: Vec<Entry> = cluster.nodes[&1].disk.entries.values().cloned().collect();
    let hard_state = cluster.nodes[&1].disk.hard.clone();
    cluster.snapshot(1);
    let (meta, _) = cluster.nodes[&1].disk.snapshot.clone().unwrap();
    let base = |entries: &[Entry]| {
        let restored = Restored {
            hard_state: hard_state.clone(),
            snapshot: Some(meta.clone()),
            entries: entries.to_vec(),
        };
        let (now, mut out) = (Instant::from_millis(1), Vec::new());
        let core = Core::new(config(1), restored, now, &mut out).unwrap();
        core.status().base.0
    };
    assert_eq!(base(&entries), 0);
    assert_eq!(base(&entries[2..]), 3);
    assert_eq!(base(&entries[5..]), 6);
    assert_eq!(base(&[]), meta.last.index.0);
}

/// The vote for itself is stored before the genesis. A crash in between left the founder in a
/// lineage that nobody could ever lead.
#[test]
fn a_founder_that_lost_its_genesis_founds_again() {
    let mut cluster = Cluster::formed([1]);
    cluster.crash(1);
    let disk = &mut cluster.nodes.get_mut(&1).unwrap().disk;
    disk.entries.clear();
    let torn = disk.hard.clone().unwrap();
    assert_eq!(torn.vote, Some(torn.member));
    cluster.nodes.get_mut(&1).unwrap().machine.clear();
    cluster.start(1);
    cluster.until("it leads", |c| c.leader() == Some(1));
    let status = cluster.nodes[&1].status();
    assert_ne!((status.lineage, status.me), (torn.lineage, torn.member));
    assert_eq!(cluster.execute(1, "a"), committed(1));
}

/// The founder offered its genesis to one of three, and was interrupted.
#[test]
fn a_genesis_reaches_those_it_names_whoever_has_it() {
    let mut cluster = Cluster::new([]);
    cluster.filter = Some(Box::new(|message| match message.body {
        Body::Genesis(_) => message.to.peer.0[0] == 2,
        Body::GenesisAnswer { .. } => false,
        _ => true,
    }));
    for id in 1..=4 {
        let mut config = config(id);
        config.min_voters = 3;
        cluster.add(config);
    }
    cluster.until("one of those named has it", |c| {
        [1, 2]
            .iter()
            .all(|id| !c.nodes[id].status().lineage.is_none())
    });
    cluster.crash(1);
    cluster.start(1);
    cluster.filter = None;
    cluster.lead();
    cluster.execute(3, "together");
    cluster.all_applied(1);
}

/// What a new leader says is committed came before the removal of the entries it replaces. A crash
/// in between left those in its place, and they were handed out.
#[test]
fn what_is_stored_as_committed_is_there_whatever_a_crash_leaves() {
    let mut cluster = Cluster::formed([1, 2, 3]);
    let leader = cluster.lead();
    let [follower, other] = cluster.others(leader)[..] else {
        panic!("there are three")
    };
    cluster.filter = Some(Box::new(|_| false));
    let status = cluster.nodes[&follower].status();
    let append = |from, term, count, commit| {
        let entry = |at| Entry {
            index: status.last.index.plus(at),
            term,
            body: EntryBody::Noop.encode(),
        };
        Input::Receive(Message {
            lineage: status.lineage,
            from,
            to: status.me,
            term,
            body: Body::Append {
                prev: status.last,
                commit: status.last.index.plus(commit),
                entries: (1..=count).map(entry).collect(),
            },
        })
    };
    let [old, new] = [leader, other].map(|id| cluster.nodes[&id].status().me);
    cluster.input(follower, append(old, status.term, 4, 0));
    cluster.nodes.get_mut(&follower).unwrap().slow_disk = true;
    cluster.input(follower, append(new, status.term.next(), 6, 6));
    let node = &cluster.nodes[&follower];
    assert_eq!(node.status().commit, status.last.index.plus(6));
    let unconfirmed = node.unconfirmed.iter();
    let writes: Vec<_> = unconfirmed.flat_map(|(_, writes)| writes.clone()).collect();
    let before = node.disk.clone();
    for kept in 0..=writes.len() {
        cluster.crash(follower);
        let node = cluster.nodes.get_mut(&follower).unwrap();
        node.disk = before.clone();
        for write in writes[..kept].iter().cloned() {
            node.disk.apply(write);
        }
        cluster.start(follower);
        let at = |index| cluster.nodes[&follower].disk.entries[&index].term;
        let commit = cluster.nodes[&follower].status().commit;
        for index in status.last.index.0 + 1..=commit.0 {
            assert!(
                at(index) > status.term,
                "{index} after {kept} of {writes:?}"
            );
        }
    }
}
