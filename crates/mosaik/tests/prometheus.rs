//! Metrics are served over HTTP, under the names and labels that dashboards know. In a process of
//! their own: a recorder is the process'.

#![cfg(feature = "prometheus")]

mod support;

use {
    futures::{SinkExt, StreamExt},
    mosaik::{
        Digest, Group, Network, StreamId, Tag,
        network::NetworkError,
        primitives::ShortFmtExt,
        streams::{Consumer, Producer, consumer::ConsumerEvent},
    },
    std::{
        net::{Ipv4Addr, SocketAddr, TcpListener},
        time::{Duration, Instant},
    },
    support::{
        groups::{Counter, Directory, join_with, together},
        isolated, network_id, node_knowing, patience, until, within,
    },
    tokio::io::{AsyncReadExt, AsyncWriteExt},
};

async fn scrape(address: SocketAddr) -> String {
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    connection.write_all(request).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

/// An address that was free a moment ago.
fn free_address() -> SocketAddr {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    free.local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_served_and_count_what_happened() {
    let address = free_address();
    let id = network_id();
    let a = isolated(id)
        .with_prometheus_addr(address)
        .build()
        .await
        .unwrap();
    let b = node_knowing(id, &a).await;
    let mut producer = a.streams().produce::<u32>();
    let mut consumer = b.streams().consume::<u32>();
    for n in 0..10 {
        within("send", producer.send(n)).await.unwrap();
        assert_eq!(within("recv", consumer.recv()).await, Some(n));
    }
    let expected = [
        ("mosaik_streams_producer_items_sent", "10"),
        ("mosaik_streams_consumer_items_received", "10"),
        ("mosaik_streams_datums_total", "20"),
        ("mosaik_streams_producer_consumers", "1"),
        ("mosaik_streams_consumer_producers", "1"),
        ("mosaik_streams_producers_active", "1"),
        ("mosaik_streams_consumers_active", "1"),
        ("mosaik_streams_producer_consumers_accepted", "1"),
        ("mosaik_streams_connections_accepted", "1"),
        ("mosaik_discovery_catalog_size", ""),
        ("mosaik_network_connections_opened", ""),
        ("mosaik_network_egress_bytes", ""),
    ];
    // What is sampled appears with the next sample.
    let shown = within("all metrics", async {
        loop {
            let page = scrape(address).await;
            let has = |(name, value): &(&str, &str)| {
                page.lines()
                    .any(|line| line.starts_with(&format!("{name}{{")) && line.ends_with(value))
            };
            if expected.iter().all(has) {
                break page;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(
        shown.contains("# HELP mosaik_streams_datums_total "),
        "described"
    );
    every_documented_metric_is_served(address, id, &a, b).await;

    let second = isolated(id).with_prometheus_addr(address).build().await;
    assert!(
        matches!(second, Err(NetworkError::Prometheus(_))),
        "the address is taken"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_did_not_start_leaves_its_metrics_address_to_the_next_attempt() {
    let id = network_id();
    let directory = Directory::new();
    let holder = isolated(id).with_data_dir(directory.0.clone());
    let holder = holder.build().await.unwrap();
    let address = free_address();
    let attempt = || {
        isolated(id)
            .with_data_dir(directory.0.clone())
            .with_prometheus_addr(address)
            .build()
    };
    for _ in 0..2 {
        let refused = attempt().await;
        assert!(
            matches!(refused, Err(NetworkError::DataDir(_))),
            "{refused:?}"
        );
    }
    holder.close().await;
    let started = attempt().await.unwrap();
    assert!(scrape(address).await.contains("# HELP mosaik_network_"));
    started.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_network_serves_the_metrics_of_the_process_until_it_is_closed() {
    let ids = [network_id(), network_id()];
    let addresses = [free_address(), free_address()];
    let start = |n: usize| isolated(ids[n]).with_prometheus_addr(addresses[n]).build();
    let first = start(0).await.unwrap();
    let second = start(1).await.unwrap();
    for address in addresses {
        let page = scrape(address).await;
        for id in ids {
            let label = format!("network=\"{}\"", id.short());
            assert!(page.contains(&label), "{label} at {address} in\n{page}");
        }
    }
    first.close().await;
    drop(TcpListener::bind(addresses[0]).expect("the address is free again"));
    assert!(scrape(addresses[1]).await.starts_with("HTTP/1.1 200 OK"));
    let again = start(0).await.unwrap();
    assert!(scrape(addresses[0]).await.starts_with("HTTP/1.1 200 OK"));
    again.close().await;
    second.close().await;
}

/// What a metric is of, which its labels name.
#[derive(Clone, Copy)]
enum Of {
    Network,
    Stream,
    Group,
}

use Of::{Group as G, Network as N, Stream as S};

/// Name, what it is of, and what it is at least after [`eventful`]. Gauges that each node of the
/// process sets are not compared: which of them was last is not known.
const COUNTERS: &[(&str, Of, f64)] = &[
    ("mosaik.network.connections.opened", N, 1.0),
    ("mosaik.network.egress.bytes", N, 1.0),
    ("mosaik.network.ingress.bytes", N, 1.0),
    ("mosaik.discovery.catalog.syncs", N, 1.0),
    ("mosaik.discovery.peers.discovered", N, 1.0),
    ("mosaik.discovery.peers.updated", N, 1.0),
    ("mosaik.discovery.peers.departed", N, 1.0),
    ("mosaik.streams.producer.consumers.accepted", S, 2.0),
    ("mosaik.streams.producer.consumers.rejected", S, 1.0),
    ("mosaik.streams.producer.items.sent", S, 2.0),
    ("mosaik.streams.producer.items.dropped", S, 3.0),
    ("mosaik.streams.producer.bytes.sent", S, 2.0),
    ("mosaik.streams.connections.accepted", S, 2.0),
    ("mosaik.streams.connections.rejected", S, 1.0),
    ("mosaik.streams.consumer.items.received", S, 2.0),
    ("mosaik.streams.consumer.bytes.received", S, 2.0),
    ("mosaik.streams.datums.total", S, 4.0),
    ("mosaik.streams.bytes.total", S, 4.0),
    ("mosaik.groups.bonds.bytes.sent", G, 1.0),
    ("mosaik.groups.bonds.bytes.received", G, 1.0),
    ("mosaik.groups.bonds.messages.sent", G, 1.0),
    ("mosaik.groups.bonds.messages.received", G, 1.0),
    ("mosaik.groups.raft.elections", G, 1.0),
    ("mosaik.groups.raft.leader.changes", G, 1.0),
];

const GAUGES: &[(&str, Of, f64)] = &[
    ("mosaik.discovery.catalog.size", N, 1.0),
    ("mosaik.discovery.gossip.neighbors", N, 0.0),
    ("mosaik.streams.producers.active", N, 2.0),
    ("mosaik.streams.producer.consumers", S, 1.0),
    ("mosaik.streams.consumers.active", N, 2.0),
    ("mosaik.streams.consumer.producers", S, 1.0),
    ("mosaik.groups.active", N, 2.0),
    ("mosaik.groups.bonds.active", G, 1.0),
    ("mosaik.groups.raft.committed", G, 3.0),
    ("mosaik.groups.raft.committee.voters", G, 1.0),
    ("mosaik.groups.raft.committee.non_voters", G, 0.0),
    ("mosaik.groups.raft.committee.size", G, 1.0),
];

/// Keeps what is counted as being there.
struct Kept {
    stream: StreamId,
    groups: Vec<Group<Counter>>,
    _ends: (Producer<u32>, Consumer<u32>, Network),
}

/// A third node comes and goes, a consumer is refused, cut and misses items, a group executes.
async fn eventful(id: Digest, a: &Network, b: Network) -> Kept {
    let stream = StreamId::from("counted");
    let mut producer = a
        .streams()
        .producer::<u32>()
        .with_stream_id(stream)
        .require(|peer| peer.tags().contains(&Tag::from("reader")))
        .online_when(|conditions| conditions.minimum_of(0))
        .build()
        .unwrap();
    let mut consumer = b.streams().consumer::<u32>().with_stream_id(stream).build();
    let mut events = consumer.events();
    within("refused", async {
        while !matches!(events.next().await, Some(ConsumerEvent::Refused { .. })) {}
    })
    .await;
    b.discovery().add_tags("reader");
    within("admitted", producer.when().subscribed()).await;
    producer.send(1).await.unwrap();
    assert_eq!(within("recv", consumer.recv()).await, Some(1));
    b.discovery().remove_tags("reader");
    within("cut", producer.when().unsubscribed()).await;
    for missed in 2..5 {
        producer.send(missed).await.unwrap();
    }
    b.discovery().add_tags("reader");
    within("admitted again", producer.when().subscribed()).await;
    producer.send(5).await.unwrap();
    assert_eq!(within("recv", consumer.recv()).await, Some(5));

    let c = node_knowing(id, a).await;
    let join = |node: &Network| join_with(node, together(3));
    let mut groups = [a, &b, &c].map(join).to_vec();
    for group in &groups {
        within("online", group.when().online()).await;
    }
    for group in &groups {
        within("executed", group.execute(1)).await.unwrap();
    }
    drop(groups.pop());
    let left = c.local().id();
    c.close().await;
    until("the third has left", || {
        a.discovery().catalog().get(&left).is_none()
    })
    .await;
    Kept {
        stream,
        groups,
        _ends: (producer, consumer, b),
    }
}

/// The sum of a metric's series that have all of the labels; `None` where there is none.
fn value(page: &str, name: &str, labels: &[String]) -> Option<f64> {
    let series = page.lines().filter_map(|line| {
        let (of, rest) = line.split_once('{')?;
        let (shown, value) = rest.split_once("} ")?;
        let has = |label: &String| shown.split(',').any(|one| one == label);
        (of == name && labels.iter().all(has)).then(|| value.trim().parse::<f64>().ok())?
    });
    series.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

async fn every_documented_metric_is_served(
    address: SocketAddr,
    id: Digest,
    a: &Network,
    b: Network,
) {
    let kept = eventful(id, a, b).await;
    let label = |key: &str, id: &Digest| format!("{key}=\"{}\"", id.short());
    let network = label("network", &id);
    let labels = |of: Of| match of {
        N => vec![network.clone()],
        S => vec![network.clone(), label("stream", &kept.stream)],
        G => vec![network.clone(), label("group", kept.groups[0].id())],
    };
    let missing = |page: &str| -> Vec<String> {
        let kinds = [("counter", COUNTERS), ("gauge", GAUGES)];
        let all = kinds
            .iter()
            .flat_map(|(kind, rows)| rows.iter().map(move |row| (*kind, row)));
        all.filter_map(|(kind, (name, of, least))| {
            let name = name.replace('.', "_");
            let found = value(page, &name, &labels(*of));
            let known = page.contains(&format!("# TYPE {name} {kind}\n"))
                && page.contains(&format!("# HELP {name} "));
            (!known || found.is_none_or(|found| found < *least))
                .then(|| format!("{kind} {name}: described {known}, {found:?} of {least}"))
        })
        .collect()
    };
    // What is sampled appears with the next sample.
    let deadline = Instant::now() + patience(60);
    loop {
        let page = scrape(address).await;
        let missing = missing(&page);
        if missing.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{missing:#?} in\n{page}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
