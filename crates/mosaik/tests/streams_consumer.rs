//! What a consumer's handle promises.

mod support;

use {
    core::cell::Cell,
    futures::SinkExt,
    mosaik::{Network, StreamConsumer, StreamProducer, stream, streams::Consumer},
    serde::{Deserialize, Serialize},
    support::{network_id, node, node_knowing, until, within},
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
