//! What a consumer's handle promises.

mod support;

use {
    core::cell::Cell,
    futures::SinkExt,
    mosaik::{
        Digest, Network, StreamConsumer, StreamProducer, primitives::Limits, stream,
        streams::Consumer,
    },
    serde::{Deserialize, Deserializer, Serialize},
    std::sync::atomic::{AtomicUsize, Ordering},
    support::{isolated, network_id, node, node_knowing, patience, until, within},
    tokio::sync::mpsc::error::TryRecvError,
};

/// May be given to another thread, but not shared between threads.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Unshared(Cell<u32>);

stream!(Unshareds = Unshared, "consumer.unshared");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_is_shared_between_threads_though_its_items_are_not() {
    fn shared<T: Send + Sync>(value: T) -> T {
        value
    }
    fn types<D: mosaik::Datum>() -> fn(Consumer<D>) -> Consumer<D> {
        shared
    }

    let id = network_id();
    let a = node(id).await;
    let b: Network = node_knowing(id, &a).await;
    let producing = shared(Unshareds::online_producer(&a));
    let consumer = shared(Unshareds::online_consumer(&b)).await;
    let mut consumer = types::<Unshared>()(consumer);
    let mut producer = within("online", producing).await;
    within("send", producer.send(Unshared(Cell::new(7))))
        .await
        .unwrap();
    let item = within("recv", shared(consumer.recv())).await;
    assert_eq!(item, Some(Unshared(Cell::new(7))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn try_recv_tells_nothing_yet_and_nothing_any_more_apart() {
    let id = network_id();
    let a = node(id).await;
    let b = node_knowing(id, &a).await;
    let mut producer = a.streams().produce::<u32>();
    let mut consumer = b.streams().consume::<u32>();
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
    for number in 0..3 {
        within("send", producer.send(number)).await.unwrap();
    }
    until("all have arrived", || consumer.stats().datums() == 3).await;
    let mut taken = Vec::new();
    until("the first can be taken", || {
        taken.extend(consumer.try_recv());
        !taken.is_empty()
    })
    .await;
    // What has arrived is there after the end, and the end only after it.
    within("close", b.close()).await;
    loop {
        match consumer.try_recv() {
            Ok(number) => taken.push(number),
            Err(error) => {
                assert_eq!(error, TryRecvError::Disconnected);
                break;
            }
        }
    }
    assert_eq!(taken, [0, 1, 2]);
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(within("recv", consumer.recv()).await, None);
}

/// How many decoded items there are, and how many there were at most.
static DECODED: AtomicUsize = AtomicUsize::new(0);
static DECODED_MAX: AtomicUsize = AtomicUsize::new(0);

/// Counted where it is decoded.
#[derive(Serialize)]
struct Tiny(u8, #[serde(skip)] bool);

impl<'de> Deserialize<'de> for Tiny {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = u8::deserialize(deserializer)?;
        let now = DECODED.fetch_add(1, Ordering::Relaxed) + 1;
        DECODED_MAX.fetch_max(now, Ordering::Relaxed);
        Ok(Self(value, true))
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        DECODED.fetch_sub(usize::from(self.1), Ordering::Relaxed);
    }
}

/// A node of the given bounds that is introduced to `peer`.
async fn bounded(id: Digest, peer: &Network, items: usize, bytes: usize) -> Network {
    let mut limits = Limits::default();
    limits.consumer_items = items;
    limits.consumer_bytes = bytes;
    let discovery = mosaik::discovery::Config::builder().with_bootstrap(peer.local().addr());
    let builder = isolated(id).with_limits(limits).with_discovery(discovery);
    builder.build().await.expect("a node starts on loopback")
}

/// Whole reads were decoded, whatever the bounds: tens of thousands of the smallest items.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_items_are_decoded_when_there_is_room_for_them() {
    const LIMIT: usize = 64;
    const ITEMS: usize = 50_000;
    let id = network_id();
    let a = node(id).await;
    let b = bounded(id, &a, LIMIT, 1 << 20).await;
    let builder = a.streams().producer::<Tiny>().with_buffer_size(ITEMS);
    let mut producer = builder.disconnect_lagging(false).build().unwrap();
    let mut consumer = b.streams().consume::<Tiny>();
    within("online", producer.when().online()).await;
    for n in 0..ITEMS {
        let item = Tiny(n as u8, false);
        within("send", producer.feed(item)).await.unwrap();
    }
    let channel = producer.consumers().next().unwrap();
    drop(producer);
    // All is there to be decoded.
    within("handed over", channel.disconnected()).await;
    for n in 0..ITEMS {
        assert_eq!(within("item", consumer.recv()).await.unwrap().0, n as u8);
    }
    let most = DECODED_MAX.load(Ordering::Relaxed);
    // The queue's, the program's, and what its worker is about to put in.
    assert!(most <= LIMIT + LIMIT / 2, "{most} were decoded at one time");
}

/// What an ended subscription had left was nobody's to count, and the next began anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_ends_and_comes_back_fills_no_more_than_its_share() {
    const ITEM_BYTES: usize = 1 << 20;
    let id = network_id();
    let a = node(id).await;
    let b = bounded(id, &a, 4, 64 << 10).await;
    let mut unread = b.streams().consume::<Vec<u8>>();
    let mut rounds = 0u8;
    let producer = loop {
        let builder = a.streams().producer::<Vec<u8>>();
        let mut producer = builder.disconnect_lagging(false).build().unwrap();
        let online = tokio::time::timeout(patience(3), producer.when().online());
        if rounds == 10 || online.await.is_err() {
            break producer;
        }
        let item = vec![rounds; ITEM_BYTES];
        within("send", producer.send(item)).await.unwrap();
        let channel = producer.consumers().next().unwrap();
        drop(producer);
        within("it ends", channel.disconnected()).await;
        rounds += 1;
    };
    assert!(
        rounds <= 2,
        "one in the queue and one on its way, not {rounds}"
    );
    for n in 0..rounds {
        let item = within("item", unread.recv()).await.unwrap();
        assert!(item == vec![n; ITEM_BYTES], "in order");
    }
    within("there is room again", producer.when().online()).await;
}
