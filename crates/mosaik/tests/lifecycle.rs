//! Starting and closing a network.

mod support;

use {
    futures::SinkExt,
    mosaik::{
        Network, SecretKey,
        network::{NetworkError, Preset},
        streams::backoff::ExponentialBackoff,
    },
    std::{
        collections::BTreeSet,
        time::{Duration, Instant},
    },
    support::{isolated, network_id, node, node_knowing, until, within},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starting_waits_for_nothing_outside() {
    // The first start of a process pays for what all share.
    node(network_id()).await.close().await;
    let mut fastest = Duration::MAX;
    for _ in 0..10 {
        let start = Instant::now();
        let network = node(network_id()).await;
        network.online().await;
        fastest = fastest.min(start.elapsed());
        network.close().await;
    }
    assert!(fastest < support::patience(1), "{fastest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configurations_that_cannot_work_are_errors() {
    let id = network_id();
    let missing = mosaik::network::NetworkBuilder::default().with_preset(Preset::Isolated);
    assert!(matches!(
        missing.build().await,
        Err(NetworkError::MissingNetworkId)
    ));

    let elsewhere: BTreeSet<_> = ["203.0.113.1:1".parse().unwrap()].into();
    let error = isolated(id)
        .with_addresses(elsewhere)
        .build()
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            NetworkError::Bind(_) | NetworkError::InvalidAddress(_)
        ),
        "{error}"
    );

    for discovery in [
        mosaik::discovery::Config::builder().with_announce_jitter(1.5),
        mosaik::discovery::Config::builder().with_announce_interval(Duration::ZERO),
        mosaik::discovery::Config::builder().with_events_backlog(0),
    ] {
        let error = isolated(id)
            .with_discovery(discovery)
            .build()
            .await
            .unwrap_err();
        assert!(matches!(error, NetworkError::DiscoveryConfig(_)), "{error}");
    }

    let never = ExponentialBackoff {
        max_elapsed_time: Some(Duration::ZERO),
        ..Default::default()
    };
    let streams = mosaik::streams::Config::builder().with_backoff(never);
    let error = isolated(id)
        .with_streams(streams)
        .build()
        .await
        .unwrap_err();
    assert!(matches!(error, NetworkError::StreamsConfig(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_keeps_its_id_and_its_network() {
    let secret = SecretKey::generate();
    let id = network_id();
    let network = isolated(id)
        .with_secret_key(secret.clone())
        .build()
        .await
        .unwrap();
    assert_eq!(network.local().id(), secret.public());
    assert_eq!(*network.network_id(), id);
    assert!(
        network
            .local()
            .addr()
            .ip_addrs()
            .all(|addr| addr.ip().is_loopback())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dialling_by_id_needs_nothing_but_the_process() {
    let id = network_id();
    let (a, b) = (node(id).await, node(id).await);
    let bare = mosaik::iroh::EndpointAddr::new(a.local().id());
    within("sync", b.discovery().sync_with(bare)).await.unwrap();
    assert!(b.discovery().catalog().get(&a.local().id()).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_started_again_with_its_key_can_be_dialled_by_id_when_what_it_was_has_ended() {
    let id = network_id();
    let key = SecretKey::generate();
    let start = || isolated(id).with_secret_key(key.clone()).build();
    let before = start().await.unwrap();
    let again = start().await.unwrap();
    before.close().await;
    let other = node(id).await;
    let bare = mosaik::iroh::EndpointAddr::new(again.local().id());
    within("sync", other.discovery().sync_with(bare))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simultaneous_dials_lose_no_subscription() {
    let id = network_id();
    for _ in 0..10 {
        let (a, b) = (node(id).await, node(id).await);
        let mut to_b = a
            .streams()
            .producer::<u32>()
            .with_stream_id("to-b")
            .build()
            .unwrap();
        let mut to_a = b
            .streams()
            .producer::<u32>()
            .with_stream_id("to-a")
            .build()
            .unwrap();
        let mut at_b = b.streams().consumer::<u32>().with_stream_id("to-b").build();
        let mut at_a = a.streams().consumer::<u32>().with_stream_id("to-a").build();
        let (addr_a, addr_b) = (a.local().addr(), b.local().addr());
        tokio::join!(a.discovery().dial(addr_b), b.discovery().dial(addr_a));
        for n in 0..50 {
            within("send", to_b.send(n)).await.unwrap();
            within("send", to_a.send(n)).await.unwrap();
            assert_eq!(within("recv", at_b.recv()).await, Some(n));
            assert_eq!(within("recv", at_a.recv()).await, Some(n));
        }
        assert_eq!((at_a.stats().missed(), at_b.stats().missed()), (0, 0));
        tokio::join!(a.close(), b.close());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handles_that_outlive_their_network_answer_that_it_is_closed() {
    let id = network_id();
    let a = node(id).await;
    let b = node_knowing(id, &a).await;
    let mut producer = a.streams().produce::<u32>();
    let mut consumer = b.streams().consume::<u32>();
    within("online", producer.when().online()).await;
    within("close", a.close()).await;
    assert!(within("send", producer.send(1)).await.is_err());
    drop(b);
    assert_eq!(within("recv", consumer.recv()).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_network_announces_its_departure() {
    let id = network_id();
    let a = node(id).await;
    let b = node_knowing(id, &a).await;
    until("they know each other", || {
        a.discovery().catalog().peers_count() == 1
    })
    .await;
    drop(b);
    until("the departure is known", || {
        a.discovery().catalog().peers_count() == 0
    })
    .await;
}

#[tokio::test]
async fn a_network_works_on_a_single_thread() {
    let id = network_id();
    let a = node(id).await;
    let b = node_knowing(id, &a).await;
    let mut producer = a
        .streams()
        .producer::<u32>()
        .disconnect_lagging(false)
        .build()
        .unwrap();
    let mut consumer = b.streams().consume::<u32>();
    let send = async {
        for n in 0..5_000 {
            producer.send(n).await.unwrap();
        }
    };
    let receive = async {
        for n in 0..5_000 {
            assert_eq!(consumer.recv().await, Some(n));
        }
    };
    within("both", async { tokio::join!(send, receive) }).await;
    let network: Network = b;
    within("close", network.close()).await;
}
