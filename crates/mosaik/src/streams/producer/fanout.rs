//! The queue between a producer and its subscriptions.
//!
//! Every item is encoded once. Items that all subscriptions want stand once in a ring of chunks,
//! through which each subscription moves its own cursor; what a subscription selected or was
//! given from the history stands in a queue of its own, as references to the same bytes. A chunk
//! goes when the last subscription has passed it.
//!
//! The queue is bounded in items and in bytes. It decides nothing about who is too slow: the
//! referee does (`super::referee`), from what it sees here.

use {
    crate::network::close::Reason,
    bytes::{Bytes, BytesMut},
    core::task::Waker,
    std::{
        collections::{BTreeMap, VecDeque},
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        },
    },
    tokio::sync::Notify,
};

/// A chunk is sealed at this size; larger items are chunks of their own.
const CHUNK_BYTES: usize = 64 << 10;
/// Frames at least this long become chunks without being copied.
pub(super) const LARGE_FRAME_BYTES: usize = 4 << 10;

/// Names a subscription within its producer, for the lifetime of the producer.
pub(crate) type SubscriptionId = u64;

#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    first: u64,
    items: u64,
    /// Subscriptions that have not passed it.
    pending: usize,
}

impl Chunk {
    const fn end(&self) -> u64 {
        self.first + self.items
    }
}

#[derive(Debug)]
struct Subscription {
    /// The next item of the ring; meaningless for one that selects.
    cursor: u64,
    /// Frames that are only this subscription's: selected, or from the history.
    own: VecDeque<Bytes>,
    own_bytes: usize,
    /// Whether it takes only what is pushed to it by id.
    selects: bool,
    /// Where the ring stood when it subscribed.
    joined: u64,
    /// Frames ever put into its own queue.
    own_offered: u64,
    waker: Option<Waker>,
    cut: Option<Reason>,
    /// Bytes of the batches that its writer has handed over whole.
    passed_bytes: u64,
    line: Arc<Line>,
}

/// What a subscription's writer and the queue tell each other without the queue's lock.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Wakes the writer out of a write that waits for the peer.
    pub(super) interrupt: Notify,
    written_bytes: AtomicU64,
}

impl Line {
    /// The transport has taken this much more, be it a part of an item.
    pub(super) fn wrote(&self, bytes: usize) {
        self.written_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Subscription {
    /// Items it was ever offered, the ring being at `head`.
    const fn offered(&self, head: u64) -> u64 {
        let shared = if self.selects { 0 } else { head - self.joined };
        self.own_offered + shared
    }
}

/// How full the queue may become.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capacity {
    pub(super) items: usize,
    pub(super) bytes: usize,
}

/// The queue. Callers hold it in a mutex; wakers it returns are woken outside of it.
#[derive(Debug)]
pub(super) struct Fanout {
    capacity: Capacity,
    ring: VecDeque<Chunk>,
    ring_bytes: usize,
    open: BytesMut,
    open_items: u64,
    /// Items ever offered to the ring's subscriptions.
    head: u64,
    next_id: SubscriptionId,
    subscriptions: BTreeMap<SubscriptionId, Subscription>,
    /// Subscriptions that follow the ring.
    sharing: usize,
    /// Subscriptions that select.
    selecting: usize,
    /// Subscriptions whose writers may wait for an item.
    parked: usize,
    /// Whether a sender found no room since the referee last looked.
    refused: bool,
    closed: bool,
}

/// A subscription's standing, for the referee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) id: SubscriptionId,
    /// Items it has not taken whole.
    pub(super) lag: usize,
    /// Those items, bytes.
    pub(super) lag_bytes: usize,
    /// How much of them the transport has taken, bytes.
    pub(super) part_bytes: usize,
    /// What the transport has taken of all items, bytes.
    pub(super) taken_bytes: u64,
}

