//! What a producer's handles, writers, server and keeper share.

use {
    super::{
        absence::{Absences, Missed, Selecting},
        admission::Admissions,
        builder::ProducerConfig,
        fanout::{Batch, Capacity, Fanout, FrameSource, Line, SubscriptionId},
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
    std::{collections::VecDeque, sync::Arc, time::Instant},
    tokio::sync::Notify,
};

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
        Self {
            consumers: metrics::gauge!("mosaik.streams.producer.consumers", labels),
            accepted: metrics::counter!("mosaik.streams.producer.consumers.accepted", labels),
            rejected: metrics::counter!("mosaik.streams.producer.consumers.rejected", labels),
            items: metrics::counter!("mosaik.streams.producer.items.sent", labels),
            bytes: metrics::counter!("mosaik.streams.producer.bytes.sent", labels),
            dropped: metrics::counter!("mosaik.streams.producer.items.dropped", labels),
            all_items: metrics::counter!("mosaik.streams.datums.total", labels),
            all_bytes: metrics::counter!("mosaik.streams.bytes.total", labels),
        }
    }
}

/// Behind the producer's one lock; nothing is awaited or woken while it is held.
pub(super) struct State {
    pub(super) fanout: Fanout,
    online: bool,
    senders: Vec<Waker>,
    selecting: Vec<Selecting>,
    history: History,
    absences: Absences,
}

/// The last items, for consumers that come late.
struct History {
    frames: VecDeque<Bytes>,
    items: usize,
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
    pub(super) line: Arc<Line>,
    /// Where in the producer's order it begins, what was missed before it included.
    pub(super) start: u64,
    /// Items missed since the subscription that this one continues.
    pub(super) missed: Missed,
    /// Whether the consumer may come back and ask what it missed.
    pub(super) may_return: bool,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.unsubscribe(self.id, self.may_return);
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
                selecting: Vec::new(),
                history: History {
                    frames: VecDeque::new(),
                    items: config.history,
                },
                absences: Absences::default(),
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
        for one in &mut state.selecting {
            if one.selector.wants(item) {
                wanted = true;
                state.fanout.push_selected(one.id, frame.shared(), wake);
            }
        }
        state.absences.push(item);
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
        let selects = !criteria.wants_everything();
        let missed = match resume {
            None => Missed::Counted(0),
            Some(resume) if selects => state.missed(peer, resume),
            Some(resume) => Missed::Counted(state.fanout.head().saturating_sub(resume.position())),
        };
        let mut selector = Selector::new(criteria.clone());
        // Who resumes has had its history; it would get items twice.
        let wanted = if resume.is_some() {
            0
        } else {
            criteria.history()
        };
        let history = state.history.last(wanted, &mut selector, self.matches);
        let before = history.len() as u64 + missed.at_least();
        let start = state.fanout.head().saturating_sub(before);
        let (id, line) = state.fanout.subscribe(selects, history);
        if selects {
            state.selecting.push(Selecting {
                id,
                peer,
                selector,
                missed,
            });
        }
        let shared = Arc::clone(self);
        Some(Subscription {
            shared,
            id,
            peer,
            line,
            start,
            missed,
            may_return: true,
        })
    }

    /// Removes a subscription, remembering it where its consumer may come back for it.
    fn unsubscribe(&self, id: SubscriptionId, may_return: bool) {
        let mut wake = Vec::new();
        {
            let mut state = self.state.lock();
            let offered = state.fanout.unsubscribe(id);
            let at = state.selecting.iter().position(|one| one.id == id);
            let selecting = at.map(|at| state.selecting.swap_remove(at));
            if let (Some(offered), Some(one), true) = (offered, selecting, may_return) {
                state.absences.remember(one, offered, Instant::now());
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
        // Of a producer that closed, what there is makes one last small batch at most.
        let more_may_come = !state.fanout.is_closed();
        if more_may_come && min_bytes > 1 && state.fanout.waiting_bytes(id) < min_bytes {
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

    /// Resolves when the producer has closed and every subscription has ended.
    pub(super) async fn drained(&self) {
        self.closed().await;
        loop {
            let ended = self.ended.notified();
            if self.state.lock().fanout.len() == 0 {
                return;
            }
            ended.await;
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

    /// What a returning consumer that selects missed.
    fn missed(&mut self, peer: PeerId, resume: Resume) -> Missed {
        if let Some(missed) = self.absences.take(peer, resume, Instant::now()) {
            return missed;
        }
        // A consumer may notice first that its connection is lost.
        let id = resume.subscribed.subscription;
        let open = self
            .selecting
            .iter()
            .find(|one| one.id == id && one.peer == peer);
        let missed = open.and_then(|one| {
            let offered = self.fanout.offered(id)?;
            Some(one.missed.and(offered, resume.received))
        });
        missed.unwrap_or(Missed::Uncounted)
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
