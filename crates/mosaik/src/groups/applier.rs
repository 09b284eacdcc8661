//! The applier: a group's state machine and the task that runs it.
//!
//! The driver hands over committed entries, outcomes and reads, and never waits. The program's
//! code runs here and nowhere else; a panic in it ends this group on this node and nothing more.
//!
//! The queue needs no bound of its own: the core hands out no more than it was told is applied,
//! outcomes and reads answer what was bounded when it was asked, and queries are counted.

use {
    super::{
        config::GroupConfig,
        consensus::PanicPolicy,
        context::{ApplyContext, Applying, Committed},
        cursor::Cursor,
        driver::{Command, Inbox, Question, Reply, Slot},
        error::{Halted, QueryError},
        event::Event,
        index::Index,
        machine::StateMachine,
        query::QueryResultAt,
        setup::{Machine, Shared},
    },
    crate::{NetworkId, PeerId, primitives::Datum},
    bytes::Bytes,
    core::{any::Any, panic::AssertUnwindSafe},
    mosaik_protocol::consensus::{
        self, CommittedEntry, EntryBody, LogIndex, Outcome, ReadOutcome, SnapshotMeta,
    },
    parking_lot::Mutex,
    std::{collections::VecDeque, panic::catch_unwind, sync::Arc},
    tokio::sync::{Notify, oneshot},
};

/// Weak queries that may wait.
const QUERIES: usize = 65_536;
/// Bytes applied after which the driver is told, rather than left to ask.
const REPORT_BYTES: usize = 1 << 20;

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
    Close,
}

struct Queue<M: StateMachine> {
    work: VecDeque<Work<M>>,
    queries: usize,
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

    /// Runs the machine until the group ends.
    pub(super) async fn run(
        self: Arc<Self>,
        machine: M,
        network: NetworkId,
        config: Arc<GroupConfig>,
    ) {
        let mut runner = Runner {
            applying: Applying::new(network, *config.group_id(), Cursor::zero()),
            policy: config.consensus().panic_policy,
            machine,
            shared: Arc::clone(&self.shared),
            halted: None,
        };
        let mut work = VecDeque::new();
        loop {
            {
                let mut queue = self.queue.lock();
                queue.queries = 0;
                std::mem::swap(&mut queue.work, &mut work);
            }
            if work.is_empty() {
                self.wake.notified().await;
                continue;
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
        }
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
                match runner.apply(&entries) {
                    Ok(bytes) => self.report(&entries, bytes),
                    Err(why) => self.halt(runner, why),
                }
            }
            Work::StartOver => {
                let index = runner.applying.committed().index();
                if !index.is_zero() && !runner.start_over() {
                    let why = "the group merged with another side of it, and the state machine \
                               cannot start over; restart this node";
                    self.halt(runner, Halted::Other(why.into()));
                }
                *self.applied.lock() = Applied {
                    epoch: self.applied.lock().epoch + 1,
                    ..Applied::default()
                };
            }
            Work::Resolve(reply, outcome) => match (&runner.halted, outcome) {
                // It is committed, but not applied here, nor will it be.
                (Some(_), Outcome::Committed { .. }) => reply.send(Outcome::Unknown),
                (_, outcome) => reply.send(outcome),
            },
            Work::Query(asked) => match &runner.halted {
                Some(why) => {
                    let why = why.clone();
                    asked.fail(|query| QueryError::Halted(query, why));
                }
                None => runner.answer(asked),
            },
            Work::Refuse(asked, outcome) => asked.fail(|query| match outcome {
                ReadOutcome::Overloaded => QueryError::Overloaded(query),
                _ => QueryError::Offline(query),
            }),
            Work::Close => {}
        }
    }

    /// Tells how far the machine is: programs always, the driver when it has not looked for
    /// long.
    fn report(&self, entries: &[CommittedEntry], bytes: usize) {
        let Some(last) = entries.last() else {
            return;
        };
        let committed = Index::from(last.before.0 + u64::from(last.count));
        self.shared.progress.send_if_modified(|shown| {
            let changed = shown.committed != committed;
            shown.committed = committed;
            changed
        });
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

    fn receive(&self, _: PeerId, _: Bytes) {}

    fn synchronise(&self, meta: SnapshotMeta, _: consensus::Member) {
        self.inbox.tell(Command::Synced {
            slot: self.slot,
            position: meta.last,
            installed: false,
        });
    }

    fn close(&self) {
        self.push(Work::Close);
    }
}

