//! The applier thread: takes what the journal made durable into the tables.
//!
//! Its commits need no fsync, because the journal can repeat them. Only when the journal wants a
//! file back are the tables made durable.

use {
    super::{
        database::{Database, guard},
        group::{Attempt, Tables},
        journal::Replay,
        pipeline::{Frame, Work},
        record::{GroupRecord, NodeRecord},
        shared::Shared,
    },
    mosaik_protocol::store::{GroupId, StoreError},
    std::{
        collections::{BTreeMap, VecDeque},
        sync::Arc,
        time::Duration,
    },
};

/// Garbage records deleted along with a commit.
const GARBAGE_WHEN_BUSY: usize = 512;
/// Garbage records deleted in a commit of their own.
const GARBAGE_WHEN_IDLE: usize = 16_384;
/// How long nothing must arrive before garbage gets a commit of its own.
const IDLE: Duration = Duration::from_millis(50);
/// How often a full disk is tried again.
const RETRY: Duration = Duration::from_millis(100);

pub(super) struct Applier {
    shared: Arc<Shared>,
    node: NodeRecord,
    /// Records of the groups that were changed since the store was opened.
    groups: BTreeMap<GroupId, GroupRecord>,
    has_garbage: bool,
    /// To be applied.
    waiting: VecDeque<Frame>,
    /// Bytes of `waiting` that the pipeline still counts.
    uncounted_bytes: usize,
    /// Applied, but not durably: a full disk may take them back.
    applied: VecDeque<Frame>,
    must_reopen: bool,
}

impl Applier {
    pub(super) fn new(shared: Arc<Shared>, node: NodeRecord) -> Self {
        Self {
            shared,
            node,
            groups: BTreeMap::new(),
            // A crash may have left garbage: the first commits look.
            has_garbage: true,
            waiting: VecDeque::new(),
            uncounted_bytes: 0,
            applied: VecDeque::new(),
            must_reopen: false,
        }
    }

    /// Takes what the journal holds beyond the tables into them, durably.
    pub(super) fn replay(&mut self, replay: Vec<Replay>) -> Result<(), StoreError> {
        if replay.is_empty() {
            return Ok(());
        }
        let frames = replay
            .into_iter()
            .map(|Replay { sequence, batches }| Frame {
                sequence,
                batches,
                bytes: 0,
            });
        self.waiting.extend(frames);
        self.step(0, true)
    }

    /// Works until the pipeline is closed and empty, then leaves durable tables.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            let patience = match (self.must_reopen, self.has_garbage) {
                (true, _) => Some(RETRY),
                (false, true) => Some(IDLE),
                (false, false) => None,
            };
            let Work {
                frames,
                checkpoint,
                idle,
                closed,
            } = shared.pipeline.take(patience);
            self.uncounted_bytes += frames.iter().map(|frame| frame.bytes).sum::<usize>();
            self.waiting.extend(frames);
            let garbage = if idle {
                GARBAGE_WHEN_IDLE
            } else {
                GARBAGE_WHEN_BUSY
            };
            let durable = checkpoint || closed;
            if let Err(error) = self.step(garbage, durable) {
                if error.is_fatal() {
                    shared.stop(&error);
                    shared.pipeline.set_blocked(error.stopped());
                    return;
                }
                shared.pipeline.set_blocked(error);
                // The end does not wait for a full disk: the journal has it all.
                if closed {
                    return;
                }
                std::thread::sleep(RETRY);
            } else if closed {
                return;
            }
        }
    }

    fn step(&mut self, garbage: usize, durable: bool) -> Result<(), StoreError> {
        if self.must_reopen {
            self.node = self.shared.reopen()?;
            self.must_reopen = false;
        }
        let database = self.shared.database()?;
        self.transact(&database, garbage, durable)
            .inspect_err(|error| {
                if matches!(error, StoreError::NoSpace { .. }) {
                    // Commits that were not durable are taken back with the file's reopening.
                    self.must_reopen = true;
                    self.groups.clear();
                    while let Some(frame) = self.applied.pop_back() {
                        self.waiting.push_front(frame);
                    }
                }
            })
    }

    fn transact(
        &mut self,
        database: &Database,
        garbage: usize,
        durable: bool,
    ) -> Result<(), StoreError> {
        let file = self.shared.file.clone();
        let (txn, attempt) = guard(&file, || self.prepare(database, garbage, durable))?;
        guard(&file, || {
            txn.commit().map_err(|error| database.error(error.into()))
        })?;
        self.node = attempt.node;
        self.has_garbage = attempt.has_garbage;
        for (group, record) in attempt.groups {
            match record {
                Some(record) => drop(self.groups.insert(group, record)),
                None => drop(self.groups.remove(&group)),
            }
        }
        for &group in &attempt.created {
            self.shared.set_verified(group);
        }
        if durable {
            self.applied.clear();
            self.waiting.clear();
        } else {
            self.applied.append(&mut self.waiting);
        }
        let bytes = std::mem::take(&mut self.uncounted_bytes);
        self.shared
            .pipeline
            .set_applied(self.node.applied, bytes, durable);
        Ok(())
    }

    fn prepare(
        &self,
        database: &Database,
        garbage: usize,
        durable: bool,
    ) -> Result<(redb::WriteTransaction, Attempt), StoreError> {
        let txn = database.begin_write(durable)?;
        let mut attempt = Attempt::new(self.node, self.has_garbage);
        {
            let mut tables = Tables::open(database, &txn)?;
            // After a reopening some may be in the tables already.
            let applied = self.node.applied;
            for frame in self.waiting.iter().filter(|frame| frame.sequence > applied) {
                for batch in &frame.batches {
                    attempt.apply_checked(&mut tables, &self.groups, batch, &self.shared)?;
                }
                attempt.node.applied = frame.sequence;
            }
            attempt.finish(&mut tables, garbage)?;
        }
        Ok((txn, attempt))
    }
}
