//! Discovery between real nodes, on loopback.

mod bounds;
mod crash;
mod departure;
mod manual;
mod meeting;
#[cfg(unix)]
mod processes;
mod refusal;

use {
    super::{Catalog, Config, ConfigBuilder, Discovery},
    crate::{Network, NetworkId, PeerId, network::Preset},
    std::{collections::BTreeSet, time::Duration},
};

/// So many seconds on an idle machine, more on one that `TIME_FACTOR` says is slow.
fn seconds(seconds: f64) -> Duration {
    let factor = std::env::var("TIME_FACTOR")
        .ok()
        .and_then(|factor| factor.parse().ok());
    Duration::from_secs_f64(seconds * factor.unwrap_or(1.0_f64))
}

/// A network id that no other test uses.
fn fresh() -> NetworkId {
    NetworkId::random()
}

async fn start(id: NetworkId, config: ConfigBuilder) -> Network {
    Network::builder(id)
        .with_preset(Preset::Isolated)
        .with_discovery(config)
        .build()
        .await
        .expect("a node starts on loopback")
}

async fn node(id: NetworkId) -> Network {
    start(id, Config::builder()).await
}

async fn node_with_peer(id: NetworkId, peer: &Network) -> Network {
    start(id, Config::builder().with_bootstrap(peer.local().addr())).await
}

/// Waits until the catalog is as wanted.
async fn until(
    discovery: &Discovery,
    limit: Duration,
    what: &str,
    wanted: impl FnMut(&Catalog) -> bool,
) {
    let mut watch = discovery.catalog_watch();
    let reached = tokio::time::timeout(limit, watch.wait_for(wanted))
        .await
        .is_ok();
    assert!(
        reached,
        "not within {limit:?}: {what}; knows {}",
        known(discovery).len()
    );
}

fn known(discovery: &Discovery) -> BTreeSet<PeerId> {
    discovery
        .catalog()
        .signed_peers()
        .map(|entry| *entry.id())
        .collect()
}

/// Waits until every node knows every other.
async fn until_complete(nodes: &[Network], limit: Duration) {
    let all: BTreeSet<PeerId> = nodes.iter().map(|node| node.local().id()).collect();
    let waits = nodes.iter().map(|node| {
        let me = node.local().id();
        let all = &all;
        async move {
            let wanted = |catalog: &Catalog| {
                all.iter()
                    .all(|peer| *peer == me || catalog.get_signed(peer).is_some())
            };
            until(node.discovery(), limit, "every node is known", wanted).await;
        }
    });
    futures::future::join_all(waits).await;
}

async fn close(nodes: impl IntoIterator<Item = Network>) {
    futures::future::join_all(nodes.into_iter().map(Network::close)).await;
}
