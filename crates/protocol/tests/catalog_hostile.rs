//! What bad input gets: a typed refusal, and nothing else changes.

#[path = "catalog/world.rs"]
#[allow(dead_code, reason = "the simulation is another test's")]
mod world;

use {
    bytes::Bytes,
    core::time::Duration,
    mosaik_primitives::{
        Digest,
        codec::Versioned,
        time::{Instant, UnixMillis},
    },
    mosaik_protocol::catalog::{
        AgeWindow, Announcement, Authority, Carried, Catalog, CompactAnnouncement, Config, Dated,
        EntryFault, Farewell, Gossip, Input, Item, Message, NodeKey, Output, Outputs, Range,
        RangeContent, Refusal, Request, Signature, Suspicion, Version,
    },
    proptest::{collection::vec, prelude::*},
    world::{Keys, entry, key},
};

const WALL: UnixMillis = UnixMillis(1_700_000_000_000);

fn config() -> Config {
    let mut config = Config::new(key(0), Digest::hash(b"n"), 1, WALL);
    config.limits.catalog_entries = 4;
    config.limits.catalog_bytes = 4_096;
    config.limits.entry_bytes = 2_048;
    config.tombstones = 3;
    config.pulls = 3;
    config
}

const fn version(seq: u64) -> Version {
    Version { start: 1, seq }
}

fn signed(index: usize, seq: u64, issued: u64, len: usize) -> Bytes {
    entry(key(index), version(seq), UnixMillis(issued), len)
}

/// A catalog that holds its own entry and that of node 1.
fn catalog() -> Catalog<Keys> {
    let mut catalog = Catalog::new(Instant::ZERO, config(), Keys(key(0))).unwrap();
    let mut out = Outputs::new();
    catalog.handle(
        Instant::ZERO,
        Input::Publish(signed(0, 1, WALL.0, 200)),
        &mut out,
    );
    catalog.handle(
        Instant::ZERO,
        Input::Feed(signed(1, 5, WALL.0, 200)),
        &mut out,
    );
    assert_eq!(catalog.len(), 2);
    catalog
}

fn refusals(catalog: &mut Catalog<Keys>, input: Input) -> Vec<Refusal> {
    let mut out = Outputs::new();
    catalog.handle(Instant::from_millis(1), input, &mut out);
    let refused = out.into_iter().filter_map(|output| match output {
        Output::Refused { reason, .. } => Some(reason),
        _ => None,
    });
    refused.collect()
}

fn gossip(gossip: &Gossip) -> Input {
    Input::Gossip {
        from: key(1),
        bytes: gossip.to_versioned().unwrap(),
    }
}

#[track_caller]
fn check_entry(bytes: Bytes, expected: &[Refusal]) {
    let mut catalog = catalog();
    let before: Vec<_> = catalog.iter().cloned().collect();
    assert_eq!(refusals(&mut catalog, Input::Feed(bytes)), expected);
    assert_eq!(catalog.iter().cloned().collect::<Vec<_>>(), before);
    let counters = catalog.counters();
    let counted = counters.refused_invalid
        + counters.refused_messages
        + counters.refused_old
        + counters.refused_room
        + counters.refused_time;
    assert_eq!(counted, 1);
}

#[test]
fn bad_entries_are_refused_by_name_and_change_nothing() {
    let good = signed(2, 1, WALL.0, 200);
    let mut tampered = good.to_vec();
    tampered[150] ^= 1;
    check_entry(tampered.into(), &[Refusal::Entry(EntryFault::Signature)]);
    check_entry(good.slice(..70), &[Refusal::Entry(EntryFault::Malformed)]);
    check_entry(Bytes::new(), &[Refusal::Entry(EntryFault::Malformed)]);
    check_entry(signed(2, 1, WALL.0, 3_000), &[Refusal::EntryTooLarge]);
    check_entry(signed(2, 1, WALL.0 + 60_000, 200), &[Refusal::FutureDated]);
    check_entry(signed(2, 1, WALL.0 - 301_000, 200), &[Refusal::Stale]);
    // A replay is no offence, but it changes nothing either.
    check_entry(signed(1, 4, WALL.0, 200), &[]);
}

