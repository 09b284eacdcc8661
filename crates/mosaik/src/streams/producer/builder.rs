//! Builds producers.

use {
    super::{
        error::BuilderError,
        handle::{Core, Producer},
        keeper,
        shared::{Meter, Registered, Shared},
    },
    crate::{
        NetworkId,
        discovery::PeerInfo,
        primitives::Datum,
        streams::{
            StreamId, Streams,
            frame::{self, Frame, Parsed},
            status::{ChannelConditions, ChannelsSender},
        },
        tickets::TicketValidator,
    },
    core::{any::TypeId, fmt},
    mosaik_primitives::Digest,
    mosaik_protocol::subscription::Selector,
    std::sync::{Arc, Weak},
    tokio::sync::mpsc::UnboundedSender,
};

/// Decides by a peer's entry whether it may subscribe.
pub(in crate::streams) type Require = Box<dyn Fn(&PeerInfo) -> bool + Send + Sync>;
/// Refines the condition that makes a producer or consumer online.
pub(in crate::streams) type OnlineWhen =
    Box<dyn Fn(ChannelConditions) -> ChannelConditions + Send + Sync>;

/// What a producer was built with.
#[non_exhaustive]
pub struct ProducerConfig {
    /// The stream.
    pub stream_id: StreamId,
    /// Items held for consumers that have not taken them.
    pub buffer_size: usize,
    /// Whether consumers that fall behind are cut; otherwise they set the pace.
    pub disconnect_lagging: bool,
    /// Who may subscribe.
    pub require: Require,
    /// When the producer is online.
    pub online_when: OnlineWhen,
    /// The network.
    pub network_id: NetworkId,
    /// Subscriptions served at one time.
    pub max_consumers: usize,
    /// Tickets a subscriber must have, one accepted by each.
    pub ticket_validators: Vec<Arc<dyn TicketValidator>>,
    /// The last items kept for consumers that come late.
    pub history: usize,
}

impl fmt::Debug for ProducerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerConfig")
            .field("stream_id", &self.stream_id)
            .field("buffer_size", &self.buffer_size)
            .field("disconnect_lagging", &self.disconnect_lagging)
            .field("max_consumers", &self.max_consumers)
            .field("ticket_validators", &self.ticket_validators.len())
            .field("history", &self.history)
            .finish_non_exhaustive()
    }
}

/// Builds a [`Producer`].
#[must_use = "a builder does nothing until it is built"]
pub struct Builder<'s, D: Datum> {
    streams: &'s Streams,
    config: ProducerConfig,
    requirements: Vec<Require>,
    undelivered: Option<UnboundedSender<D>>,
}

impl<D: Datum> fmt::Debug for Builder<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Builder").field(&self.config).finish()
    }
}

impl<'s, D: Datum> Builder<'s, D> {
    pub(in crate::streams) fn new(streams: &'s Streams, stream_id: Option<StreamId>) -> Self {
        let config = ProducerConfig {
            stream_id: stream_id.unwrap_or_else(D::derived_stream_id),
            buffer_size: 1024,
            disconnect_lagging: true,
            require: Box::new(|_| true),
            online_when: Box::new(|conditions| conditions.minimum_of(1)),
            network_id: *streams.0.links.network_id(),
            max_consumers: usize::MAX,
            ticket_validators: Vec::new(),
            history: 0,
        };
        Self {
            streams,
            config,
            requirements: Vec::new(),
            undelivered: None,
        }
    }

    /// Subscribers need a ticket that this validator accepts; all validators must be satisfied.
    ///
    /// A subscription ends when the first of the tickets that admitted it expires.
    pub fn require_ticket(mut self, validator: impl TicketValidator) -> Self {
        self.config.ticket_validators.push(Arc::new(validator));
        self
    }

    /// Subscribers must meet this predicate, besides the earlier ones; looked at again when a
    /// subscriber's entry changes.
    pub fn require<F>(mut self, pred: F) -> Self
    where
        F: Fn(&PeerInfo) -> bool + Send + Sync + 'static,
    {
        self.requirements.push(Box::new(pred));
        self
    }

    /// When the producer is online: until then `send` waits. Default: one consumer.
    pub fn online_when<F>(mut self, f: F) -> Self
    where
        F: Fn(ChannelConditions) -> ChannelConditions + Send + Sync + 'static,
    {
        self.config.online_when = Box::new(f);
        self
    }

