//! [`Runner`]: does what is in the queue, in order, and lets the state synchronisation do what is
//! due in between.
//!
//! While a session of the state synchronisation has the state half changed, what has to see the
//! state waits until the session is done; weak queries are refused.

use {
    super::{
        super::{
            driver::{Command, Reply},
            error::{Halted, QueryError},
            index::Index,
            machine::StateMachine,
            replica::{CaughtUp, Replica},
            setup::{SaveError, SaveRequest, StoredState},
        },
        Applied, Applier, Asked, QUERIES, Work,
    },
    core::{future::poll_fn, task::Poll},
    mosaik_protocol::consensus::{CommittedEntry, Outcome, ReadOutcome},
    std::{
        collections::VecDeque,
        sync::{Arc, atomic::Ordering},
    },
    tokio::sync::oneshot,
};

/// Bytes applied after which the driver is told, rather than left to ask.
const REPORT_BYTES: usize = 1 << 20;

/// The replica, while it can go on.
pub(super) struct Runner<M: StateMachine> {
    applier: Arc<Applier<M>>,
    /// Away only while it does something that may block.
    replica: Option<Replica<M>>,
    halted: Option<Halted>,
    /// What waits for a session to be done with the state.
    held: VecDeque<Work<M>>,
    answers_held: usize,
}

impl<M: StateMachine> Runner<M> {
    pub(super) const fn new(applier: Arc<Applier<M>>, replica: Replica<M>) -> Self {
        Self {
            applier,
            replica: Some(replica),
            halted: None,
            held: VecDeque::new(),
            answers_held: 0,
        }
    }

    fn replica(&mut self) -> &mut Replica<M> {
        self.replica
            .as_mut()
            .expect("it is back before anything else is done")
    }

    /// Runs until the group ends.
    pub(super) async fn run(mut self) {
        let kept = self.replica().keep_initial();
        self.heed(kept);
        let mut work = VecDeque::new();
        loop {
            {
                let mut queue = self.applier.queue.lock();
                (queue.queries, queue.sync_bytes) = (0, 0);
                std::mem::swap(&mut queue.work, &mut work);
            }
            for work in work.drain(..) {
                if matches!(work, Work::Close) {
                    return;
                }
                if let Some(work) = self.hold(work) {
                    self.work(work).await;
                }
                tokio::task::coop::consume_budget().await;
            }
            work.shrink_to(16);
            self.rest().await;
        }
    }

    /// Lets the state synchronisation do what is due until there is other work.
    async fn rest(&mut self) {
        let applier = Arc::clone(&self.applier);
        let mut woken = std::pin::pin!(applier.wake.notified());
        poll_fn(|cx| {
            loop {
                if self.halted.is_none() {
                    match self.replica().poll(cx) {
                        Ok(None) => {}
                        Ok(Some(end)) => {
                            self.caught_up(end);
                            continue;
                        }
                        Err(why) => self.halt(why),
                    }
                    self.show();
                }
                let is_idle = applier.queue.lock().work.is_empty() && !self.has_released();
                return match woken.as_mut().poll(cx) {
                    Poll::Pending if is_idle => Poll::Pending,
                    _ => Poll::Ready(()),
                };
            }
        })
        .await;
        while self.has_released()
            && let Some(work) = self.held.pop_front()
        {
            self.work(work).await;
        }
    }

    /// Whether something waited for a session that is done.
    fn has_released(&mut self) -> bool {
        !self.held.is_empty() && !self.is_torn()
    }

    fn is_torn(&mut self) -> bool {
        self.halted.is_none() && self.replica().is_torn()
    }

