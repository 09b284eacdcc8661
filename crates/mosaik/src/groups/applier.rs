//! The applier: the task of a group's replica, and the queue it takes its work from.
//!
//! The driver hands over committed entries, outcomes and reads, and never waits. The program's
//! code runs here and nowhere else; a panic in it ends this group on this node and nothing more.
//!
//! The queue needs no bound of its own: the core hands out no more than it was told is applied,
//! outcomes and reads answer what was bounded when it was asked, queries are counted, and of
//! messages of the state synchronisation those are dropped that find no room.

use {
    super::{
        driver::{Command, Inbox, Question, Reply, Slot},
        error::{Halted, QueryError},
        index::Index,
        machine::StateMachine,
        query::QueryResultAt,
        replica::{CaughtUp, Replica},
        setup::{Machine, Shared},
    },
    crate::PeerId,
    bytes::Bytes,
    core::{future::poll_fn, task::Poll},
    mosaik_primitives::Digest,
    mosaik_protocol::consensus::{
        self, CommittedEntry, LogIndex, Outcome, ReadOutcome, SnapshotMeta,
    },
    parking_lot::Mutex,
    std::{collections::VecDeque, sync::Arc},
    tokio::sync::{Notify, oneshot},
};

/// Weak queries that may wait.
const QUERIES: usize = 65_536;
/// Bytes applied after which the driver is told, rather than left to ask.
const REPORT_BYTES: usize = 1 << 20;
/// Bytes of messages of the state synchronisation that may wait.
const SYNC_BYTES: usize = 64 << 20;

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
    Query(Asked<M>),
    Refuse(Asked<M>, ReadOutcome),
    Receive(PeerId, Bytes),
    Synchronise(Box<SnapshotMeta>, consensus::Member),
    ChangeLineage(Digest),
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
}

