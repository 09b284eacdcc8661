//! The writer thread: takes all that waits, makes it one transaction, answers.

use {
    super::{
        database::{Database, guard},
        group::{Attempt, Tables},
        queue::{Pending, Taken},
        record::{GroupRecord, NodeRecord},
        shared::Shared,
    },
    mosaik_protocol::store::{GroupId, StoreError},
    std::{
        collections::BTreeMap,
        sync::Arc,
        time::{Duration, Instant},
    },
};

/// Garbage records deleted along with a commit that somebody waits for.
const GARBAGE_WHEN_BUSY: usize = 512;
/// Garbage records deleted in a commit of their own.
const GARBAGE_WHEN_IDLE: usize = 16_384;
/// How long nothing must arrive before garbage gets a commit of its own.
const IDLE: Duration = Duration::from_millis(50);
/// The most that the first of a group of batches waits for the others.
const MAX_PATIENCE: Duration = Duration::from_millis(2);
/// Those who wait for others wait this part of what the last commit took.
const PATIENCE_DIVISOR: u32 = 8;

type Ended = Vec<(Pending, Result<(), StoreError>)>;

pub(super) struct Writer {
    shared: Arc<Shared>,
    node: NodeRecord,
    /// Records of the groups written so far, as of the last commit.
    groups: BTreeMap<GroupId, GroupRecord>,
    has_garbage: bool,
    must_reopen: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, node: NodeRecord) -> Self {
        // A crash may have left garbage: the first commits look.
        Self {
            shared,
            node,
            groups: BTreeMap::new(),
            has_garbage: true,
            must_reopen: false,
        }
    }

    /// Serves the queue until it is closed and empty.
    ///
    /// Whoever was answered by the last commit is likely to come again at once. Waiting a
    /// little for them makes one fsync serve all instead of half of them.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let (mut wanted, mut patience) = (1, Duration::ZERO);
        loop {
            match shared
                .queue
                .take(wanted, patience, self.has_garbage.then_some(IDLE))
            {
                Taken::Closed => break,
                Taken::Idle => drop(self.commit(Vec::new(), GARBAGE_WHEN_IDLE)),
                Taken::Batches(batches) => {
                    let began = Instant::now();
                    let ended = self.commit(batches, GARBAGE_WHEN_BUSY);
                    patience = (began.elapsed() / PATIENCE_DIVISOR).min(MAX_PATIENCE);
                    wanted = ended.len() + shared.queue.waiting();
                    shared.queue.answer(ended);
                }
            }
        }
    }

    fn commit(&mut self, batches: Vec<Pending>, garbage: usize) -> Ended {
        let answer_all = |batches: Vec<Pending>, error: &StoreError| -> Ended {
            batches
                .into_iter()
                .map(|pending| (pending, Err(error.clone())))
                .collect()
        };
        let database = match self.database() {
            Ok(database) => database,
            Err(error) => {
                self.has_garbage &= !error.is_fatal();
                return answer_all(batches, &error);
            }
        };
        match self.transact(&database, &batches, garbage) {
            Ok(results) => batches.into_iter().zip(results).collect(),
            Err(error) => answer_all(batches, &error),
        }
    }

    fn database(&mut self) -> Result<Arc<Database>, StoreError> {
        if self.must_reopen {
            self.reopen()?;
        }
        self.shared.database()
    }

    fn transact(
        &mut self,
        database: &Database,
        batches: &[Pending],
        garbage: usize,
    ) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let file = self.shared.file.clone();
        let prepared = guard(&file, || self.prepare(database, batches, garbage));
        let (txn, attempt) = prepared.map_err(|error| self.failed(error))?;
        if !attempt.changed {
            // Dropping the transaction takes it back. It changed nothing.
            drop(txn);
            self.has_garbage = attempt.has_garbage;
            return Ok(attempt.results);
        }
        let committed = guard(&file, || {
            txn.commit().map_err(|error| database.error(error.into()))
        });
        if let Err(error) = committed {
            let error = self.failed(error);
            // A full disk can strike after the last page that the commit needed.
            let happened = !error.is_fatal() && self.node.commits == attempt.node.commits;
            return if happened {
                Ok(attempt.results)
            } else {
                Err(error)
            };
        }
        self.node = attempt.node;
        self.has_garbage = attempt.has_garbage;
        for (group, record) in attempt.groups {
            match record {
                Some(record) => drop(self.groups.insert(group, record)),
                None => drop(self.groups.remove(&group)),
            }
        }
        attempt
            .created
            .iter()
            .for_each(|&group| self.shared.set_verified(group));
        Ok(attempt.results)
    }

    fn prepare(
        &self,
        database: &Database,
        batches: &[Pending],
        garbage: usize,
    ) -> Result<(redb::WriteTransaction, Attempt), StoreError> {
        let txn = database.begin_write()?;
        let mut attempt = Attempt::new(self.node, self.has_garbage);
        {
            let mut tables = Tables::open(database, &txn)?;
            for pending in batches {
                let batch = &pending.batch;
                let result = match self.shared.stopped(batch.group) {
                    Some(stopped) => Err(stopped),
                    None => attempt.apply(&mut tables, &self.groups, batch)?,
                };
                if let Err(error) = &result
                    && error.is_fatal()
                {
                    self.shared.stop_group(batch.group, error);
                }
                attempt.results.push(result);
            }
            attempt.finish(&mut tables, garbage)?;
        }
        Ok((txn, attempt))
    }

    /// What to do after a transaction failed, and what to answer.
    fn failed(&mut self, error: StoreError) -> StoreError {
        self.groups.clear();
        if matches!(error, StoreError::NoSpace { .. }) {
            self.must_reopen = true;
            return match self.reopen() {
                Err(worse) if worse.is_fatal() => worse,
                Ok(()) | Err(_) => error,
            };
        }
        self.shared.stop(&error);
        self.has_garbage = false;
        error
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        let node = self.shared.reopen().inspect_err(|error| {
            if error.is_fatal() {
                self.shared.stop(error);
            }
        })?;
        (self.node, self.must_reopen) = (node, false);
        Ok(())
    }
}
