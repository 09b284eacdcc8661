//! The queue between a consumer's workers and its program: a lane a producer, taken in turn.
//!
//! Every lane is bounded, so a fast producer cannot keep the others out, and the bounds of all
//! lanes and of what the program has already taken over add up to the consumer's limits.

use {
    core::task::{Context, Poll, Waker},
    parking_lot::Mutex,
    std::{collections::VecDeque, sync::Arc},
};

/// A lane holds at least this many items, however many lanes there are.
const LANE_ITEMS_MIN: usize = 8;

/// Names a lane.
pub(super) type LaneId = u64;

/// The queue of one consumer.
pub(super) struct Queue<D>(Mutex<State<D>>);

struct State<D> {
    lanes: Vec<Lane<D>>,
    /// Which lane is first at the next turn.
    turn: usize,
    next_id: LaneId,
    receiver: Option<Waker>,
    closed: bool,
    max_items: usize,
    max_bytes: usize,
}

struct Lane<D> {
    id: LaneId,
    items: VecDeque<D>,
    bytes: usize,
    /// The worker that waits for room.
    worker: Option<Waker>,
    /// Whether its worker has ended; the lane goes when it is empty.
    ended: bool,
}

/// Decoded items on their way into a lane.
#[derive(Debug)]
pub(super) struct Batch<D> {
    items: VecDeque<D>,
    bytes: usize,
}

impl<D> Default for Batch<D> {
    fn default() -> Self {
        Self {
            items: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl<D> Batch<D> {
    pub(super) fn push(&mut self, item: D, bytes: usize) {
        self.items.push_back(item);
        self.bytes += bytes;
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
            // Half is for the receiver, which takes over everything at once.
            max_items: (max_items / 2).max(1),
            max_bytes: (max_bytes / 2).max(1),
        }))
    }

    /// Opens a lane that is closed when the returned guard is dropped.
    pub(super) fn lane(self: &Arc<Self>) -> LaneGuard<D> {
        let mut state = self.0.lock();
        let id = state.next_id;
        state.next_id += 1;
        let lane = Lane {
            id,
            items: VecDeque::new(),
            bytes: 0,
            worker: None,
            ended: false,
        };
        state.lanes.push(lane);
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
            workers.extend(lane.worker.take());
        }
        self.lanes.retain(|lane| !lane.ended);
        self.turn = self.turn.wrapping_add(1);
    }
}

/// One worker's end of the queue.
pub(super) struct LaneGuard<D> {
    queue: Arc<Queue<D>>,
    id: LaneId,
}

impl<D> LaneGuard<D> {
    /// Moves items from `batch` into the lane while there is room; ready when all are in.
    pub(super) fn poll_push(&self, batch: &mut Batch<D>, cx: &Context<'_>) -> Poll<()> {
        let (receiver, done) = {
            let mut state = self.queue.0.lock();
            let lanes = state.lanes.len().max(1);
            let max_items = (state.max_items / lanes).max(LANE_ITEMS_MIN);
            let max_bytes = state.max_bytes / lanes;
            let Some(lane) = state.lanes.iter_mut().find(|lane| lane.id == self.id) else {
                return Poll::Ready(());
            };
            let moved = lane.fill(batch, max_items, max_bytes);
            let done = batch.is_empty();
            if !done {
                lane.worker = Some(cx.waker().clone());
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
    /// Moves what fits; answers whether anything did.
    fn fill(&mut self, batch: &mut Batch<D>, max_items: usize, max_bytes: usize) -> bool {
        let room = max_items.saturating_sub(self.items.len());
        let all_bytes_fit = self.bytes + batch.bytes <= max_bytes;
        if all_bytes_fit && batch.items.len() <= room {
            let moved = !batch.items.is_empty();
            if self.items.is_empty() {
                std::mem::swap(&mut self.items, &mut batch.items);
            } else {
                self.items.append(&mut batch.items);
            }
            self.bytes += std::mem::take(&mut batch.bytes);
            return moved;
        }
        // The items' sizes are not kept one by one; the average stands for each.
        let average = batch.bytes / batch.items.len().max(1);
        let mut moved = false;
        while self.items.len() < max_items
            && (self.items.is_empty() || self.bytes + average <= max_bytes)
        {
            let Some(item) = batch.items.pop_front() else {
                break;
            };
            self.items.push_back(item);
            self.bytes += average;
            batch.bytes -= average;
            moved = true;
        }
        moved
    }
}

impl<D> Drop for LaneGuard<D> {
    fn drop(&mut self) {
        let mut state = self.queue.0.lock();
        if let Some(at) = state.lanes.iter().position(|lane| lane.id == self.id) {
            if state.lanes[at].items.is_empty() {
                state.lanes.remove(at);
            } else {
                state.lanes[at].ended = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use {super::*, futures::task::noop_waker_ref};

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
        let lane = queue.lane();
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
        let (first, second) = (queue.lane(), queue.lane());
        assert!(!push(&first, 0..100, 1).is_empty());
        assert!(push(&second, 100..108, 1).is_empty());
        let mut taken = VecDeque::new();
        assert!(queue.poll_take(&mut taken, None).is_ready());
        assert!(taken.contains(&0) && taken.contains(&107));
    }

    #[test]
    fn what_an_ended_worker_left_is_still_taken_and_then_the_queue_ends() {
        let queue = Arc::new(Queue::new(64, 1 << 20));
        let lane = queue.lane();
        assert!(push(&lane, [7], 1).is_empty());
        drop(lane);
        queue.close();
        let mut taken = VecDeque::new();
        assert_eq!(queue.poll_take(&mut taken, None), Poll::Ready(Some(())));
        assert_eq!(taken.pop_front(), Some(7));
        assert_eq!(queue.poll_take(&mut taken, None), Poll::Ready(None));
    }
}
