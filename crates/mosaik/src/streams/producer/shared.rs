//! What a producer's handles, writers, server and keeper share.

use {
    super::{
        admission::Admissions,
        builder::ProducerConfig,
        fanout::{Batch, Capacity, Fanout, FrameSource, SubscriptionId},
    },
    crate::{
        PeerId,
        network::close::Reason,
        primitives::Datum,
        streams::{
            greeting::Resume,
            status::{ChannelConditions, ChannelsSender, Online},
        },
    },
    bytes::{Bytes, BytesMut},
    core::{
        any::Any,
        task::{Context, Poll, Waker},
    },
    mosaik_protocol::subscription::{Criteria, Selector},
    parking_lot::Mutex,
    std::{
        collections::VecDeque,
        sync::Arc,
        time::{Duration, Instant},
    },
    tokio::sync::Notify,
};

/// Subscriptions that ended are remembered this long, to tell who comes back what it missed.
const ABSENCE: Duration = Duration::from_mins(2);
/// And this many of them at most, the oldest going first.
const ABSENT_MAX: usize = 256;

/// Selects from the history: whether an encoded item is wanted.
type Matches = fn(&mut Selector, &[u8]) -> bool;

/// A producer as its node holds it: without its type, without keeping it alive.
#[derive(Clone)]
pub(in crate::streams) struct Registered {
    pub(in crate::streams) shared: Arc<Shared>,
    /// `Weak<Core<D>>`, to find the producer again by its type.
    pub(super) core: Arc<dyn Any + Send + Sync>,
}

impl Registered {
    pub(in crate::streams) fn close(&self) {
        self.shared.close();
    }

    /// Resolves when every subscription has ended.
    pub(in crate::streams) async fn drained(&self) {
        loop {
            let ended = self.shared.ended.notified();
            if self.shared.state.lock().fanout.len() == 0 {
                return;
            }
            ended.await;
        }
    }
}

/// What of a producer does not depend on its datum.
pub(in crate::streams) struct Shared {
    pub(super) config: ProducerConfig,
    pub(super) session: u64,
    pub(super) state: Mutex<State>,
    pub(super) channels: ChannelsSender,
    pub(super) admissions: Arc<Admissions>,
    pub(super) online: Online,
    conditions: ChannelConditions,
    /// A sender found no room.
    pub(super) refused: Notify,
    /// A subscription ended.
    ended: Notify,
    /// The producer closed.
    closing: Notify,
    pub(super) matches: Matches,
    pub(super) meter: Meter,
}

/// A producer's metrics, looked up once.
pub(super) struct Meter {
    pub(super) consumers: metrics::Gauge,
    pub(super) accepted: metrics::Counter,
    pub(super) rejected: metrics::Counter,
    pub(super) items: metrics::Counter,
    pub(super) bytes: metrics::Counter,
    pub(super) dropped: metrics::Counter,
    pub(super) all_items: metrics::Counter,
    pub(super) all_bytes: metrics::Counter,
}