impl Fanout {
    pub(super) fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            ring: VecDeque::new(),
            ring_bytes: 0,
            open: BytesMut::new(),
            open_items: 0,
            head: 0,
            next_id: 1,
            subscriptions: BTreeMap::new(),
            sharing: 0,
            selecting: 0,
            parked: 0,
            refused: false,
            closed: false,
        }
    }

    fn ring_start(&self) -> u64 {
        self.ring
            .front()
            .map_or(self.head - self.open_items, |chunk| chunk.first)
    }

    /// Whether one more item may be pushed; a no is remembered for the referee.
    pub(super) fn has_room(&mut self) -> bool {
        let room = self.room();
        self.refused |= !room;
        room
    }

    /// Whether one more item may be pushed.
    pub(super) fn room(&self) -> bool {
        let shared = (self.head - self.ring_start()) as usize;
        let fits = |items: usize, bytes: usize| {
            items == 0 || (items < self.capacity.items && bytes < self.capacity.bytes)
        };
        fits(shared, self.ring_bytes + self.open.len())
            && (self.selecting == 0
                || self
                    .subscriptions
                    .values()
                    .all(|one| fits(one.own.len(), one.own_bytes)))
    }

    /// Whether every subscription has taken everything.
    pub(super) fn is_drained(&self) -> bool {
        self.head == self.ring_start() && self.subscriptions.values().all(|one| one.own.is_empty())
    }

    /// Offers a frame to every subscription that does not select. Small frames are copied into
    /// the open chunk, large ones are taken as they are.
    pub(super) fn push(&mut self, frame: &mut FrameSource<'_>, wake: &mut Vec<Waker>) {
        if self.sharing == 0 {
            // Counted all the same: who comes back is told how many it missed.
            self.head += 1;
            return;
        }
        if frame.len() >= LARGE_FRAME_BYTES {
            self.seal();
            let bytes = frame.shared();
            self.add_chunk(bytes, 1);
            self.head += 1;
        } else {
            if self.open.capacity() - self.open.len() < frame.len() {
                self.open.reserve(
                    CHUNK_BYTES
                        .min(self.capacity.items * frame.len())
                        .max(frame.len()),
                );
            }
            self.open.extend_from_slice(frame.bytes());
            self.open_items += 1;
            self.head += 1;
            let enough = (self.capacity.items / 4).max(1) as u64;
            if self.open.len() >= CHUNK_BYTES || self.open_items >= enough {
                self.seal();
            }
        }
        if self.parked > 0 {
            self.wake_sharing(wake);
        }
    }

    fn wake_sharing(&mut self, wake: &mut Vec<Waker>) {
        for subscription in self.subscriptions.values_mut().filter(|one| !one.selects) {
            if let Some(waker) = subscription.waker.take() {
                self.parked -= 1;
                wake.push(waker);
            }
        }
    }

    /// Offers a frame to one subscription that selects.
    pub(super) fn push_selected(
        &mut self,
        id: SubscriptionId,
        frame: Bytes,
        wake: &mut Vec<Waker>,
    ) {
        if let Some(subscription) = self.subscriptions.get_mut(&id) {
            subscription.own_offered += 1;
            subscription.own_bytes += frame.len();
            subscription.own.push_back(frame);
            if let Some(waker) = subscription.waker.take() {
                self.parked -= 1;
                wake.push(waker);
            }
        }
    }

    fn seal(&mut self) {
        if self.open_items > 0 {
            let bytes = self.open.split().freeze();
            let items = std::mem::take(&mut self.open_items);
            self.head -= items;
            self.add_chunk(bytes, items);
            self.head += items;
        }
    }

    fn add_chunk(&mut self, bytes: Bytes, items: u64) {
        self.ring_bytes += bytes.len();
        self.ring.push_back(Chunk {
            bytes,
            first: self.head,
            items,
            pending: self.sharing,
        });
    }

    /// Adds a subscription that gets `history` first, then what is pushed from now on.
    pub(super) fn subscribe(
        &mut self,
        selects: bool,
        history: VecDeque<Bytes>,
    ) -> (SubscriptionId, Arc<Line>) {
        self.seal();
        let id = self.next_id;
        self.next_id += 1;
        let line = Arc::<Line>::default();
        if selects {
            self.selecting += 1;
        } else {
            self.sharing += 1;
        }
        let subscription = Subscription {
            cursor: self.head,
            joined: self.head,
            own_offered: history.len() as u64,
            own_bytes: history.iter().map(Bytes::len).sum(),
            own: history,
            selects,
            waker: None,
            cut: None,
            passed_bytes: 0,
            line: Arc::clone(&line),
        };
        self.subscriptions.insert(id, subscription);
        (id, line)
    }

    /// Removes a subscription; returns how many items were ever offered to it.
    pub(super) fn unsubscribe(&mut self, id: SubscriptionId) -> Option<u64> {
        self.seal();
        let subscription = self.subscriptions.remove(&id)?;
        self.parked -= usize::from(subscription.waker.is_some());
        let offered = subscription.offered(self.head);
        if subscription.selects {
            self.selecting -= 1;
        } else {
            self.sharing -= 1;
            self.pass(subscription.cursor, self.head);
        }
        Some(offered)
    }

    /// Marks the chunks between two cursors as passed by one subscription, and drops those that
    /// all have passed.
    fn pass(&mut self, from: u64, to: u64) {
        let at = self.ring.partition_point(|chunk| chunk.first < from);
        for chunk in self
            .ring
            .iter_mut()
            .skip(at)
            .take_while(|chunk| chunk.end() <= to)
        {
            chunk.pending -= 1;
        }
        while self.ring.front().is_some_and(|chunk| chunk.pending == 0) {
            if let Some(chunk) = self.ring.pop_front() {
                self.ring_bytes -= chunk.bytes.len();
            }
        }
    }

    /// Collects what a subscription has not taken, at most about `max_bytes` and at least one
    /// frame, and moves its cursor behind it only when [`Fanout::taken`] is called.
    pub(super) fn collect(
        &mut self,
        id: SubscriptionId,
        max_bytes: usize,
        out: &mut Vec<Bytes>,
    ) -> Batch {
        let mut batch = Batch::default();
        {
            let Some(subscription) = self.subscriptions.get(&id) else {
                return batch;
            };
            for frame in &subscription.own {
                if batch.bytes >= max_bytes {
                    return batch;
                }
                batch.bytes += frame.len();
                batch.own += 1;
                out.push(frame.clone());
            }
            if subscription.selects {
                return batch;
            }
            batch.upto = subscription.cursor;
        }
        if self
            .ring
            .back()
            .is_none_or(|chunk| chunk.end() <= batch.upto)
        {
            self.seal();
        }
        let from = batch.upto;
        let at = self.ring.partition_point(|chunk| chunk.first < from);
        for chunk in self.ring.iter().skip(at) {
            if batch.bytes >= max_bytes {
                break;
            }
            batch.bytes += chunk.bytes.len();
            batch.upto = chunk.end();
            out.push(chunk.bytes.clone());
        }
        batch.shared = batch.upto - from;
        batch
    }

    /// How much a subscription has not taken, bytes.
    pub(super) fn waiting_bytes(&self, id: SubscriptionId) -> usize {
        let Some(subscription) = self.subscriptions.get(&id) else {
            return 0;
        };
        if subscription.selects {
            return subscription.own_bytes;
        }
        let at = self
            .ring
            .partition_point(|chunk| chunk.first < subscription.cursor);
        let sealed: usize = self
            .ring
            .iter()
            .skip(at)
            .map(|chunk| chunk.bytes.len())
            .sum();
        subscription.own_bytes + sealed + self.open.len()
    }

    /// Says that a collected batch has been handed to the transport.
    pub(super) fn taken(&mut self, id: SubscriptionId, batch: &Batch) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return;
        };
        subscription.passed_bytes += batch.bytes as u64;
        for frame in subscription.own.drain(..batch.own) {
            subscription.own_bytes -= frame.len();
        }
        if batch.shared > 0 {
            let from = subscription.cursor;
            subscription.cursor = batch.upto;
            self.pass(from, batch.upto);
        }
    }

    /// Registers the waker of a subscription's writer, woken at the next item, cut or close.
    pub(super) fn park(&mut self, id: SubscriptionId, waker: &Waker) {
        if let Some(subscription) = self.subscriptions.get_mut(&id) {
            match &mut subscription.waker {
                Some(known) => known.clone_from(waker),
                none => {
                    self.parked += 1;
                    *none = Some(waker.clone());
                }
            }
        }
    }

    /// Ends a subscription for a reason; its writer finds it in [`Fanout::cut_reason`].
    pub(super) fn cut(&mut self, id: SubscriptionId, reason: Reason, wake: &mut Vec<Waker>) {
        if let Some(subscription) = self.subscriptions.get_mut(&id) {
            subscription.cut.get_or_insert(reason);
            if let Some(waker) = subscription.waker.take() {
                self.parked -= 1;
                wake.push(waker);
            }
            subscription.line.interrupt.notify_one();
        }
    }

    /// Why a subscription was ended, if it was. One that is gone was ended too.
    pub(super) fn cut_reason(&self, id: SubscriptionId) -> Option<Reason> {
        self.subscriptions.get(&id)?.cut
    }

    /// No item follows; writers drain what there is.
    pub(super) fn close(&mut self, wake: &mut Vec<Waker>) {
        self.closed = true;
        self.parked = 0;
        wake.extend(
            self.subscriptions
                .values_mut()
                .filter_map(|one| one.waker.take()),
        );
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether a subscription follows the ring.
    pub(super) const fn has_sharing(&self) -> bool {
        self.sharing > 0
    }

    /// Items ever offered to those that follow the ring.
    pub(super) const fn head(&self) -> u64 {
        self.head
    }

    /// Items a subscription was ever offered.
    pub(super) fn offered(&self, id: SubscriptionId) -> Option<u64> {
        let subscription = self.subscriptions.get(&id)?;
        Some(subscription.offered(self.head))
    }

    /// How many subscriptions there are.
    pub(super) fn len(&self) -> usize {
        self.subscriptions.len()
    }

    /// Whether a sender found no room since this was last asked.
    pub(super) fn take_refused(&mut self) -> bool {
        std::mem::take(&mut self.refused)
    }

    /// How far each subscription is.
    pub(super) fn standings(&self) -> Vec<Standing> {
        let standing = |(id, one): (&SubscriptionId, &Subscription)| {
            let shared = if one.selects {
                0
            } else {
                self.head - one.cursor
            };
            let taken_bytes = one.line.written_bytes.load(Ordering::Relaxed);
            Standing {
                id: *id,
                lag: shared as usize + one.own.len(),
                lag_bytes: self.waiting_bytes(*id),
                part_bytes: taken_bytes.saturating_sub(one.passed_bytes) as usize,
                taken_bytes,
            }
        };
        self.subscriptions.iter().map(standing).collect()
    }
}

