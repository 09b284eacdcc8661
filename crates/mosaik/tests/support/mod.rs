//! What the integration tests share: nodes on loopback, and waiting without sleeping blindly.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its own part"
)]

pub mod groups;

use {
    mosaik::{
        Digest, Network,
        network::{NetworkBuilder, Preset},
        primitives::Limits,
    },
    std::{future::Future, time::Duration},
};

/// A deadline that is generous on a machine of usual load; `TIME_FACTOR` stretches it.
pub fn patience(seconds: u64) -> Duration {
    let factor = std::env::var("TIME_FACTOR")
        .ok()
        .and_then(|text| text.parse::<f64>().ok());
    Duration::from_secs(seconds).mul_f64(factor.unwrap_or(1.0).max(0.1))
}

/// Awaits `future`, failing with `what` when that takes far too long.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let deadline = tokio::time::timeout(patience(60), future);
    deadline
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Waits until `condition` holds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    within(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A network id that no other test uses. With `TEST_TRACE=debug` (any `RUST_LOG` filter) the
/// test's log goes to its output.
pub fn network_id() -> Digest {
    if let Ok(filter) = std::env::var("TEST_TRACE") {
        // The first test of the process sets it for all.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_test_writer()
            .try_init();
    }
    Digest::random()
}

/// A builder of a node that talks to nobody but the peers it is given.
pub fn isolated(network: Digest) -> NetworkBuilder {
    Network::builder(network).with_preset(Preset::Isolated)
}

/// A node that talks to nobody but the peers it is given.
pub async fn node(network: Digest) -> Network {
    isolated(network)
        .build()
        .await
        .expect("a node starts on loopback")
}

/// A node that is introduced to `peer`.
pub async fn node_knowing(network: Digest, peer: &Network) -> Network {
    let discovery = mosaik::discovery::Config::builder().with_bootstrap(peer.local().addr());
    isolated(network)
        .with_discovery(discovery)
        .build()
        .await
        .expect("a node starts on loopback")
}

/// As many nodes as asked for, the first of which all others are introduced to.
pub async fn nodes(network: Digest, count: usize) -> Vec<Network> {
    let mut nodes = vec![node(network).await];
    for _ in 1..count {
        let next = node_knowing(network, &nodes[0]).await;
        nodes.push(next);
    }
    nodes
}

/// A node that takes little of what its programs do not read.
pub async fn reading_little(id: Digest, peer: &Network) -> Network {
    let mut limits = Limits::default();
    limits.consumer_items = 4;
    limits.consumer_bytes = 64 << 10;
    let discovery = mosaik::discovery::Config::builder().with_bootstrap(peer.local().addr());
    isolated(id)
        .with_limits(limits)
        .with_discovery(discovery)
        .build()
        .await
        .expect("a node starts on loopback")
}

/// A header as the links write it, of a sub-stream to nothing in particular.
pub fn header(protocol: u8, network: Digest, greeting: &[u8]) -> Vec<u8> {
    let mut body = b"mk\x01".to_vec();
    body.push(protocol);
    body.extend_from_slice(network.as_bytes());
    body.extend_from_slice(Digest::zero().as_bytes());
    body.extend_from_slice(greeting);
    let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(&body);
    bytes
}