impl Meter {
    pub(super) fn new(labels: &[(&'static str, String); 2]) -> Self {
        let network = &labels[..1];
        Self {
            consumers: metrics::gauge!("mosaik.streams.producer.consumers", labels),
            accepted: metrics::counter!("mosaik.streams.producer.consumers.accepted", labels),
            rejected: metrics::counter!("mosaik.streams.producer.consumers.rejected", labels),
            items: metrics::counter!("mosaik.streams.producer.items.sent", labels),
            bytes: metrics::counter!("mosaik.streams.producer.bytes.sent", labels),
            dropped: metrics::counter!("mosaik.streams.producer.items.dropped", labels),
            all_items: metrics::counter!("mosaik.streams.datums.total", network),
            all_bytes: metrics::counter!("mosaik.streams.bytes.total", network),
        }
    }
}

/// Behind the producer's one lock; nothing is awaited or woken while it is held.
pub(super) struct State {
    pub(super) fanout: Fanout,
    online: bool,
    senders: Vec<Waker>,
    selectors: Vec<(SubscriptionId, Selector)>,
    history: History,
    absent: VecDeque<Absent>,
}

/// The last items, for consumers that come late.
struct History {
    frames: VecDeque<Bytes>,
    items: usize,
}

/// A subscription that ended and may be resumed.
struct Absent {
    id: SubscriptionId,
    peer: PeerId,
    /// Items it was or would have been offered.
    offered: u64,
    /// Items of the ring at `offered`, for those that do not select.
    head: u64,
    selector: Option<Selector>,
    since: Instant,
}

/// What became of an item that was pushed.
pub(super) enum Pushed {
    /// At least one subscription has it.
    Offered,
    /// No subscription wants it.
    Unwanted,
}

/// A place in the queue; dropping it leaves the queue.
pub(super) struct Subscription {
    pub(super) shared: Arc<Shared>,
    pub(super) id: SubscriptionId,
    pub(super) peer: PeerId,
    /// Wakes the writer out of a write that waits for the peer.
    pub(super) interrupt: Arc<Notify>,
    /// Items missed since the subscription that this one continues.
    pub(super) missed: u64,
    /// Whether the consumer may come back and ask what it missed.
    pub(super) may_return: bool,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.unsubscribe(self.id, self.peer, self.may_return);
    }
}

/// What a writer does next.
pub(super) enum Next {
    /// Hand this to the transport.
    Batch(Batch),
    /// End for this reason.
    Cut(Reason),
    /// All is handed over and no more comes.
    Drained,
}

impl Shared {
    pub(super) fn new(
        config: ProducerConfig,
        session: u64,
        matches: Matches,
        channels: ChannelsSender,
        meter: Meter,
        max_bytes: usize,
    ) -> Self {
        let conditions = (config.online_when)(ChannelConditions::new(channels.subscribe(), 1));
        let online = conditions.is_condition_met();
        let capacity = Capacity {
            items: config.buffer_size,
            bytes: max_bytes,
        };
        Self {
            session,
            state: Mutex::new(State {
                fanout: Fanout::new(capacity),
                online,
                senders: Vec::new(),
                selectors: Vec::new(),
                history: History {
                    frames: VecDeque::new(),
                    items: config.history,
                },
                absent: VecDeque::new(),
            }),
            channels,
            admissions: Arc::default(),
            online: Online::new(online),
            conditions,
            refused: Notify::new(),
            ended: Notify::new(),
            closing: Notify::new(),
            matches,
            meter,
            config,
        }
    }

    /// Looks again whether the producer is online; to be called when its channels changed.
    pub(super) fn update_online(&self) {
        let wake = {
            // Evaluated under the lock, so that of two changes the later one decides.
            let mut state = self.state.lock();
            let met = self.conditions.is_condition_met() && !state.fanout.is_closed();
            state.online = met;
            self.online
                .send_if_modified(|online| std::mem::replace(online, met) != met);
            std::mem::take(&mut state.senders)
        };
        wake.into_iter().for_each(Waker::wake);
    }

    /// Whether an item may be pushed now; otherwise registers the waker.
    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<Result<(), ()>> {
        let mut state = self.state.lock();
        if state.fanout.is_closed() {
            return Poll::Ready(Err(()));
        }
        if state.online {
            if state.fanout.has_room() {
                return Poll::Ready(Ok(()));
            }
            self.refused.notify_one();
        }
        state.park(cx.waker());
        Poll::Pending
    }

    /// Resolves when all that was accepted has been handed to the transport.
    pub(super) fn poll_drained(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.fanout.is_drained() {
            return Poll::Ready(());
        }
        state.park(cx.waker());
        Poll::Pending
    }

