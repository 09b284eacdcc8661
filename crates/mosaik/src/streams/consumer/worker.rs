//! A consumer's worker: keeps one subscription to one producer.

use {
    super::{
        builder::Shared,
        event::ConsumerEvent,
        places::{Place, Received},
        queue::{Batch, LaneGuard},
        reader::{Read, Reader, ReaderError},
        waits::Waits,
    },
    crate::{
        PeerId,
        discovery::PeerInfo,
        network::{
            close::{self, NoCapacity, ProtocolViolation, Reason, Success, UnexpectedClose},
            links::{LinkError, Protocol},
        },
        primitives::Datum,
        streams::{
            frame::Control,
            greeting::{Resume, Subscribe, Subscribed},
            producer::expired,
            report::Reporter,
            status::{ChannelInfo, State, Stats},
        },
        tickets::Expiration,
    },
    core::future::poll_fn,
    iroh::endpoint::{ReadError, VarInt},
    mosaik_primitives::{Digest, codec::Versioned},
    std::{
        sync::Arc,
        time::{Duration, Instant},
    },
    tokio::sync::watch,
};

/// A subscription that lasted this long was a success: the next failure waits the first wait.
const LASTED: Duration = Duration::from_secs(5);

/// The producer, as the coordinator knows it now.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) info: PeerInfo,
    pub(super) expiration: Expiration,
    /// Whether its entry is there and lists the stream.
    pub(super) advertised: bool,
}

/// Subscribes, reads, and subscribes again, until the producer is gone or the coordinator drops
/// it.
pub(super) async fn run<D: Datum>(shared: Arc<Shared<D>>, mut targets: watch::Receiver<Target>) {
    let mut waits = Waits::new(&shared.config.backoff);
    loop {
        let target = targets.borrow_and_update().clone();
        if !target.advertised {
            break;
        }
        if target.expiration.is_expired() {
            // The coordinator admits it anew, or drops this worker.
            shared.look_again.notify_one();
            if targets.changed().await.is_err() {
                break;
            }
            continue;
        }
        let since = Instant::now();
        let attempt = Attempt::new(&shared, target, targets.clone());
        let ended = attempt.subscribe().await;
        if ended == Ended::Connected && since.elapsed() >= LASTED {
            waits.reset();
        }
        if !targets.borrow().advertised {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(waits.next(ended == Ended::Full)) => {}
            changed = targets.changed() => {
                if changed.is_err() {
                    break;
                }
                waits.reset();
            }
        }
    }
    // In this order: the coordinator tells by the receiver whether the worker has ended.
    drop(targets);
    shared.look_again.notify_one();
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// There was a subscription.
    Connected,
    /// There was none.
    Refused,
    /// There was none, because the producer serves as many as it may.
    Full,
}

/// One attempt at a subscription; its channel is shown as long as this lives.
struct Attempt<'s, D: Datum> {
    shared: &'s Arc<Shared<D>>,
    target: Target,
    /// Says until when the producer is admitted, while the subscription lasts.
    admission: watch::Receiver<Target>,
    producer: PeerId,
    key: Digest,
    state: watch::Sender<State>,
    stats: Arc<Stats>,
    connected: bool,
    /// What is told when nothing of the attempt is shown any more.
    outcome: Option<ConsumerEvent>,
}

impl<'s, D: Datum> Attempt<'s, D> {
    fn new(shared: &'s Arc<Shared<D>>, target: Target, admission: watch::Receiver<Target>) -> Self {
        let producer = *target.info.id();
        let (state, watcher) = watch::channel(State::Connecting);
        let key = Digest::from_bytes(*producer.as_bytes());
        let stats = Arc::new(Stats::new(shared.stats.labels().clone()));
        let channel = ChannelInfo {
            stream_id: shared.config.stream_id,
            criteria: Arc::new(shared.config.criteria.clone()),
            producer_id: producer,
            consumer_id: shared.streams.local_id(),
            peer: target.info.clone(),
            state: watcher,
            stats: Arc::clone(&stats),
        };
        shared.channels.insert(key, channel);
        Self {
            shared,
            target,
            admission,
            producer,
            key,
            state,
            stats,
            connected: false,
            outcome: None,
        }
    }

    async fn subscribe(mut self) -> Ended {
        let resume = self.shared.places.lock().of(&self.producer);
        let opened = match self.open(resume).await {
            Ok(opened) => opened,
            Err(error) => return self.refused(&error),
        };
        let limits = self.shared.streams.0.links.limits();
        let Ok(subscribed) = Subscribed::from_versioned(&opened.reply, limits.reply_bytes) else {
            return self.refused(&LinkError::Malformed);
        };
        self.accepted();
        let mut place = Place {
            places: &self.shared.places,
            producer: self.producer,
            subscribed,
            received: Received::default(),
        };
        let mut reader = Reader::new(opened.recv, limits.frame_bytes);
        let mut reporter = Reporter::new(opened.send);
        let lane = self.shared.queue.lane(self.producer);
        let mut admission = self.admission.clone();
        let reason = tokio::select! {
            biased;
            reason = self.read(&mut reader, &mut reporter, &lane, &mut place.received) => reason,
            () = expired(&mut admission, |target| target.expiration) => close::NotAllowed::REASON,
        };
        reader.stop(VarInt::from_u32(reason.code));
        drop(place);
        tracing::debug!(producer = %self.producer.fmt_short(), ?reason, "subscription ended");
        self.outcome = Some(self.disconnected(reason));
        Ended::Connected
    }

