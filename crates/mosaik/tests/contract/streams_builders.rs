//! Builders, definitions and the configuration of `mosaik::streams`.

use {
    crate::support::{isolated, network_id, node},
    futures::FutureExt,
    mosaik::{
        Criteria, Network, NetworkId, StreamId, UniqueId,
        discovery::{PeerEntry, PeerInfo},
        primitives::BackoffFactory,
        streams::{
            Config, ConfigBuilder, ConfigBuilderError, Consumer, ConsumerDef, ConsumerOf, Producer,
            ProducerDef, ProducerOf, StreamConsumer, StreamDef, StreamProducer, Streams,
            backoff::{Backoff, ExponentialBackoff, ExponentialBackoffBuilder},
            consumer,
            producer::{self, BuilderError},
            status::{ChannelConditions, When},
        },
        tickets::{Expiration, InvalidTicket, TicketClass, TicketValidator},
    },
    std::{
        error::Error,
        fmt::{Debug, Display},
        future::Future,
        hash::Hash,
        sync::Arc,
        time::Duration,
    },
    tokio::sync::mpsc,
};

struct Anyone;

impl TicketValidator for Anyone {
    fn class(&self) -> TicketClass {
        TicketClass::from("anyone")
    }

    fn signature(&self) -> UniqueId {
        UniqueId::from("anyone")
    }

    fn validate(&self, _: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        Ok(Expiration::Never)
    }
}