    /// Pushes an encoded item. `item` selects; `frame` is what is sent.
    pub(super) fn push<D: Datum>(
        &self,
        state: &mut State,
        item: &D,
        frame: &mut FrameSource<'_>,
        wake: &mut Vec<Waker>,
    ) -> Pushed {
        let mut wanted = state.fanout.has_sharing();
        for (id, selector) in &mut state.selectors {
            if selector.wants(item) {
                wanted = true;
                state.fanout.push_selected(*id, frame.shared(), wake);
            }
        }
        for absent in &mut state.absent {
            if let Some(selector) = &mut absent.selector {
                absent.offered += u64::from(selector.wants(item));
            }
        }
        if self.config.history > 0 {
            state.history.push(frame.shared());
        }
        state.fanout.push(frame, wake);
        if wanted {
            Pushed::Offered
        } else {
            Pushed::Unwanted
        }
    }

    /// Adds a subscription; `None` when there are as many as the producer serves, or it closed.
    pub(super) fn subscribe(
        self: &Arc<Self>,
        peer: PeerId,
        criteria: &Criteria,
        resume: Option<Resume>,
    ) -> Option<Subscription> {
        let mut state = self.state.lock();
        if state.fanout.is_closed() || state.fanout.len() >= self.config.max_consumers {
            return None;
        }
        let resume = resume.filter(|resume| resume.subscribed.session == self.session);
        let missed = resume
            .and_then(|resume| state.missed(peer, resume))
            .unwrap_or(0);
        let mut selector = Selector::new(criteria.clone());
        // Who resumes has had its history.
        let wanted = if resume.is_some() {
            0
        } else {
            criteria.history()
        };
        let history = state.history.last(wanted, &mut selector, self.matches);
        let selects = !criteria.wants_everything();
        let (id, interrupt) = state.fanout.subscribe(selects, history);
        if selects {
            state.selectors.push((id, selector));
        }
        let shared = Arc::clone(self);
        Some(Subscription {
            shared,
            id,
            peer,
            interrupt,
            missed,
            may_return: true,
        })
    }

    /// Removes a subscription, remembering it where its consumer may come back for it.
    fn unsubscribe(&self, id: SubscriptionId, peer: PeerId, may_return: bool) {
        let mut wake = Vec::new();
        {
            let mut state = self.state.lock();
            let offered = state.fanout.unsubscribe(id);
            let at = state.selectors.iter().position(|(other, _)| *other == id);
            let selector = at.map(|at| state.selectors.swap_remove(at).1);
            if let (Some(offered), true) = (offered, may_return) {
                let head = state.fanout.head();
                let since = Instant::now();
                state.remember(Absent {
                    id,
                    peer,
                    offered,
                    head,
                    selector,
                    since,
                });
            }
            state.release(&mut wake);
        }
        wake.into_iter().for_each(Waker::wake);
        self.ended.notify_waiters();
    }

    /// The next thing for a subscription's writer to do: nothing with less than `min_bytes`, and
    /// no more than about `max_bytes`.
    pub(super) fn poll_next(
        &self,
        id: SubscriptionId,
        min_bytes: usize,
        max_bytes: usize,
        out: &mut Vec<Bytes>,
        cx: &Context<'_>,
    ) -> Poll<Next> {
        let mut state = self.state.lock();
        if let Some(reason) = state.fanout.cut_reason(id) {
            return Poll::Ready(Next::Cut(reason));
        }
        if min_bytes > 1 && state.fanout.waiting_bytes(id) < min_bytes {
            state.fanout.park(id, cx.waker());
            return Poll::Pending;
        }
        let batch = state.fanout.collect(id, max_bytes, out);
        if batch.items() > 0 {
            return Poll::Ready(Next::Batch(batch));
        }
        if state.fanout.is_closed() {
            return Poll::Ready(Next::Drained);
        }
        state.fanout.park(id, cx.waker());
        Poll::Pending
    }

    /// Why a subscription was cut, if it was.
    pub(super) fn cut_reason(&self, id: SubscriptionId) -> Option<Reason> {
        self.state.lock().fanout.cut_reason(id)
    }

