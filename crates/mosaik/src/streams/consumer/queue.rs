//! The queue between a consumer's workers and its program: a lane a producer, taken in turn.
//!
//! Every lane has a share, so a fast producer cannot keep the others out, and all lanes together,
//! with what the program has taken over, hold no more than the consumer's limits, except for one
//! item that is larger than what is left. A lane outlives its worker while it holds items, and a
//! producer that comes back goes on in it: its items stay in order, and however often it ends and
//! comes back, or others come in its place, the bounds are the same. A worker that waits for room
//! has decoded no more than its lane had room for, and one item at least.

use {
    crate::PeerId,
    core::task::{Context, Poll, Waker},
    parking_lot::Mutex,
    std::{collections::VecDeque, sync::Arc},
};

/// A lane's share is at least this many items, however many lanes there are.
const LANE_ITEMS_MIN: usize = 8;

/// Names a lane.
type LaneId = u64;

/// The queue of one consumer.
pub(super) struct Queue<D>(Mutex<State<D>>);

struct State<D> {
    lanes: Vec<Lane<D>>,
    /// Which lane is first at the next turn.
    turn: usize,
    next_id: LaneId,
    receiver: Option<Waker>,
    closed: bool,
    /// What all lanes hold, the surplus aside.
    held: Amount,
    /// Whether a lane holds an item for which there was no room in bytes.
    has_surplus: bool,
    max: Amount,
}

/// Items and their encoded sizes together.
#[derive(Clone, Copy, Debug, Default)]
struct Amount {
    items: usize,
    bytes: usize,
}

impl Amount {
    /// Whether this much more stays within `max`.
    const fn leaves_room_for(self, more: Self, max: Self) -> bool {
        self.items + more.items <= max.items && self.bytes + more.bytes <= max.bytes
    }

    const fn add(&mut self, more: Self) {
        self.items += more.items;
        self.bytes += more.bytes;
    }
}

struct Lane<D> {
    id: LaneId,
    producer: PeerId,
    items: VecDeque<D>,
    bytes: usize,
    /// Workers that wait for room.
    waiting: Vec<Waker>,
    /// Its workers: one, or for a moment one that is being dropped as well. Without any the lane
    /// goes when it is empty.
    workers: usize,
}

/// Decoded items on their way into a lane.
#[derive(Debug)]
pub(super) struct Batch<D> {
    items: VecDeque<D>,
    /// Their encoded sizes, those of neighbours that are equal as one: how many, and the size.
    sizes: VecDeque<(usize, usize)>,
    bytes: usize,
}

