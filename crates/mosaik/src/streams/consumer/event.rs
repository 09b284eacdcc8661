//! What happens to a consumer besides items.

use {
    crate::PeerId,
    core::{
        fmt,
        pin::Pin,
        task::{Context, Poll},
    },
    futures::{Stream, StreamExt, stream::BoxStream},
    iroh::endpoint::ApplicationClose,
    tokio::sync::broadcast,
};

/// Something that happened between a consumer and one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConsumerEvent {
    /// The producer accepted; items flow.
    Connected {
        /// The producer.
        producer: PeerId,
    },
    /// The producer refused; the consumer tries again after its backoff.
    Refused {
        /// The producer.
        producer: PeerId,
        /// Why.
        reason: ApplicationClose,
    },
    /// The subscription ended, and is not shown any more. The consumer tries again after its
    /// backoff, as long as it wants the producer.
    Disconnected {
        /// The producer.
        producer: PeerId,
        /// Why: `TooSlow` where this consumer did not keep up, `NotAllowed` where one of the two
        /// is no longer admitted by the other.
        reason: ApplicationClose,
    },
    /// Items were lost: the producer offered them while this consumer was cut off.
    Missed {
        /// The producer.
        producer: PeerId,
        /// How many. 0 where the producer cannot tell how many, or whether any: it counts what
        /// a consumer's criteria would have selected for two minutes after the subscription
        /// ended, and less when very many consumers come and go. Without criteria it can always
        /// tell.
        count: u64,
    },
    /// Events were lost, because they were not taken in time.
    Lagged {
        /// How many.
        count: u64,
    },
}

/// The events of a consumer, from the moment it was asked for.
pub struct Events(BoxStream<'static, ConsumerEvent>);

impl Events {
    pub(super) fn new(events: broadcast::Receiver<ConsumerEvent>) -> Self {
        let next = |mut events: broadcast::Receiver<ConsumerEvent>| async {
            match events.recv().await {
                Ok(event) => Some((event, events)),
                Err(broadcast::error::RecvError::Lagged(count)) => {
                    Some((ConsumerEvent::Lagged { count }, events))
                }
                Err(broadcast::error::RecvError::Closed) => None,
            }
        };
        Self(futures::stream::unfold(events, next).boxed())
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Stream for Events {
    type Item = ConsumerEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ConsumerEvent>> {
        self.0.poll_next_unpin(cx)
    }
}