#[test]
fn a_full_catalog_refuses_by_name() {
    let mut catalog = catalog();
    for index in 2..4 {
        assert_eq!(
            refusals(&mut catalog, Input::Feed(signed(index, 1, WALL.0, 200))),
            []
        );
    }
    let refused = refusals(&mut catalog, Input::Feed(signed(4, 1, WALL.0, 200)));
    assert_eq!(refused, [Refusal::CatalogFull]);
    assert_eq!((catalog.len(), catalog.counters().refused_room), (4, 1));
}

#[test]
fn malformed_and_oversized_messages_are_refused() {
    let mut catalog = catalog();
    for bytes in [
        Bytes::new(),
        Bytes::from_static(&[9; 40]),
        vec![0; 1 << 20].into(),
    ] {
        let message = Input::Message {
            from: key(1),
            bytes: bytes.clone(),
        };
        assert_eq!(refusals(&mut catalog, message), [Refusal::Message]);
        let broadcast = Input::Gossip {
            from: key(1),
            bytes,
        };
        assert_eq!(refusals(&mut catalog, broadcast), [Refusal::Message]);
    }
    assert_eq!(catalog.counters().refused_messages, 6);
}

#[test]
fn forged_statements_are_refused() {
    let mut catalog = catalog();
    let digest = catalog.get(&key(1)).unwrap().digest;
    let (peer, forged) = (key(1), Signature::from_bytes([1; 64]));
    let issued = UnixMillis(WALL.0 + 10);
    let statements = [
        Gossip::Announcement(Announcement {
            peer,
            version: version(5),
            digest,
            issued,
            incarnation: 1,
            signature: forged,
        }),
        Gossip::Farewell(Farewell {
            peer,
            version: version(5),
            issued,
            signature: forged,
        }),
        Gossip::Suspicion(Suspicion {
            peer,
            version: version(5),
            incarnation: 0,
            reporter: peer,
            signature: forged,
        }),
    ];
    for statement in &statements {
        assert_eq!(
            refusals(&mut catalog, gossip(statement)),
            [Refusal::Signature]
        );
    }
    // Signed, but for another network.
    let other = Digest::hash(b"other");
    let text = Farewell::statement(&other, &peer, version(5), issued);
    let signature = Keys(peer).sign(&text);
    let foreign = Gossip::Farewell(Farewell {
        peer,
        version: version(5),
        issued,
        signature,
    });
    assert_eq!(
        refusals(&mut catalog, gossip(&foreign)),
        [Refusal::Signature]
    );
    assert_eq!(catalog.len(), 2);
}

#[test]
fn strangers_suspect_nobody() {
    let mut catalog = catalog();
    let (peer, reporter) = (key(1), key(7));
    let text = Suspicion::statement(&Digest::hash(b"n"), &peer, version(5), 0, &reporter);
    let signature = Keys(reporter).sign(&text);
    let suspicion = Suspicion {
        peer,
        version: version(5),
        incarnation: 0,
        reporter,
        signature,
    };
    let refused = refusals(&mut catalog, gossip(&Gossip::Suspicion(suspicion)));
    assert_eq!(refused, [Refusal::Stranger]);
}

#[test]
fn an_older_own_entry_and_a_foreign_one_are_not_published() {
    let mut catalog = catalog();
    for bytes in [signed(0, 1, WALL.0, 200), signed(1, 9, WALL.0, 200)] {
        assert_eq!(
            refusals(&mut catalog, Input::Publish(bytes)),
            [Refusal::NotMine]
        );
    }
}

#[test]
fn a_newer_entry_of_this_node_in_the_network_is_reported() {
    let mut catalog = catalog();
    let mut out = Outputs::new();
    let newer = Gossip::Entry(signed(0, 8, WALL.0, 200));
    catalog.handle(Instant::from_millis(1), gossip(&newer), &mut out);
    assert!(
        out.iter()
            .any(|output| matches!(output, Output::Superseded(v) if *v == version(8)))
    );
    assert_eq!(catalog.get(&key(0)).unwrap().version, version(1));
}