/// What can be set in a constant expression.
const fn bounded(builder: producer::Builder<'_, u64>) -> producer::Builder<'_, u64> {
    builder
        .disconnect_lagging(false)
        .with_buffer_size(7)
        .with_max_consumers(3)
}

#[tokio::test]
async fn everything_of_a_producer_can_be_set() {
    let network = node(network_id()).await;
    let streams: &Streams = network.streams();
    let (undelivered, _receiver) = mpsc::unbounded_channel::<u64>();
    let builder: producer::Builder<'_, u64> = bounded(streams.producer());
    let built: Result<Producer<u64>, BuilderError<u64>> = builder
        .require(|peer: &PeerInfo| !peer.tags().is_empty())
        .require_ticket(Anyone)
        .online_when(|conditions: ChannelConditions| conditions.minimum_of(0))
        .with_stream_id("text")
        .with_stream_id(StreamId::from("contract.builder"))
        .with_undelivered_sink(undelivered)
        .build();
    let producer = built.expect("it is the first");
    let config = producer.config();
    let network_id: NetworkId = config.network_id;
    assert_eq!(
        (network_id, config.stream_id),
        (*network.network_id(), *producer.stream_id())
    );
    let numbers: (usize, usize, bool) = (
        config.buffer_size,
        config.max_consumers,
        config.disconnect_lagging,
    );
    assert_eq!(numbers, (7, 3, false));
    assert_eq!(
        (config.ticket_validators.len(), producer.is_online()),
        (1, true)
    );
    assert_eq!(config.ticket_validators[0].signature(), Anyone.signature());

    let again = streams
        .producer::<u64>()
        .with_stream_id("contract.builder")
        .build();
    let Err(BuilderError::AlreadyExists(same)) = again else {
        panic!("there is one");
    };
    assert_eq!(same.stream_id(), producer.stream_id());
    network.close().await;
}

#[tokio::test]
async fn everything_of_a_consumer_can_be_set() {
    let network = node(network_id()).await;
    let builder: consumer::Builder<'_, u64> = network.streams().consumer();
    let consumer: Consumer<u64> = builder
        .with_criteria(Criteria::default())
        .require(|peer: &PeerInfo| peer.rtt_below(Duration::from_secs(1)))
        .subscribe_if(|peer: &PeerEntry| peer.tags().is_empty())
        .require_ticket(Anyone)
        .with_backoff(ExponentialBackoff::default())
        .with_stream_id("contract.builder")
        .online_when(|conditions| conditions.minimum_of(1))
        .build();
    let config = consumer.config();
    let (id, criteria): (StreamId, &Criteria) = (config.stream_id, &config.criteria);
    assert_eq!((id, criteria.matches(&1u8)), (*consumer.stream_id(), true));
    let backoff: &BackoffFactory = &config.backoff;
    assert!(backoff().next_backoff().is_some() && !consumer.is_online());
    assert_eq!(config.ticket_validators.len(), 1);
    network.close().await;
}

#[tokio::test]
async fn defaults_of_builders_are_the_documented_ones() {
    let network = node(network_id()).await;
    let producer = network
        .streams()
        .producer::<u64>()
        .build()
        .expect("the first");
    let config = producer.config();
    assert_eq!(config.buffer_size, 1024);
    assert!(config.disconnect_lagging);
    assert_eq!(config.max_consumers, usize::MAX);
    assert!(config.ticket_validators.is_empty());
    let consumer = network.streams().consume::<u64>();
    assert!(consumer.config().ticket_validators.is_empty());
    assert!(consumer.config().criteria.matches(&0u64));
    // One consumer makes a producer online; a consumer needs no producer for it.
    assert!(!producer.is_online() && consumer.is_online());
    assert!(producer.when().online().now_or_never().is_none());
    assert!(consumer.when().online().now_or_never().is_some());
    let conditions = |min| producer.when().subscribed().minimum_of(min);
    assert!((producer.config().online_when)(conditions(0)) == false);
    assert!((consumer.config().online_when)(conditions(1)) == true);
    network.close().await;
}

/// Remembers how it was asked.
#[derive(Clone)]
struct Steady(Duration);

impl Backoff for Steady {
    fn next_backoff(&mut self) -> Option<Duration> {
        Some(self.0)
    }
}

fn first_wait(factory: &BackoffFactory) -> Option<Duration> {
    factory().next_backoff()
}

#[tokio::test]
async fn the_configured_backoff_is_what_consumers_get() {
    implements!(Config: Clone + Debug + Send + Sync + 'static);
    implements!(ConfigBuilder: Clone + Debug + Default + Send + 'static);
    implements!(ConfigBuilderError: Debug + Display + Error + From<String>);
    let wait = Duration::from_millis(321);
    let builder: ConfigBuilder = Config::builder().with_backoff(Steady(wait));
    let config: Result<Config, ConfigBuilderError> = builder.clone().build();
    let factory: BackoffFactory = Arc::clone(&config.expect("it works").backoff);
    assert_eq!(first_wait(&factory), Some(wait));
    let started: Result<Network, _> = isolated(network_id()).with_streams(builder).build().await;
    let network = started.expect("a node starts on loopback");
    let consumer = network.streams().consume::<u64>();
    assert_eq!(first_wait(&consumer.config().backoff), Some(wait));
    let own = network
        .streams()
        .consumer::<u64>()
        .with_backoff(Steady(wait * 2));
    assert_eq!(first_wait(&own.build().config().backoff), Some(wait * 2));
    network.close().await;
    // The default gives up in the end, and not at once.
    let default = Config::builder().build().expect("the default works");
    let Config { backoff } = default.clone();
    assert!(first_wait(&Config { backoff }.backoff).is_some());
    assert!(first_wait(&default.backoff).is_some_and(|first| first < Duration::from_mins(5)));
    let never = ExponentialBackoffBuilder::new()
        .with_max_elapsed_time(Some(Duration::ZERO))
        .build();
    let refused = Config::builder().with_backoff(never).build();
    assert!(matches!(
        refused,
        Err(ConfigBuilderError::ValidationError(_))
    ));
}

const BY_TYPE: StreamDef<u64> = StreamDef::new();
const BY_ID: StreamDef<u64> = StreamDef::with_stream_id(mosaik::id!("contract.defined"));
const PRODUCED: ProducerDef<u64> = ProducerDef::new(BY_ID.stream_id);
const CONSUMED: ConsumerDef<u64> = ConsumerDef::new(None);

#[tokio::test]
async fn definitions_open_what_they_name() {
    implements!(StreamDef<u64>: Clone + Copy + Debug + Default + Eq + Hash);
    assert!(BY_TYPE == StreamDef::default() && BY_TYPE != BY_ID);
    let network = node(network_id()).await;
    let streams = network.streams();
    let opened: [producer::Builder<'_, u64>; 3] = [
        streams.producer_of(BY_TYPE),
        streams.producer_of(BY_ID),
        PRODUCED.open(&network),
    ];
    let kept: Vec<_> = opened.map(producer::Builder::build).into_iter().collect();
    let [by_type, by_id, produced] = &kept[..] else {
        panic!("three builders");
    };
    assert!(by_type.is_ok() && by_id.is_ok());
    assert!(matches!(produced, Err(BuilderError::AlreadyExists(_))));
    let consumers: [consumer::Builder<'_, u64>; 2] =
        [streams.consumer_of(BY_ID), CONSUMED.open(&network)];
    let ids = consumers.map(|builder| *builder.build().stream_id());
    assert_eq!(Some(ids[0]), BY_ID.stream_id);
    assert_eq!(
        (CONSUMED.stream_id, ids[1]),
        (None, *streams.consume::<u64>().stream_id())
    );
    network.close().await;
}

/// A definition that a program wrote without the macro.
struct ByHand;

impl StreamProducer for ByHand {
    type Producer = Producer<u64>;

    fn producer(network: &Network) -> Producer<u64> {
        network.streams().produce()
    }

    fn online_producer(
        network: &Network,
    ) -> impl Future<Output = Producer<u64>> + Send + Sync + 'static {
        let producer = Self::producer(network);
        let when = producer.when().clone();
        async move {
            when.online().await;
            producer
        }
    }
}

impl StreamConsumer for ByHand {
    type Consumer = Consumer<u64>;

    fn consumer(network: &Network) -> Consumer<u64> {
        network.streams().consume()
    }

    fn online_consumer(
        network: &Network,
    ) -> impl Future<Output = Consumer<u64>> + Send + Sync + 'static {
        let consumer = Self::consumer(network);
        let when: When = consumer.when().clone();
        async move {
            when.online().await;
            consumer
        }
    }
}

#[tokio::test]
async fn definitions_can_be_written_by_hand() {
    let network = node(network_id()).await;
    let producer: ProducerOf<ByHand> = ByHand::producer(&network);
    let consumer: ConsumerOf<ByHand> = ByHand::online_consumer(&network).await;
    assert_eq!(producer.stream_id(), consumer.stream_id());
    assert!(ByHand::online_producer(&network).now_or_never().is_none());
    network.close().await;
}
