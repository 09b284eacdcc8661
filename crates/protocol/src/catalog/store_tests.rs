//! Random news in random order against a model of what must come out.

use {
    super::*,
    crate::catalog::types::Head,
    bytes::Bytes,
    mosaik_primitives::Limits,
    proptest::{collection::vec, prelude::*},
};

const WALL: UnixMillis = UnixMillis(1_000_000);

#[derive(Clone, Copy, Debug)]
enum Op {
    Entry {
        peer: u8,
        version: u8,
        len: u8,
        issued: u16,
    },
    Announce {
        peer: u8,
        version: u8,
        len: u8,
        issued: u16,
    },
    Farewell {
        peer: u8,
        version: u8,
    },
    Down {
        peer: u8,
    },
    Purge {
        after: u32,
    },
}

const fn key(peer: u8) -> NodeKey {
    NodeKey([peer; 32])
}

fn config(entries: usize, bytes: usize, tombstones: usize) -> Config {
    let mut config = Config::new(key(0), Digest::zero(), 1, WALL);
    config.limits = Limits::DEFAULT;
    config.limits.catalog_entries = entries;
    config.limits.catalog_bytes = bytes;
    config.tombstones = tombstones;
    config
}

fn version(seq: u8) -> Version {
    Version {
        start: 7,
        seq: u64::from(seq),
    }
}

/// Entries of one version and different lengths are different entries (a peer that equivocates).
fn record(peer: u8, seq: u8, len: u8) -> Record {
    // The date of an entry is part of what was signed, so it follows from the entry.
    let issued = UnixMillis(WALL.0 - 1_000 + u64::from(seq));
    let bytes = Bytes::from(vec![seq; usize::from(len)]);
    Record::new(
        Head {
            peer: key(peer),
            version: version(seq),
            issued,
        },
        bytes,
    )
}

fn dated(issued: u16) -> Latest {
    let signature = Some(Signature::from_bytes([0; 64]));
    Latest {
        issued: UnixMillis(WALL.0 + u64::from(issued)),
        incarnation: 0,
        signature,
    }
}

fn check(store: &Store) {
    let slots = || store.up.values().chain(store.down.values());
    assert_eq!(
        store.bytes,
        slots().map(|slot| slot.record.bytes.len()).sum::<usize>()
    );
    assert!(store.bytes <= store.max_bytes);
    assert!(slots().count() <= store.max_entries);
    assert!(store.farewells.len() <= store.max_tombstones);
    assert_eq!(store.by_age.len(), slots().count());
    assert_eq!(store.farewells_by_age.len(), store.farewells.len());
    assert!(slots().all(|s| store.by_age.contains(&(s.latest.issued, s.record.peer))));
    assert!(store.up.keys().all(|key| !store.down.contains_key(key)));
    assert!(slots().all(|s| !store.farewells.contains_key(&s.record.peer)));
    assert_eq!(store.range_sum(NodeKey([0; 32]), None), store.sum);
}

fn apply(store: &mut Store, op: Op, wall: UnixMillis) {
    match op {
        Op::Entry {
            peer,
            version,
            len,
            issued,
        } => {
            let record = record(peer, version, len);
            // The outcome is the store's state, which the caller looks at.
            let _ = store.admit(wall, record, dated(issued));
        }
        Op::Announce {
            peer,
            version: seq,
            len,
            issued,
        } => {
            let record = record(peer, seq, len);
            let Latest {
                issued,
                incarnation,
                ..
            } = dated(issued);
            let announcement = Announcement {
                peer: key(peer),
                version: version(seq),
                digest: record.digest,
                issued,
                incarnation,
                signature: Signature::from_bytes([0; 64]),
            };
            if store.classify(wall, &announcement) == Ok(News::Known) {
                assert!(store.refresh(&key(peer), Latest::of(&announcement)).is_ok());
            }
        }
        Op::Farewell { peer, version: seq } => {
            let farewell = Farewell {
                peer: key(peer),
                version: version(seq),
                issued: WALL,
                signature: Signature::from_bytes([0; 64]),
            };
            if store.is_news(wall, &farewell).is_ok() {
                store.depart(farewell);
            }
        }
        Op::Down { peer } => {
            store.set_down(wall, &key(peer));
        }
        Op::Purge { after } => {
            let wall = UnixMillis(wall.0 + u64::from(after));
            while store.purge_one(wall).is_some() {}
        }
    }
}

