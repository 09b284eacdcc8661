//! The promises of a store, one a function.

use {
    super::{Fixture, waiting::wait_for},
    core::ops::RangeInclusive,
    mosaik_protocol::store::{
        Completion, Entry, GroupId, Incarnation, Invalid, LogStore, Position, SnapshotMeta,
        StoreError, SubmitError, WriteBatch,
    },
};

/// A promise in words, and the function that checks it.
pub type Case<F> = (&'static str, fn(&mut F));

/// Every promise that is checked.
pub fn cases<F: Fixture>() -> Vec<Case<F>> {
    vec![
        ("an empty store knows no group", empty),
        (
            "an incarnation is kept as long as the group, and new in a fresh store",
            incarnation,
        ),
        (
            "a log is read back in order, in ranges and up to a size",
            ranges,
        ),
        ("a refused batch changes nothing", refused_whole),
        (
            "parts of a batch apply in the documented order",
            order_of_parts,
        ),
        ("groups do not see each other", isolation),
        (
            "a snapshot goes through staging, and replaces the one before",
            snapshots,
        ),
        ("a foreign snapshot empties the log", foreign_snapshot),
        (
            "a removed group leaves nothing to the next of its name",
            removal,
        ),
        (
            "completions come in order, once, and wake who waits",
            completions,
        ),
        ("a batch over the limit is handed back", too_large),
        ("large payloads survive", large_payloads),
        ("what was acknowledged is there after reopening", durability),
        (
            "batches submitted one after the other build on each other",
            pipelining,
        ),
    ]
}

const ALL: RangeInclusive<u64> = 0..=u64::MAX;

fn group(number: u32) -> GroupId {
    GroupId::from_u32(number)
}

fn batch(number: u32) -> WriteBatch {
    WriteBatch::new(group(number))
}

fn entry(index: u64, term: u64) -> Entry {
    let payload = format!("entry {index} of term {term}").into();
    Entry {
        index,
        term,
        payload,
    }
}

fn entries(indices: RangeInclusive<u64>, term: u64) -> Vec<Entry> {
    indices.map(|index| entry(index, term)).collect()
}

fn snapshot(index: u64, term: u64, chunks: u32) -> SnapshotMeta {
    SnapshotMeta {
        last: Position { index, term },
        chunks,
        meta: format!("at {index}").into(),
    }
}

fn write(store: &mut impl LogStore, batch: WriteBatch) {
    store.write(batch).expect("a valid batch is written");
}

fn log(store: &mut impl LogStore, number: u32) -> Vec<Entry> {
    store
        .entries(group(number), ALL, usize::MAX)
        .expect("a log is read")
}

fn reopened<F: Fixture>(fixture: &mut F, store: F::Store) -> F::Store {
    if store.is_durable() {
        fixture.reopen(store)
    } else {
        store
    }
}

fn empty<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.fresh();
    assert_eq!(store.groups(), Ok(vec![]));
    assert_eq!(store.load(group(1)), Ok(None));
    let unknown = Err(StoreError::Invalid {
        group: group(1),
        reason: Invalid::UnknownGroup,
    });
    assert_eq!(store.entries(group(1), ALL, 1).map(|_| ()), unknown);
    assert_eq!(store.chunk(group(1), 0).map(|_| ()), unknown);
    assert_eq!(store.write(batch(1).hard_state("vote")), unknown);
}

fn incarnation<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.fresh();
    let open = |store: &mut F::Store, fresh| {
        store
            .open(group(1), Incarnation(fresh))
            .expect("a group opens")
            .incarnation
    };
    assert_eq!(open(&mut store, 7), Incarnation(7));
    write(
        &mut store,
        batch(1).hard_state("vote").append(entries(1..=3, 1)),
    );
    assert_eq!(open(&mut store, 8), Incarnation(7));
    let mut store = reopened(fixture, store);
    assert_eq!(open(&mut store, 9), Incarnation(7));
    assert_eq!(open(&mut fixture.fresh(), 10), Incarnation(10));
}