/// Part of the queue that a writer is handing to the transport.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Batch {
    own: usize,
    shared: u64,
    upto: u64,
    pub(super) bytes: usize,
}

impl Batch {
    pub(super) const fn items(&self) -> u64 {
        self.own as u64 + self.shared
    }
}

/// An encoded frame in a buffer that is copied from or, at most once, turned into shared bytes.
pub(super) struct FrameSource<'b> {
    buffer: &'b mut BytesMut,
    start: usize,
    shared: Option<Bytes>,
}

impl<'b> FrameSource<'b> {
    /// The frame that begins at `start` and ends with the buffer.
    pub(super) const fn new(buffer: &'b mut BytesMut, start: usize) -> Self {
        Self {
            buffer,
            start,
            shared: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes().len()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match &self.shared {
            Some(bytes) => bytes,
            None => &self.buffer[self.start..],
        }
    }

    /// The frame as shared bytes; all callers get the same ones.
    pub(super) fn shared(&mut self) -> Bytes {
        if self.shared.is_none() {
            let frame = if self.buffer.len() - self.start >= LARGE_FRAME_BYTES {
                self.buffer.split().freeze().slice(self.start..)
            } else {
                Bytes::copy_from_slice(&self.buffer[self.start..])
            };
            self.shared = Some(frame);
        }
        self.shared.clone().unwrap_or_default()
    }
}
