//! Builds consumers.

use {
    super::{coordinator, handle::Consumer, places::Places, queue::Queue},
    crate::{
        discovery::{PeerEntry, PeerInfo},
        primitives::{BackoffFactory, Datum},
        streams::{
            Criteria, StreamId, Streams, backoff, config,
            producer::{OnlineWhen, Require},
            status::{ChannelConditions, ChannelInfo, ChannelsSender, Online, Stats, When},
        },
        tickets::TicketValidator,
    },
    core::fmt,
    parking_lot::Mutex,
    std::sync::Arc,
    tokio::sync::{Notify, broadcast},
};

/// Events kept for a listener that lags; it is told how many it lost.
const EVENTS_BACKLOG: usize = 256;

/// What a consumer was built with.
#[non_exhaustive]
pub struct ConsumerConfig {
    /// The stream.
    pub stream_id: StreamId,
    /// Which items are wanted.
    pub criteria: Criteria,
    /// Which producers are wanted.
    pub require: Require,
    /// How to wait between attempts.
    pub backoff: BackoffFactory,
    /// When the consumer is online.
    pub online_when: OnlineWhen,
    /// Tickets a producer must have, one accepted by each.
    pub ticket_validators: Vec<Arc<dyn TicketValidator>>,
}

impl fmt::Debug for ConsumerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerConfig")
            .field("stream_id", &self.stream_id)
            .field("criteria", &self.criteria)
            .field("ticket_validators", &self.ticket_validators.len())
            .finish_non_exhaustive()
    }
}

/// Builds a [`Consumer`].
#[must_use = "a builder does nothing until it is built"]
pub struct Builder<'s, D: Datum> {
    streams: &'s Streams,
    config: ConsumerConfig,
    requirements: Vec<Require>,
    datum: core::marker::PhantomData<fn() -> D>,
}

impl<D: Datum> fmt::Debug for Builder<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Builder").field(&self.config).finish()
    }
}

impl<'s, D: Datum> Builder<'s, D> {
    pub(in crate::streams) fn new(streams: &'s Streams, stream_id: Option<StreamId>) -> Self {
        let config = ConsumerConfig {
            stream_id: stream_id.unwrap_or_else(D::derived_stream_id),
            criteria: Criteria::default(),
            require: Box::new(|_| true),
            backoff: Arc::clone(&streams.0.config.backoff),
            online_when: Box::new(|conditions| conditions.minimum_of(0)),
            ticket_validators: Vec::new(),
        };
        Self {
            streams,
            config,
            requirements: Vec::new(),
            datum: core::marker::PhantomData,
        }
    }

    /// Which items are wanted; the producer sends no others. Default: all.
    ///
    /// Criteria larger than [`Limits::criteria_nodes`] are refused by every producer.
    ///
    /// [`Limits::criteria_nodes`]: crate::primitives::Limits::criteria_nodes
    pub fn with_criteria(mut self, criteria: Criteria) -> Self {
        self.config.criteria = criteria;
        self
    }

    /// Producers need a ticket that this validator accepts; all validators must be satisfied.
    pub fn require_ticket(mut self, validator: impl TicketValidator) -> Self {
        self.config.ticket_validators.push(Arc::new(validator));
        self
    }

    /// Producers must meet this predicate, besides the earlier ones; looked at again when a
    /// producer's entry or round-trip time changes.
    ///
    /// It should depend on its argument alone: it is also asked what it would say of other
    /// round-trip times, to find out whether measuring a producer is worth a connection.
    pub fn require<F>(mut self, pred: F) -> Self
    where
        F: Fn(&PeerInfo) -> bool + Send + Sync + 'static,
    {
        self.requirements.push(Box::new(pred));
        self
    }

    /// As [`Builder::require`], on the peer's entry alone.
    pub fn subscribe_if<F>(self, pred: F) -> Self
    where
        F: Fn(&PeerEntry) -> bool + Send + Sync + 'static,
    {
        self.require(move |peer| pred(peer))
    }

    /// How to wait between attempts to reach a producer. Default: the streams' configuration.
    pub fn with_backoff<B>(mut self, backoff: B) -> Self
    where
        B: backoff::Backoff + Clone + Send + Sync + 'static,
    {
        self.config.backoff = config::factory(backoff);
        self
    }