fn ranges<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.fresh();
    write(
        &mut store,
        batch(1).create(Incarnation(1)).append(entries(1..=9, 1)),
    );
    write(
        &mut store,
        batch(1).compact_through(2).append(entries(10..=12, 3)),
    );
    let mut read = |range, max_bytes| {
        let entries = store
            .entries(group(1), range, max_bytes)
            .expect("a log is read");
        entries.iter().map(|entry| entry.index).collect::<Vec<_>>()
    };
    assert_eq!(read(5..=7, usize::MAX), [5, 6, 7]);
    assert_eq!(
        read(0..=4, usize::MAX),
        [3, 4],
        "what is compacted is skipped"
    );
    assert_eq!(read(11..=99, usize::MAX), [11, 12]);
    assert_eq!(read(13..=99, usize::MAX), [0; 0]);
    #[expect(
        clippy::reversed_empty_ranges,
        reason = "an empty range is a legal question"
    )]
    let nothing = read(7..=6, usize::MAX);
    assert_eq!(nothing, [0; 0]);
    assert_eq!(read(4..=9, 0), [4], "one entry whatever its size");
    let two = entry(4, 1).payload.len() + entry(5, 1).payload.len();
    assert_eq!(read(4..=9, two), [4, 5]);
    let log = log(&mut store, 1);
    assert_eq!(log, [entries(3..=9, 1), entries(10..=12, 3)].concat());
}

fn refused_whole<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.fresh();
    let start = batch(1)
        .create(Incarnation(1))
        .hard_state("first")
        .append(entries(1..=5, 2));
    write(&mut store, start);
    let before = store.load(group(1));
    let busy = || batch(1).hard_state("second").stage(0, "chunk");
    let refused = [
        (
            busy().append(entries(7..=8, 2)),
            Invalid::Gap {
                index: 7,
                expected: 6,
            },
        ),
        (
            busy().append(vec![entry(6, 2), entry(7, 1)]),
            Invalid::TermRegressed {
                index: 7,
                term: 1,
                last: 2,
            },
        ),
        (
            busy().truncate_from(0),
            Invalid::TruncateCompacted { from: 0, base: 0 },
        ),
        (
            busy().compact_through(6),
            Invalid::CompactBeyondEnd {
                through: 6,
                last: 5,
            },
        ),
        (
            busy().install(snapshot(3, 2, 2)),
            Invalid::ChunksMissing {
                named: 2,
                staged: 1,
            },
        ),
        (
            busy().stage(2, "gap"),
            Invalid::ChunkOutOfOrder {
                number: 2,
                expected: 1,
            },
        ),
        (busy().create(Incarnation(2)), Invalid::GroupExists),
        (busy().remove(), Invalid::UnknownGroup),
    ];
    for (batch, reason) in refused {
        assert_eq!(
            store.write(batch),
            Err(StoreError::Invalid {
                group: group(1),
                reason
            })
        );
        assert_eq!(store.load(group(1)), before);
    }
    assert_eq!(log(&mut store, 1), entries(1..=5, 2));
    write(&mut store, batch(1).append(entries(6..=6, 2)));
    let mut store = reopened(fixture, store);
    assert_eq!(log(&mut store, 1), entries(1..=6, 2));
}

fn order_of_parts<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.fresh();
    write(
        &mut store,
        batch(1).create(Incarnation(1)).append(entries(1..=9, 1)),
    );
    let all = batch(1)
        .hard_state("term 3")
        .stage(0, "data")
        .install(snapshot(4, 1, 1))
        .truncate_from(6)
        .append(entries(6..=8, 3))
        .compact_through(7);
    write(&mut store, all);
    let mut store = reopened(fixture, store);
    let state = store.load(group(1)).expect("loads").expect("exists");
    assert_eq!(state.base, Position { index: 7, term: 3 });
    assert_eq!(state.last, Position { index: 8, term: 3 });
    assert_eq!(state.snapshot, Some(snapshot(4, 1, 1)));
    assert_eq!(state.hard_state, Some("term 3".into()));
    assert_eq!(log(&mut store, 1), entries(8..=8, 3));
}

fn isolation<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.fresh();
    for number in 1..=20 {
        let term = number.into();
        let start = batch(number)
            .create(Incarnation(term))
            .hard_state(number.to_string());
        write(&mut store, start.append(entries(1..=term, term)));
    }
    write(&mut store, batch(7).remove());
    write(&mut store, batch(8).truncate_from(3));
    let mut store = reopened(fixture, store);
    for number in (1..=20).filter(|number| ![7, 8].contains(number)) {
        let term = u64::from(number);
        let state = store.load(group(number)).expect("loads").expect("exists");
        assert_eq!(state.incarnation, Incarnation(term));
        assert_eq!(state.hard_state, Some(number.to_string().into()));
        assert_eq!(log(&mut store, number), entries(1..=term, term));
    }
    assert_eq!(log(&mut store, 8), entries(1..=2, 8));
    let groups = store.groups().expect("groups are listed");
    assert_eq!(groups.len(), 19);
    assert!(groups.is_sorted(), "groups are listed in ascending order");
}