impl<M: StateMachine> Applier<M> {
    pub(super) fn new(slot: Slot, inbox: Arc<Inbox>, shared: Arc<Shared>) -> Self {
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

    /// Runs the replica until the group ends.
    pub(super) async fn run(self: Arc<Self>, replica: Replica<M>) {
        let mut runner = Runner {
            replica,
            halted: None,
        };
        let mut work = VecDeque::new();
        loop {
            {
                let mut queue = self.queue.lock();
                (queue.queries, queue.sync_bytes) = (0, 0);
                std::mem::swap(&mut queue.work, &mut work);
            }
            for work in work.drain(..) {
                if matches!(work, Work::Close) {
                    self.close();
                    return;
                }
                self.work(&mut runner, work);
                tokio::task::coop::consume_budget().await;
            }
            work.shrink_to(16);
            self.rest(&mut runner).await;
        }
    }

    /// Lets the state synchronisation do what is due until there is other work.
    async fn rest(&self, runner: &mut Runner<M>) {
        let mut woken = std::pin::pin!(self.wake.notified());
        poll_fn(|cx| {
            loop {
                if runner.halted.is_none() {
                    match runner.replica.poll(cx) {
                        Ok(None) => {}
                        Ok(Some(end)) => {
                            self.caught_up(end);
                            continue;
                        }
                        Err(why) => self.halt(runner, why),
                    }
                    self.show(runner);
                }
                let is_idle = self.queue.lock().work.is_empty();
                return match woken.as_mut().poll(cx) {
                    Poll::Pending if is_idle => Poll::Pending,
                    _ => Poll::Ready(()),
                };
            }
        })
        .await;
    }

    fn close(&self) {
        let rest = {
            let mut queue = self.queue.lock();
            queue.closed = true;
            std::mem::take(&mut queue.work)
        };
        drop(rest);
    }

    fn work(&self, runner: &mut Runner<M>, work: Work<M>) {
        match work {
            Work::Apply(entries) => {
                if runner.halted.is_some() {
                    return;
                }
                match runner.replica.apply(&entries) {
                    Ok(bytes) => self.report(runner, &entries, bytes),
                    Err(why) => self.halt(runner, why),
                }
            }
            Work::StartOver => {
                let started = runner.replica.start_over();
                self.heed(runner, started);
                let mut applied = self.applied.lock();
                *applied = Applied {
                    epoch: applied.epoch + 1,
                    ..Applied::default()
                };
                drop(applied);
                self.shared
                    .progress
                    .send_modify(|shown| shown.committed = Index::zero());
            }
            Work::Resolve(reply, outcome) => match (&runner.halted, outcome) {
                // It is committed, but not applied here, nor will it be.
                (Some(_), Outcome::Committed { .. }) => reply.send(Outcome::Unknown),
                (_, outcome) => reply.send(outcome),
            },
            Work::Query(Asked { query, reply }) => {
                let answer = match &runner.halted {
                    Some(why) => Err(QueryError::Halted(query, why.clone())),
                    None => runner.replica.query(query),
                };
                // Whoever asked may have stopped waiting.
                let _ = reply.send(answer);
            }
            Work::Refuse(asked, outcome) => asked.fail(|query| match outcome {
                ReadOutcome::Overloaded => QueryError::Overloaded(query),
                _ => QueryError::Offline(query),
            }),
            Work::Receive(..) | Work::Synchronise(..) | Work::ChangeLineage(_)
                if runner.halted.is_some() => {}
            Work::Receive(peer, message) => {
                let received = runner.replica.receive(peer, &message);
                self.heed(runner, received);
            }
            Work::Synchronise(meta, source) => match runner.replica.synchronise(&meta, source) {
                Ok(None) => {}
                Ok(Some(end)) => self.caught_up(end),
                Err(why) => self.halt(runner, why),
            },
            Work::ChangeLineage(lineage) => {
                let changed = runner.replica.change_lineage(lineage);
                self.heed(runner, changed);
                self.show(runner);
            }
            Work::Close => {}
        }
    }

    /// A session has come to its end: the core goes on from there.
    fn caught_up(&self, end: CaughtUp) {
        let CaughtUp {
            position,
            installed,
        } = end;
        if installed {
            let mut applied = self.applied.lock();
            applied.upto = applied.upto.max(position.index);
        }
        self.inbox.tell(Command::Synced {
            slot: self.slot,
            position,
            installed,
        });
    }

    /// Tells programs how far the state is.
    fn show(&self, runner: &Runner<M>) {
        let committed = runner.replica.committed().index();
        self.shared.progress.send_if_modified(|shown| {
            let changed = shown.committed != committed;
            shown.committed = committed;
            changed
        });
    }

    fn heed(&self, runner: &mut Runner<M>, result: Result<(), Halted>) {
        if let Err(why) = result {
            self.halt(runner, why);
        }
    }

    /// Tells how far the machine is: programs always, the driver when it has not looked for
    /// long.
    fn report(&self, runner: &Runner<M>, entries: &[CommittedEntry], bytes: usize) {
        let Some(last) = entries.last() else {
            return;
        };
        self.show(runner);
        let mut applied = self.applied.lock();
        applied.upto = last.entry.index;
        applied.unseen += bytes;
        let tell = applied.unseen >= REPORT_BYTES && !applied.told;
        applied.told |= tell;
        drop(applied);
        if tell {
            self.inbox.tell(Command::Applied(self.slot));
        }
    }

    fn halt(&self, runner: &mut Runner<M>, why: Halted) {
        runner.halted = Some(why.clone());
        let slot = self.slot;
        self.inbox.tell(Command::Halted { slot, why });
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
            self.push(Work::Query(*asked));
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
            queue.sync_bytes += message.len();
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

    fn close(&self) {
        self.push(Work::Close);
    }
}

/// The replica, while it can go on.
struct Runner<M: StateMachine> {
    replica: Replica<M>,
    halted: Option<Halted>,
}
