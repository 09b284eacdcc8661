//! `mosaik::streams`: producers, consumers, and what is known of the channels between them.

use {
    crate::support::{network_id, node, node_knowing, until, within},
    futures::{Sink, SinkExt, Stream, StreamExt},
    mosaik::{
        Digest, PeerId, Tag,
        discovery::PeerEntry,
        primitives::encoding::EncodeError,
        streams::{
            self, Consumer, Criteria, Producer, StreamId, Streams, consumer, producer,
            status::{ActiveChannelsMap, ChannelConditions, ChannelInfo, State, Stats, When},
        },
    },
    serde::{Serialize, de::DeserializeOwned},
    std::{
        cell::Cell,
        collections::HashMap,
        error::Error,
        fmt::{Debug, Display},
        future::Future,
        time::Duration,
    },
    tokio::sync::{mpsc::error::TryRecvError, watch},
};

/// Names that programs import, from wherever they may.
mod paths {
    #![expect(unused_imports, reason = "compiling is the test")]
    use mosaik::{
        ConsumerOf, Criteria, ProducerOf, StreamConsumer, StreamId, StreamProducer,
        streams::{
            Config, ConfigBuilder, ConfigBuilderError, ConsumerDef, ConsumerOf as ConsumerOfModule,
            ProducerDef, ProducerOf as ProducerOfModule, StreamConsumer as StreamConsumerOfModule,
            StreamDef, StreamProducer as StreamProducerOfModule, backoff,
            consumer::{Builder as ConsumerBuilder, Consumer},
            producer::{Builder as ProducerBuilder, BuilderError, Error, Producer},
        },
    };
}

/// May be sent to other threads, but not shared between them.
type OnlySend = Cell<u8>;

