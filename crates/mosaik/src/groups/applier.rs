//! The applier: the task of a group's replica, and the queue it takes its work from.
//!
//! The driver hands over committed entries, outcomes and reads, and never waits. The program's
//! code runs here and nowhere else; a panic in it ends this group on this node and nothing more.
//!
//! The queue needs no bound of its own: the core hands out no more than it was told is applied,
//! outcomes and reads answer what was bounded when it was asked, queries are counted, and of
//! messages of the state synchronisation those are dropped that find no room.

mod runner;
#[cfg(test)]
mod tests;

use {
    super::{
        driver::{Inbox, Question, Reply, Slot},
        error::QueryError,
        index::Index,
        machine::StateMachine,
        query::QueryResultAt,
        replica::Replica,
        setup::{Machine, SaveRequest, Shared, StoredState},
    },
    crate::{PeerId, network::tasks::Tasks},
    bytes::Bytes,
    mosaik_primitives::Digest,
    mosaik_protocol::consensus::{
        self, CommittedEntry, LogIndex, Outcome, ReadOutcome, SnapshotMeta,
    },
    parking_lot::Mutex,
    runner::Runner,
    std::{
        collections::VecDeque,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
    },
    tokio::sync::{Notify, oneshot},
};

/// Weak queries that may wait.
const QUERIES: usize = 65_536;
/// Bytes of messages of the state synchronisation that may wait.
const SYNC_BYTES: usize = 64 << 20;
/// What each of them counts for besides its own bytes.
const SYNC_OVERHEAD: usize = 128;

/// What a query's asker gets.
pub(super) type Answer<M> = Result<QueryResultAt<M>, QueryError<M>>;

/// A query whose asker waits.
pub(super) struct Asked<M: StateMachine> {
    pub(super) query: M::Query,
    pub(super) reply: oneshot::Sender<Answer<M>>,
}

impl<M: StateMachine> Asked<M> {
    pub(super) fn fail(self, error: impl FnOnce(M::Query) -> QueryError<M>) {
        // Whoever asked may have stopped waiting.
        let _ = self.reply.send(Err(error(self.query)));
    }
}

enum Work<M: StateMachine> {
    Apply(Vec<CommittedEntry>),
    StartOver,
    Resolve(Reply, Outcome),
    /// A weak query.
    Query(Asked<M>),
    /// A strong one: everything that it has to reflect was handed out before.
    Answer(Asked<M>),
    Refuse(Asked<M>, ReadOutcome),
    Receive(PeerId, Bytes),
    Synchronise(Box<SnapshotMeta>, consensus::Member),
    ChangeLineage(Digest),
    ContinueLineage(Digest),
    AskToCut(u64),
    Cut(Index),
    Save(SaveRequest),
    Restore(StoredState),
    Close,
}

struct Queue<M: StateMachine> {
    work: VecDeque<Work<M>>,
    queries: usize,
    sync_bytes: usize,
    closed: bool,
}

/// How far the machine is.
#[derive(Clone, Copy, Debug, Default)]
struct Applied {
    upto: LogIndex,
    /// How often the machine has started over.
    epoch: u64,
    /// Bytes applied since the driver looked.
    unseen: usize,
    told: bool,
}

/// The queue of a group's state machine.
pub(super) struct Applier<M: StateMachine> {
    slot: Slot,
    inbox: Arc<Inbox>,
    shared: Arc<Shared>,
    queue: Mutex<Queue<M>>,
    wake: Notify,
    applied: Mutex<Applied>,
    /// Set when nothing that is begun needs to be finished.
    is_over: AtomicBool,
    tasks: Tasks,
}

impl<M: StateMachine> Applier<M> {
    pub(super) fn new(slot: Slot, inbox: Arc<Inbox>, shared: Arc<Shared>, tasks: Tasks) -> Self {
        Self {
            slot,
            inbox,
            shared,
            queue: Mutex::new(Queue {
                work: VecDeque::new(),
                queries: 0,
                sync_bytes: 0,
                closed: false,
            }),
            wake: Notify::new(),
            applied: Mutex::default(),
            is_over: AtomicBool::new(false),
            tasks,
        }
    }

