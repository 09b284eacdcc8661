//! The queue between the handles of a store and its writer thread, and the ways back.

use {
    core::task::Waker,
    mosaik_protocol::store::{Completion, GroupId, StoreError, StoreLimits, Token, WriteBatch},
    std::{
        collections::VecDeque,
        mem,
        sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
        time::{Duration, Instant},
    },
};

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds one of these locks halfway through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the end of a batch is told.
#[derive(Debug)]
pub(super) enum Reply {
    Later { handle: Arc<Mailbox>, token: Token },
    Waiting(Arc<Slot>),
}

impl Reply {
    /// Tells the end, and returns the handle that is to be woken.
    fn put(self, group: GroupId, result: Result<(), StoreError>) -> Option<Arc<Mailbox>> {
        match self {
            Self::Later { handle, token } => {
                handle.put(Completion {
                    token,
                    group,
                    result,
                });
                Some(handle)
            }
            Self::Waiting(slot) => {
                slot.put(result);
                None
            }
        }
    }
}

/// A batch on its way to the disk.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) batch: WriteBatch,
    pub(super) bytes: usize,
    reply: Option<Reply>,
}

impl Pending {
    pub(super) const fn new(batch: WriteBatch, bytes: usize, reply: Reply) -> Self {
        Self {
            batch,
            bytes,
            reply: Some(reply),
        }
    }

    fn answer(&mut self, result: Result<(), StoreError>) -> Option<Arc<Mailbox>> {
        self.reply
            .take()
            .and_then(|reply| reply.put(self.batch.group, result))
    }
}

/// Nobody waits for ever, even when the writer panics.
impl Drop for Pending {
    fn drop(&mut self) {
        let reason = "the writer ended".to_owned();
        if let Some(mailbox) = self.answer(Err(StoreError::Stopped { reason })) {
            mailbox.wake();
        }
    }
}

/// The completions of one handle.
#[derive(Debug, Default)]
pub(super) struct Mailbox(Mutex<MailboxState>);

#[derive(Debug, Default)]
struct MailboxState {
    /// Submitted and not taken.
    outstanding: usize,
    completions: Vec<Completion>,
    waker: Option<Waker>,
}

impl Mailbox {
    /// Counts a submission, or says no when `limit` are outstanding.
    pub(super) fn reserve(&self, limit: usize) -> bool {
        let mut state = lock(&self.0);
        let free = state.outstanding < limit;
        state.outstanding += usize::from(free);
        free
    }

    /// Takes back what [`Self::reserve`] counted.
    pub(super) fn release(&self) {
        lock(&self.0).outstanding -= 1;
    }

    pub(super) fn take(&self, out: &mut Vec<Completion>) {
        let mut state = lock(&self.0);
        state.outstanding -= state.completions.len();
        out.append(&mut state.completions);
    }

    pub(super) fn set_waker(&self, waker: &Waker) {
        lock(&self.0).waker = Some(waker.clone());
    }

    fn put(&self, completion: Completion) {
        lock(&self.0).completions.push(completion);
    }