#[test]
fn types_have_the_traits_that_programs_use() {
    implements!(Streams: Send + Sync + 'static);
    implements!(Producer<u8>: Clone + Debug + Sink<u8, Error = producer::Error<u8>> + Unpin);
    implements!(Producer<u8>: Send + Sync + 'static);
    implements!(Producer<OnlySend>: Clone + Send + 'static);
    implements!(Consumer<u8>: Debug + Stream<Item = u8> + Unpin + Send + Sync + 'static);
    implements!(Consumer<OnlySend>: Debug + Stream<Item = OnlySend> + Send + 'static);
    implements!(Criteria: Clone + Debug + Default + Serialize + DeserializeOwned);
    implements!(When: Clone + Send + Sync + 'static);
    implements!(ChannelConditions: Clone + Debug + Future<Output = ()> + Send + Sync + Unpin);
    implements!(ChannelConditions: PartialEq<ChannelConditions> + PartialEq<bool> + 'static);
    implements!(ChannelInfo: Clone + Debug + Send + Sync + 'static);
    implements!(State: Clone + Copy + Debug + Eq + Send + Sync);
    implements!(Stats: Debug + Display + Send + Sync);
    implements!(producer::Error<u8>: Clone + Debug + Display + Error + PartialEq);
    implements!(producer::BuilderError<u8>: Debug + Display + Error);
    fn same<T>(_: fn(T), _: fn(T)) {}
    same::<Producer<u8>>(
        |_: streams::Producer<u8>| {},
        |_: producer::Producer<u8>| {},
    );
    same::<Consumer<u8>>(
        |_: streams::Consumer<u8>| {},
        |_: consumer::Consumer<u8>| {},
    );
    let map: ActiveChannelsMap = HashMap::<Digest, ChannelInfo>::new();
    assert!(map.is_empty() && State::Connecting != State::Connected);
}

/// What is waited for can be kept anywhere.
fn kept<F: Future + Send + Sync + 'static>(future: F) -> F {
    future
}

/// What can be asked of a channel in a constant expression.
const fn ends(channel: &ChannelInfo) -> (&StreamId, &PeerId, &PeerId, &watch::Receiver<State>) {
    (
        channel.stream_id(),
        channel.producer_id(),
        channel.consumer_id(),
        channel.state_watcher(),
    )
}

const fn waits<'h>(producer: &'h Producer<u64>, consumer: &'h Consumer<u64>) -> [&'h When; 2] {
    [producer.when(), consumer.when()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_and_a_consumer_are_used() {
    let id = network_id();
    let a = node(id).await;
    let b = node_knowing(id, &a).await;
    let streams: &Streams = a.streams();
    let mut producer: Producer<u64> = streams.produce();
    let mut consumer: Consumer<u64> = b.streams().consume();
    let ids: (&StreamId, &StreamId) = (producer.stream_id(), consumer.stream_id());
    assert_eq!(ids.0, ids.1);
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
    within("online", kept(producer.when().online())).await;
    within("online", kept(consumer.when().online())).await;
    for when in waits(&producer, &consumer) {
        let _: (bool, ChannelConditions) = (when.is_online(), when.subscribed());
    }
    assert!(producer.is_online() && consumer.is_online());

    let sent: Result<(), producer::Error<u64>> = producer.try_send(1);
    sent.expect("there is a consumer");
    producer.send(2).await.expect("there is a consumer");
    producer.clone().feed(3).await.expect("there is a consumer");
    let received: Option<u64> = within("received", consumer.recv()).await;
    assert_eq!(received, Some(1));
    assert_eq!(within("received", consumer.next()).await, Some(2));
    let mut third: Result<u64, TryRecvError> = consumer.try_recv();
    until("received", || {
        if third.is_err() {
            third = consumer.try_recv();
        }
        third.is_ok()
    })
    .await;
    assert_eq!(third, Ok(3));
    let stats: &Stats = consumer.stats();
    let counts: (usize, usize) = (stats.datums(), stats.bytes());
    assert_eq!(counts, (3, 3));

    look_at(&producer, a.local().id(), b.local().id());
    fn listed(channels: impl Iterator<Item = ChannelInfo>) -> usize {
        channels.count()
    }
    assert_eq!(
        (listed(producer.consumers()), listed(consumer.producers())),
        (1, 1)
    );
    let channel = producer.consumers().next().expect("it is connected");
    let over = kept(channel.disconnected());
    drop(consumer);
    within("over", over).await;
    assert_eq!(
        (channel.state(), channel.is_connected()),
        (State::Terminated, false)
    );
    within("offline", kept(producer.when().offline())).await;
    assert_eq!(producer.try_send(4), Err(producer::Error::Offline(4)));
    b.close().await;
    a.close().await;
    let closed = producer.send(5).await;
    assert!(matches!(closed, Err(producer::Error::Closed(_))));
}

/// What a producer's only channel says.
fn look_at(producer: &Producer<u64>, from: PeerId, to: PeerId) {
    let channel: ChannelInfo = producer.consumers().next().expect("it is connected");
    let (stream, producing, consuming, state) = ends(&channel);
    assert_eq!(
        (stream, *producing, *consuming),
        (producer.stream_id(), from, to)
    );
    assert_eq!(
        (*state.borrow(), channel.state()),
        (State::Connected, State::Connected)
    );
    let (criteria, peer): (&Criteria, &PeerEntry) = (channel.criteria(), channel.peer());
    assert_eq!((criteria.matches(&1u64), *peer.id()), (true, to));
    assert!(channel.is_connected());
    let stats: &Stats = channel.stats();
    let (uptime, shown): (Option<Duration>, String) = (stats.uptime(), stats.to_string());
    assert!(uptime.is_some() && !shown.is_empty());
}

#[test]
fn counts_of_a_program_s_own_start_at_nothing() {
    const fn counts(labels: [(&'static str, String); 2]) -> Stats {
        Stats::new(labels)
    }
    let stats = counts([("network", "n".to_owned()), ("stream", "s".to_owned())]);
    assert_eq!(
        (stats.datums(), stats.bytes(), stats.uptime()),
        (0, 0, None)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_are_refined_compared_and_awaited() {
    const fn at_least(conditions: ChannelConditions, min: usize) -> ChannelConditions {
        conditions.minimum_of(min)
    }
    const fn not(conditions: ChannelConditions) -> ChannelConditions {
        conditions.unmet()
    }
    let id = network_id();
    let a = node(id).await;
    let b = node_knowing(id, &a).await;
    b.discovery().add_tags("reader");
    let producer = a.streams().produce::<u64>();
    let when: &When = producer.when();
    let any = when.subscribed();
    assert!(any == false && not(any.clone()) == true && when.unsubscribed() == true);
    assert!(at_least(any.clone(), 0) == true);
    let peer = b.local().id();
    let refined = any
        .clone()
        .with_tags("reader")
        .with_tags([Tag::from("reader")])
        .with_predicate(move |entry: &PeerEntry| *entry.id() == peer);
    until("the tag is known", || {
        let known = a.discovery().catalog();
        known
            .get(&peer)
            .is_some_and(|entry| !entry.tags().is_empty())
    })
    .await;
    let consumer = b.streams().consume::<u64>();
    within("met", kept(refined.clone())).await;
    let met: bool = refined.is_condition_met();
    assert!(met && refined == any && when.unsubscribed() != any);
    drop(consumer);
    within("not met", kept(refined.unmet())).await;
    within("not met", kept(when.unsubscribed())).await;
    b.close().await;
    a.close().await;
}

/// Every way in which sending fails, and what comes back.
fn given_back(error: producer::Error<u64>) -> Option<u64> {
    match error {
        producer::Error::Closed(item) => item,
        producer::Error::Full(item) | producer::Error::Offline(item) => Some(item),
        producer::Error::Encoding(item, error) => {
            let _: EncodeError = error;
            Some(item)
        }
    }
}

#[test]
fn what_is_not_sent_is_given_back() {
    assert_eq!(given_back(producer::Error::Full(1)), Some(1));
    assert_eq!(given_back(producer::Error::Closed(None)), None);
    let _: fn(&Criteria, &u64) -> bool = Criteria::matches;
}