    /// What happens to a consumer that does not keep up. Default: `true`.
    ///
    /// With `true`, one that takes nothing for 2 seconds, not a part of an item either, or that is a
    /// whole buffer behind for a quarter of a second while others keep up, is disconnected with
    /// `TooSlow`; when it comes back it is told how many items it missed. Both count only while
    /// senders find no room. With `false` the slowest consumer sets the pace and nothing is lost.
    ///
    /// When the last handle is dropped, consumers get what was accepted before. With `true`, one
    /// that takes nothing of it for 5 seconds is disconnected, and what it has not taken is lost;
    /// with `false` it is kept as long as the consumer is connected and admitted.
    pub const fn disconnect_lagging(mut self, disconnect: bool) -> Self {
        self.config.disconnect_lagging = disconnect;
        self
    }

    /// Items held for consumers that have not taken them. Default: 1,024.
    ///
    /// At least 1: [`Builder::build`] panics with 0.
    pub const fn with_buffer_size(mut self, size: usize) -> Self {
        self.config.buffer_size = size;
        self
    }

    /// Subscriptions served at one time; further ones are refused with `NoCapacity`.
    pub const fn with_max_consumers(mut self, max: usize) -> Self {
        self.config.max_consumers = max;
        self
    }

    /// The stream's id. Default: the one derived from the datum's type.
    pub fn with_stream_id(mut self, stream_id: impl Into<StreamId>) -> Self {
        self.config.stream_id = stream_id.into();
        self
    }

    /// Keeps the last `items` items for consumers that come late and ask for them
    /// ([`Criteria::last`](crate::Criteria::last)). Default: 0.
    pub const fn with_history(mut self, items: usize) -> Self {
        self.config.history = items;
        self
    }

    /// Gets the items that no consumer wanted. It is the receiver's to keep up.
    pub fn with_undelivered_sink(mut self, sink: UnboundedSender<D>) -> Self {
        self.undelivered = Some(sink);
        self
    }

    /// The producer, advertised to the network; or the one there is for this stream.
    ///
    /// # Panics
    ///
    /// With a buffer of no items ([`Builder::with_buffer_size`]).
    #[track_caller]
    pub fn build(mut self) -> Result<Producer<D>, BuilderError<D>> {
        assert!(
            self.config.buffer_size > 0,
            "with_buffer_size(0): a producer's buffer holds at least one item"
        );
        let requirements = std::mem::take(&mut self.requirements);
        self.config.require = Box::new(move |peer| requirements.iter().all(|one| one(peer)));
        let stream_id = self.config.stream_id;
        let streams = self.streams;

        let mut producers = streams.0.producers.lock();
        let of_stream = producers.entry(stream_id).or_default();
        if let Some(existing) = existing::<D>(of_stream) {
            return Err(BuilderError::AlreadyExists(existing));
        }
        of_stream.retain(|(_, registered)| !registered.shared.is_closed());

        let labels = streams.labels(&stream_id);
        let shared = Arc::new(Shared::new(
            self.config,
            session(),
            matches::<D>,
            ChannelsSender::new(),
            Meter::new(&labels),
            streams.0.links.limits().producer_bytes,
        ));
        if streams.0.closing.is_cancelled() || streams.0.links.tasks().is_cancelled() {
            shared.close();
        }
        let core = Arc::new(Core::new(
            Arc::clone(&shared),
            streams.clone(),
            self.undelivered,
        ));
        let weak: Weak<Core<D>> = Arc::downgrade(&core);
        let registered = Registered {
            shared: Arc::clone(&shared),
            core: Arc::new(weak),
        };
        of_stream.push((TypeId::of::<D>(), registered));
        drop(producers);

        keeper::spawn(streams, &shared);
        streams.0.discovery.add_stream(stream_id);
        metrics::gauge!("mosaik.streams.producers.active", &labels[..1]).increment(1.0);
        Ok(Producer::new(core))
    }
}

/// Names one life of one producer: what is resumed is resumed at no other.
fn session() -> u64 {
    let mut session = [0; 8];
    session.copy_from_slice(&Digest::random().as_bytes()[..8]);
    u64::from_le_bytes(session)
}

/// The open producer of this type among those of a stream. The caller holds the producers' lock,
/// which the last handle's drop takes: what is upgraded here is handed out, not dropped.
fn existing<D: Datum>(of_stream: &[(TypeId, Registered)]) -> Option<Producer<D>> {
    of_stream
        .iter()
        .filter(|(id, one)| *id == TypeId::of::<D>() && !one.shared.is_closed())
        .find_map(|(_, one)| one.core.downcast_ref::<Weak<Core<D>>>()?.upgrade())
        .map(Producer::new)
}

/// Whether an item that was framed before is wanted.
fn matches<D: Datum>(selector: &mut Selector, framed: &[u8]) -> bool {
    match frame::parse(framed, usize::MAX) {
        Ok(Parsed::Frame(Frame::Item(bytes), _)) => {
            D::decode(bytes).is_ok_and(|item| selector.wants(&item))
        }
        _ => false,
    }
}