/// What two stores must agree on to be equal: entries, and farewells.
type Summary = (Vec<(Item, Bytes)>, Vec<(NodeKey, Version)>);

fn summary(store: &Store) -> Summary {
    let entries = store
        .up
        .values()
        .map(|slot| (slot.item(), slot.record.bytes.clone()));
    let farewells = store
        .farewells
        .iter()
        .map(|(peer, farewell)| (*peer, farewell.version));
    (entries.collect(), farewells.collect())
}

fn news() -> impl Strategy<Value = Op> {
    let numbers = (1u8..6, 0u8..5, 0u8..4, 0u16..1_000);
    prop_oneof![
        4 => numbers.clone().prop_map(|(peer, version, len, issued)| Op::Entry { peer, version, len, issued }),
        4 => numbers.prop_map(|(peer, version, len, issued)| Op::Announce { peer, version, len, issued }),
        1 => (1u8..6, 0u8..5).prop_map(|(peer, version)| Op::Farewell { peer, version }),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => news(),
        1 => (1u8..6).prop_map(|peer| Op::Down { peer }),
        1 => (0u32..900_000).prop_map(|after| Op::Purge { after }),
    ]
}

proptest! {
    /// Any order, any repetition: the same catalog, and the one the model names.
    #[test]
    fn merging_is_commutative_and_idempotent(
        (ops, shuffled) in vec(news(), 0..40).prop_flat_map(|ops| (Just(ops.clone()), Just(ops).prop_shuffle())),
    ) {
        let mut one = Store::new(&config(100, 10_000, 100));
        let mut two = Store::new(&config(100, 10_000, 100));
        // Announcements of entries that are not here yet are not kept, so news travels twice.
        ops.iter().chain(&ops).for_each(|op| apply(&mut one, *op, WALL));
        shuffled.iter().chain(&shuffled).chain(&shuffled).for_each(|op| apply(&mut two, *op, WALL));
        prop_assert_eq!(summary(&one), summary(&two));
        prop_assert_eq!(one.sum.finish(), two.sum.finish());
        check(&one);

        for peer in 1..6 {
            let entries = ops.iter().filter_map(|op| match op {
                Op::Entry { peer: p, version: v, len, .. } if *p == peer => {
                    Some((version(*v), record(peer, *v, *len).digest))
                }
                _ => None,
            });
            let left = ops.iter().filter_map(|op| match op {
                Op::Farewell { peer: p, version: v } if *p == peer => Some(version(*v)),
                _ => None,
            }).max();
            let newest = entries.filter(|(version, _)| left.is_none_or(|left| *version > left)).max();
            let held = one.up.get(&key(peer)).map(Slot::rank);
            prop_assert_eq!(held, newest);
        }
    }

    /// Versions and announcements never go back, but by leaving the catalog.
    #[test]
    fn nothing_regresses(ops in vec(any_op(), 0..80)) {
        let mut store = Store::new(&config(100, 10_000, 100));
        for op in ops {
            let before = store.up.clone();
            apply(&mut store, op, WALL);
            check(&store);
            for (peer, slot) in &store.up {
                let Some(older) = before.get(peer) else { continue };
                prop_assert!(slot.rank() >= older.rank());
                prop_assert!(slot.rank() > older.rank() || slot.latest.issued >= older.latest.issued);
            }
        }
    }

    /// Whatever comes, the bounds hold.
    #[test]
    fn the_store_is_bounded(ops in vec(any_op(), 0..120)) {
        let mut store = Store::new(&config(3, 6, 2));
        for op in ops {
            apply(&mut store, op, WALL);
            check(&store);
        }
    }

    /// Ranges of a hostile peer, reversed or empty, do no harm.
    #[test]
    fn any_range_can_be_asked_for(first: [u8; 32], end in any::<Option<[u8; 32]>>()) {
        let mut store = Store::new(&config(100, 10_000, 100));
        for peer in 1..6 {
            apply(&mut store, Op::Entry { peer, version: 1, len: 1, issued: 1 }, WALL);
        }
        let inside = store.up.keys().filter(|key| {
            **key >= NodeKey(first) && end.is_none_or(|end| **key < NodeKey(end))
        });
        let expected = inside.count();
        prop_assert_eq!(store.range(NodeKey(first), end.map(NodeKey)).count(), expected);
    }
}

