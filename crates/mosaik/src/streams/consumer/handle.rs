//! [`Consumer`]: the handle that receives.

use {
    super::{
        builder::{ConsumerConfig, Shared},
        event::Events,
    },
    crate::{
        primitives::Datum,
        streams::{
            StreamId,
            status::{ChannelInfo, Stats, When},
        },
    },
    core::{
        fmt,
        pin::Pin,
        task::{Context, Poll},
    },
    futures::{Stream, StreamExt},
    std::{collections::VecDeque, sync::Arc},
    sync_wrapper::SyncWrapper,
    tokio::sync::mpsc::error::TryRecvError,
    tokio_util::task::AbortOnDropHandle,
};

/// Receives the items of one stream from every producer it subscribed to.
///
/// Items of one producer arrive in order, those of different producers in turn. What the
/// program has not taken is bounded in items and bytes; beyond that the producers wait, or cut
/// this consumer off, as each was built to.
///
/// Dropping the consumer ends its subscriptions.
pub struct Consumer<D: Datum> {
    shared: Arc<Shared<D>>,
    when: When,
    /// Handed out to whoever has the consumer to itself, so that items need not be shared
    /// between threads for the consumer to be.
    taken: SyncWrapper<VecDeque<D>>,
    _coordinator: AbortOnDropHandle<()>,
}

impl<D: Datum> Consumer<D> {
    pub(super) fn new(
        shared: Arc<Shared<D>>,
        when: When,
        coordinator: AbortOnDropHandle<()>,
    ) -> Self {
        Self {
            shared,
            when,
            taken: SyncWrapper::new(VecDeque::new()),
            _coordinator: coordinator,
        }
    }

    /// The stream.
    pub fn stream_id(&self) -> &StreamId {
        &self.shared.config.stream_id
    }

    /// Waits for the consumer's states.
    pub const fn when(&self) -> &When {
        &self.when
    }

    /// Whether the conditions given as `online_when` are met.
    pub fn is_online(&self) -> bool {
        self.when.is_online()
    }

    /// What the consumer was built with.
    pub fn config(&self) -> &ConsumerConfig {
        &self.shared.config
    }

    /// What arrived, and what was announced as missed.
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    /// What happens besides items, from now on.
    pub fn events(&self) -> Events {
        Events::new(self.shared.events.subscribe())
    }

    /// The producers this consumer is connected to or connecting to.
    pub fn producers(&self) -> impl Iterator<Item = ChannelInfo> {
        let channels = self.shared.channels.snapshot();
        channels.values().cloned().collect::<Vec<_>>().into_iter()
    }

    /// The next item; `None` when the network is closed and everything was taken.
    ///
    /// Dropping the future loses no item.
    pub async fn recv(&mut self) -> Option<D> {
        self.next().await
    }

    /// The next item if there is one now.
    pub fn try_recv(&mut self) -> Result<D, TryRecvError> {
        let taken = self.taken.get_mut();
        if taken.is_empty() {
            match self.shared.queue.poll_take(taken, None) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) => return Err(TryRecvError::Disconnected),
                Poll::Pending => return Err(TryRecvError::Empty),
            }
        }
        taken.pop_front().ok_or(TryRecvError::Empty)
    }
}

impl<D: Datum> fmt::Debug for Consumer<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("stream_id", self.stream_id())
            .field("online", &self.is_online())
            .field("producers", &self.shared.channels.snapshot().len())
            .field("stats", self.stats())
            .finish_non_exhaustive()
    }
}

// Nothing in a consumer is pinned.
impl<D: Datum> Unpin for Consumer<D> {}

impl<D: Datum> Stream for Consumer<D> {
    type Item = D;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<D>> {
        let this = &mut *self;
        let taken = this.taken.get_mut();
        if taken.is_empty() {
            match this.shared.queue.poll_take(taken, Some(cx)) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(taken.pop_front())
    }
}
