//! Conditions on round-trip times.

mod support;

use {
    futures::SinkExt,
    mosaik::{Network, discovery::Config},
    std::time::Duration,
    support::{isolated, network_id, node, until, within},
};

/// A node that was told of `peer` by nobody, has no link with it, and hears of no change of it.
async fn told_of(peer: &Network) -> Network {
    let network = node(*peer.network_id()).await;
    assert!(network.discovery().feed(peer.discovery().me()));
    network
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_near_producer_is_measured_and_subscribed_to_though_nothing_links_to_it() {
    let a = node(network_id()).await;
    let producer = a.streams().produce::<u32>();
    let b = told_of(&a).await;
    let _consumer = b
        .streams()
        .consumer::<u32>()
        .require(|peer| peer.rtt_below(Duration::from_secs(10)))
        .build();
    within("measured and admitted", producer.when().online()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_is_cut_off_when_its_measured_round_trip_is_not_wanted() {
    let a = node(network_id()).await;
    let producer = a.streams().produce::<u32>();
    let b = told_of(&a).await;
    let consumer = b
        .streams()
        .consumer::<u32>()
        .require(|peer| peer.rtt().is_none())
        .build();
    let a_id = a.local().id();
    until("measured and given up", || {
        b.discovery().rtt(&a_id).is_some() && consumer.producers().count() == 0
    })
    .await;
    within("cut off", producer.when().offline()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_is_near_enough_is_served_before_it_is_measured_and_after() {
    let discovery = Config::builder().with_max_rtt(Duration::from_mins(1));
    let a = isolated(network_id()).with_discovery(discovery).build();
    let a = a.await.unwrap();
    let mut producer = a.streams().produce::<u32>();
    let b = told_of(&a).await;
    let mut consumer = b.streams().consume::<u32>();
    within("admitted", producer.when().online()).await;
    until("measured", || a.discovery().rtt(&b.local().id()).is_some()).await;
    within("send", producer.send(7)).await.unwrap();
    assert_eq!(within("recv", consumer.recv()).await, Some(7));
    assert_eq!(consumer.stats().missed(), 0);
}
