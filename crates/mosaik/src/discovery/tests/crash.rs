//! Nodes that end without a word.

use {
    super::{close, fresh, known, node, node_with_peer, seconds, until},
    crate::{Network, NetworkId, discovery::Event},
    iroh::EndpointAddr,
    tokio::time::Instant,
};

/// A node in a runtime of its own. Ending the runtime ends all of the node's tasks at once,
/// like killing its process.
fn doomed(id: NetworkId, peer: EndpointAddr) -> (tokio::runtime::Runtime, Network) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let config = crate::discovery::Config::builder().with_bootstrap(peer);
    let network = runtime.block_on(super::start(id, config));
    (runtime, network)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_ends_without_a_word_is_reported_by_all() {
    let id = fresh();
    let first = node(id).await;
    let mut nodes = vec![];
    for _ in 0..3 {
        nodes.push(node_with_peer(id, &first).await);
    }
    nodes.push(first);
    let addr = nodes[3].local().addr();
    let (runtime, victim) = tokio::task::spawn_blocking(move || doomed(id, addr))
        .await
        .unwrap();
    let peer = victim.local().id();
    let mut events: Vec<_> = nodes.iter().map(|node| node.discovery().events()).collect();
    for node in &nodes {
        until(node.discovery(), seconds(10.0), "met", |c| {
            c.peers_count() == 4
        })
        .await;
    }
    runtime.shutdown_background();
    let started = Instant::now();
    for (node, events) in nodes.iter().zip(&mut events) {
        until(
            node.discovery(),
            seconds(3.0),
            "the dead peer is reported",
            |catalog| catalog.get(&peer).is_none(),
        )
        .await;
        println!("reported after {:?}", started.elapsed());
        while events.recv().await.unwrap() != Event::PeerDeparted(peer) {}
        assert_eq!(
            known(node.discovery()).len(),
            3,
            "the living are still there"
        );
    }
    // Its handle is of no use any more.
    std::mem::forget(victim);
    close(nodes).await;
}