    async fn open(
        &self,
        resume: Option<Resume>,
    ) -> Result<crate::network::links::Opened, LinkError> {
        let config = &self.shared.config;
        let greeting = Subscribe {
            criteria: config.criteria.to_wire(),
            resume,
        };
        let greeting = greeting.to_versioned().map_err(|_| LinkError::Malformed)?;
        let addr = self.target.info.address().clone();
        let links = &self.shared.streams.0.links;
        links
            .open(addr, Protocol::Stream, config.stream_id, greeting)
            .await
    }

    fn refused(&mut self, error: &LinkError) -> Ended {
        self.shared.meter.rejected.increment(1);
        let reason = error.refusal().unwrap_or(UnexpectedClose::REASON);
        tracing::debug!(producer = %self.producer.fmt_short(), %error, "subscription refused");
        self.outcome = Some(ConsumerEvent::Refused {
            producer: self.producer,
            reason: reason.into(),
        });
        if reason == NoCapacity::REASON {
            Ended::Full
        } else {
            Ended::Refused
        }
    }

    fn accepted(&mut self) {
        self.connected = true;
        self.shared.meter.accepted.increment(1);
        self.shared.meter.producers.increment(1.0);
        self.stats.set_connected(true);
        self.state.send_replace(State::Connected);
        self.shared.update_online();
        self.shared.tell(ConsumerEvent::Connected {
            producer: self.producer,
        });
    }

    /// Reads until the subscription ends; answers why.
    async fn read(
        &self,
        reader: &mut Reader,
        reporter: &mut Reporter,
        lane: &LaneGuard<D>,
        received: &mut Received,
    ) -> Reason {
        let mut batch = Batch::default();
        loop {
            let mut read = reader.parse(&mut batch, lane.room());
            // What was decoded before an error is good, and the program's.
            self.deliver(&mut batch, lane, received).await;
            if matches!(read, Ok(Read::Parsed)) {
                // The producer may wait for it before it sends what is waited for here.
                if reporter.report(received.items).await.is_err() {
                    // The producer listens as long as it sends; what it sent last says why it ended.
                    tracing::trace!("the producer listens no more");
                }
                read = reader.fetch().await;
            }
            match read {
                Ok(Read::More | Read::Parsed) => {}
                Ok(Read::Control(Control::Missed(count))) => {
                    received.missed += u64::from(count);
                    self.missed(u64::from(count));
                }
                Ok(Read::Control(Control::End(code))) => return close::known(u64::from(code)),
                Ok(Read::Finished) => return Success::REASON,
                Err(ReaderError::Transport(ReadError::Reset(code))) => {
                    return close::known(code.into_inner());
                }
                Err(ReaderError::Transport(_)) => return UnexpectedClose::REASON,
                Err(error) => {
                    tracing::warn!(
                        producer = %self.producer.fmt_short(), %error,
                        "producer sent what cannot be read",
                    );
                    return ProtocolViolation::REASON;
                }
            }
        }
    }

    /// Puts a batch into the consumer's queue, waiting for room.
    async fn deliver(&self, batch: &mut Batch<D>, lane: &LaneGuard<D>, received: &mut Received) {
        if batch.is_empty() {
            return;
        }
        let (items, bytes) = (batch.len(), batch.bytes());
        // Counted before they are handed over: the program may ask at once.
        self.stats.add(items, bytes);
        self.shared.stats.add(items, bytes);
        received.items += items as u64;
        let meter = &self.shared.meter;
        meter.items.increment(items as u64);
        meter.bytes.increment(bytes as u64);
        meter.all_items.increment(items as u64);
        meter.all_bytes.increment(bytes as u64);
        poll_fn(|cx| {
            let before = batch.len();
            let pushed = lane.poll_push(batch, cx);
            received.delivered += (before - batch.len()) as u64;
            pushed
        })
        .await;
    }

    fn disconnected(&self, reason: Reason) -> ConsumerEvent {
        ConsumerEvent::Disconnected {
            producer: self.producer,
            reason: reason.into(),
        }
    }

    /// Why the coordinator dropped the attempt before it ended.
    fn dropped(&self) -> Reason {
        if self.admission.borrow().expiration.is_expired() {
            close::NotAllowed::REASON
        } else if self.shared.streams.0.closing.is_cancelled() {
            close::GracefulShutdown::REASON
        } else {
            Success::REASON
        }
    }

    fn missed(&self, count: u64) {
        self.stats.add_missed(count as usize);
        self.shared.stats.add_missed(count as usize);
        self.shared.tell(ConsumerEvent::Missed {
            producer: self.producer,
            count,
        });
    }
}

impl<D: Datum> Drop for Attempt<'_, D> {
    fn drop(&mut self) {
        self.state.send_replace(State::Terminated);
        self.stats.set_connected(false);
        self.shared.channels.remove(&self.key, &self.stats);
        if self.connected {
            self.shared.meter.producers.decrement(1.0);
        }
        self.shared.update_online();
        let outcome = self.outcome.take();
        let dropped = || self.connected.then(|| self.disconnected(self.dropped()));
        if let Some(outcome) = outcome.or_else(dropped) {
            self.shared.tell(outcome);
        }
    }
}
