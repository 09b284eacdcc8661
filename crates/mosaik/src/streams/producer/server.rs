//! The producing side of a subscription's start.

use {
    super::{
        admission,
        fanout::SubscriptionId,
        keeper,
        shared::{Shared, Subscription},
        writer,
    },
    crate::{
        discovery::PeerInfo,
        network::{
            close::{
                NoCapacity, NotAllowed, ProtocolViolation, Reason, StreamNotFound, UnknownPeer,
            },
            links::{Incoming, LinkUse},
        },
        streams::{
            Streams,
            greeting::{Subscribe, Subscribed},
            status::{ChannelInfo, State, Stats},
        },
        tickets::Expiration,
    },
    core::{convert::Infallible, future::pending},
    iroh::endpoint::{RecvStream, SendStream},
    mosaik_primitives::{Digest, codec::Versioned},
    mosaik_protocol::subscription::Criteria,
    std::sync::Arc,
    tokio::sync::watch,
};

/// A subscription that is admitted.
struct Admitted {
    shared: Arc<Shared>,
    peer: PeerInfo,
    criteria: Criteria,
    greeting: Subscribe,
    expiration: Expiration,
}

/// Admits or refuses a consumer, and serves it until the subscription ends.
pub(in crate::streams) async fn subscribe(streams: Streams, incoming: Incoming) {
    match admit(&streams, &incoming).await {
        Ok(admitted) => serve(&streams, incoming, admitted).await,
        Err((shared, reason)) => {
            if let Some(shared) = shared {
                shared.meter.rejected.increment(1);
            }
            incoming.refuse(reason).await;
        }
    }
}

async fn admit(
    streams: &Streams,
    incoming: &Incoming,
) -> Result<Admitted, (Option<Arc<Shared>>, Reason)> {
    let limits = streams.0.links.limits();
    let shared = {
        let producers = streams.0.producers.lock();
        producers
            .get(&incoming.resource)
            .and_then(|of_stream| of_stream.iter().find(|(_, one)| !one.shared.is_closed()))
            .map(|(_, one)| Arc::clone(&one.shared))
            .ok_or((None, StreamNotFound::REASON))?
    };
    let refuse = |reason: Reason| (Some(Arc::clone(&shared)), reason);
    let greeting = Subscribe::from_versioned(&incoming.greeting, limits.greeting_bytes)
        .map_err(|_| refuse(ProtocolViolation::REASON))?;
    let criteria = Criteria::from_wire(&greeting.criteria, limits)
        .map_err(|_| refuse(ProtocolViolation::REASON))?;
    let peer = streams
        .0
        .discovery
        .resolve(incoming.peer)
        .await
        .ok_or_else(|| refuse(UnknownPeer::REASON))?;
    if !streams.0.discovery.is_eligible(&peer) {
        return Err(refuse(NotAllowed::REASON));
    }
    let expiration = admission::admit(&shared.config, &peer).map_err(refuse)?;
    Ok(Admitted {
        shared,
        peer,
        criteria,
        greeting,
        expiration,
    })
}

async fn serve(streams: &Streams, incoming: Incoming, admitted: Admitted) {
    let Admitted {
        shared,
        peer,
        criteria,
        greeting,
        expiration,
    } = admitted;
    // Closing waits for it, so it is there before the subscription is and goes after it.
    let served = streams.0.served.token();
    let Some(mut subscription) = shared.subscribe(incoming.peer, &criteria, greeting.resume) else {
        drop(served);
        shared.meter.rejected.increment(1);
        return incoming.refuse(NoCapacity).await;
    };
    let reply = Subscribed {
        session: shared.session,
        subscription: subscription.id,
        start: subscription.start,
    };
    let Ok(reply) = reply.to_versioned() else {
        return;
    };
    let Some((send, recv, link)) = incoming.accept(reply).await else {
        return;
    };
    let admitted_by = peer.update_version();
    let admission = shared
        .admissions
        .open(subscription.id, admitted_by, expiration);
    let consumer = peer.clone();
    let (state, watcher) = watch::channel(State::Connected);
    let channel = ChannelInfo {
        stream_id: shared.config.stream_id,
        criteria: Arc::new(criteria),
        producer_id: streams.local_id(),
        consumer_id: subscription.peer,
        peer,
        state: watcher,
        stats: Arc::new(Stats::new(streams.labels(&shared.config.stream_id))),
    };
    let channel = Channel::open(&subscription, channel, state);
    // An entry that came since it was admitted was looked at for other channels only.
    let known = streams.0.discovery.entry(&subscription.peer);
    if known.is_some_and(|known| known.update_version() != admitted_by) {
        keeper::look_again(streams, &shared, subscription.id, &subscription.peer);
    }
    let peers = Peers { send, recv, link };
    let far = async {
        admission::too_far(&streams.0.discovery, &consumer).await;
        shared.cut(subscription.id, NotAllowed::REASON);
        pending::<Infallible>().await
    };
    let ended = tokio::select! {
        ended = writer::run(&subscription, &channel.stats, admission, peers) => ended,
        never = far => match never {},
    };
    tracing::debug!(peer = %subscription.peer.fmt_short(), ?ended, "subscription ended");
    subscription.may_return = ended.may_return();
}

/// The transport's side of a subscription.
pub(super) struct Peers {
    pub(super) send: SendStream,
    pub(super) recv: RecvStream,
    pub(super) link: LinkUse,
}

/// A channel that is shown to the program as long as this lives.
struct Channel {
    shared: Arc<Shared>,
    key: Digest,
    stats: Arc<Stats>,
    state: watch::Sender<State>,
}

impl Channel {
    fn open(
        subscription: &Subscription,
        channel: ChannelInfo,
        state: watch::Sender<State>,
    ) -> Self {
        let shared = Arc::clone(&subscription.shared);
        let key = key_of(subscription.id);
        let stats = Arc::clone(&channel.stats);
        stats.set_connected(true);
        let missed = subscription.missed.at_least();
        stats.add_missed(missed as usize);
        shared.meter.dropped.increment(missed);
        shared.meter.accepted.increment(1);
        shared.meter.consumers.increment(1.0);
        shared.channels.insert(key, channel);
        shared.update_online();
        Self {
            shared,
            key,
            stats,
            state,
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.stats.set_connected(false);
        self.state.send_replace(State::Terminated);
        self.shared.channels.remove(&self.key, &self.stats);
        self.shared.meter.consumers.decrement(1.0);
        self.shared.update_online();
    }
}

/// The key of a subscription's channel, and back.
fn key_of(id: SubscriptionId) -> Digest {
    Digest::from_u64(id)
}

pub(super) fn subscription_of(key: &Digest) -> SubscriptionId {
    let mut id = [0; 8];
    id.copy_from_slice(&key.as_bytes()[Digest::LEN - 8..]);
    SubscriptionId::from_le_bytes(id)
}