fn snapshots<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.fresh();
    write(
        &mut store,
        batch(1).create(Incarnation(1)).append(entries(1..=9, 1)),
    );
    write(&mut store, batch(1).stage(0, "stale").stage(1, "stale"));
    write(&mut store, batch(1).stage(0, "a").stage(1, "b"));
    let mut store = reopened(fixture, store);
    let state = store.load(group(1)).expect("loads").expect("exists");
    assert_eq!(
        (state.staged, state.snapshot),
        (2, None),
        "staging survives"
    );
    assert_eq!(
        store.chunk(group(1), 0),
        Ok(None),
        "what is staged is not installed"
    );
    write(
        &mut store,
        batch(1).stage(2, "c").install(snapshot(5, 1, 3)),
    );
    let mut chunks = |count: u32| {
        let chunks = (0..count).map(|number| store.chunk(group(1), number).expect("is read"));
        chunks.collect::<Vec<_>>()
    };
    assert_eq!(
        chunks(4),
        [Some("a".into()), Some("b".into()), Some("c".into()), None]
    );
    write(
        &mut store,
        batch(1)
            .stage(0, "new")
            .install(snapshot(8, 1, 1))
            .compact_through(8),
    );
    let mut store = reopened(fixture, store);
    assert_eq!(store.chunk(group(1), 0), Ok(Some("new".into())));
    assert_eq!(
        store.chunk(group(1), 1),
        Ok(None),
        "chunks of the old snapshot are gone"
    );
    let reason = Invalid::SnapshotRegressed {
        index: 7,
        existing: 8,
    };
    let older = batch(1).stage(0, "old").install(snapshot(7, 1, 1));
    assert_eq!(
        store.write(older),
        Err(StoreError::Invalid {
            group: group(1),
            reason
        })
    );
    assert_eq!(
        log(&mut store, 1),
        entries(9..=9, 1),
        "the log behind the snapshot is kept"
    );
}

fn foreign_snapshot<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.fresh();
    write(
        &mut store,
        batch(1).create(Incarnation(1)).append(entries(1..=9, 1)),
    );
    let install = batch(1).stage(0, "data").install(snapshot(5, 2, 1));
    write(&mut store, install.append(entries(6..=7, 2)));
    assert_eq!(
        log(&mut store, 1),
        entries(6..=7, 2),
        "nothing of the old log is left"
    );
    write(&mut store, batch(1).install(snapshot(100, 4, 0)));
    let mut store = reopened(fixture, store);
    let state = store.load(group(1)).expect("loads").expect("exists");
    assert_eq!(
        (state.base, state.last),
        (
            Position {
                index: 100,
                term: 4
            },
            state.base
        )
    );
    write(&mut store, batch(1).append(entries(101..=102, 4)));
    assert_eq!(log(&mut store, 1), entries(101..=102, 4));
}

fn removal<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.fresh();
    let start = batch(1)
        .create(Incarnation(1))
        .hard_state("vote")
        .append(entries(1..=50, 1));
    write(&mut store, start);
    let install = batch(1).stage(0, "data").install(snapshot(5, 1, 1));
    write(&mut store, install);
    write(&mut store, batch(1).remove());
    assert_eq!(store.load(group(1)), Ok(None));
    write(&mut store, batch(1).remove());
    write(
        &mut store,
        batch(1).create(Incarnation(2)).append(entries(1..=2, 1)),
    );
    write(
        &mut store,
        batch(1)
            .remove()
            .create(Incarnation(3))
            .append(entries(1..=3, 1)),
    );
    let mut store = reopened(fixture, store);
    let state = store.load(group(1)).expect("loads").expect("exists");
    assert_eq!(
        (state.incarnation, state.hard_state),
        (Incarnation(3), None)
    );
    assert_eq!((state.snapshot, state.staged), (None, 0));
    assert_eq!(log(&mut store, 1), entries(1..=3, 1));
    assert_eq!(store.chunk(group(1), 0), Ok(None));
}