impl<D> Default for Batch<D> {
    fn default() -> Self {
        Self {
            items: VecDeque::new(),
            sizes: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl<D> Batch<D> {
    pub(super) fn push(&mut self, item: D, bytes: usize) {
        self.items.push_back(item);
        self.bytes += bytes;
        match self.sizes.back_mut() {
            Some((count, size)) if *size == bytes => *count += 1,
            _ => self.sizes.push_back((1, bytes)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    fn amount(&self) -> Amount {
        Amount {
            items: self.items.len(),
            bytes: self.bytes,
        }
    }

    /// The size of the first item.
    fn first_bytes(&self) -> Option<usize> {
        self.sizes.front().map(|(_, size)| *size)
    }

    fn pop(&mut self) -> Option<D> {
        let (count, size) = self.sizes.front_mut()?;
        self.bytes -= *size;
        *count -= 1;
        if *count == 0 {
            self.sizes.pop_front();
        }
        self.items.pop_front()
    }

    /// Moves all items to the end of `into`.
    fn append_to(&mut self, into: &mut VecDeque<D>) {
        if into.is_empty() {
            std::mem::swap(into, &mut self.items);
        } else {
            into.append(&mut self.items);
        }
        self.sizes.clear();
        self.bytes = 0;
    }
}

impl<D> Queue<D> {
    /// A queue that, with what its receiver has taken over, holds no more than this.
    pub(super) fn new(max_items: usize, max_bytes: usize) -> Self {
        Self(Mutex::new(State {
            lanes: Vec::new(),
            turn: 0,
            next_id: 0,
            receiver: None,
            closed: false,
            held: Amount::default(),
            has_surplus: false,
            // Half is for the receiver, which takes over everything at once.
            max: Amount {
                items: (max_items / 2).max(1),
                bytes: (max_bytes / 2).max(1),
            },
        }))
    }

    /// A producer's lane, the one that it left items in or a new one, for a worker that has it
    /// until it drops the returned guard.
    pub(super) fn lane(self: &Arc<Self>, producer: PeerId) -> LaneGuard<D> {
        let mut state = self.0.lock();
        let known = state.lanes.iter_mut().find(|one| one.producer == producer);
        let id = if let Some(lane) = known {
            lane.workers += 1;
            lane.id
        } else {
            state.open(producer)
        };
        LaneGuard {
            queue: Arc::clone(self),
            id,
        }
    }

    /// Takes over what all lanes hold, in turn, into `taken`; `None` when the queue is closed
    /// and empty.
    pub(super) fn poll_take(
        &self,
        taken: &mut VecDeque<D>,
        cx: Option<&mut Context<'_>>,
    ) -> Poll<Option<()>> {
        let mut workers = Vec::new();
        {
            let mut state = self.0.lock();
            state.take(taken, &mut workers);
            if taken.is_empty() {
                if state.closed {
                    return Poll::Ready(None);
                }
                if let Some(cx) = cx {
                    match &mut state.receiver {
                        Some(known) => known.clone_from(cx.waker()),
                        none => *none = Some(cx.waker().clone()),
                    }
                }
                return Poll::Pending;
            }
        }
        workers.into_iter().for_each(Waker::wake);
        Poll::Ready(Some(()))
    }

    /// No item follows; what is there can still be taken.
    pub(super) fn close(&self) {
        let receiver = {
            let mut state = self.0.lock();
            state.closed = true;
            state.receiver.take()
        };
        if let Some(receiver) = receiver {
            receiver.wake();
        }
    }
}

impl<D> State<D> {
    fn open(&mut self, producer: PeerId) -> LaneId {
        let id = self.next_id;
        self.next_id += 1;
        self.lanes.push(Lane {
            id,
            producer,
            items: VecDeque::new(),
            bytes: 0,
            waiting: Vec::new(),
            workers: 1,
        });
        id
    }

    fn take(&mut self, taken: &mut VecDeque<D>, workers: &mut Vec<Waker>) {
        let lanes = self.lanes.len();
        for i in 0..lanes {
            let lane = &mut self.lanes[(self.turn + i) % lanes];
            if taken.is_empty() {
                std::mem::swap(taken, &mut lane.items);
            } else {
                taken.append(&mut lane.items);
            }
            lane.bytes = 0;
            workers.append(&mut lane.waiting);
        }
        self.held = Amount::default();
        self.has_surplus = false;
        self.lanes.retain(|lane| lane.workers > 0);
        self.turn = self.turn.wrapping_add(1);
    }

    fn position(&self, id: LaneId) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.id == id)
    }

    /// What a lane may hold, as many as there are.
    fn share(&self) -> Amount {
        let lanes = self.lanes.len().max(1);
        Amount {
            items: (self.max.items / lanes).max(LANE_ITEMS_MIN),
            bytes: self.max.bytes / lanes,
        }
    }

    /// Moves what fits into a lane; answers whether anything did.
    fn fill(&mut self, at: usize, batch: &mut Batch<D>) -> bool {
        let share = self.share();
        let lane = &mut self.lanes[at];
        let all = batch.amount();
        if lane.held().leaves_room_for(all, share) && self.held.leaves_room_for(all, self.max) {
            batch.append_to(&mut lane.items);
            lane.bytes += all.bytes;
            self.held.add(all);
            return all.items > 0;
        }
        let mut moved = false;
        while let Some(bytes) = batch.first_bytes() {
            let one = Amount { items: 1, bytes };
            // An empty lane takes an item that is larger than its share.
            let by_lane = lane.items.is_empty() || lane.held().leaves_room_for(one, share);
            if !by_lane || self.held.items >= self.max.items {
                break;
            }
            if self.held.leaves_room_for(one, self.max) {
                self.held.add(one);
            } else if lane.items.is_empty() && !self.has_surplus {
                // Once between two turns, or an item larger than the whole would never come.
                self.has_surplus = true;
                self.held.items += 1;
            } else {
                break;
            }
            lane.items.extend(batch.pop());
            lane.bytes += bytes;
            moved = true;
        }
        moved
    }
}

/// One worker's end of the queue.
pub(super) struct LaneGuard<D> {
    queue: Arc<Queue<D>>,
    id: LaneId,
}

impl<D> LaneGuard<D> {
    /// How many items may be put in now; at least one, which may have to wait.
    pub(super) fn room(&self) -> usize {
        let state = self.queue.0.lock();
        let of_lane = state.position(self.id).map_or(0, |at| {
            let held = state.lanes[at].items.len();
            state.share().items.saturating_sub(held)
        });
        let of_all = state.max.items.saturating_sub(state.held.items);
        of_lane.min(of_all).max(1)
    }

    /// Moves items from `batch` into the lane while there is room; ready when all are in.
    pub(super) fn poll_push(&self, batch: &mut Batch<D>, cx: &Context<'_>) -> Poll<()> {
        let (receiver, done) = {
            let mut state = self.queue.0.lock();
            let Some(at) = state.position(self.id) else {
                return Poll::Ready(());
            };
            let moved = state.fill(at, batch);
            let done = batch.is_empty();
            if !done {
                state.lanes[at].wait(cx.waker());
            }
            (if moved { state.receiver.take() } else { None }, done)
        };
        if let Some(receiver) = receiver {
            receiver.wake();
        }
        if done { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<D> Lane<D> {
    fn held(&self) -> Amount {
        Amount {
            items: self.items.len(),
            bytes: self.bytes,
        }
    }

    fn wait(&mut self, waker: &Waker) {
        if !self.waiting.iter().any(|known| known.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
    }
}

impl<D> Drop for LaneGuard<D> {
    fn drop(&mut self) {
        let mut state = self.queue.0.lock();
        if let Some(at) = state.position(self.id) {
            let lane = &mut state.lanes[at];
            lane.workers -= 1;
            if lane.workers == 0 && lane.items.is_empty() {
                state.lanes.remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use {super::*, futures::task::noop_waker_ref, iroh::SecretKey};

    fn peer(n: u32) -> PeerId {
        let mut secret = [7; 32];
        secret[..4].copy_from_slice(&n.to_le_bytes());
        SecretKey::from_bytes(&secret).public()
    }

    fn take(queue: &Queue<u32>) -> VecDeque<u32> {
        let mut taken = VecDeque::new();
        assert!(queue.poll_take(&mut taken, None).is_ready());
        taken
    }

    fn push(
        lane: &LaneGuard<u32>,
        items: impl IntoIterator<Item = u32>,
        bytes: usize,
    ) -> Batch<u32> {
        let mut batch = Batch::default();
        items.into_iter().for_each(|item| batch.push(item, bytes));
        let _ = lane.poll_push(&mut batch, &Context::from_waker(noop_waker_ref()));
        batch
    }

    #[test]
    fn a_lane_is_bounded_in_items_and_bytes_but_takes_one_of_any_size() {
        let queue = Arc::new(Queue::new(40, 200));
        let lane = queue.lane(peer(0));
        assert_eq!(
            push(&lane, 0..50, 1).len(),
            30,
            "20 of 50 fit: half of the limit"
        );
        let mut taken = VecDeque::new();
        assert!(queue.poll_take(&mut taken, None).is_ready());
        assert_eq!(taken, (0..20).collect::<VecDeque<_>>());
        assert!(push(&lane, [1], 1_000).is_empty(), "one of any size fits");
        assert_eq!(push(&lane, [2], 1).len(), 1, "and none after it");
    }

    #[test]
    fn a_full_lane_leaves_the_others_room() {
        let queue = Arc::new(Queue::new(64, 1 << 20));
        let (first, second) = (queue.lane(peer(0)), queue.lane(peer(1)));
        assert!(!push(&first, 0..100, 1).is_empty());
        assert!(push(&second, 100..108, 1).is_empty());
        let mut taken = VecDeque::new();
        assert!(queue.poll_take(&mut taken, None).is_ready());
        assert!(taken.contains(&0) && taken.contains(&107));
    }

    #[test]
    fn what_an_ended_worker_left_is_still_taken_and_then_the_queue_ends() {
        let queue = Arc::new(Queue::new(64, 1 << 20));
        let lane = queue.lane(peer(0));
        assert!(push(&lane, [7], 1).is_empty());
        drop(lane);
        queue.close();
        let mut taken = VecDeque::new();
        assert_eq!(queue.poll_take(&mut taken, None), Poll::Ready(Some(())));
        assert_eq!(taken.pop_front(), Some(7));
        assert_eq!(queue.poll_take(&mut taken, None), Poll::Ready(None));
    }

    #[test]
    fn what_ended_workers_left_counts_among_the_rest() {
        let queue = Arc::new(Queue::new(40, 200));
        let mut held = 0;
        for n in 0..1_000 {
            // Many producers or one that comes back; each tries with one item.
            let bytes = if n % 2 == 0 { 1_000 } else { 30 };
            held += usize::from(push(&queue.lane(peer(n % 700)), [n], bytes).is_empty());
        }
        assert_eq!(held, 4, "three that fit in 100 bytes, and one of any size");
        assert_eq!(take(&queue).len(), held);
        held = 0;
        for n in 0..1_000 {
            held += usize::from(push(&queue.lane(peer(n)), [n], 0).is_empty());
        }
        assert_eq!(held, 20, "half of the limit");
        assert_eq!(take(&queue).len(), held);
        assert!(queue.0.lock().lanes.is_empty());
    }

    #[test]
    fn a_producer_that_comes_back_goes_on_behind_what_it_left() {
        let queue = Arc::new(Queue::new(64, 1 << 20));
        for _ in 0..3 {
            // Whichever lane's turn it is.
            for item in 0..5 {
                assert!(push(&queue.lane(peer(0)), [item], 1).is_empty());
            }
            assert_eq!(take(&queue), (0..5).collect::<VecDeque<_>>());
        }
    }

    #[test]
    fn a_large_item_gets_its_turn_among_small_ones_and_does_not_keep_them_out() {
        let queue = Arc::new(Queue::new(40, 200));
        let lanes = [0, 1, 2].map(|n| queue.lane(peer(n)));
        for turn in 0..10 {
            let small = push(&lanes[1], 0..50, 30);
            let large = [push(&lanes[0], [100], 1_000), push(&lanes[2], [100], 1_000)];
            assert_eq!(small.len(), 49, "its share: 33 bytes");
            assert_eq!(large.map(|batch| batch.len()), [0, 1], "one at a time");
            let mut taken = VecDeque::new();
            assert!(queue.poll_take(&mut taken, None).is_ready(), "{turn}");
            taken.make_contiguous().sort_unstable();
            assert_eq!(taken, [0, 100]);
        }
    }

    #[test]
    fn a_worker_decodes_no_more_than_its_lane_has_room_for() {
        let queue = Arc::new(Queue::new(40, 200));
        let (first, second) = (queue.lane(peer(0)), queue.lane(peer(1)));
        assert_eq!((first.room(), second.room()), (10, 10));
        assert!(push(&first, 0..9, 1).is_empty());
        assert_eq!((first.room(), second.room()), (1, 10));
        assert!(push(&first, [9], 1).is_empty());
        assert_eq!(first.room(), 1, "one that waits");
    }
}
