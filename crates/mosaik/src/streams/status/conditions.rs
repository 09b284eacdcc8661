//! [`ChannelConditions`]: how many channels of which kind make something true.

use {
    super::channel::{ActiveChannelsMap, ChannelInfo},
    crate::{
        discovery::PeerEntry,
        primitives::{IntoIterOrSingle, Tag},
    },
    core::{
        fmt,
        future::Future,
        pin::Pin,
        task::{Context, Poll},
    },
    futures::{FutureExt, future::BoxFuture},
    std::sync::Arc,
    tokio::sync::watch,
};

type Predicate = Arc<dyn Fn(&PeerEntry) -> bool + Send + Sync>;

/// A condition over the connected channels of a producer or consumer.
///
/// It is met when at least `minimum_of` of them are with peers that have all the tags and meet
/// all the predicates. Await it, or compare it with a `bool`.
pub struct ChannelConditions {
    channels: watch::Receiver<Arc<ActiveChannelsMap>>,
    minimum: usize,
    tags: Vec<Tag>,
    predicates: Vec<Predicate>,
    negated: bool,
    waiting: Option<sync_wrapper::SyncWrapper<BoxFuture<'static, ()>>>,
}

impl ChannelConditions {
    pub(crate) const fn new(
        channels: watch::Receiver<Arc<ActiveChannelsMap>>,
        minimum: usize,
    ) -> Self {
        Self {
            channels,
            minimum,
            tags: Vec::new(),
            predicates: Vec::new(),
            negated: false,
            waiting: None,
        }
    }

    /// At least `min` channels. Default: 1.
    #[must_use]
    pub const fn minimum_of(mut self, min: usize) -> Self {
        self.minimum = min;
        self
    }

    /// Only channels with peers that have all of these tags count; adds to earlier ones.
    #[must_use]
    pub fn with_tags<V>(mut self, tags: impl IntoIterOrSingle<Tag, V>) -> Self {
        self.tags.extend(tags.iterator());
        self
    }

    /// Only channels with peers that meet the predicate count; adds to earlier ones.
    #[must_use]
    pub fn with_predicate<F>(mut self, predicate: F) -> Self
    where
        F: Fn(&PeerEntry) -> bool + Send + Sync + 'static,
    {
        self.predicates.push(Arc::new(predicate));
        self
    }

    /// Whether the condition is met now.
    pub fn is_condition_met(&self) -> bool {
        self.is_met_by(&self.channels.borrow())
    }

    /// The condition that this one is not met.
    #[must_use]
    pub const fn unmet(mut self) -> Self {
        self.negated = !self.negated;
        self
    }

    pub(crate) fn is_met_by(&self, channels: &ActiveChannelsMap) -> bool {
        let counts = |channel: &&ChannelInfo| {
            let peer = channel.peer();
            channel.is_connected()
                && self.tags.iter().all(|tag| peer.tags().contains(tag))
                && self.predicates.iter().all(|predicate| predicate(peer))
        };
        let enough = self.minimum == 0
            || channels.values().filter(counts).take(self.minimum).count() == self.minimum;
        enough != self.negated
    }
}

impl Clone for ChannelConditions {
    fn clone(&self) -> Self {
        Self {
            channels: self.channels.clone(),
            minimum: self.minimum,
            tags: self.tags.clone(),
            predicates: self.predicates.clone(),
            negated: self.negated,
            waiting: None,
        }
    }
}

impl fmt::Debug for ChannelConditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelConditions")
            .field("minimum", &self.minimum)
            .field("tags", &self.tags)
            .field("predicates", &self.predicates.len())
            .field("negated", &self.negated)
            .field("met", &self.is_condition_met())
            .finish_non_exhaustive()
    }
}

/// Two conditions are equal when both are met or neither is.
impl PartialEq for ChannelConditions {
    fn eq(&self, other: &Self) -> bool {
        self.is_condition_met() == other.is_condition_met()
    }
}

impl PartialEq<bool> for ChannelConditions {
    fn eq(&self, met: &bool) -> bool {
        self.is_condition_met() == *met
    }
}

/// Resolves when the condition is met; never, when the channels' owner is gone and it is not.
impl Future for ChannelConditions {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                match waiting.get_mut().poll_unpin(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => self.waiting = None,
                }
            }
            // Marked as seen before it is looked at, so that no change is missed.
            let channels = Arc::clone(&self.channels.borrow_and_update());
            if self.is_met_by(&channels) {
                return Poll::Ready(());
            }
            let mut changes = self.channels.clone();
            let changed = async move {
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            self.waiting = Some(sync_wrapper::SyncWrapper::new(changed.boxed()));
        }
    }
}