/// What a catalog says when `input` comes at 1 ms: versions it was told to go beyond, and messages.
fn said(catalog: &mut Catalog<Keys>, input: Input) -> (Vec<Version>, Vec<(NodeKey, Message)>) {
    let mut out = Outputs::new();
    let max = catalog.max_message_bytes();
    catalog.handle(Instant::from_millis(1), input, &mut out);
    let (mut superseded, mut sent) = (Vec::new(), Vec::new());
    for output in out {
        match output {
            Output::Superseded(version) => superseded.push(version),
            Output::Send { peer, bytes } => {
                sent.push((peer, Message::from_versioned(&bytes, max).unwrap()));
            }
            _ => {}
        }
    }
    (superseded, sent)
}

fn message(message: &Message) -> Input {
    Input::Message {
        from: key(1),
        bytes: message.to_versioned().unwrap(),
    }
}

/// A claim to hold an entry of this node.
fn claim(version: Version, issued: u64) -> Item {
    Item {
        peer: key(0),
        version,
        digest: Digest::hash(b"claimed"),
        issued: UnixMillis(issued),
    }
}

#[test]
fn an_unsigned_claim_about_this_node_does_not_move_its_version() {
    let last = Version {
        start: u64::MAX,
        seq: u64::MAX,
    };
    let items = vec![claim(version(7), WALL.0), claim(last, WALL.0)];
    let compare = Message::Compare {
        session: 1,
        opener: true,
        ranges: vec![Range {
            end: None,
            content: RangeContent::Items(items.clone()),
        }],
        ages: None,
    };
    for claims in [compare, Message::Offer(items)] {
        let (superseded, sent) = said(&mut catalog(), message(&claims));
        assert_eq!(superseded, []);
        // Whoever claims it is asked for it, once.
        let asked = sent.iter().filter_map(|(peer, message)| match message {
            Message::Pull(requests) => Some((*peer, requests.clone())),
            _ => None,
        });
        let request = Request {
            peer: key(0),
            version: last,
        };
        assert_eq!(asked.collect::<Vec<_>>(), [(key(1), vec![request])]);
    }
}

#[test]
fn what_this_node_signed_ahead_of_its_clock_does_not_move_its_version() {
    let ahead = WALL.0 + 60_000;
    let (peer, network, newer) = (key(0), Digest::hash(b"n"), version(8));
    let digest = Digest::hash(b"it");
    let issued = UnixMillis(ahead);
    let announced = Announcement::statement(&network, &peer, newer, &digest, issued, 0);
    let announcement = Announcement {
        peer,
        version: newer,
        digest,
        issued,
        incarnation: 0,
        signature: Keys(peer).sign(&announced),
    };
    let left = Farewell::statement(&network, &peer, newer, issued);
    let farewell = Farewell {
        peer,
        version: newer,
        issued,
        signature: Keys(peer).sign(&left),
    };
    for statement in [
        Gossip::Entry(signed(0, 8, ahead, 200)),
        Gossip::Announcement(announcement),
        Gossip::Farewell(farewell),
    ] {
        let mut catalog = catalog();
        let direct = message(&Message::Direct(statement.clone()));
        assert_eq!(said(&mut catalog, direct).0, [], "{statement:?}");
        let refused = refusals(&mut catalog, gossip(&statement));
        assert_eq!(refused, [Refusal::FutureDated], "{statement:?}");
    }
    // Nor is anybody asked for it.
    let (superseded, sent) = said(
        &mut catalog(),
        message(&Message::Offer(vec![claim(newer, ahead)])),
    );
    assert_eq!((superseded, sent), (vec![], vec![]));
}