#[test]
fn a_replay_does_not_bring_back_the_departed_but_a_new_version_does() {
    let mut store = Store::new(&config(10, 1_000, 10));
    apply(
        &mut store,
        Op::Entry {
            peer: 1,
            version: 2,
            len: 1,
            issued: 0,
        },
        WALL,
    );
    apply(
        &mut store,
        Op::Farewell {
            peer: 1,
            version: 2,
        },
        WALL,
    );
    for replayed in 0..=2 {
        let refused = store.admit(WALL, record(1, replayed, 1), dated(5));
        assert_eq!(refused, Err(Refusal::Departed));
    }
    assert_eq!(
        store.admit(WALL, record(1, 3, 1), dated(5)),
        Ok(Merged::Discovered)
    );
}

#[test]
fn what_a_peer_said_before_it_went_down_does_not_bring_it_back() {
    let mut store = Store::new(&config(10, 1_000, 10));
    apply(
        &mut store,
        Op::Entry {
            peer: 1,
            version: 2,
            len: 1,
            issued: 0,
        },
        WALL,
    );
    let later = UnixMillis(WALL.0 + 100);
    store.set_down(later, &key(1));
    assert_eq!(store.refresh(&key(1), dated(50)), Ok(Merged::Refreshed));
    assert!(store.up.is_empty());
    assert_eq!(store.refresh(&key(1), dated(101)), Ok(Merged::Discovered));
    store.set_down(UnixMillis(WALL.0 + 200), &key(1));
    let refutation = Latest {
        incarnation: 1,
        ..dated(150)
    };
    assert_eq!(store.refresh(&key(1), refutation), Ok(Merged::Discovered));
}

#[test]
fn dates_too_far_ahead_or_too_old_are_refused() {
    let mut store = Store::new(&config(10, 1_000, 10));
    let ahead = Latest::of_entry(UnixMillis(WALL.0 + 50_001));
    assert_eq!(
        store.admit(WALL, record(1, 1, 1), ahead),
        Err(Refusal::FutureDated)
    );
    let late = UnixMillis(WALL.0 + 300_001);
    assert_eq!(
        store.admit(late, record(1, 1, 1), dated(0)),
        Err(Refusal::Stale)
    );
    assert_eq!(
        store.admit(WALL, record(1, 1, 1), dated(50_000)),
        Ok(Merged::Discovered)
    );
}

#[test]
fn a_full_catalog_refuses_newcomers_but_not_updates_and_gives_up_the_down_first() {
    let mut store = Store::new(&config(2, 1_000, 10));
    assert!(store.admit(WALL, record(1, 1, 1), dated(0)).is_ok());
    assert!(store.admit(WALL, record(2, 1, 1), dated(0)).is_ok());
    assert_eq!(
        store.admit(WALL, record(3, 1, 1), dated(0)),
        Err(Refusal::CatalogFull)
    );
    assert_eq!(
        store.admit(WALL, record(2, 2, 1), dated(0)),
        Ok(Merged::Updated)
    );
    store.set_down(WALL, &key(1));
    assert_eq!(
        store.admit(WALL, record(3, 1, 1), dated(0)),
        Ok(Merged::Discovered)
    );
    assert_eq!(store.evicted, 1);
}
