//! What members find in their store after a crash at any point.

use {
    super::*,
    mosaik_primitives::time::UnixMillis,
    mosaik_protocol::consensus::{
        Core, EntryBody, Genesis, GroupKeyId, Index, Lineage, Member, Membership, OpRun, Origin,
        Output, PeerKey, SnapshotMeta as Meta, entry::encode_commands,
    },
    mosaik_storage::MemoryStore,
};

fn entry(index: u64, term: u64) -> Entry {
    Entry {
        index: LogIndex(index),
        term: Term(term),
        body: Bytes::from_static(b"entry"),
    }
}

fn log() -> DiskLog {
    DiskLog {
        group: Digest::hash(b"group"),
        incarnation: Incarnation(7),
        hard_state: None,
    }
}

/// What a store holds after these writes.
fn stored(log: &mut DiskLog, steps: Vec<Vec<Write>>) -> (GroupState, Vec<u64>) {
    let mut store = MemoryStore::default();
    store.open(log.group, log.incarnation).expect("opened");
    for writes in steps {
        for batch in log.batches(writes) {
            store.write(batch).expect("a batch that breaks no rule");
        }
    }
    let state = store.load(log.group).expect("loaded").expect("there");
    let all = state.base.index + 1..=state.last.index;
    let entries = store.entries(log.group, all, usize::MAX).expect("read");
    (state, entries.iter().map(|entry| entry.term).collect())
}

#[test]
fn steps_become_batches_in_their_order() {
    let append = |range: std::ops::RangeInclusive<u64>, term| {
        Write::Append(range.map(|index| entry(index, term)).collect())
    };
    let hard = Bytes::from_static(b"hard");
    let (state, terms) = stored(
        &mut log(),
        vec![
            vec![Write::HardState(hard.clone()), append(1..=5, 1)],
            // A follower whose log is replaced twice in one step.
            vec![
                Write::Truncate(LogIndex(4)),
                append(4..=6, 2),
                Write::Truncate(LogIndex(6)),
                append(6..=7, 3),
                Write::Compact(LogIndex(2)),
            ],
        ],
    );
    assert_eq!(terms, [1, 2, 2, 3, 3]);
    assert_eq!((state.base.index, state.hard_state), (2, Some(hard)));
}

#[test]
fn a_member_that_changes_its_lineage_keeps_its_hard_state_and_incarnation() {
    let hard = |text: &'static str| Write::HardState(Bytes::from_static(text.as_bytes()));
    let mut log = log();
    let (state, terms) = stored(
        &mut log,
        vec![
            vec![hard("old"), Write::Append(vec![entry(1, 1)])],
            vec![
                hard("new"),
                Write::Reset(Position::ZERO),
                Write::Append(vec![entry(1, 9)]),
            ],
            vec![Write::Reset(Position::ZERO)],
        ],
    );
    assert!(terms.is_empty() && state.last.index == 0);
    assert_eq!(state.hard_state, Some(Bytes::from_static(b"new")));
    assert_eq!(state.incarnation, Incarnation(7));
}

const PEER: PeerKey = PeerKey([3; 32]);

fn me() -> Member {
    Member::new(PEER, 7)
}

fn alone() -> Membership {
    Membership::new(vec![me()], vec![], vec![]).expect("one member is a membership")
}

/// A genesis, and a command in every entry that follows.
fn member_log(entries: u64) -> Vec<Entry> {
    let genesis = EntryBody::Genesis(Genesis {
        group: GroupKeyId([1; 32]),
        founder: me(),
        membership: alone(),
        nonce: 5,
    });
    let bodies = (1..=entries).map(|index| {
        if index == 1 {
            return genesis.encode();
        }
        let run = OpRun {
            origin: Origin::Member(me()),
            first: index - 1,
            count: 1,
        };
        encode_commands(UnixMillis(index), &[run], [Bytes::from_static(b"c")].iter())
    });
    (1..)
        .zip(bodies)
        .map(|(index, body)| Entry {
            index: LogIndex(index),
            term: Term(1),
            body,
        })
        .collect()
}