    /// Says that a writer handed a batch to the transport, and lets senders on.
    pub(super) fn taken(&self, id: SubscriptionId, batch: &Batch) {
        let mut wake = Vec::new();
        {
            let mut state = self.state.lock();
            state.fanout.taken(id, batch);
            state.release(&mut wake);
        }
        wake.into_iter().for_each(Waker::wake);
    }

    /// Ends a subscription for a reason.
    pub(super) fn cut(&self, id: SubscriptionId, reason: Reason) {
        let mut wake = Vec::new();
        self.state.lock().fanout.cut(id, reason, &mut wake);
        wake.into_iter().for_each(Waker::wake);
    }

    /// No more items; writers hand over what there is and end.
    pub(super) fn close(&self) {
        let mut wake = Vec::new();
        {
            let mut state = self.state.lock();
            state.fanout.close(&mut wake);
            wake.append(&mut state.senders);
        }
        wake.into_iter().for_each(Waker::wake);
        self.update_online();
        self.closing.notify_waiters();
        self.refused.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().fanout.is_closed()
    }

    /// Resolves when the producer closes.
    pub(super) async fn closed(&self) {
        loop {
            let closed = self.closing.notified();
            if self.is_closed() {
                return;
            }
            closed.await;
        }
    }
}

impl State {
    pub(super) const fn is_online(&self) -> bool {
        self.online
    }

    fn park(&mut self, waker: &Waker) {
        if !self.senders.iter().any(|known| known.will_wake(waker)) {
            self.senders.push(waker.clone());
        }
    }

    /// Moves the senders out that may go on.
    fn release(&mut self, wake: &mut Vec<Waker>) {
        if !self.senders.is_empty() && (self.fanout.room() || self.fanout.is_drained()) {
            wake.append(&mut self.senders);
        }
    }

    fn remember(&mut self, absent: Absent) {
        self.forget(absent.since);
        if self.absent.len() == ABSENT_MAX {
            self.absent.pop_front();
        }
        self.absent.push_back(absent);
    }

    fn forget(&mut self, now: Instant) {
        while self
            .absent
            .front()
            .is_some_and(|one| now.duration_since(one.since) > ABSENCE)
        {
            self.absent.pop_front();
        }
    }

    /// What a returning consumer missed; `None` when its subscription is not remembered.
    fn missed(&mut self, peer: PeerId, resume: Resume) -> Option<u64> {
        self.forget(Instant::now());
        let id = resume.subscribed.subscription;
        let at = self
            .absent
            .iter()
            .position(|one| one.id == id && one.peer == peer)?;
        let absent = self.absent.remove(at)?;
        let since = match absent.selector {
            Some(_) => 0,
            None => self.fanout.head() - absent.head,
        };
        Some((absent.offered + since).saturating_sub(resume.received))
    }
}

impl History {
    fn push(&mut self, frame: Bytes) {
        if self.frames.len() == self.items {
            self.frames.pop_front();
        }
        self.frames.push_back(frame);
    }

    /// The last `count` wanted items, oldest first.
    fn last(&self, count: u64, selector: &mut Selector, matches: Matches) -> VecDeque<Bytes> {
        let mut last = VecDeque::new();
        for frame in &self.frames {
            if count > 0 && matches(selector, frame) {
                if last.len() as u64 == count {
                    last.pop_front();
                }
                last.push_back(frame.clone());
            }
        }
        last
    }
}

/// Encodes into a buffer that is reused by the thread, so that small items allocate nothing.
pub(super) fn with_scratch<R>(encode: impl FnOnce(&mut BytesMut) -> R) -> R {
    thread_local! {
        static SCRATCH: core::cell::Cell<BytesMut> = core::cell::Cell::default();
    }
    /// What is kept between items; a larger buffer goes back to the allocator.
    const KEPT_BYTES: usize = 64 << 10;
    // Taken, not borrowed: encoding an item may send another.
    let mut scratch = SCRATCH.take();
    let result = encode(&mut scratch);
    if scratch.capacity() <= KEPT_BYTES {
        SCRATCH.set(scratch);
    }
    result
}
