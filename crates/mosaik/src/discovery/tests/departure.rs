//! Leaving a network whose other nodes cannot be told.

use {
    super::{fresh, node, seconds},
    crate::{SecretKey, discovery::PeerEntry},
    iroh::EndpointAddr,
    std::{net::UdpSocket, time::Duration},
};

/// While one dial waits for an answer that never comes, the farewell ends with its window. The
/// gossip layer, and with it the transport, once stayed for ever then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_farewell_that_is_cut_short_leaves_no_task() {
    let metrics = tokio::runtime::Handle::current().metrics();
    let node = node(fresh()).await;
    let mute = UdpSocket::bind("127.0.0.1:0").unwrap();
    let secret = SecretKey::generate();
    let address = EndpointAddr::new(secret.public()).with_ip_addr(mute.local_addr().unwrap());
    let entry = PeerEntry::starting_now(*node.network_id(), address)
        .sign(&secret)
        .unwrap();
    assert!(node.discovery().feed(entry));
    // Sends a message to the peer, which waits for the dial.
    drop(node.discovery().state().sync_with(&secret.public()));
    node.close().await;
    let gone = async {
        while metrics.num_alive_tasks() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(seconds(20.0), gone).await.is_ok(),
        "{} tasks are left",
        metrics.num_alive_tasks()
    );
}
