//! The way from the journal to the tables, and how far things have come.

use {
    super::queue::lock,
    mosaik_protocol::store::{StoreError, WriteBatch},
    std::{
        collections::VecDeque,
        mem,
        sync::{Condvar, Mutex, PoisonError},
        time::{Duration, Instant},
    },
};

/// Journaled batches that the tables may lag behind, bytes: bounds memory and the wait of a read.
const BACKLOG_BYTES: usize = 32 << 20;

/// How long journaled batches gather before the tables take them, unless somebody wants to read: a
/// commit of the tables costs about the same for one batch as for a hundred.
const GATHER: Duration = Duration::from_millis(10);
/// The bytes that are enough to begin at once.
const ENOUGH_BYTES: usize = BACKLOG_BYTES / 8;

/// A commit of the journal on its way to the tables.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) sequence: u64,
    pub(super) batches: Vec<WriteBatch>,
    pub(super) bytes: usize,
}

#[derive(Debug)]
pub(super) struct Pipeline {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    backlog_bytes: usize,
    journaled: u64,
    applied: u64,
    checkpointed: u64,
    wanted_checkpoint: u64,
    /// Threads that wait for the tables.
    waiters: usize,
    /// Why the tables do not move on: a full disk, until that is over, or a fatal error.
    blocked: Option<StoreError>,
    closed: bool,
}

/// What the applier has to do.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) frames: Vec<Frame>,
    /// Make the tables durable.
    pub(super) checkpoint: bool,
    /// Nothing came within the time given.
    pub(super) idle: bool,
    /// This is the end.
    pub(super) closed: bool,
}

impl State {
    fn is_urgent(&self) -> bool {
        self.waiters > 0
            || self.closed
            || self.wanted_checkpoint > self.checkpointed
            || self.backlog_bytes > ENOUGH_BYTES
    }
}

impl Pipeline {
    /// Both journal and tables are at `sequence`.
    pub(super) fn new(sequence: u64) -> Self {
        let state = State {
            journaled: sequence,
            applied: sequence,
            checkpointed: sequence,
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Hands over a durable frame. Waits while the tables lag too far behind, unless they are
    /// blocked: then the journal, which is bounded, takes what it can.
    pub(super) fn push(&self, frame: Frame) {
        let mut state = lock(&self.state);
        state.journaled = frame.sequence;
        state.backlog_bytes += frame.bytes;
        state.frames.push_back(frame);
        self.changed.notify_all();
        while state.backlog_bytes > BACKLOG_BYTES && state.blocked.is_none() {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Asks for durable tables up to `sequence` without waiting.
    pub(super) fn want_checkpoint(&self, sequence: u64) {
        let mut state = lock(&self.state);
        if sequence > state.wanted_checkpoint {
            state.wanted_checkpoint = sequence;
            self.changed.notify_all();
        }
    }

    /// Waits until the tables hold `sequence` durably.
    pub(super) fn wait_checkpoint(&self, sequence: u64) -> Result<(), StoreError> {
        self.want_checkpoint(sequence);
        self.wait(|state| state.checkpointed >= sequence)
    }

    /// Waits until the tables show everything that is journaled now.
    pub(super) fn wait_applied(&self) -> Result<(), StoreError> {
        let journaled = lock(&self.state).journaled;
        self.wait(|state| state.applied >= journaled)
    }

    fn wait(&self, reached: impl Fn(&State) -> bool) -> Result<(), StoreError> {
        let mut state = lock(&self.state);
        if reached(&state) {
            return Ok(());
        }
        state.waiters += 1;
        self.changed.notify_all();
        let result = loop {
            if reached(&state) {
                break Ok(());
            }
            if let Some(blocked) = &state.blocked {
                break Err(blocked.clone());
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        };
        state.waiters -= 1;
        result
    }

    /// The applier's next work; waits for it, at most `patience` if given.
    pub(super) fn take(&self, patience: Option<Duration>) -> Work {
        let mut state = lock(&self.state);
        let mut idle = false;
        while state.frames.is_empty()
            && state.wanted_checkpoint <= state.checkpointed
            && !state.closed
            && !idle
        {
            state = match patience {
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(patience) => {
                    let waited = self.changed.wait_timeout(state, patience);
                    let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                    idle = timeout.timed_out();
                    state
                }
            };
        }
        let deadline = Instant::now() + GATHER;
        while !state.frames.is_empty() && !state.is_urgent() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Work {
            frames: mem::take(&mut state.frames).into(),
            checkpoint: state.wanted_checkpoint > state.checkpointed,
            idle,
            closed: state.closed,
        }
    }

    /// The tables show everything up to `sequence`, of which `bytes` were taken; durably, or not yet.
    pub(super) fn set_applied(&self, sequence: u64, bytes: usize, durable: bool) {
        let mut state = lock(&self.state);
        state.applied = sequence;
        state.backlog_bytes -= bytes;
        state.blocked = None;
        if durable {
            state.checkpointed = sequence;
        }
        self.changed.notify_all();
    }

    /// The tables do not move on.
    pub(super) fn set_blocked(&self, error: StoreError) {
        lock(&self.state).blocked = Some(error);
        self.changed.notify_all();
    }

    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }
}
