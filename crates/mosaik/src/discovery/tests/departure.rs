//! Leaving a network whose other nodes cannot be told.

use {
    super::{close, fresh, node, node_with_peer, seconds, until},
    crate::{
        SecretKey,
        discovery::{
            Config, PeerEntry,
            state::{Action, State},
        },
    },
    iroh::EndpointAddr,
    mosaik_primitives::Limits,
    std::{net::UdpSocket, time::Duration},
    tokio::sync::oneshot::error::TryRecvError,
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

/// A driver that was late once found its transport gone, and the farewell was never sent.
#[tokio::test]
async fn a_farewell_that_the_driver_has_not_taken_yet_is_waited_for() {
    let secret = SecretKey::generate();
    let entry = PeerEntry::starting_now(fresh(), EndpointAddr::new(secret.public()));
    let config = Config::builder().build().unwrap();
    // Its driver is this test.
    let state = State::new(&config, &Limits::DEFAULT, secret, entry).unwrap();
    state.take_actions();
    state.leave();
    let mut handed_on = state.handed_on();
    assert_eq!(handed_on.try_recv(), Err(TryRecvError::Empty));
    let mut farewells = 0;
    for action in state.take_actions() {
        match action {
            Action::Acknowledge(done) => {
                assert_eq!(farewells, 1, "the farewell comes first");
                done.send(()).unwrap();
            }
            Action::Broadcast(_) => farewells += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(handed_on.try_recv(), Ok(()));
}

/// Every node hears of it, though the one that leaves waits for nothing but their answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_hears_a_farewell_before_its_node_is_gone() {
    let id = fresh();
    let first = node(id).await;
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(node_with_peer(id, &first).await);
    }
    super::until_complete(&others, seconds(10.0)).await;
    let leaving = others.pop().unwrap();
    let peer = leaving.local().id();
    leaving.close().await;
    // Sooner than silence would tell.
    for node in others.iter().chain([&first]) {
        until(node.discovery(), seconds(1.0), "it has left", |catalog| {
            catalog.get(&peer).is_none()
        })
        .await;
    }
    others.push(first);
    close(others).await;
}
