//! Who may have a peer declared down: those who get no answer from it, and nobody else.

#[path = "catalog/world.rs"]
#[allow(dead_code, reason = "the simulation is shared with another test")]
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
        Announcement, Authority, Carried, Catalog, Config, Dated, Departure, Event, Gossip, Input,
        Message, NodeKey, Output, Outputs, Refusal, Request, Suspicion, Version,
    },
    world::{Keys, World, entry, key},
};

const WALL: UnixMillis = UnixMillis(1_700_000_000_000);

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn version(seq: u64) -> Version {
    Version { start: 1, seq }
}

const NEVER: Version = Version {
    start: u64::MAX,
    seq: u64::MAX,
};

fn report(
    network: &Digest,
    peer: NodeKey,
    version: Version,
    incarnation: u64,
    reporter: NodeKey,
) -> Gossip {
    let text = Suspicion::statement(network, &peer, version, incarnation, &reporter);
    Gossip::Suspicion(Suspicion {
        peer,
        version,
        incarnation,
        reporter,
        signature: Keys(reporter).sign(&text),
    })
}

/// What `reporter` broadcasts, and what it says in person.
fn both_ways(from: NodeKey, gossip: &Gossip) -> [Input; 2] {
    let direct = Message::Direct(gossip.clone()).to_versioned().unwrap();
    [
        Input::Gossip {
            from,
            bytes: gossip.to_versioned().unwrap(),
        },
        Input::Message {
            from,
            bytes: direct,
        },
    ]
}

/// Two members lie to everyone, over and over, about what the victim is said to have announced.
fn lie_about(seed: u64, size: usize, lies: impl Fn(Version, u64) -> (Version, u64)) {
    let mut world = World::new(seed, |_| {});
    for _ in 0..size {
        world.add(Instant::ZERO);
    }
    world.run_until_complete(secs(2));
    world.run_for(secs(10));
    let network = Digest::hash(b"simulated");
    let (liars, victim) = ([1, 2], 3);
    let started = world.now;
    for round in 0..40 {
        let (version, incarnation) = lies(world.nodes[victim].version, round);
        for liar in liars {
            let lie = report(&network, key(victim), version, incarnation, key(liar));
            for node in (0..size).filter(|node| *node != liar) {
                for input in both_ways(key(liar), &lie) {
                    world.input(node, input);
                }
            }
        }
        world.run_for(Duration::from_millis(200));
    }
    world.run_for(secs(5));
    assert_eq!(world.false_departures(started), 0);
    assert!(world.is_complete());
    // And a node that dies meanwhile is reported as ever.
    let killed = world.now;
    world.kill(victim);
    world.run_for(secs(6));
    for report in world.departures(victim, killed) {
        assert!(report.expect("reported").since(killed) <= secs(3));
    }
}

#[test]
fn a_suspicion_of_a_version_that_never_was_puts_nobody_down() {
    lie_about(30, 5, |_, _| (NEVER, 0));
    lie_about(31, 40, |_, _| (NEVER, u64::MAX));
    lie_about(32, 40, |known, round| {
        let seq = known.seq + 1 + round;
        (Version { seq, ..known }, 0)
    });
}

#[test]
fn a_suspicion_of_an_incarnation_that_never_was_puts_nobody_down() {
    lie_about(33, 5, |known, _| (known, u64::MAX));
    lie_about(34, 40, |known, _| (known, u64::MAX));
    lie_about(35, 40, |known, round| (known, 1 + round));
}

fn config() -> Config {
    Config::new(key(0), Digest::hash(b"n"), 1, WALL)
}

/// A catalog that holds its own entry and those of nodes 1 to 3.
fn catalog() -> Catalog<Keys> {
    let mut catalog = Catalog::new(Instant::ZERO, config(), Keys(key(0))).unwrap();
    let mut out = Outputs::new();
    let own = entry(key(0), version(1), WALL, 200);
    catalog.handle(Instant::ZERO, Input::Publish(own), &mut out);
    for peer in 1..4 {
        let entry = entry(key(peer), version(1), WALL, 200);
        catalog.handle(Instant::ZERO, Input::Feed(entry), &mut out);
    }
    assert_eq!(catalog.len(), 4);
    catalog
}

fn handle(catalog: &mut Catalog<Keys>, at: Instant, input: Input) -> Vec<Output> {
    let mut out = Outputs::new();
    catalog.handle(at, input, &mut out);
    out.into()
}

fn in_person(from: usize, message: &Message) -> Input {
    Input::Message {
        from: key(from),
        bytes: message.to_versioned().unwrap(),
    }
}

fn suspected(version: Version, incarnation: u64, peer: usize, reporter: usize) -> Message {
    let network = Digest::hash(b"n");
    Message::Direct(report(
        &network,
        key(peer),
        version,
        incarnation,
        key(reporter),
    ))
}

fn refusals(outputs: &[Output]) -> Vec<Refusal> {
    let refused = outputs.iter().filter_map(|output| match output {
        Output::Refused { reason, .. } => Some(*reason),
        _ => None,
    });
    refused.collect()
}