    fn wake(&self) {
        let waker = lock(&self.0).waker.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The result that one blocked thread waits for.
#[derive(Debug, Default)]
pub(super) struct Slot {
    result: Mutex<Option<Result<(), StoreError>>>,
    ready: Condvar,
}

impl Slot {
    pub(super) fn wait(&self) -> Result<(), StoreError> {
        let mut result = lock(&self.result);
        loop {
            if let Some(result) = result.take() {
                return result;
            }
            result = self
                .ready
                .wait(result)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn put(&self, result: Result<(), StoreError>) {
        *lock(&self.result) = Some(result);
        self.ready.notify_one();
    }
}

/// Bounded by [`StoreLimits`]: what is handed to the writer counts until it is answered.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    arrived: Condvar,
    freed: Condvar,
    limits: StoreLimits,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: VecDeque<Pending>,
    batches: usize,
    bytes: usize,
    closed: bool,
}

/// What the writer found in the queue.
pub(super) enum Taken {
    Batches(Vec<Pending>),
    /// Nothing is left and nothing will come.
    Closed,
}

impl Queue {
    pub(super) fn new(limits: StoreLimits) -> Self {
        let (arrived, freed) = (Condvar::new(), Condvar::new());
        Self {
            state: Mutex::default(),
            arrived,
            freed,
            limits,
        }
    }

    pub(super) const fn limits(&self) -> &StoreLimits {
        &self.limits
    }

    fn has_room(&self, state: &QueueState, bytes: usize) -> bool {
        let limits = &self.limits;
        let fits = state.bytes.saturating_add(bytes) <= limits.queued_bytes;
        state.batches < limits.queued_batches && (fits || state.batches == 0)
    }

    /// Queues a batch, or hands it back when there is no room.
    pub(super) fn try_push(
        &self,
        batch: WriteBatch,
        bytes: usize,
        reply: Reply,
    ) -> Result<(), Box<WriteBatch>> {
        let state = lock(&self.state);
        if !self.has_room(&state, bytes) {
            return Err(Box::new(batch));
        }
        self.push_into(state, Pending::new(batch, bytes, reply));
        Ok(())
    }

    /// Queues as soon as there is room.
    pub(super) fn push(&self, pending: Pending) {
        let mut state = lock(&self.state);
        while !state.closed && !self.has_room(&state, pending.bytes) {
            state = self
                .freed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.push_into(state, pending);
    }

    fn push_into(&self, mut state: MutexGuard<'_, QueueState>, pending: Pending) {
        if state.closed {
            // Dropping it answers; not under the lock, because that wakes others.
            drop(state);
            return;
        }
        state.batches += 1;
        state.bytes += pending.bytes;
        state.waiting.push_back(pending);
        drop(state);
        self.arrived.notify_one();
    }

    /// All that waits, in order. Waits for the first batch; once there is one, waits up to
    /// `patience` for as many as `wanted`.
    pub(super) fn take(&self, wanted: usize, patience: Duration) -> Taken {
        let mut state = lock(&self.state);
        while state.waiting.is_empty() {
            if state.closed {
                return Taken::Closed;
            }
            state = self
                .arrived
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let deadline = Instant::now() + patience;
        while state.waiting.len() < wanted && !state.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.arrived.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Taken::Batches(mem::take(&mut state.waiting).into())
    }

    /// Batches that wait now.
    pub(super) fn waiting(&self) -> usize {
        lock(&self.state).waiting.len()
    }

    /// Answers batches and gives their room back, in that order of their submission.
    pub(super) fn answer(&self, ended: Vec<(Pending, Result<(), StoreError>)>) {
        {
            let mut state = lock(&self.state);
            state.batches -= ended.len();
            state.bytes -= ended
                .iter()
                .map(|(pending, _)| pending.bytes)
                .sum::<usize>();
        }
        self.freed.notify_all();
        // A handle is woken once, when all its completions are there.
        let mut to_wake: Option<Arc<Mailbox>> = None;
        for (mut pending, result) in ended {
            let Some(mailbox) = pending.answer(result) else {
                continue;
            };
            if to_wake
                .as_ref()
                .is_some_and(|same| Arc::ptr_eq(same, &mailbox))
            {
                continue;
            }
            if let Some(other) = to_wake.replace(mailbox) {
                other.wake();
            }
        }
        if let Some(mailbox) = to_wake {
            mailbox.wake();
        }
    }

    /// Nothing more will be pushed; the writer ends when it has taken the rest.
    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.arrived.notify_all();
        self.freed.notify_all();
    }

    /// Answers everything that waits, because nobody takes it any more.
    pub(super) fn abandon(&self) {
        self.close();
        let waiting = mem::take(&mut lock(&self.state).waiting);
        drop(waiting);
    }
}
