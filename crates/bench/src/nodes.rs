//! Nodes: how fast they start and find each other, and what they hold.

use {
    core::time::Duration,
    mosaik::{
        Network, discovery,
        network::Preset,
        primitives::Digest,
        streams::{Consumer, Producer},
    },
    std::{process::Command, time::Instant},
};

const NETWORK: &str = "mosaik-bench";
/// How long nodes have to find each other.
const FINDING: Duration = Duration::from_mins(1);
/// What background work is given to end before memory is read.
const SETTLING: Duration = Duration::from_secs(2);
/// Nodes started before memory is first read, so that what the process needs once is not counted.
const FIRST_NODES: usize = 4;
/// Nodes that the memory of one is the average of.
const IDLE_NODES: usize = 64;
/// Streams opened before memory is first read.
const FIRST_STREAMS: usize = 8;
/// Streams that the memory of one subscription is the average of.
const IDLE_STREAMS: usize = 512;

/// The argument that makes this program measure memory and print it, and nothing else.
pub(crate) const CHILD: &str = "--memory-of";

/// A node on loopback that knows no one, or one peer.
pub(crate) async fn start(peer: Option<&Network>) -> Network {
    let mut discovery = discovery::Config::builder();
    if let Some(peer) = peer {
        discovery = discovery.with_bootstrap(peer.local().addr());
    }
    Network::builder(NETWORK)
        .with_preset(Preset::Isolated)
        .with_discovery(discovery)
        .build()
        .await
        .expect("loopback can be bound")
}

/// Closes nodes, one after the other.
pub(crate) async fn close(nodes: Vec<Network>) {
    for node in nodes {
        node.close().await;
    }
}

/// Milliseconds until a network has started.
pub(crate) async fn starting() -> f64 {
    let started = Instant::now();
    let node = start(None).await;
    let took = started.elapsed();
    node.close().await;
    took.as_secs_f64() * 1e3
}

/// Seconds from the last start until every one of `count` nodes, all given the same peer, knows
/// all others.
pub(crate) async fn complete(count: usize) -> f64 {
    let mut nodes = vec![start(None).await];
    while nodes.len() < count {
        nodes.push(start(Some(&nodes[0])).await);
    }
    let started = Instant::now();
    for node in &nodes {
        let mut catalog = node.discovery().catalog_watch();
        let all = catalog.wait_for(|catalog| catalog.peers_count() >= count - 1);
        match tokio::time::timeout(FINDING, all).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => unreachable!("the node is open"),
            Err(_) => return FINDING.as_secs_f64(),
        }
    }
    let took = started.elapsed();
    close(nodes).await;
    took.as_secs_f64()
}

/// Kibibytes that `what` takes, measured in a process of its own.
pub(crate) fn memory_of(what: &str) -> f64 {
    let program = std::env::current_exe().expect("a program knows where it is");
    let output = Command::new(program)
        .args([CHILD, what])
        .output()
        .expect("it can be run again");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().unwrap_or_else(|_| {
        panic!(
            "measuring {what} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

/// Kibibytes of resident memory that one more of `what` takes in this process.
pub(crate) async fn memory_here(what: &str) -> Result<f64, String> {
    match what {
        "idle-node" => Ok(idle_node().await),
        "idle-subscription" => Ok(idle_subscription().await),
        _ => Err(format!("{what} is nothing whose memory is measured")),
    }
}

async fn idle_node() -> f64 {
    let mut nodes = Vec::new();
    while nodes.len() < FIRST_NODES {
        nodes.push(start(None).await);
    }
    tokio::time::sleep(SETTLING).await;
    let before = resident_kib();
    for _ in 0..IDLE_NODES {
        nodes.push(start(None).await);
    }
    tokio::time::sleep(SETTLING).await;
    let taken = resident_kib() - before;
    close(nodes).await;
    taken / IDLE_NODES as f64
}

/// Both ends of a subscription: its producer and its consumer.
async fn idle_subscription() -> f64 {
    let producing = start(None).await;
    let consuming = start(Some(&producing)).await;
    let mut open = Vec::new();
    subscribe(&producing, &consuming, FIRST_STREAMS, &mut open).await;
    tokio::time::sleep(SETTLING).await;
    let before = resident_kib();
    subscribe(
        &producing,
        &consuming,
        FIRST_STREAMS + IDLE_STREAMS,
        &mut open,
    )
    .await;
    tokio::time::sleep(SETTLING).await;
    let taken = resident_kib() - before;
    drop(open);
    close(vec![consuming, producing]).await;
    taken / IDLE_STREAMS as f64
}

/// Opens streams until there are `count`, and waits until all are subscribed to.
async fn subscribe(
    producing: &Network,
    consuming: &Network,
    count: usize,
    open: &mut Vec<(Producer<u64>, Consumer<u64>)>,
) {
    for i in open.len()..count {
        let stream = Digest::from(format!("mosaik-bench/idle/{i}").as_str());
        let producer = producing.streams().producer().with_stream_id(stream);
        let producer = producer.build().expect("the stream has no other producer");
        let consumer = consuming
            .streams()
            .consumer()
            .with_stream_id(stream)
            .build();
        open.push((producer, consumer));
    }
    for (producer, _) in open {
        tokio::time::timeout(FINDING, producer.when().online())
            .await
            .expect("consumers find the producer in time");
    }
}

/// Resident memory of this process in kibibytes.
pub(crate) fn resident_kib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status")
        .expect("memory is measured where the system tells it in /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok())
        .expect("the system tells resident memory in kB")
}
