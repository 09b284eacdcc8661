//! Nodes find each other, and learn what changes.

use {
    super::{close, fresh, known, node, node_with_peer, seconds, start, until, until_complete},
    crate::{
        Network, PeerId, Tag,
        discovery::{AnnounceEvent, Config, Event},
        network::Preset,
        tickets::Ticket,
    },
    bytes::Bytes,
    iroh::{EndpointAddr, SecretKey},
    mosaik_primitives::Digest,
    std::time::Duration,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_given_one_peer_discover_each_other() {
    let id = fresh();
    let mut nodes = vec![node(id).await];
    for _ in 0..4 {
        nodes.push(node_with_peer(id, &nodes[0]).await);
    }
    until_complete(&nodes, seconds(10.0)).await;
    close(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bootstrap_peer_that_comes_late_is_found() {
    let id = fresh();
    let secret = SecretKey::generate();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let peer = EndpointAddr::new(secret.public()).with_ip_addr(address);
    let config = || Config::builder().with_bootstrap(peer.clone());
    let mut nodes = vec![start(id, config()).await, start(id, config()).await];
    drop(socket);
    let late = Network::builder(id)
        .with_preset(Preset::Isolated)
        .with_secret_key(secret)
        .with_addresses([address])
        .build()
        .await
        .unwrap();
    nodes.push(late);
    until_complete(&nodes, seconds(30.0)).await;
    close(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_tags_and_tickets_reach_everyone() {
    let id = fresh();
    let first = node(id).await;
    let second = node_with_peer(id, &first).await;
    let third = node_with_peer(id, &first).await;
    let nodes = [first, second, third];
    until_complete(&nodes, seconds(10.0)).await;

    let me = nodes[1].local().id();
    let ticket = Ticket::new(Digest::from("class"), Bytes::from_static(b"data"));
    nodes[1].discovery().add_tags(["red", "blue"]);
    nodes[1].discovery().add_ticket(ticket.clone());
    assert!(nodes[1].discovery().me().tags().contains(&Tag::from("red")));
    for node in &nodes {
        until(
            node.discovery(),
            seconds(5.0),
            "tags and ticket",
            |catalog| {
                catalog.get(&me).is_some_and(|entry| {
                    entry.tags().len() == 2 && entry.tickets().contains_key(&ticket.id())
                })
            },
        )
        .await;
    }
    let other = Ticket::new(Digest::from("class"), Bytes::from_static(b"other"));
    nodes[1].discovery().remove_tags("red");
    nodes[1].discovery().replace_ticket(other.clone());
    for node in &nodes {
        until(node.discovery(), seconds(5.0), "the changes", |catalog| {
            catalog.get(&me).is_some_and(|entry| {
                entry.tags().len() == 1 && entry.tickets().values().collect::<Vec<_>>() == [&other]
            })
        })
        .await;
    }
    close(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_entry_is_seen_whole_by_all() {
    let id = fresh();
    let first = node(id).await;
    let second = node_with_peer(id, &first).await;
    let third = node_with_peer(id, &first).await;
    let nodes = [first, second, third];
    until_complete(&nodes, seconds(10.0)).await;

    let large = &nodes[2];
    for n in 0..2_000_u32 {
        large.discovery().add_stream(Digest::from_u32(n));
    }
    for n in 0..16 {
        large
            .discovery()
            .add_ticket(Ticket::new(Digest::from("c"), vec![n; 4 << 10].into()));
    }
    let wanted = large.discovery().me();
    for node in &nodes {
        until(
            node.discovery(),
            seconds(10.0),
            "the whole entry",
            |catalog| catalog.get_signed(&large.local().id()) == Some(&wanted),
        )
        .await;
    }
    let fourth = node_with_peer(id, &nodes[0]).await;
    until(
        fourth.discovery(),
        seconds(10.0),
        "the whole entry, later",
        |catalog| catalog.get_signed(&large.local().id()) == Some(&wanted),
    )
    .await;
    close(nodes.into_iter().chain([fourth])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_departure_is_announced() {
    let id = fresh();
    let first = node(id).await;
    let second = node_with_peer(id, &first).await;
    let third = node_with_peer(id, &first).await;
    let nodes = [first, second];
    let leaver = third.local().id();
    let mut events = nodes[1].discovery().events();
    let mut announcements = nodes[1].discovery().announcements();
    until(nodes[0].discovery(), seconds(10.0), "met", |c| {
        c.peers_count() == 2
    })
    .await;
    until(nodes[1].discovery(), seconds(10.0), "met", |c| {
        c.peers_count() == 2
    })
    .await;

    let started = tokio::time::Instant::now();
    third.close().await;
    for node in &nodes {
        // Faster than any probe could find it.
        until(node.discovery(), seconds(1.0), "the departure", |catalog| {
            catalog.get(&leaver).is_none()
        })
        .await;
    }
    assert!(started.elapsed() < seconds(1.5));
    let departed = async {
        while events.recv().await.unwrap() != Event::PeerDeparted(leaver) {}
        loop {
            if let AnnounceEvent::PeerDeparted(peer, _) = announcements.recv().await.unwrap() {
                return peer;
            }
        }
    };
    assert_eq!(
        tokio::time::timeout(seconds(1.0), departed).await.unwrap(),
        leaver
    );
    close(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dialled_peers_become_known() {
    let id = fresh();
    let nodes = [node(id).await, node(id).await, node(id).await];
    assert_eq!(nodes[0].discovery().catalog().peers_count(), 0);
    // By id alone within one process, by address everywhere.
    nodes[0].discovery().dial([nodes[1].local().id()]).await;
    nodes[1].discovery().dial(nodes[2].local().addr()).await;
    until_complete(&nodes, seconds(10.0)).await;
    close(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_sync_the_peers_catalog_is_merged() {
    let id = fresh();
    let hub = node(id).await;
    let others = [
        node_with_peer(id, &hub).await,
        node_with_peer(id, &hub).await,
    ];
    until(hub.discovery(), seconds(10.0), "the others", |c| {
        c.peers_count() == 2
    })
    .await;

    let newcomer = node(id).await;
    let sync = newcomer.discovery().sync_with(hub.local().addr());
    tokio::time::timeout(seconds(10.0), sync)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(known(newcomer.discovery()).len(), 3);

    let nobody =
        EndpointAddr::new(SecretKey::generate().public()).with_ip_addr(([127, 0, 0, 1], 9).into());
    let foreign = node(fresh()).await;
    for unreachable in [nobody, foreign.local().addr(), newcomer.local().addr()] {
        let sync = newcomer.discovery().sync_with(unreachable);
        assert!(
            tokio::time::timeout(seconds(30.0), sync)
                .await
                .unwrap()
                .is_err()
        );
    }
    close(others.into_iter().chain([hub, newcomer, foreign])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn networks_do_not_mix() {
    let first = node(fresh()).await;
    let second = node_with_peer(fresh(), &first).await;
    let third = node_with_peer(*second.network_id(), &second).await;
    for node in [&second, &third] {
        until(node.discovery(), seconds(10.0), "its own network", |c| {
            c.peers_count() == 1
        })
        .await;
    }
    assert_eq!(known(third.discovery()), [second.local().id()].into());
    assert_eq!(known(second.discovery()), [third.local().id()].into());
    assert_eq!(known(first.discovery()), [].into());
    close([first, second, third]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_peer_comes_back_with_its_next_announcement() {
    let id = fresh();
    // Both are more patient with themselves than with others.
    let impatient = Config::builder().with_purge_after(Duration::from_millis(1_500));
    let quiet = impatient
        .clone()
        .with_announce_interval(Duration::from_secs(4))
        .with_announce_jitter(0.0);
    let speaker = start(id, quiet).await;
    let listener = start(id, impatient).await;
    // Before they meet, or the first event may be missed.
    let mut events = listener.discovery().events();
    let peer = speaker.local().id();
    listener.discovery().dial(speaker.local().addr()).await;
    let story = async {
        let mut story = Vec::new();
        while story.len() < 3 {
            match events.recv().await.unwrap() {
                Event::PeerDiscovered(entry) if *entry.id() == peer => story.push("discovered"),
                Event::PeerDeparted(departed) if departed == peer => story.push("departed"),
                _ => {}
            }
        }
        story
    };
    let story = tokio::time::timeout(seconds(30.0), story).await.unwrap();
    assert_eq!(story, ["discovered", "departed", "discovered"]);
    close([speaker, listener]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn round_trips_are_measured() {
    let id = fresh();
    let first = node(id).await;
    let second = node_with_peer(id, &first).await;
    let peer: PeerId = first.local().id();
    until(second.discovery(), seconds(10.0), "met", |c| {
        c.peers_count() == 1
    })
    .await;
    let measured = async {
        while second.discovery().entry(&peer).unwrap().rtt().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(seconds(5.0), measured).await.unwrap();
    let info = second.discovery().entry(&peer).unwrap();
    assert!(info.rtt_below(Duration::from_secs(1)) && second.discovery().is_eligible(&info));
    close([first, second]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_nodes_that_start_at_once_and_are_given_one_peer_know_each_other() {
    let id = fresh();
    let count = 25;
    let mut nodes = vec![node(id).await];
    let rest = (1..count).map(|_| node_with_peer(id, &nodes[0]));
    let rest = futures::future::join_all(rest).await;
    nodes.extend(rest);
    let started = tokio::time::Instant::now();
    until_complete(&nodes, seconds(30.0)).await;
    println!("complete {:?} after the last start", started.elapsed());
    close(nodes).await;
}
