//! What strangers can make a node hold, and that whatever is refused is counted. Alone in its
//! process: a recorder of metrics is the process'.

mod support;

use {
    futures::SinkExt,
    metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit},
    mosaik::{
        Digest, Network,
        iroh::{
            Endpoint, EndpointAddr, RelayMode,
            endpoint::{Connection, ConnectionError, presets},
        },
        network::NetworkError,
        primitives::Limits,
    },
    std::{
        collections::HashMap,
        sync::{
            Arc, LazyLock, Mutex,
            atomic::{AtomicU64, Ordering},
        },
        time::Duration,
    },
    support::{header, isolated, network_id, node, node_knowing, until, within},
};

const MOSAIK: &[u8] = b"/mosaik/1";
const GOSSIP: &[u8] = b"/iroh-gossip/1";
const DISCOVERY: u8 = 1;

/// Counters by name and labels, those of every test of this process.
#[derive(Clone, Default)]
struct Counted(Arc<Mutex<HashMap<Key, Arc<AtomicU64>>>>);

impl Recorder for Counted {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut counters = self.0.lock().unwrap();
        let counter = counters.entry(key.clone()).or_default();
        Counter::from_arc(Arc::clone(counter))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// The process' recorder, installed by the first test that makes a network.
static COUNTED: LazyLock<Counted> = LazyLock::new(|| {
    let counted = Counted::default();
    assert!(metrics::set_global_recorder(counted.clone()).is_ok());
    // Nothing is counted before there is a recorder, so that it works is worth knowing.
    metrics::counter!("test").increment(1);
    counted
});

/// A network whose refusals are counted.
fn counted_network() -> Digest {
    LazyLock::force(&COUNTED);
    network_id()
}

/// Connections that `network` has taken so far.
fn opened(network: Digest) -> u64 {
    count(network, "mosaik.network.connections.opened", None)
}

/// How often `network` has refused something for `reason`, by the given counter.
fn refused(network: Digest, name: &str, reason: &str) -> u64 {
    count(network, name, Some(reason))
}

fn count(network: Digest, name: &str, reason: Option<&str>) -> u64 {
    let short = network.to_string()[..10].to_owned();
    let counters = COUNTED.0.lock().unwrap();
    let has = |key: &Key, label: &str, value: &str| {
        key.labels()
            .any(|one| one.key() == label && one.value() == value)
    };
    let found = counters.iter().filter(|(key, _)| {
        key.name() == name
            && has(key, "network", &short)
            && reason.is_none_or(|reason| has(key, "reason", reason))
    });
    found
        .map(|(_, counter)| counter.load(Ordering::Relaxed))
        .sum()
}

const CONNECTIONS: &str = "mosaik.network.connections.refused";
const SUBSTREAMS: &str = "mosaik.network.substreams.refused";
const DISCOVERED: &str = "mosaik.discovery.refused";

async fn stranger() -> Endpoint {
    Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .expect("a loopback address")
        .bind()
        .await
        .expect("an endpoint")
}

async fn connect(stranger: &Endpoint, addr: EndpointAddr, alpn: &[u8]) -> Connection {
    within("connect", stranger.connect(addr, alpn))
        .await
        .expect("a connection")
}

/// A stranger that has said something on a new gossip connection. The connection may be closed
/// already, for being one too many.
async fn gossiping(stranger: &Endpoint, addr: EndpointAddr) -> Connection {
    let connection = connect(stranger, addr, GOSSIP).await;
    if let Ok(mut send) = connection.open_uni().await {
        // A frame that is begun and never ends; fails where the connection has been closed.
        let _ = send.write_all(&[0]).await;
        connection_keeps(&connection, send);
    }
    connection
}

/// Keeps a stream from being reset for as long as its connection lasts.
fn connection_keeps(connection: &Connection, send: mosaik::iroh::endpoint::SendStream) {
    let closed = connection.weak_handle().closed();
    tokio::spawn(async move {
        closed.await;
        drop(send);
    });
}

fn open(connections: &[Connection]) -> usize {
    connections
        .iter()
        .filter(|one| one.close_reason().is_none())
        .count()
}

/// The text of the reason with which the other side closed each connection that it closed.
fn reasons(connections: &[Connection]) -> Vec<String> {
    let closed = connections.iter().filter_map(Connection::close_reason);
    closed
        .map(|closed| match closed {
            ConnectionError::ApplicationClosed(close) => {
                String::from_utf8_lossy(&close.reason).into_owned()
            }
            other => other.to_string(),
        })
        .collect()
}

/// Two nodes know each other and a stream goes on flowing from one to the other.
async fn still_flows(first: &Network, second: &Network) {
    let mut producer = first.streams().produce::<u64>();
    let mut consumer = second.streams().consume::<u64>();
    within("online", producer.when().online()).await;
    for n in 0..20 {
        within("send", producer.send(n)).await.unwrap();
        assert_eq!(within("recv", consumer.recv()).await, Some(n));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_peer_holds_no_more_gossip_connections_than_its_limit() {
    let id = counted_network();
    let first = node(id).await;
    let stranger = stranger().await;
    let (limit, surplus) = (Limits::DEFAULT.connections_per_peer, 3);
    let mut held = Vec::new();
    for _ in 0..limit + surplus {
        held.push(gossiping(&stranger, first.local().addr()).await);
    }
    until("the surplus is closed", || open(&held) == limit).await;
    assert_eq!(reasons(&held), vec!["TooManyConnections"; surplus]);
    until("the surplus is counted", || {
        refused(id, CONNECTIONS, "too-many-connections") == surplus as u64
    })
    .await;
    // Nobody else is disturbed, by gossip least of all.
    let second = node_knowing(id, &first).await;
    still_flows(&first, &second).await;
    // A place is free again when a connection has ended.
    let gone = held
        .iter()
        .find(|one| one.close_reason().is_none())
        .expect("one is open");
    gone.close(0u32.into(), b"done");
    within("room for another", async {
        loop {
            let before = opened(id);
            let next = gossiping(&stranger, first.local().addr()).await;
            until("let in or not", || {
                opened(id) > before || next.close_reason().is_some()
            })
            .await;
            if opened(id) > before {
                break;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_strangers_together_hold_no_more_connections_than_the_limit() {
    let id = counted_network();
    let mut limits = Limits::default();
    limits.connections = 6;
    let small = isolated(id).with_limits(limits).build().await.unwrap();
    let mut held = Vec::new();
    let mut strangers = Vec::new();
    for _ in 0..5 {
        let stranger = stranger().await;
        for _ in 0..2 {
            held.push(gossiping(&stranger, small.local().addr()).await);
        }
        strangers.push(stranger);
    }
    until("the surplus is closed", || open(&held) == 6).await;
    assert_eq!(reasons(&held), vec!["TooManyConnections"; 4]);
    // Links count among the same.
    let link = connect(&strangers[0], small.local().addr(), MOSAIK).await;
    within("no room for a link", link.closed()).await;
    assert_eq!(reasons(&[link]), ["TooManyConnections"]);
    until("all are counted", || {
        refused(id, CONNECTIONS, "too-many-connections") == 5
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gossip_connection_on_which_nothing_is_said_is_closed() {
    let id = counted_network();
    let mut limits = Limits::default();
    limits.handshake_timeout = Duration::from_millis(500);
    let quick = isolated(id).with_limits(limits).build().await.unwrap();
    let stranger = stranger().await;
    let silent = connect(&stranger, quick.local().addr(), GOSSIP).await;
    within("the silent one is closed", silent.closed()).await;
    assert_eq!(reasons(&[silent]), ["HandshakeTimeout"]);
    until("it is counted", || refused(id, CONNECTIONS, "silent") == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_refused_is_counted_by_its_reason() {
    let id = counted_network();
    let first = node(id).await;
    let stranger = stranger().await;
    let addr = first.local().addr();

    // No protocol in common: the handshake fails.
    let other = within("refused", stranger.connect(addr.clone(), b"/other/1")).await;
    assert!(other.is_err());
    until("a failed handshake", || {
        refused(id, CONNECTIONS, "handshake-failed") == 1
    })
    .await;

    let connection = connect(&stranger, addr.clone(), MOSAIK).await;
    let say = async |bytes: Vec<u8>| {
        let (mut send, mut recv) = connection.open_bi().await.expect("a sub-stream");
        send.write_all(&bytes).await.expect("written");
        send.finish().expect("finished");
        within("an answer", recv.read_to_end(1 << 20))
            .await
            .expect("an answer")
    };
    say(header(200, id, b"")).await;
    until("a malformed header", || {
        refused(id, SUBSTREAMS, "ProtocolViolation") == 1
    })
    .await;

    // A greeting that is none, and a message longer than any.
    say(header(DISCOVERY, id, b"\xff")).await;
    say(header(DISCOVERY, id, b"\x01\xff\xff\xff\xff")).await;
    // A message that does not decode, and a datagram that is neither probe nor answer.
    say(header(DISCOVERY, id, b"\x00junk")).await;
    connection
        .send_datagram(b"\x01junk".as_slice().into())
        .expect("a datagram");
    until("discovery's refusals", || {
        refused(id, DISCOVERED, "protocol-violation") == 3
            && refused(id, DISCOVERED, "malformed") == 1
    })
    .await;

    // More links than one peer may have.
    let mut held = vec![connection];
    for _ in 0..Limits::DEFAULT.connections_per_peer {
        held.push(connect(&stranger, addr.clone(), MOSAIK).await);
    }
    until("a link too many", || {
        refused(id, CONNECTIONS, "too-many-connections") >= 1
    })
    .await;
    assert!(COUNTED.0.lock().unwrap().contains_key(&Key::from("test")));
}

/// Bounds that hold nothing are found when a network starts, and not by whoever goes beyond them.
#[tokio::test]
async fn a_network_does_not_start_with_bounds_that_cannot_hold() {
    let id = counted_network();
    let mut limits = Limits::default();
    limits.substream_window_bytes *= 2;
    let refused = isolated(id).with_limits(limits).build().await;
    assert!(matches!(refused, Err(NetworkError::Limits(_))));
}