    /// Keeps what has to wait for a session; gives back what can be done now.
    fn hold(&mut self, work: Work<M>) -> Option<Work<M>> {
        let is_torn = self.is_torn();
        if self.held.is_empty() && !is_torn {
            self.answers_held = 0;
            return Some(work);
        }
        match work {
            Work::Answer(asked) if self.answers_held >= QUERIES => {
                asked.fail(QueryError::Overloaded);
            }
            Work::Query(asked) if is_torn => asked.fail(QueryError::Offline),
            // What was not done has no need of the state.
            Work::Resolve(reply, outcome) if !matches!(outcome, Outcome::Committed { .. }) => {
                return Some(Work::Resolve(reply, outcome));
            }
            Work::Apply(_) | Work::Resolve(..) | Work::Answer(_) => {
                self.answers_held += usize::from(matches!(work, Work::Answer(_)));
                self.held.push_back(work);
            }
            Work::StartOver => {
                self.let_go();
                return Some(work);
            }
            other => return Some(other),
        }
        None
    }

    /// What was to be applied is of a lineage that was left.
    fn let_go(&mut self) {
        for work in std::mem::take(&mut self.held) {
            match work {
                Work::Resolve(reply, Outcome::Committed { .. }) => reply.send(Outcome::Unknown),
                Work::Resolve(reply, outcome) => reply.send(outcome),
                Work::Answer(asked) => asked.fail(QueryError::Offline),
                _ => {}
            }
        }
    }

    async fn work(&mut self, work: Work<M>) {
        match work {
            Work::Apply(entries) => self.apply(&entries),
            Work::StartOver => self.start_over(),
            Work::Resolve(reply, outcome) => self.resolve(reply, outcome),
            Work::Query(asked) | Work::Answer(asked) => self.query(asked),
            Work::Refuse(asked, outcome) => asked.fail(|query| match outcome {
                ReadOutcome::Overloaded => QueryError::Overloaded(query),
                _ => QueryError::Offline(query),
            }),
            // Whoever asked for a state to be saved is told by what is dropped.
            _ if self.halted.is_some() => {}
            Work::Receive(peer, message) => {
                let received = self.replica().receive(peer, &message);
                self.heed(received);
            }
            Work::Synchronise(meta, source) => {
                let begun = self.replica().synchronise(&meta, source);
                self.heed(begun);
            }
            Work::ChangeLineage(lineage) => {
                let changed = self.replica().change_lineage(lineage);
                self.heed(changed);
                self.show();
            }
            Work::ContinueLineage(lineage) => {
                let continued = self.replica().continue_lineage(lineage);
                self.heed(continued);
            }
            Work::AskToCut(epoch) => self.ask_to_cut(epoch),
            Work::Cut(upto) => {
                let cut = self.replica().cut(upto);
                self.heed(cut);
            }
            Work::Save(request) => self.save(request).await,
            Work::Restore(state) => self.restore(state).await,
            Work::Close => {}
        }
    }

    fn apply(&mut self, entries: &[CommittedEntry]) {
        if self.halted.is_some() {
            return;
        }
        let upto = entries
            .last()
            .map(|last| last.before.plus(u64::from(last.count)));
        let upto = upto.map_or(Index::zero(), Index::from);
        if let Some(end) = self.replica().abandon_before(upto) {
            self.caught_up(end);
        }
        match self.replica().apply(entries) {
            Ok(bytes) => self.report(entries, bytes),
            Err(why) => self.halt(why),
        }
    }

    fn start_over(&mut self) {
        let started = self.replica().start_over();
        self.heed(started);
        let mut applied = self.applier.applied.lock();
        *applied = Applied {
            epoch: applied.epoch + 1,
            ..Applied::default()
        };
        drop(applied);
        let progress = &self.applier.shared.progress;
        progress.send_modify(|shown| shown.committed = Index::zero());
    }

    fn resolve(&self, reply: Reply, outcome: Outcome) {
        match (&self.halted, outcome) {
            // It is committed, but not applied here, nor will it be.
            (Some(_), Outcome::Committed { .. }) => reply.send(Outcome::Unknown),
            (_, outcome) => reply.send(outcome),
        }
    }

    fn query(&mut self, Asked { query, reply }: Asked<M>) {
        let answer = match &self.halted {
            Some(why) => Err(QueryError::Halted(query, why.clone())),
            None => self.replica().query(query),
        };
        // Whoever asked may have stopped waiting.
        let _ = reply.send(answer);
    }