#[test]
fn a_farewell_is_not_dated_before_the_entry_that_it_ends() {
    let ahead = WALL.0 + 40_000;
    let mut catalog = catalog();
    let (_, _) = said(&mut catalog, Input::Publish(signed(0, 2, ahead, 200)));
    let mut out = Outputs::new();
    catalog.handle(Instant::from_millis(2), Input::Leave, &mut out);
    let farewell = out.iter().find_map(|output| match output {
        Output::Broadcast(bytes) => match Gossip::from_versioned(bytes, 4_096) {
            Ok(Gossip::Farewell(farewell)) => Some(farewell),
            _ => None,
        },
        _ => None,
    });
    assert!(farewell.unwrap().issued >= UnixMillis(ahead));
}

fn a_key() -> impl Strategy<Value = NodeKey> + Clone {
    prop_oneof![
        (0usize..6).prop_map(key),
        any::<[u8; 32]>().prop_map(NodeKey)
    ]
}

fn a_version() -> impl Strategy<Value = Version> + Clone {
    prop_oneof![
        (0u64..8).prop_map(version),
        any::<(u64, u64)>().prop_map(|(start, seq)| Version { start, seq })
    ]
}

fn a_time() -> impl Strategy<Value = UnixMillis> + Clone {
    prop_oneof![
        (0u64..400_000).prop_map(|ms| UnixMillis(WALL.0 - 200_000 + ms)),
        any::<u64>().prop_map(UnixMillis)
    ]
}

fn an_entry() -> impl Strategy<Value = Bytes> + Clone {
    prop_oneof![
        8 => (1usize..6, 0u64..8, a_time(), 130usize..2_100)
            .prop_map(|(index, seq, issued, len)| entry(key(index), version(seq), issued, len)),
        1 => vec(any::<u8>(), 0..200).prop_map(Bytes::from),
    ]
}

/// A statement by anybody, correctly signed or not.
fn a_gossip() -> impl Strategy<Value = Gossip> + Clone {
    let network = Digest::hash(b"n");
    let parts = (
        a_key(),
        a_version(),
        a_time(),
        prop_oneof![0u64..3, Just(u64::MAX)],
        any::<bool>(),
    );
    prop_oneof![
        an_entry().prop_map(Gossip::Entry),
        (parts.clone(), an_entry()).prop_map(
            move |((peer, version, issued, incarnation, sign), bytes)| {
                let digest = Digest::hash(&bytes);
                let text =
                    Announcement::statement(&network, &peer, version, &digest, issued, incarnation);
                let signature = if sign {
                    Keys(peer).sign(&text)
                } else {
                    Signature::from_bytes([0; 64])
                };
                Gossip::Announcement(Announcement {
                    peer,
                    version,
                    digest,
                    issued,
                    incarnation,
                    signature,
                })
            }
        ),
        parts
            .clone()
            .prop_map(move |(peer, version, issued, _, _)| {
                let signature =
                    Keys(peer).sign(&Farewell::statement(&network, &peer, version, issued));
                Gossip::Farewell(Farewell {
                    peer,
                    version,
                    issued,
                    signature,
                })
            }),
        (parts, a_key()).prop_map(move |((peer, version, _, incarnation, _), reporter)| {
            let text = Suspicion::statement(&network, &peer, version, incarnation, &reporter);
            let signature = Keys(reporter).sign(&text);
            Gossip::Suspicion(Suspicion {
                peer,
                version,
                incarnation,
                reporter,
                signature,
            })
        }),
    ]
}

fn an_item() -> impl Strategy<Value = Item> + Clone {
    (a_key(), a_version(), any::<[u8; 32]>(), a_time()).prop_map(
        |(peer, version, digest, issued)| Item {
            peer,
            version,
            digest: Digest::from_bytes(digest),
            issued,
        },
    )
}

fn a_range() -> impl Strategy<Value = Range> + Clone {
    let content = prop_oneof![
        Just(RangeContent::Skip),
        (0u32..5, any::<[u8; 16]>())
            .prop_map(|(count, fingerprint)| RangeContent::Fingerprint { count, fingerprint }),
        vec(an_item(), 0..5).prop_map(RangeContent::Items),
    ];
    (proptest::option::of(a_key()), content).prop_map(|(end, content)| Range { end, content })
}

