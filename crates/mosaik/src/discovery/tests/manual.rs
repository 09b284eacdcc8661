//! What a program does to its catalog by hand.

use {
    super::{close, fresh, node, node_with_peer, seconds, until},
    crate::{
        NetworkId, SecretKey,
        discovery::{Event, PeerEntry},
    },
    iroh::EndpointAddr,
    std::collections::VecDeque,
    tokio::sync::broadcast::error::TryRecvError,
};

fn entry(network: NetworkId, secret: &SecretKey) -> PeerEntry {
    let address = EndpointAddr::new(secret.public()).with_ip_addr(([127, 0, 0, 1], 9).into());
    PeerEntry::starting_now(network, address)
}

#[tokio::test]
async fn inserted_entries_are_local_and_unsigned() {
    let id = fresh();
    let first = node(id).await;
    let second = node_with_peer(id, &first).await;
    until(first.discovery(), seconds(10.0), "met", |c| {
        c.peers_count() == 1
    })
    .await;

    let mut events = second.discovery().events();
    let secret = SecretKey::generate();
    let inserted = entry(id, &secret);
    assert!(second.discovery().insert(&inserted));
    assert!(!second.discovery().insert(&inserted), "it is no news twice");
    let newer = inserted.clone().add_tags("newer");
    assert!(second.discovery().insert(newer.clone()));
    assert!(
        !second.discovery().insert(inserted.clone()),
        "an older one is no news"
    );
    let catalog = second.discovery().catalog();
    assert_eq!(catalog.get(&secret.public()), Some(&newer));
    assert_eq!(catalog.get_signed(&secret.public()), None);
    assert_eq!(catalog.unsigned_peers().collect::<Vec<_>>(), [&newer]);
    assert_eq!(
        (catalog.peers_count(), catalog.signed_peers_count()),
        (2, 1)
    );
    assert_eq!(
        events.try_recv().unwrap(),
        Event::PeerDiscovered(inserted.clone())
    );
    assert_eq!(
        events.try_recv().unwrap(),
        Event::PeerUpdated(newer.clone())
    );

    // A whole comparison later the other still does not know it.
    second
        .discovery()
        .sync_with(first.local().addr())
        .await
        .unwrap();
    assert!(first.discovery().catalog().get(&secret.public()).is_none());

    assert!(second.discovery().clear_unsigned());
    assert!(!second.discovery().clear_unsigned());
    assert_eq!(
        events.try_recv().unwrap(),
        Event::PeerDeparted(secret.public())
    );
    assert!(second.discovery().insert(newer.clone()));
    assert!(second.discovery().remove(secret.public()));
    assert!(!second.discovery().remove(secret.public()));
    let foreign = entry(fresh(), &secret);
    assert!(
        !second.discovery().insert(foreign),
        "it is of another network"
    );
    assert!(
        !second.discovery().insert(second.discovery().me()),
        "it is our own"
    );
    assert!(
        !second.discovery().insert(first.discovery().me()),
        "a signed one is known"
    );
    close([first, second]).await;
}

#[tokio::test]
async fn fed_entries_are_signed_and_shared() {
    let id = fresh();
    let first = node(id).await;
    let second = node_with_peer(id, &first).await;
    until(first.discovery(), seconds(10.0), "met", |c| {
        c.peers_count() == 1
    })
    .await;

    let secret = SecretKey::generate();
    let old = entry(id, &secret).sign(&secret).unwrap();
    let new = old
        .clone()
        .into_unsigned()
        .add_tags("new")
        .sign(&secret)
        .unwrap();
    assert!(second.discovery().insert(&old));
    assert!(second.discovery().feed(new.clone()));
    assert!(!second.discovery().feed(new.clone()), "it is no news twice");
    assert!(!second.discovery().feed(old), "an older one is no news");
    assert_eq!(
        second.discovery().catalog().get_signed(&secret.public()),
        Some(&new)
    );
    assert_eq!(second.discovery().catalog().unsigned_peers().count(), 0);
    until(
        first.discovery(),
        seconds(10.0),
        "what was fed",
        |catalog| catalog.get_signed(&secret.public()) == Some(&new),
    )
    .await;
    let foreign = entry(fresh(), &secret).sign(&secret).unwrap();
    assert!(
        !second.discovery().feed(foreign),
        "it is of another network"
    );
    assert!(
        !second.discovery().feed(second.discovery().me()),
        "it is our own"
    );
    close([first, second]).await;
}

#[tokio::test]
async fn a_removed_peer_that_lives_comes_back() {
    let id = fresh();
    let first = node(id).await;
    let second = node_with_peer(id, &first).await;
    until(second.discovery(), seconds(10.0), "met", |c| {
        c.peers_count() == 1
    })
    .await;
    let mut events = second.discovery().events();
    assert!(second.discovery().remove(first.local().id()));
    assert_eq!(
        events.try_recv().unwrap(),
        Event::PeerDeparted(first.local().id())
    );
    assert_eq!(events.try_recv(), Err(TryRecvError::Empty));
    assert!(
        second
            .discovery()
            .catalog()
            .get(&first.local().id())
            .is_none()
    );
    assert!(
        !second.discovery().remove(second.local().id()),
        "the local peer stays"
    );
    first.discovery().add_tags("alive");
    until(second.discovery(), seconds(10.0), "it is back", |c| {
        c.peers_count() == 1
    })
    .await;
    close([first, second]).await;
}

#[tokio::test]
async fn an_unknown_peer_can_be_asked_for_its_entry() {
    let id = fresh();
    let nodes = [node(id).await, node(id).await];
    let peer = nodes[1].local().id();
    assert!(nodes[0].discovery().entry(&peer).is_none());
    let info = nodes[0].discovery().resolve(peer).await.unwrap();
    assert_eq!(*info.id(), peer);
    assert!(
        nodes[0]
            .discovery()
            .resolve(SecretKey::generate().public())
            .await
            .is_none()
    );
    assert_eq!(nodes[0].discovery().infos().len(), 1);
    close(nodes).await;
}

/// A change was told before the snapshot showed it, and whoever subscribed and looked in between
/// never learnt of a peer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_subscribes_and_then_looks_misses_nobody() {
    let id = fresh();
    let node = node(id).await;
    for _ in 0..200 {
        let secret = SecretKey::generate();
        let newcomer = entry(id, &secret);
        let (peer, discovery) = (secret.public(), node.discovery().clone());
        let looking = tokio::task::spawn_blocking(move || {
            // The last ones who looked before the newcomer was there to be seen.
            let mut waiting = VecDeque::new();
            loop {
                let events = discovery.events();
                if discovery.catalog().get(&peer).is_some() {
                    return waiting;
                }
                if waiting.len() == 4 {
                    waiting.pop_front();
                }
                waiting.push_back(events);
            }
        });
        assert!(node.discovery().insert(newcomer.clone()));
        for mut events in looking.await.unwrap() {
            assert_eq!(
                events.try_recv(),
                Ok(Event::PeerDiscovered(newcomer.clone())),
                "neither seen nor told"
            );
        }
    }
    close([node]).await;
}
