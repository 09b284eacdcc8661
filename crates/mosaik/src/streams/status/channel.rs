//! [`ChannelInfo`]: one producer and one consumer that found each other.

use {
    super::stats::Stats,
    crate::{
        PeerId,
        discovery::{PeerEntry, PeerInfo},
        streams::{Criteria, StreamId},
    },
    core::future::Future,
    mosaik_primitives::Digest,
    std::{collections::HashMap, sync::Arc},
    tokio::sync::watch,
};

/// Where a channel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The consumer asks the producer.
    Connecting,
    /// Items flow.
    Connected,
    /// The channel is over; another may take its place.
    Terminated,
}

/// One channel between a producer and a consumer, as one of them sees it.
#[derive(Clone, Debug)]
pub struct ChannelInfo {
    pub(crate) stream_id: StreamId,
    pub(crate) criteria: Arc<Criteria>,
    pub(crate) producer_id: PeerId,
    pub(crate) consumer_id: PeerId,
    /// Shares the catalog's entry: a copy for every channel would cost a node with many streams.
    pub(crate) peer: PeerInfo,
    pub(crate) state: watch::Receiver<State>,
    pub(crate) stats: Arc<Stats>,
}

/// Channels by an id that is theirs alone.
pub type ActiveChannelsMap = HashMap<Digest, ChannelInfo>;

impl ChannelInfo {
    /// The stream.
    pub const fn stream_id(&self) -> &StreamId {
        &self.stream_id
    }

    /// What the consumer selects.
    pub fn criteria(&self) -> &Criteria {
        &self.criteria
    }

    /// The producer's node.
    pub const fn producer_id(&self) -> &PeerId {
        &self.producer_id
    }

    /// The consumer's node.
    pub const fn consumer_id(&self) -> &PeerId {
        &self.consumer_id
    }

    /// The other side, as it was known when the channel was made.
    pub fn peer(&self) -> &PeerEntry {
        &self.peer
    }

    /// Where the channel stands.
    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Tells when the channel's state changes.
    pub const fn state_watcher(&self) -> &watch::Receiver<State> {
        &self.state
    }

    /// What passed.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Whether items flow.
    pub fn is_connected(&self) -> bool {
        self.state() == State::Connected
    }

    /// Resolves when the channel is over.
    pub fn disconnected(&self) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        let mut state = self.state.clone();
        async move {
            // A channel whose owner is gone is over as well.
            let _ = state.wait_for(|state| *state == State::Terminated).await;
        }
    }
}

/// The side that owns the channels and tells of their changes.
#[derive(Debug)]
pub(crate) struct ChannelsSender(watch::Sender<Arc<ActiveChannelsMap>>);

impl ChannelsSender {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Arc::default()))
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<ActiveChannelsMap>> {
        self.0.subscribe()
    }

    /// The channels as they are now.
    pub(crate) fn snapshot(&self) -> Arc<ActiveChannelsMap> {
        Arc::clone(&self.0.borrow())
    }

    pub(crate) fn insert(&self, key: Digest, channel: ChannelInfo) {
        self.0.send_modify(|channels| {
            Arc::make_mut(channels).insert(key, channel);
        });
    }

    /// Removes the channel with these counts, unless another one has taken its place.
    pub(crate) fn remove(&self, key: &Digest, stats: &Arc<Stats>) {
        self.0.send_if_modified(|channels| {
            let same = channels
                .get(key)
                .is_some_and(|channel| Arc::ptr_eq(&channel.stats, stats));
            if same {
                Arc::make_mut(channels).remove(key);
            }
            same
        });
    }

    /// Tells of a change inside a channel.
    pub(crate) fn touch(&self) {
        self.0.send_modify(|_| {});
    }
}

#[cfg(test)]
mod tests {
    use {
        super::*,
        crate::{Network, network::Preset},
    };

    fn channel(peer: PeerInfo) -> ChannelInfo {
        let labels = ["network", "stream"].map(|key| (key, String::new()));
        ChannelInfo {
            stream_id: StreamId::from_u8(1),
            criteria: Arc::default(),
            producer_id: *peer.id(),
            consumer_id: *peer.id(),
            peer,
            state: watch::channel(State::Connected).1,
            stats: Arc::new(Stats::new(labels)),
        }
    }

    #[tokio::test]
    async fn a_channel_that_ends_late_does_not_take_its_successor_away() {
        let network = || Network::builder(Digest::from_u8(1)).with_preset(Preset::Isolated);
        let first = network().build().await.unwrap();
        let second = network().build().await.unwrap();
        assert!(second.discovery().feed(first.discovery().me()));
        let peer = second.discovery().infos().remove(0);
        let (channels, key) = (ChannelsSender::new(), Digest::from_u8(2));
        let (ended, successor) = (channel(peer.clone()), channel(peer));
        channels.insert(key, ended.clone());
        channels.insert(key, successor.clone());
        channels.remove(&key, &ended.stats);
        assert!(channels.snapshot()[&key].is_connected());
        channels.remove(&key, &successor.stats);
        assert!(channels.snapshot().is_empty());
    }
}