/// The machine and its place.
struct Runner<M: StateMachine> {
    machine: M,
    applying: Applying,
    policy: PanicPolicy,
    shared: Arc<Shared>,
    halted: Option<Halted>,
}

impl<M: StateMachine> Runner<M> {
    /// Applies entries; says how many bytes they were.
    fn apply(&mut self, entries: &[CommittedEntry]) -> Result<usize, Halted> {
        let mut commands = Vec::new();
        let mut bytes = 0;
        let mut undecodable = None;
        for committed in entries {
            bytes += committed.entry.body.len();
            if committed.count == 0 {
                continue;
            }
            let body = committed.entry.decode();
            let Ok(EntryBody::Commands(encoded)) = body else {
                return Err(Halted::Other(
                    "an entry that was checked cannot be read".into(),
                ));
            };
            let (term, time) = (committed.entry.term.into(), encoded.time);
            for command in encoded.iter() {
                match M::Command::decode(&command) {
                    Ok(command) => commands.push(Committed {
                        command,
                        term,
                        time,
                    }),
                    Err(error) => {
                        undecodable = Some(error.to_string());
                        break;
                    }
                }
            }
            if undecodable.is_some() {
                break;
            }
        }
        match self.policy {
            PanicPolicy::Halt => self.run(commands)?,
            PanicPolicy::Skip => {
                for command in commands {
                    if let Err(panicked) = self.run([command]) {
                        self.quarantine(&panicked);
                    }
                }
            }
        }
        match undecodable {
            None => Ok(bytes),
            Some(message) => Err(Halted::Undecodable {
                index: self.applying.committed().index().next(),
                message: message.into(),
            }),
        }
    }

    /// A command is passed over.
    fn quarantine(&self, panicked: &Halted) {
        let Halted::Panicked { index, message } = panicked else {
            return;
        };
        tracing::error!(%index, %message, "state machine panicked: the command is skipped");
        self.shared.metrics.quarantines.increment(1);
        self.shared.tell(Event::Quarantined {
            index: *index,
            message: message.to_string(),
        });
    }

    fn run(
        &mut self,
        commands: impl IntoIterator<Item = Committed<M::Command>>,
    ) -> Result<(), Halted> {
        let log = self.shared.progress.borrow().log;
        let term = self.shared.leadership.borrow().term;
        self.applying.set_member(log, term);
        let (machine, applying) = (&mut self.machine, &self.applying);
        // After a panic the machine is not used again, or used as it is on every member.
        catch_unwind(AssertUnwindSafe(|| applying.apply(machine, commands))).map_err(|panic| {
            Halted::Panicked {
                index: self.applying.committed().index(),
                message: panic_text(&*panic).into(),
            }
        })
    }

    /// Makes the machine what it was before the first command, if it can be.
    fn start_over(&mut self) -> bool {
        let (network, group) = (*self.applying.network_id(), *self.applying.group_id());
        self.applying = Applying::new(network, group, Cursor::zero());
        let machine = &mut self.machine;
        catch_unwind(AssertUnwindSafe(|| machine.start_over())).unwrap_or(false)
    }

    fn answer(&self, asked: Asked<M>) {
        let Asked { query, reply } = asked;
        let at_position = self.applying.committed().index();
        let answer = catch_unwind(AssertUnwindSafe(|| self.machine.query(query)));
        let answer = answer
            .map(|result| QueryResultAt {
                result,
                at_position,
            })
            .map_err(|panic| QueryError::Panicked(panic_text(&*panic).into()));
        // Whoever asked may have stopped waiting.
        let _ = reply.send(answer);
    }
}

/// What a panic said.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without text".to_owned())
}
