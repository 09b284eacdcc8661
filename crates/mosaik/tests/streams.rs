//! The promises of streams, between nodes on loopback.

mod support;

use {
    futures::{SinkExt, StreamExt},
    mosaik::{
        Criteria, Network,
        streams::{StreamDef, consumer::ConsumerEvent, producer},
    },
    serde::{Deserialize, Serialize},
    std::time::Duration,
    support::{network_id, node, node_knowing, nodes, until, within},
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    station: String,
    number: u64,
}

fn reading(number: u64) -> Reading {
    Reading {
        station: format!("station-{}", number % 3),
        number,
    }
}

async fn two() -> (Network, Network) {
    let id = network_id();
    let first = node(id).await;
    let second = node_knowing(id, &first).await;
    (first, second)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_arrive_in_order_and_nothing_is_lost() {
    let (a, b) = two().await;
    let mut producer = a
        .streams()
        .producer::<Reading>()
        .disconnect_lagging(false)
        .build()
        .unwrap();
    let mut consumer = b.streams().consume::<Reading>();
    let sending = tokio::spawn(async move {
        for number in 0..50_000 {
            producer.send(reading(number)).await.unwrap();
        }
        producer
    });
    for number in 0..50_000 {
        let got = within("next item", consumer.recv()).await;
        assert_eq!(got, Some(reading(number)));
    }
    drop(sending.await.unwrap());
    assert_eq!(consumer.stats().datums(), 50_000);
    assert_eq!(consumer.stats().missed(), 0);
    b.close().await;
    a.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producers_and_consumers_connect_in_any_order() {
    let id = network_id();
    // Consumer first, on a node that knows nobody; the producer's node is introduced later.
    let b = node(id).await;
    let mut early = b
        .streams()
        .consumer::<u32>()
        .with_stream_id("numbers")
        .build();
    let a = node(id).await;
    let mut producer = a
        .streams()
        .producer::<u32>()
        .with_stream_id("numbers")
        .build()
        .unwrap();
    a.discovery().dial(b.local().addr()).await;
    within("send to the early consumer", producer.send(7))
        .await
        .unwrap();
    assert_eq!(within("early", early.recv()).await, Some(7));
    let c = node_knowing(id, &b).await;
    let mut late = c
        .streams()
        .consumer::<u32>()
        .with_stream_id("numbers")
        .build();
    within("both", producer.when().subscribed().minimum_of(2)).await;
    producer.send(8).await.unwrap();
    assert_eq!(within("late", late.recv()).await, Some(8));
    assert_eq!(within("early", early.recv()).await, Some(8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_items_arrive_whole_and_oversized_ones_come_back() {
    let id = network_id();
    let limits = {
        let mut limits = mosaik::primitives::Limits::default();
        limits.frame_bytes = 3 << 20;
        limits
    };
    let a = support::isolated(id)
        .with_limits(limits.clone())
        .build()
        .await
        .unwrap();
    let discovery = mosaik::discovery::Config::builder().with_bootstrap(a.local().addr());
    let b = support::isolated(id)
        .with_limits(limits)
        .with_discovery(discovery)
        .build()
        .await
        .unwrap();
    let mut producer = a
        .streams()
        .producer::<Vec<u8>>()
        .disconnect_lagging(false)
        .build()
        .unwrap();
    let mut consumer = b.streams().consume::<Vec<u8>>();
    let big: Vec<u8> = (0..(3 << 20) - 8).map(|i| (i % 251) as u8).collect();
    for _ in 0..5 {
        within("send", producer.send(big.clone())).await.unwrap();
        assert!(within("big", consumer.recv()).await == Some(big.clone()));
    }
    match producer.try_send(vec![1; 4 << 20]) {
        Err(producer::Error::Encoding(back, _)) => assert_eq!(back.len(), 4 << 20),
        other => panic!("{other:?}"),
    }
    producer.send(vec![9]).await.unwrap();
    assert_eq!(within("after", consumer.recv()).await, Some(vec![9]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn send_waits_for_a_slow_consumer_and_loses_nothing() {
    let (a, b) = two().await;
    let mut producer = a
        .streams()
        .producer::<Vec<u8>>()
        .disconnect_lagging(false)
        .with_buffer_size(4)
        .build()
        .unwrap();
    let mut consumer = b.streams().consume::<Vec<u8>>();
    within("online", producer.when().online()).await;
    // Far more than all buffers on the way hold.
    let item = |n: u32| [&n.to_le_bytes()[..], &vec![0; 200_000]].concat();
    let sending = tokio::spawn(async move {
        for n in 0..300u32 {
            producer.send(item(n)).await.unwrap();
        }
    });
    // Not reading: the producer comes to a halt, bounded, and does not fail.
    let mut last = 0;
    until("the producer waits", || {
        let now = a
            .streams()
            .produce::<Vec<u8>>()
            .consumers()
            .next()
            .unwrap()
            .stats()
            .datums();
        let same = now == last && now > 0;
        last = now;
        same
    })
    .await;
    assert!(!sending.is_finished());
    for n in 0..300u32 {
        assert_eq!(
            within("item", consumer.recv()).await.unwrap()[..4],
            n.to_le_bytes()
        );
    }
    sending.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_falls_behind_is_cut_and_told_how_much_it_missed() {
    let (a, b) = two().await;
    let mut producer = a
        .streams()
        .producer::<Vec<u8>>()
        .with_buffer_size(8)
        .build()
        .unwrap();
    let mut consumer = b.streams().consume::<Vec<u8>>();
    let mut events = consumer.events();
    within("online", producer.when().online()).await;
    let item = |n: u64| [&n.to_le_bytes()[..], &vec![0; 100_000]].concat();
    let number = |item: &[u8]| u64::from_le_bytes(item[..8].try_into().unwrap());
    // The consumer does not read until it is cut, which the producer notices first.
    let mut sent = 0u64;
    let cut = producer.when().offline();
    let send = async {
        loop {
            // Waits for ever once the only consumer is gone.
            producer.send(item(sent)).await.unwrap();
            sent += 1;
        }
    };
    within("the cut", async {
        tokio::select! {
            () = cut => {}
            () = send => unreachable!(),
        }
    })
    .await;
    let mut got = 0u64;
    let reason = loop {
        tokio::select! {
            biased;
            event = events.next() => {
                if let Some(ConsumerEvent::Disconnected { reason, .. }) = event {
                    break reason;
                }
            }
            next = within("what it has", consumer.recv()) => {
                assert_eq!(number(&next.unwrap()), got, "in order");
                got += 1;
            }
        }
    };
    assert_eq!(&reason.reason[..], b"TooSlow");
    // It comes back, is told, and gets what is sent from then on.
    within("back", producer.when().subscribed()).await;
    let marker = sent + 1_000_000;
    within("send", producer.send(item(marker))).await.unwrap();
    loop {
        let next = number(&within("next", consumer.recv()).await.unwrap());
        if next == marker {
            break;
        }
        assert_eq!(next, got, "in order, without a hole before the cut");
        got += 1;
    }
    // Announced in band, so it is known before the item that follows it.
    assert_eq!(consumer.stats().missed() as u64 + got, sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_does_not_read_costs_the_others_nothing_but_a_moment() {
    const AHEAD: usize = 4;
    let nodes = nodes(network_id(), 3).await;
    let mut producer = nodes[0]
        .streams()
        .producer::<Vec<u8>>()
        .with_buffer_size(4 * AHEAD)
        .build()
        .unwrap();
    let unread = nodes[1].streams().consume::<Vec<u8>>();
    let mut read = nodes[2].streams().consume::<Vec<u8>>();
    within("both", producer.when().subscribed().minimum_of(2)).await;
    // Who reads keeps up by construction: no more than a few items are ahead of it.
    let ahead = std::sync::Arc::new(tokio::sync::Semaphore::new(AHEAD));
    let behind = std::sync::Arc::clone(&ahead);
    let reading = tokio::spawn(async move {
        for n in 0..1_000u32 {
            let item = within("item", read.recv()).await.unwrap();
            assert_eq!(
                item[..4],
                n.to_le_bytes(),
                "nothing is lost for who keeps up"
            );
            behind.add_permits(1);
        }
        read.stats().missed()
    });
    for n in 0..1_000u32 {
        within("read", ahead.acquire()).await.unwrap().forget();
        let item = [&n.to_le_bytes()[..], &vec![0; 20_000]].concat();
        within("send", producer.send(item)).await.unwrap();
    }
    assert_eq!(reading.await.unwrap(), 0);
    assert!(
        unread.stats().datums() < 1_000,
        "it was cut off, not waited for"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_items_one_by_one_to_a_consumer_that_does_not_read_cost_no_link() {
    let (a, b) = two().await;
    let trickle = StreamDef::<Vec<u8>>::with_stream_id("trickle".into());
    let lively = StreamDef::<u64>::with_stream_id("lively".into());
    let mut dripping = a
        .streams()
        .producer_of(trickle)
        .disconnect_lagging(false)
        .with_buffer_size(100_000)
        .build()
        .unwrap();
    let mut flowing = a
        .streams()
        .producer_of(lively)
        .disconnect_lagging(false)
        .build()
        .unwrap();
    let mut unread = b.streams().consumer_of(trickle).build();
    let mut read = b.streams().consumer_of(lively).build();
    within("online", dripping.when().online()).await;
    // Each goes out in a packet of its own: the other stream's answer says that it has gone.
    for n in 0..6_000u64 {
        within("drip", dripping.send(vec![n as u8; 200]))
            .await
            .unwrap();
        within("send", flowing.send(n)).await.unwrap();
        assert_eq!(
            within("recv", read.recv()).await,
            Some(n),
            "the link is there"
        );
    }
    for n in 0..6_000u64 {
        assert_eq!(
            within("drop", unread.recv()).await.unwrap(),
            vec![n as u8; 200]
        );
    }
    assert_eq!(unread.stats().missed() + read.stats().missed(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_subscription_slows_nothing_else_between_the_two_peers() {
    let (a, b) = two().await;
    let stalled = StreamDef::<Vec<u8>>::with_stream_id("stalled".into());
    let lively = StreamDef::<u64>::with_stream_id("lively".into());
    let mut blocked = a
        .streams()
        .producer_of(stalled)
        .disconnect_lagging(false)
        .build()
        .unwrap();
    let mut flowing = a
        .streams()
        .producer_of(lively)
        .disconnect_lagging(false)
        .build()
        .unwrap();
    let unread = b.streams().consumer_of(stalled).build();
    let mut read = b.streams().consumer_of(lively).build();
    within("online", blocked.when().online()).await;
    let blocking = tokio::spawn(async move {
        loop {
            blocked.send(vec![0; 100_000]).await.unwrap();
        }
    });
    until("it stalls", || unread.stats().datums() > 0).await;
    for n in 0..20_000 {
        within("send", flowing.send(n)).await.unwrap();
        if n % 64 == 63 {
            for m in n - 63..=n {
                assert_eq!(within("recv", read.recv()).await, Some(m));
            }
        }
    }
    assert!(!blocking.is_finished());
    blocking.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn criteria_are_evaluated_where_the_item_is_sent() {
    let (a, b) = two().await;
    let (undelivered, mut rejected) = tokio::sync::mpsc::unbounded_channel();
    let mut producer = a
        .streams()
        .producer::<Reading>()
        .disconnect_lagging(false)
        .with_undelivered_sink(undelivered)
        .build()
        .unwrap();
    let criteria = Criteria::field("station")
        .eq("station-1")
        .and(Criteria::field("number").ge(10));
    let mut consumer = b
        .streams()
        .consumer::<Reading>()
        .with_criteria(criteria)
        .build();
    within("online", producer.when().online()).await;
    for number in 0..100 {
        producer.send(reading(number)).await.unwrap();
    }
    let wanted: Vec<u64> = (10..100).filter(|number| number % 3 == 1).collect();
    for number in &wanted {
        assert_eq!(
            within("item", consumer.recv()).await.unwrap().number,
            *number
        );
    }
    let channel = producer.consumers().next().unwrap();
    assert_eq!(
        channel.stats().datums(),
        wanted.len(),
        "what is not wanted is not sent"
    );
    let mut unwanted = Vec::new();
    while let Ok(item) = rejected.try_recv() {
        unwanted.push(item.number);
    }
    assert_eq!(unwanted.len(), 100 - wanted.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_consumer_gets_the_last_matching_items_first() {
    let (a, b) = two().await;
    let mut producer = a
        .streams()
        .producer::<Reading>()
        .with_history(100)
        .online_when(|when| when.minimum_of(0))
        .build()
        .unwrap();
    for number in 0..50 {
        producer.send(reading(number)).await.unwrap();
    }
    let criteria = Criteria::field("station").eq("station-0").last(3);
    let mut consumer = b
        .streams()
        .consumer::<Reading>()
        .with_criteria(criteria)
        .build();
    within("subscribed", producer.when().subscribed()).await;
    for number in 50..56 {
        producer.send(reading(number)).await.unwrap();
    }
    let mut got = Vec::new();
    while got.len() < 5 {
        got.push(within("item", consumer.recv()).await.unwrap().number);
    }
    assert_eq!(got, [42, 45, 48, 51, 54]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_consumers_on_one_node_and_clones_of_a_producer() {
    let (a, b) = two().await;
    let producer = a
        .streams()
        .producer::<u64>()
        .disconnect_lagging(false)
        .build()
        .unwrap();
    let second = a.streams().producer::<u64>().build();
    let Err(producer::BuilderError::AlreadyExists(mut again)) = second else {
        panic!("a second producer of the stream")
    };
    let mut first = b.streams().consume::<u64>();
    let mut second = b.streams().consume::<u64>();
    within("both", producer.when().subscribed().minimum_of(2)).await;
    drop(producer);
    again.send(1).await.unwrap();
    again.clone().send(2).await.unwrap();
    for consumer in [&mut first, &mut second] {
        assert_eq!(within("1", consumer.recv()).await, Some(1));
        assert_eq!(within("2", consumer.recv()).await, Some(2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn try_send_gives_back_what_it_does_not_take() {
    let (a, b) = two().await;
    let producer = a
        .streams()
        .producer::<u64>()
        .disconnect_lagging(false)
        .with_buffer_size(2)
        .build()
        .unwrap();
    assert_eq!(producer.try_send(1), Err(producer::Error::Offline(1)));
    let mut consumer = b.streams().consume::<u64>();
    within("online", producer.when().online()).await;
    let mut accepted = 0;
    let mut refused = 0;
    while refused == 0 {
        match producer.try_send(accepted) {
            Ok(()) => accepted += 1,
            Err(producer::Error::Full(back)) => {
                assert_eq!(back, accepted);
                refused += 1;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    for n in 0..accepted {
        assert_eq!(within("item", consumer.recv()).await, Some(n));
    }
    a.close().await;
    assert_eq!(producer.try_send(5), Err(producer::Error::Closed(Some(5))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requirements_and_capacity_are_enforced_and_looked_at_again() {
    let id = network_id();
    let a = node(id).await;
    let mut producer = a
        .streams()
        .producer::<u64>()
        .require(|peer| peer.tags().contains(&"friend".into()))
        .with_max_consumers(1)
        .build()
        .unwrap();
    let b = node_knowing(id, &a).await;
    let mut consumer = b.streams().consume::<u64>();
    let mut events = consumer.events();
    let refused = async {
        loop {
            if let Some(ConsumerEvent::Refused { reason, .. }) = events.next().await {
                break reason;
            }
        }
    };
    assert_eq!(&within("refused", refused).await.reason[..], b"NotAllowed");
    b.discovery().add_tags("friend");
    within("let in", producer.when().online()).await;
    producer.send(1).await.unwrap();
    assert_eq!(within("item", consumer.recv()).await, Some(1));
    b.discovery().remove_tags("friend");
    within("cut", producer.when().offline()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_hands_over_what_was_accepted_and_leaves_nothing() {
    let nodes = nodes(network_id(), 2).await;
    let [a, b] = <[Network; 2]>::try_from(nodes).unwrap();
    let mut producer = a
        .streams()
        .producer::<u64>()
        .disconnect_lagging(false)
        .build()
        .unwrap();
    let mut consumer = b.streams().consume::<u64>();
    within("online", producer.when().online()).await;
    for n in 0..500 {
        producer.send(n).await.unwrap();
    }
    within("close", a.close()).await;
    assert!(producer.send(1).await.is_err());
    for n in 0..500 {
        assert_eq!(within("item", consumer.recv()).await, Some(n));
    }
    within("close", b.close()).await;
    assert_eq!(within("end", consumer.recv()).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_dropped_right_after_its_last_item_does_not_cut_its_readers() {
    let (a, b) = two().await;
    let mut producer = a
        .streams()
        .producer::<Vec<u8>>()
        .disconnect_lagging(false)
        .build()
        .unwrap();
    let mut consumer = b.streams().consume::<Vec<u8>>();
    let mut events = consumer.events();
    within("online", producer.when().online()).await;
    // More than the consumer takes before its program reads.
    for n in 0..100u8 {
        producer.send(vec![n; 100_000]).await.unwrap();
    }
    drop(producer);
    let unadvertised = || {
        b.discovery()
            .catalog()
            .get(&a.local().id())
            .is_some_and(|entry| entry.streams().is_empty())
    };
    until("the stream is not advertised any more", unadvertised).await;
    for n in 0..100u8 {
        assert_eq!(within("item", consumer.recv()).await.unwrap()[0], n);
    }
    let ended = async {
        loop {
            if let Some(ConsumerEvent::Disconnected { reason, .. }) = events.next().await {
                break reason;
            }
        }
    };
    assert_eq!(&within("the end", ended).await.reason[..], b"Success");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_network_is_noticed_within_two_seconds() {
    let (a, b) = two().await;
    let producer = a.streams().producer::<u64>().build().unwrap();
    let _consumer = b.streams().consume::<u64>();
    within("online", producer.when().online()).await;
    drop(b);
    let factor = support::patience(2);
    tokio::time::timeout(
        factor.max(Duration::from_secs(2)),
        producer.when().offline(),
    )
    .await
    .expect("noticed");
}