    fn push(&self, work: Work<M>) {
        let mut queue = self.queue.lock();
        if queue.closed {
            // Dropped outside the lock; who waits for it is told by that.
            drop(queue);
            return;
        }
        queue.work.push_back(work);
        let first = queue.work.len() == 1;
        drop(queue);
        if first {
            self.wake.notify_one();
        }
    }

    /// Answers from what is applied when its turn comes.
    pub(super) fn query(&self, asked: Asked<M>) {
        let mut queue = self.queue.lock();
        if queue.closed {
            drop(queue);
            asked.fail(|_| QueryError::GroupTerminated);
        } else if queue.queries >= QUERIES {
            drop(queue);
            asked.fail(QueryError::Overloaded);
        } else {
            queue.queries += 1;
            drop(queue);
            self.push(Work::Query(asked));
        }
    }

    /// Runs the replica until the group ends. However that comes about, the queue is closed then,
    /// also where the future was never polled.
    pub(super) fn run(
        self: Arc<Self>,
        replica: Replica<M>,
    ) -> impl Future<Output = ()> + Send + 'static {
        Runner::new(self, replica).run()
    }

    fn close(&self) {
        let rest = {
            let mut queue = self.queue.lock();
            queue.closed = true;
            std::mem::take(&mut queue.work)
        };
        drop(rest);
    }
}

impl<M: StateMachine> Machine for Applier<M> {
    fn apply(&self, entries: Vec<CommittedEntry>) {
        self.push(Work::Apply(entries));
    }

    fn start_over(&self) {
        self.push(Work::StartOver);
    }

    fn resolve(&self, reply: Reply, outcome: Outcome) {
        self.push(Work::Resolve(reply, outcome));
    }

    fn answer(&self, question: Question) {
        if let Ok(asked) = question.downcast::<Asked<M>>() {
            self.push(Work::Answer(*asked));
        }
    }

    fn refuse(&self, question: Question, outcome: ReadOutcome) {
        if let Ok(asked) = question.downcast::<Asked<M>>() {
            self.push(Work::Refuse(*asked, outcome));
        }
    }

    fn applied(&self, epoch: u64) -> LogIndex {
        let mut applied = self.applied.lock();
        (applied.unseen, applied.told) = (0, false);
        if applied.epoch == epoch {
            applied.upto
        } else {
            LogIndex::ZERO
        }
    }

    fn receive(&self, peer: PeerId, message: Bytes) {
        let room = {
            let mut queue = self.queue.lock();
            queue.sync_bytes += message.len() + SYNC_OVERHEAD;
            queue.sync_bytes <= SYNC_BYTES
        };
        if room {
            self.push(Work::Receive(peer, message));
        } else {
            self.shared.metrics.messages_dropped.increment(1);
        }
    }

    fn synchronise(&self, meta: SnapshotMeta, source: consensus::Member) {
        self.push(Work::Synchronise(Box::new(meta), source));
    }

    fn change_lineage(&self, lineage: Digest) {
        self.push(Work::ChangeLineage(lineage));
    }

    fn continue_lineage(&self, lineage: Digest) {
        self.push(Work::ContinueLineage(lineage));
    }

    fn ask_to_cut(&self, epoch: u64) {
        self.push(Work::AskToCut(epoch));
    }

    fn cut(&self, upto: Index) {
        self.push(Work::Cut(upto));
    }

    fn save(&self, request: SaveRequest) {
        self.push(Work::Save(request));
    }

    fn restore(&self, state: StoredState) {
        self.applied.lock().upto = state.last;
        self.push(Work::Restore(state));
    }

    fn close(&self) {
        self.is_over.store(true, Ordering::Release);
        self.push(Work::Close);
    }
}