    /// The stream's id. Default: the one derived from the datum's type.
    pub fn with_stream_id(mut self, stream_id: impl Into<StreamId>) -> Self {
        self.config.stream_id = stream_id.into();
        self
    }

    /// When the consumer is online. Default: always.
    pub fn online_when<F>(mut self, f: F) -> Self
    where
        F: Fn(ChannelConditions) -> ChannelConditions + Send + Sync + 'static,
    {
        self.config.online_when = Box::new(f);
        self
    }

    /// The consumer. It subscribes to every eligible producer, now and later.
    pub fn build(mut self) -> Consumer<D> {
        let requirements = std::mem::take(&mut self.requirements);
        self.config.require = Box::new(move |peer| requirements.iter().all(|one| one(peer)));
        let streams = self.streams;
        let limits = streams.0.links.limits();
        let labels = streams.labels(&self.config.stream_id);
        let channels = ChannelsSender::new();
        let conditions = (self.config.online_when)(ChannelConditions::new(channels.subscribe(), 1));
        let online = Online::new(conditions.is_condition_met());
        let when = When::new(online.subscribe(), channels.subscribe());
        let shared = Arc::new(Shared {
            queue: Arc::new(Queue::new(limits.consumer_items, limits.consumer_bytes)),
            stats: Arc::new(Stats::new(labels.clone())),
            events: broadcast::channel(EVENTS_BACKLOG).0,
            meter: Meter::new(&labels),
            look_again: Notify::new(),
            places: Mutex::default(),
            config: self.config,
            streams: streams.clone(),
            channels,
            conditions,
            online,
        });
        let coordinator = coordinator::run(Arc::clone(&shared));
        let coordinator = streams.0.links.tasks().spawn_owned(coordinator);
        if streams.0.links.tasks().is_cancelled() {
            shared.queue.close();
        }
        Consumer::new(shared, when, coordinator)
    }
}

/// What a consumer's handle, coordinator and workers share.
pub(super) struct Shared<D> {
    pub(super) config: ConsumerConfig,
    pub(super) streams: Streams,
    pub(super) queue: Arc<Queue<D>>,
    pub(super) stats: Arc<Stats>,
    pub(super) events: broadcast::Sender<super::ConsumerEvent>,
    pub(super) channels: ChannelsSender,
    pub(super) meter: Meter,
    /// A worker wants the coordinator to look: it has ended, or its producer's admission has.
    pub(super) look_again: Notify,
    pub(super) places: Mutex<Places>,
    conditions: ChannelConditions,
    online: Online,
}

impl<D> Shared<D> {
    /// Looks again whether the consumer is online and connected to any producer; to be called
    /// when its channels changed.
    pub(super) fn update_online(&self) {
        self.channels.touch();
        self.online.send_if_modified(|online| {
            // Looked at in here, so that of two changes the later one decides.
            let channels = self.channels.snapshot();
            let connected = channels.values().any(ChannelInfo::is_connected);
            self.stats.set_connected(connected);
            let met = self.conditions.is_condition_met();
            std::mem::replace(online, met) != met
        });
    }

    pub(super) fn tell(&self, event: super::ConsumerEvent) {
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }
}

/// A consumer's metrics, looked up once.
pub(super) struct Meter {
    pub(super) active: metrics::Gauge,
    pub(super) producers: metrics::Gauge,
    pub(super) accepted: metrics::Counter,
    pub(super) rejected: metrics::Counter,
    pub(super) items: metrics::Counter,
    pub(super) bytes: metrics::Counter,
    pub(super) all_items: metrics::Counter,
    pub(super) all_bytes: metrics::Counter,
}

impl Meter {
    fn new(labels: &[(&'static str, String); 2]) -> Self {
        let network = &labels[..1];
        Self {
            active: metrics::gauge!("mosaik.streams.consumers.active", network),
            producers: metrics::gauge!("mosaik.streams.consumer.producers", labels),
            accepted: metrics::counter!("mosaik.streams.connections.accepted", labels),
            rejected: metrics::counter!("mosaik.streams.connections.rejected", labels),
            items: metrics::counter!("mosaik.streams.consumer.items.received", labels),
            bytes: metrics::counter!("mosaik.streams.consumer.bytes.received", labels),
            all_items: metrics::counter!("mosaik.streams.datums.total", labels),
            all_bytes: metrics::counter!("mosaik.streams.bytes.total", labels),
        }
    }
}
