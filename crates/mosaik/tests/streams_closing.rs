//! What others get of a network that closes while a reader stands still, and how they see it.

mod support;

use {
    futures::{FutureExt, SinkExt, StreamExt},
    mosaik::{
        Network,
        discovery::Event,
        streams::{Consumer, Producer, consumer::ConsumerEvent},
    },
    std::time::{Duration, Instant},
    support::{network_id, node, node_knowing, patience, reading_little, until, within},
};

/// Sends until nothing more is taken; answers how many were.
async fn fill(producer: &mut Producer<Vec<u8>>) -> usize {
    let mut sent = 0;
    loop {
        let item = vec![0; 64 << 10];
        match tokio::time::timeout(patience(1), producer.send(item)).await {
            Ok(sending) => sending.unwrap(),
            Err(_) => return sent,
        }
        sent += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_reader_does_not_keep_a_closing_node_from_being_missed() {
    let id = network_id();
    let a = node(id).await;
    let b = reading_little(id, &a).await;
    let c = node_knowing(id, &a).await;
    let mut stalled = a
        .streams()
        .producer::<Vec<u8>>()
        .disconnect_lagging(false)
        .with_buffer_size(4)
        .build()
        .unwrap();
    let mut reader = b.streams().consume::<Vec<u8>>();
    let to_a = c.streams().produce::<u32>();
    let mut at_a = a.streams().consume::<u32>();
    within("both are online", async {
        tokio::join!(stalled.when().online(), to_a.when().online())
    })
    .await;
    let a_id = a.local().id();
    let known = || c.discovery().catalog().get(&a_id).is_some();
    until("the third knows the first", known).await;
    let sent = fill(&mut stalled).await;
    let mut events = c.discovery().events();

    let started = Instant::now();
    let closing = tokio::spawn(a.close());
    let limit = patience(3);
    let offline = tokio::time::timeout(limit, to_a.when().offline());
    offline.await.expect("its consumers are gone soon");
    println!("its consumer was missed after {:?}", started.elapsed());
    assert_eq!(within("its consumer ends", at_a.recv()).await, None);
    let departed = async { while events.recv().await.unwrap() != Event::PeerDeparted(a_id) {} };
    let departed = tokio::time::timeout(limit, departed).await;
    departed.expect("the departure is known soon");
    println!("it departed after {:?}", started.elapsed());
    assert!(!closing.is_finished(), "its reader has not got everything");

    // Whatever changes in it now does not bring it back, nor cuts off who is owed items.
    drop(stalled);
    for _ in 0..sent {
        assert!(within("an item", reader.recv()).await.is_some());
    }
    within("closed", closing).await.unwrap();
    assert!(started.elapsed() < limit + Duration::from_secs(5));
    while let Some(event) = events.recv().now_or_never() {
        let back = matches!(event, Ok(Event::PeerDiscovered(entry)) if *entry.id() == a_id);
        assert!(!back, "a node that left is not back");
    }
}

/// Accepts more than the transport holds, lets the producer go, and then the network.
async fn send_and_leave(network: Network, mut producer: Producer<Vec<u8>>, closes: bool) -> u64 {
    const ITEMS: u64 = 64;
    within("online", producer.when().online()).await;
    for number in 0..ITEMS {
        let item = [&number.to_le_bytes()[..], &vec![0; 64 << 10]].concat();
        within("send", producer.send(item)).await.unwrap();
    }
    drop(producer);
    if closes {
        tokio::spawn(network.close());
    } else {
        drop(network);
    }
    ITEMS
}

/// Reads to the end of its only subscription; answers how many items came, and why it ended.
async fn read_all(consumer: &mut Consumer<Vec<u8>>) -> (u64, String) {
    let mut events = consumer.events();
    let mut got = 0u64;
    let reason = loop {
        tokio::select! {
            biased;
            item = consumer.recv() => {
                assert_eq!(item.unwrap()[..8], got.to_le_bytes());
                got += 1;
            }
            event = events.next() => {
                if let Some(ConsumerEvent::Disconnected { reason, .. }) = event {
                    break String::from_utf8_lossy(&reason.reason).into_owned();
                }
            }
        }
    };
    while consumer.try_recv().is_ok() {
        got += 1;
    }
    (got, reason)
}

/// Closing looked after the producers that were still held, and after no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_producer_accepted_arrives_though_it_is_dropped_before_its_network() {
    for (closes, lossy) in [(true, false), (true, true), (false, false)] {
        let id = network_id();
        let a = node(id).await;
        let b = reading_little(id, &a).await;
        let builder = a.streams().producer().disconnect_lagging(lossy);
        let producer = builder.build().unwrap();
        let mut consumer = b.streams().consume();
        let sent = send_and_leave(a, producer, closes).await;
        let (got, reason) = within("the end", read_all(&mut consumer)).await;
        assert_eq!(
            (got, reason.as_str()),
            (sent, "Success"),
            "closes: {closes}"
        );
    }
}