fn completions<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.fresh();
    write(&mut store, batch(1).create(Incarnation(1)));
    let mut tokens = Vec::new();
    for index in 1..=20 {
        // Every fifth leaves a gap and is refused; those behind it are not affected.
        if index % 5 == 0 {
            tokens.push(store.submit(batch(1).append(entries(99..=99, 1))));
        }
        tokens.push(store.submit(batch(1).append(entries(index..=index, 1))));
    }
    let tokens: Vec<_> = tokens
        .into_iter()
        .map(|token| token.expect("there is room"))
        .collect();
    let last = *tokens.last().expect("some were submitted");
    let ended = wait_for(&mut store, last);
    assert!(
        ended.iter().map(|completion| completion.token).eq(tokens),
        "in order, each once"
    );
    let failed = ended.iter().filter(|completion| completion.result.is_err());
    assert_eq!(failed.count(), 4);
    let mut more: Vec<Completion> = Vec::new();
    store.completed(&mut more);
    assert_eq!(more, [], "no completion comes twice");
    assert_eq!(log(&mut store, 1), entries(1..=20, 1));
}

fn too_large<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.fresh();
    write(&mut store, batch(1).create(Incarnation(1)));
    // Chunks that share their bytes: the batch is large, the test is not.
    let chunk = bytes::Bytes::from(vec![0; 1 << 20]);
    let mut large = batch(1);
    for number in 0..=256 {
        large = large.stage(number, chunk.clone());
    }
    match store.submit(large.clone()) {
        Err(SubmitError::Refused {
            batch,
            reason: StoreError::TooLarge { bytes, limit },
        }) => {
            assert_eq!(*batch, large, "handed back as it came");
            assert!(bytes > limit);
        }
        other => panic!(
            "a batch of 257 MiB is refused, not {:?}",
            other.map(|token| token.0)
        ),
    }
    assert!(matches!(
        store.write(large),
        Err(StoreError::TooLarge { .. })
    ));
    write(&mut store, batch(1).hard_state("the group goes on"));
}

fn large_payloads<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.fresh();
    write(&mut store, batch(1).create(Incarnation(1)));
    let payload = |index: u64| bytes::Bytes::from(vec![index as u8; 1 << (4 * index)]);
    let large = |index| Entry {
        index,
        term: 1,
        payload: payload(index),
    };
    write(
        &mut store,
        batch(1).append((1..=5).map(large)).stage(0, payload(5)),
    );
    write(
        &mut store,
        batch(1).append([Entry {
            index: 6,
            term: 1,
            payload: "".into(),
        }]),
    );
    let mut store = reopened(fixture, store);
    let log = log(&mut store, 1);
    assert!(
        log[..5]
            .iter()
            .zip(1..)
            .all(|(entry, index)| *entry == large(index))
    );
    assert!(
        log[5].payload.is_empty(),
        "an empty payload is an entry too"
    );
}

fn durability<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.fresh();
    write(&mut store, batch(1).create(Incarnation(1)));
    for round in 0..5_u64 {
        let first = round * 3 + 1;
        write(&mut store, batch(1).append(entries(first..=first, 1)));
        let appends = (first + 1..=first + 2).map(|index| {
            let token = store.submit(batch(1).append(entries(index..=index, 1)));
            token.expect("there is room")
        });
        let last = appends.last().expect("two were submitted");
        wait_for(&mut store, last);
        store = reopened(fixture, store);
        assert_eq!(log(&mut store, 1), entries(1..=first + 2, 1));
    }
}

fn pipelining<F: Fixture>(fixture: &mut F) {
    let mut store = fixture.fresh();
    let steps = [
        batch(1).create(Incarnation(1)),
        batch(1).append(entries(1..=10, 1)),
        batch(1).truncate_from(5).append(entries(5..=8, 2)),
        batch(1).compact_through(6),
        batch(1).stage(0, "data"),
        batch(1).install(snapshot(7, 2, 1)),
        batch(1).truncate_from(8),
        batch(1).append(entries(8..=9, 3)),
    ];
    let tokens = steps.map(|step| store.submit(step).expect("there is room"));
    let ended = wait_for(&mut store, tokens[7]);
    assert!(
        ended.iter().all(|completion| completion.result.is_ok()),
        "{ended:?}"
    );
    assert_eq!(
        log(&mut store, 1),
        [entries(7..=7, 2), entries(8..=9, 3)].concat()
    );
    assert_eq!(store.chunk(group(1), 0), Ok(Some("data".into())));
}