    fn ask_to_cut(&mut self, epoch: u64) {
        let slot = self.applier.slot;
        match self.replica().safe_to_cut() {
            Ok(safe) => {
                self.applier
                    .inbox
                    .tell(Command::MayCut { slot, epoch, safe });
            }
            Err(why) => self.halt(why),
        }
    }

    async fn save(&mut self, mut request: SaveRequest) {
        let Some(mut store) = request.take_store() else {
            return;
        };
        let (applier, group) = (Arc::clone(&self.applier), request.group);
        let is_over =
            move || applier.is_over.load(Ordering::Acquire) || applier.tasks.is_cancelled();
        let halted = self.aside(move |replica| {
            let saved = replica.save(&mut store, group, is_over);
            drop(store);
            match saved {
                Ok(saved) => {
                    request.end(saved);
                    None
                }
                Err(why) => {
                    request.end(Err(SaveError::Ended));
                    Some(why)
                }
            }
        });
        if let Some(why) = halted.await {
            self.halt(why);
        }
    }

    async fn restore(&mut self, state: StoredState) {
        let restored = self.aside(move |replica| {
            let StoredState {
                mut store,
                group,
                chunks,
                ..
            } = state;
            replica.restore(&mut store, group, chunks)
        });
        let restored = restored.await;
        self.heed(restored);
        self.show();
    }

    /// Does something with the replica where it may block.
    async fn aside<T: Send + 'static>(
        &mut self,
        what: impl FnOnce(&mut Replica<M>) -> T + Send + 'static,
    ) -> T {
        let mut replica = self
            .replica
            .take()
            .expect("it is back before anything else is done");
        let (done, end) = oneshot::channel();
        let running = tokio::task::spawn_blocking(move || {
            let result = what(&mut replica);
            // Nobody waits where the group has ended meanwhile.
            drop(done.send((replica, result)));
        });
        // The network closes when it has ended.
        self.applier.tasks.spawn_to_end(async move {
            // The code of the program that could panic in it is guarded.
            drop(running.await);
        });
        let Ok((replica, result)) = end.await else {
            // The runtime is being shut down.
            return std::future::pending().await;
        };
        self.replica = Some(replica);
        result
    }

    /// A session has come to its end: the core goes on from there.
    fn caught_up(&mut self, end: CaughtUp) {
        let CaughtUp {
            position,
            installed,
        } = end;
        if installed {
            let mut applied = self.applier.applied.lock();
            applied.upto = applied.upto.max(position.index);
        }
        self.applier.inbox.tell(Command::Synced {
            slot: self.applier.slot,
            position,
            installed,
        });
    }

    /// Tells programs how far the state is.
    fn show(&mut self) {
        let committed = self.replica().committed().index();
        self.applier.shared.progress.send_if_modified(|shown| {
            let changed = shown.committed != committed;
            shown.committed = committed;
            changed
        });
    }

    fn heed(&mut self, result: Result<(), Halted>) {
        if let Err(why) = result {
            self.halt(why);
        }
    }

    /// Tells how far the machine is: programs always, the driver when it has not looked for
    /// long.
    fn report(&mut self, entries: &[CommittedEntry], bytes: usize) {
        let Some(last) = entries.last() else {
            return;
        };
        self.show();
        let mut applied = self.applier.applied.lock();
        applied.upto = applied.upto.max(last.entry.index);
        applied.unseen += bytes;
        let tell = applied.unseen >= REPORT_BYTES && !applied.told;
        applied.told |= tell;
        drop(applied);
        if tell {
            self.applier.inbox.tell(Command::Applied(self.applier.slot));
        }
    }

    fn halt(&mut self, why: Halted) {
        self.halted = Some(why.clone());
        let slot = self.applier.slot;
        self.applier.inbox.tell(Command::Halted { slot, why });
    }
}

/// Whoever waits is told, also where the task is cancelled or has never run.
impl<M: StateMachine> Drop for Runner<M> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let why = "what applies commands has panicked";
            self.halt(Halted::Other(why.into()));
        }
        self.applier.close();
    }
}