/// A store that holds such a log, up to entry `entries`, all of it known to be committed.
fn holding(entries: u64) -> (MemoryStore, DiskLog) {
    let (mut store, mut log) = (MemoryStore::default(), log());
    store.open(log.group, log.incarnation).expect("opened");
    let hard = HardState {
        member: me(),
        lineage: Lineage([9; 32]),
        term: Term(1),
        commit: LogIndex(entries),
        ..HardState::default()
    };
    let writes = vec![
        Write::HardState(hard.encode()),
        Write::Append(member_log(entries)),
    ];
    for batch in log.batches(writes) {
        store.write(batch).expect("written");
    }
    (store, log)
}

fn snapshot(index: u64) -> Meta {
    Meta {
        last: Position::new(Term(1), LogIndex(index)),
        commands: Index(index - 1),
        membership: alone(),
        ..Meta::default()
    }
}

/// What a member makes of a store: its log's begin and end, and what it takes as applied; and the
/// first entry that it hands out, with the number of commands before it.
fn restarted(store: &mut MemoryStore, log: &DiskLog) -> ([u64; 3], Option<(u64, u64)>) {
    let opened = open(store, log.group, 1).expect("opened");
    let config = consensus::Config::new(GroupKeyId([1; 32]), PEER, 7, 1);
    let mut out = Vec::new();
    let core = Core::new(config, opened.restored, Instant::ZERO, &mut out).expect("started");
    let status = core.status();
    let places = [status.base.0, status.last.index.0, status.applied.0];
    let first = out.iter().find_map(|output| match output {
        Output::Apply(entries) => entries.first(),
        _ => None,
    });
    (
        places,
        first.map(|first| (first.entry.index.0, first.before.0)),
    )
}

fn install(log: &DiskLog, meta: &Meta) -> WriteBatch {
    installation(log.group, meta, 1)
}

#[test]
fn a_crash_at_any_point_of_a_cut_leaves_the_log_or_the_snapshot() {
    let (mut store, log) = holding(100);
    let before = restarted(&mut store, &log);
    assert_eq!(before, ([0, 100, 0], Some((1, 0))));
    store
        .write(WriteBatch::new(log.group).stage(0, "state"))
        .expect("staged");
    assert_eq!(restarted(&mut store, &log), before, "staged is not stored");
    store
        .write(install(&log, &snapshot(60)))
        .expect("installed");
    let (places, first) = restarted(&mut store, &log);
    assert_eq!(places, [0, 100, 60], "the log is whole still");
    assert_eq!(first, Some((61, 59)), "what follows the snapshot");
    store
        .write(WriteBatch::new(log.group).compact_through(50))
        .expect("cut");
    let (places, first) = restarted(&mut store, &log);
    assert_eq!((&places[1..], first), (&[100, 60][..], Some((61, 59))));
    assert!((50..=51).contains(&places[0]), "{places:?}");
}

#[test]
fn a_crash_while_a_state_of_others_is_taken_over_leaves_the_old_or_the_new() {
    let (mut store, log) = holding(10);
    store
        .write(WriteBatch::new(log.group).stage(0, "state"))
        .expect("staged");
    assert_eq!(restarted(&mut store, &log).0, [0, 10, 0]);
    store
        .write(install(&log, &snapshot(90)))
        .expect("installed");
    assert_eq!(restarted(&mut store, &log).0, [90, 90, 90]);
    assert_eq!(open(&mut store, log.group, 1).expect("opened").chunks, 1);
    // What is appended next follows the snapshot.
    let mut log = log;
    let next = Entry {
        index: LogIndex(91),
        ..member_log(2).remove(1)
    };
    for batch in log.batches(vec![Write::Append(vec![next])]) {
        store.write(batch).expect("it follows");
    }
    assert_eq!(restarted(&mut store, &log).0, [90, 91, 90]);
}

#[test]
fn a_snapshot_of_the_lineage_that_was_left_is_forgotten_with_it() {
    let (mut store, mut log) = holding(100);
    store
        .write(WriteBatch::new(log.group).stage(0, "state"))
        .expect("staged");
    store
        .write(install(&log, &snapshot(60)))
        .expect("installed");
    for batch in log.batches(vec![Write::Reset(Position::ZERO)]) {
        store.write(batch).expect("written");
    }
    let opened = open(&mut store, log.group, 1).expect("opened");
    assert!(opened.restored.snapshot.is_none() && opened.restored.entries.is_empty());
    assert_eq!(opened.chunks, 0);
}