/// Runs a catalog by its own deadlines until `until`.
fn run(catalog: &mut Catalog<Keys>, until: Instant) -> Vec<Output> {
    let mut outputs = Vec::new();
    while catalog.next_deadline() <= until {
        let at = catalog.next_deadline();
        outputs.extend(handle(catalog, at, Input::Tick));
    }
    outputs
}

fn is_down(outputs: &[Output], peer: usize) -> bool {
    outputs.iter().any(|output| {
        matches!(
            output,
            Output::Event(Event::Departed { peer: gone, departure: Departure::Down, .. })
                if *gone == key(peer)
        )
    })
}

#[test]
fn what_this_node_never_announced_is_not_refuted() {
    let mut catalog = catalog();
    for (at, (version, incarnation)) in [
        (1, (version(1), 1)),
        (2, (version(1), u64::MAX)),
        (3, (NEVER, 0)),
        (4, (NEVER, u64::MAX)),
    ] {
        let lie = in_person(1, &suspected(version, incarnation, 0, 1));
        let outputs = handle(&mut catalog, Instant::from_millis(at), lie);
        assert_eq!(refusals(&outputs), [Refusal::Unannounced]);
    }
    let counters = catalog.counters();
    assert_eq!((counters.refused_invalid, counters.refutations), (4, 0));
    // What it did announce is refuted, by the next incarnation and no other.
    let truth = in_person(1, &suspected(version(1), 0, 0, 1));
    let outputs = handle(&mut catalog, Instant::from_millis(5), truth);
    let incarnations = outputs.iter().filter_map(|output| match output {
        Output::Broadcast(bytes) => match Gossip::from_versioned(bytes, 4_096) {
            Ok(Gossip::Announcement(announcement)) => Some(announcement.incarnation),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(incarnations.collect::<Vec<_>>(), [1]);
    assert_eq!(catalog.counters().refutations, 1);
}

#[test]
fn a_report_that_nothing_proves_is_refused_in_the_end() {
    let mut catalog = catalog();
    let lie = in_person(1, &suspected(NEVER, 0, 3, 1));
    let at = Instant::from_millis(1);
    let outputs = handle(&mut catalog, at, lie.clone());
    assert_eq!(refusals(&outputs), []);
    // Whoever handed it on is asked for the entry, once.
    let question = Message::Pull(vec![Request {
        peer: key(3),
        version: NEVER,
    }]);
    let asked = |outputs: &[Output]| {
        let sent = Output::Send {
            peer: key(1),
            bytes: question.to_versioned().unwrap(),
        };
        outputs.iter().filter(|output| same(output, &sent)).count()
    };
    assert_eq!(asked(&outputs), 1);
    assert_eq!(asked(&handle(&mut catalog, at, lie)), 0);
    let outputs = run(&mut catalog, at + secs(4));
    assert_eq!(refusals(&outputs), [Refusal::Unannounced]);
    assert_eq!(catalog.counters().refused_invalid, 1);
}

fn same(one: &Output, other: &Output) -> bool {
    match (one, other) {
        (Output::Send { peer: a, bytes: x }, Output::Send { peer: b, bytes: y }) => {
            a == b && x == y
        }
        _ => false,
    }
}

fn announced(peer: usize, of: Version, bytes: &Bytes, incarnation: u64) -> Announcement {
    let (peer, digest) = (key(peer), Digest::hash(bytes));
    let issued = UnixMillis(WALL.0 + 10);
    let network = Digest::hash(b"n");
    let text = Announcement::statement(&network, &peer, of, &digest, issued, incarnation);
    Announcement {
        peer,
        version: of,
        digest,
        issued,
        incarnation,
        signature: Keys(peer).sign(&text),
    }
}

/// Reports of reporters who are ahead of this node count as soon as it has caught up.
#[test]
fn a_report_by_one_who_knows_more_counts_once_it_is_proven() {
    let newer = entry(key(3), version(2), WALL, 200);
    let old = entry(key(3), version(1), WALL, 200);
    let refuted = announced(3, version(1), &old, 1);
    let updated = announced(3, version(2), &newer, 4);
    let carried = Carried {
        entry: newer.clone(),
        latest: Some(Dated {
            issued: updated.issued,
            incarnation: updated.incarnation,
            signature: updated.signature,
        }),
    };
    for (named, proof) in [
        (
            (version(1), 1),
            Message::Direct(Gossip::Announcement(refuted)),
        ),
        (
            (version(2), 0),
            Message::Direct(Gossip::Entry(newer.clone())),
        ),
        ((version(2), 4), Message::Entries(vec![carried])),
    ] {
        let mut catalog = catalog();
        let mut outputs = Vec::new();
        for reporter in [1, 2] {
            let report = in_person(reporter, &suspected(named.0, named.1, 3, reporter));
            outputs.extend(handle(&mut catalog, Instant::from_millis(1), report));
        }
        outputs.extend(handle(
            &mut catalog,
            Instant::from_millis(50),
            in_person(1, &proof),
        ));
        assert!(!is_down(&outputs, 3));
        let outputs = run(&mut catalog, Instant::from_millis(1_300));
        assert!(is_down(&outputs, 3), "{named:?}");
        assert_eq!(catalog.counters().refused_invalid, 0);
    }
}
