//! Whose entries are pulled: nobody's offers keep anybody else's from being.

#[path = "catalog/keys.rs"]
mod keys;

use {
    core::time::Duration,
    keys::{Keys, entry, key},
    mosaik_primitives::{
        Digest,
        codec::Versioned,
        time::{Instant, UnixMillis},
    },
    mosaik_protocol::catalog::{
        Carried, Catalog, Config, Input, Item, Message, NodeKey, Output, Outputs, Request, Version,
    },
};

const WALL: UnixMillis = UnixMillis(1_700_000_000_000);
const VERSION: Version = Version { start: 1, seq: 1 };
/// What one offer holds at most.
const OFFERED: u64 = 2_048;
const LIAR: usize = 1;
const HONEST: usize = 2;

fn catalog() -> Catalog<Keys> {
    let config = Config::new(key(0), Digest::hash(b"n"), 1, WALL);
    let mut catalog = Catalog::new(Instant::ZERO, config, Keys(key(0))).unwrap();
    let own = entry(key(0), VERSION, WALL, 200);
    catalog.handle(Instant::ZERO, Input::Publish(own), &mut Outputs::new());
    catalog
}

fn item(peer: NodeKey) -> Item {
    Item {
        peer,
        version: VERSION,
        digest: Digest::hash(b"any"),
        issued: WALL,
    }
}

/// Peers that there are none of, with the lowest of keys.
fn invented(first: u64) -> Message {
    let items = (first..first + OFFERED).map(|n| {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        item(NodeKey(key))
    });
    Message::Offer(items.collect())
}

/// Hands the catalog a message and says what is asked of whom for it.
fn receive(
    catalog: &mut Catalog<Keys>,
    now: Instant,
    from: usize,
    message: &Message,
) -> Vec<(NodeKey, Vec<Request>)> {
    let mut out = Outputs::new();
    let bytes = message.to_versioned().unwrap();
    let input = Input::Message {
        from: key(from),
        bytes,
    };
    catalog.handle(now, input, &mut out);
    let max = catalog.max_message_bytes();
    let pulls = out.into_iter().filter_map(|output| match output {
        Output::Send { peer, bytes } => match Message::from_versioned(&bytes, max) {
            Ok(Message::Pull(requests)) => Some((peer, requests)),
            _ => None,
        },
        _ => None,
    });
    pulls.collect()
}

#[test]
fn invented_offers_keep_no_entry_from_being_pulled() {
    let mut catalog = catalog();
    let mut now = Instant::from_millis(1);
    for round in 0..10 {
        receive(&mut catalog, now, LIAR, &invented(0));
        receive(&mut catalog, now, LIAR, &invented(OFFERED));
        // Whatever was asked before, what another has is asked for at once.
        let real = key(100 + round);
        let asked = receive(&mut catalog, now, HONEST, &Message::Offer(vec![item(real)]));
        let request = Request {
            peer: real,
            version: VERSION,
        };
        assert!(asked.contains(&(key(HONEST), vec![request])), "{asked:?}");
        let carried = Carried {
            entry: entry(real, VERSION, WALL, 9_000),
            latest: None,
        };
        receive(&mut catalog, now, HONEST, &Message::Entries(vec![carried]));
        assert!(catalog.get(&real).is_some());
        now += Duration::from_millis(700);
    }
}

#[test]
fn who_does_not_deliver_what_it_offers_is_not_asked_on() {
    let mut catalog = catalog();
    let start = Instant::from_millis(1);
    let first = receive(&mut catalog, start, LIAR, &invented(0));
    assert_eq!(first.len(), 1);
    let mut now = start;
    while now < start + Duration::from_mins(1) {
        now = catalog.next_deadline();
        catalog.handle(now, Input::Tick, &mut Outputs::new());
    }
    let asked = first[0].1.len() as u64;
    assert_eq!(catalog.counters().pulls, asked);
    assert!(catalog.counters().pulls_dropped >= OFFERED - asked);
}