fn a_message() -> impl Strategy<Value = Message> + Clone {
    let dated = (a_time(), any::<u64>()).prop_map(|(issued, incarnation)| Dated {
        issued,
        incarnation,
        signature: Signature::from_bytes([0; 64]),
    });
    let prefix = prop_oneof![
        (0usize..6).prop_map(|index| *key(index).0.first_chunk().unwrap()),
        any::<[u8; 4]>(),
    ];
    let compact = (prefix.clone(), a_time()).prop_map(|(prefix, issued)| CompactAnnouncement {
        prefix,
        issued,
        incarnation: 0,
        signature: Signature::from_bytes([0; 64]),
    });
    let ages = (any::<u32>(), vec(any::<u8>(), 0..9)).prop_map(|(first, ages)| AgeWindow {
        first,
        ages: ages.into(),
    });
    prop_oneof![
        3 => a_gossip().prop_map(Message::Direct),
        3 => (any::<u32>(), any::<bool>(), vec(a_range(), 0..4), proptest::option::of(ages))
            .prop_map(|(session, opener, ranges, ages)| Message::Compare { session, opener, ranges, ages }),
        1 => any::<(u32, bool)>().prop_map(|(session, more)| Message::End { session, more }),
        1 => (vec(compact, 0..4), vec(prefix, 0..4))
            .prop_map(|(fresh, wanted)| Message::Announcements { fresh, wanted }),
        2 => vec((an_entry(), proptest::option::of(dated)), 0..3).prop_map(|entries| {
            Message::Entries(entries.into_iter().map(|(entry, latest)| Carried { entry, latest }).collect())
        }),
        1 => vec(an_item(), 0..4).prop_map(Message::Offer),
        1 => vec((a_key(), a_version()), 0..4).prop_map(|requests| {
            Message::Pull(requests.into_iter().map(|(peer, version)| Request { peer, version }).collect())
        }),
        1 => vec(a_key(), 0..4).prop_map(Message::Lacking),
    ]
}

fn an_input() -> impl Strategy<Value = Input> + Clone {
    prop_oneof![
        6 => (a_key(), a_message()).prop_map(|(from, message)| Input::Message {
            from,
            bytes: message.to_versioned().unwrap(),
        }),
        3 => (a_key(), a_gossip()).prop_map(|(from, gossip)| Input::Gossip {
            from,
            bytes: gossip.to_versioned().unwrap(),
        }),
        1 => (a_key(), vec(any::<u8>(), 0..64))
            .prop_map(|(from, bytes)| Input::Message { from, bytes: bytes.into() }),
        1 => a_key().prop_map(Input::LinkUp),
        1 => a_key().prop_map(Input::SyncWith),
        1 => a_key().prop_map(Input::Unreachable),
        1 => a_key().prop_map(Input::Remove),
        1 => a_time().prop_map(Input::WallClock),
        1 => (1u64..9, a_time()).prop_map(|(seq, issued)| {
            Input::Publish(entry(key(0), version(seq), issued, 200))
        }),
        1 => Just(Input::Leave),
    ]
}

proptest! {
    /// Whatever peers send, in whatever order: no panic, no growth beyond the bounds, no busy
    /// loop, and no messages without end.
    #[test]
    fn nothing_that_peers_send_does_harm(steps in vec((an_input(), 0u64..3_000), 1..60)) {
        let mut catalog = catalog();
        let mut now = Instant::from_millis(1);
        for (input, pause) in steps {
            let mut out = Outputs::new();
            catalog.handle(now, input, &mut out);
            prop_assert!(out.len() < 200, "{} outputs", out.len());
            prop_assert!(catalog.len() <= 4);
            prop_assert!(catalog.iter().map(|record| record.bytes.len()).sum::<usize>() <= 4_096);
            prop_assert!(catalog.get(&key(0)).is_some());
            prop_assert!(catalog.next_deadline() > now);
            for output in out {
                if let Output::Send { bytes, .. } = output {
                    prop_assert!(Message::from_versioned(&bytes, catalog.max_message_bytes()).is_ok());
                }
            }
            now += Duration::from_millis(pause);
        }
    }
}
