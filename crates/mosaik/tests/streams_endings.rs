//! How subscriptions end, and what is told of it.

mod support;

use {
    futures::{FutureExt, SinkExt, StreamExt},
    mosaik::{
        Criteria,
        streams::{Producer, consumer::ConsumerEvent, consumer::Events, status::ChannelInfo},
    },
    support::{network_id, node, node_knowing, reading_little, within},
};

/// The next event that is about a subscription's beginning or end.
async fn turn(events: &mut Events) -> ConsumerEvent {
    within("an event", async {
        loop {
            let event = events.next().await.expect("the consumer is there");
            let turns = matches!(
                event,
                ConsumerEvent::Connected { .. } | ConsumerEvent::Disconnected { .. }
            );
            if turns {
                return event;
            }
        }
    })
    .await
}

/// Gives the only consumer more than it takes, and lets the producer go.
async fn drop_with_a_backlog(mut producer: Producer<Vec<u8>>) -> ChannelInfo {
    for _ in 0..64 {
        within("send", producer.send(vec![0; 64 << 10]))
            .await
            .unwrap();
    }
    producer.consumers().next().expect("it is connected")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_told_after_what_it_tells_of_also_by_a_consumer_that_wants_no_more() {
    let id = network_id();
    let a = node(id).await;
    let b = node_knowing(id, &a).await;
    let _producer = a.streams().produce::<u64>();
    let consumer = b
        .streams()
        .consumer::<u64>()
        .subscribe_if(|peer| peer.tags().contains(&"good".into()))
        .online_when(|when| when.minimum_of(1))
        .build();
    let mut events = consumer.events();
    for _ in 0..10 {
        a.discovery().add_tags("good");
        let event = turn(&mut events).await;
        assert!(
            matches!(event, ConsumerEvent::Connected { .. }),
            "{event:?}"
        );
        assert!(consumer.is_online() && consumer.stats().uptime().is_some());
        a.discovery().remove_tags("good");
        match turn(&mut events).await {
            ConsumerEvent::Disconnected { reason, .. } => {
                assert_eq!(&reason.reason[..], b"NotAllowed");
            }
            event => panic!("{event:?}"),
        }
        assert!(!consumer.is_online() && consumer.stats().uptime().is_none());
        assert_eq!(consumer.producers().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_producer_is_not_kept_by_a_consumer_that_does_not_read() {
    let id = network_id();
    let a = node(id).await;
    let b = reading_little(id, &a).await;
    let producer = a.streams().produce::<Vec<u8>>();
    let _unread = b.streams().consume::<Vec<u8>>();
    within("online", producer.when().online()).await;
    let channel = drop_with_a_backlog(producer).await;
    within("given up", channel.disconnected()).await;
    within("nothing is left to wait for", a.close()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_longer_admitted_gets_no_more_of_a_dropped_lossless_producer() {
    let id = network_id();
    let a = node(id).await;
    let b = reading_little(id, &a).await;
    b.discovery().add_tags("reader");
    let producer = a
        .streams()
        .producer::<Vec<u8>>()
        .disconnect_lagging(false)
        .require(|peer| peer.tags().contains(&"reader".into()))
        .build()
        .unwrap();
    let _unread = b.streams().consume::<Vec<u8>>();
    within("online", producer.when().online()).await;
    let channel = drop_with_a_backlog(producer).await;
    assert!(channel.disconnected().now_or_never().is_none());
    b.discovery().remove_tags("reader");
    within("cut off", channel.disconnected()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_is_a_newcomer_to_the_next_producer_of_the_same_node() {
    let id = network_id();
    let a = node(id).await;
    let b = node_knowing(id, &a).await;
    let build = || {
        let builder = a.streams().producer::<u64>().with_history(3);
        builder.online_when(|when| when.minimum_of(0)).build()
    };
    let first = build().unwrap();
    let criteria = Criteria::default().last(3);
    let consumer = b.streams().consumer::<u64>().with_criteria(criteria);
    let mut consumer = consumer.build();
    within("subscribed", first.when().subscribed()).await;
    first.try_send(1).unwrap();
    assert_eq!(within("item", consumer.recv()).await, Some(1));
    // At once: the consumer is to come back, not to begin anew.
    drop(first);
    let second = build().unwrap();
    for number in 10..13 {
        second.try_send(number).unwrap();
    }
    for number in 10..13 {
        assert_eq!(within("history", consumer.recv()).await, Some(number));
    }
    assert_eq!(consumer.stats().missed(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn building_a_producer_while_its_closed_twin_is_dropped_does_not_deadlock() {
    let network = node(network_id()).await;
    let streams = network.streams().clone();
    network.close().await;
    let building: Vec<_> = (0..2)
        .map(|_| {
            let streams = streams.clone();
            let runtime = tokio::runtime::Handle::current();
            let (done, ended) = tokio::sync::oneshot::channel();
            // Not a task of the runtime, which would wait for it.
            std::thread::spawn(move || {
                let _runtime = runtime.enter();
                for _ in 0..20_000 {
                    drop(streams.producer::<u64>().build());
                }
                // Nobody waits any more where that took too long.
                let _ = done.send(());
            });
            ended
        })
        .collect();
    for ended in building {
        within("built and dropped", ended).await.unwrap();
    }
}

#[tokio::test]
#[should_panic(expected = "a producer's buffer holds at least one item")]
async fn a_buffer_of_no_items_is_refused_and_not_taken_for_another() {
    let network = node(network_id()).await;
    let builder = network.streams().producer::<u64>().with_buffer_size(0);
    drop(builder.build());
}

/// Where a consumer had stopped was forgotten with the subscription, and what it missed went by
/// in silence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missed_of_a_producer_that_is_not_wanted_for_a_while_is_told() {
    let id = network_id();
    let a = node(id).await;
    a.discovery().add_tags("wanted");
    let b = node_knowing(id, &a).await;
    let builder = a.streams().producer::<u64>().with_history(8);
    let producer = builder.online_when(|when| when.minimum_of(0)).build();
    let producer = producer.unwrap();
    let builder = b.streams().consumer::<u64>();
    let builder = builder.with_criteria(Criteria::default().last(8));
    let wanted = |peer: &mosaik::discovery::PeerInfo| peer.tags().contains(&"wanted".into());
    let mut consumer = builder.require(wanted).build();
    let mut events = consumer.events();
    within("subscribed", producer.when().subscribed()).await;
    producer.try_send(1).unwrap();
    assert_eq!(within("item", consumer.recv()).await, Some(1));
    assert!(matches!(
        turn(&mut events).await,
        ConsumerEvent::Connected { .. }
    ));

    a.discovery().remove_tags("wanted");
    assert!(matches!(
        turn(&mut events).await,
        ConsumerEvent::Disconnected { .. }
    ));
    within("cut off", producer.when().unsubscribed()).await;
    for number in 2..5 {
        producer.try_send(number).unwrap();
    }
    a.discovery().add_tags("wanted");
    assert!(matches!(
        turn(&mut events).await,
        ConsumerEvent::Connected { .. }
    ));
    within("subscribed again", producer.when().subscribed()).await;
    producer.try_send(5).unwrap();
    assert_eq!(within("item", consumer.recv()).await, Some(5));
    assert_eq!(consumer.stats().missed(), 3);
}
