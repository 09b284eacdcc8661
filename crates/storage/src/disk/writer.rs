//! The writer thread: takes all that waits, makes it one frame of the journal, answers.

use {
    super::{
        ahead::Ahead,
        database::guard,
        frame::FrameBuilder,
        journal::Journal,
        pipeline::Frame,
        queue::{Pending, Taken},
        read,
        shared::Shared,
    },
    mosaik_protocol::store::{GroupId, GroupState, StoreError, WriteBatch},
    std::{
        collections::{BTreeMap, btree_map::Entry},
        mem,
        sync::Arc,
        time::{Duration, Instant},
    },
};

/// The most that the first of a group of batches waits for the others.
const MAX_PATIENCE: Duration = Duration::from_millis(2);
/// Those who wait for others wait this part of what the last commit took.
const PATIENCE_DIVISOR: u32 = 8;

type Results = Vec<Result<(), StoreError>>;

pub(super) struct Writer {
    shared: Arc<Shared>,
    journal: Journal,
    groups: BTreeMap<GroupId, Ahead>,
    frame: FrameBuilder,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, journal: Journal) -> Self {
        Self {
            shared,
            journal,
            groups: BTreeMap::new(),
            frame: FrameBuilder::new(),
        }
    }

    /// Serves the queue until it is closed and empty.
    ///
    /// Whoever was answered by the last commit is likely to come again at once. Waiting a
    /// little for them makes one fsync serve all instead of half of them.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let (mut wanted, mut patience) = (1, Duration::ZERO);
        while let Taken::Batches(mut batches) = shared.queue.take(wanted, patience) {
            let began = Instant::now();
            let results = self.commit(&mut batches);
            patience = (began.elapsed() / PATIENCE_DIVISOR).min(MAX_PATIENCE);
            wanted = batches.len() + shared.queue.waiting();
            shared
                .queue
                .answer(batches.into_iter().zip(results).collect());
        }
        shared.pipeline.close();
    }

    /// Journals the valid ones of `batches`, which are moved out of them.
    fn commit(&mut self, batches: &mut [Pending]) -> Results {
        self.frame.clear();
        let mut before: BTreeMap<GroupId, Option<Ahead>> = BTreeMap::new();
        let mut accepted = Vec::with_capacity(batches.len());
        let mut results: Results = Vec::with_capacity(batches.len());
        for Pending { batch, bytes, .. } in batches {
            let known = before.contains_key(&batch.group);
            let undo = if known {
                None
            } else {
                self.groups.get(&batch.group).cloned()
            };
            let result = self.judge(batch);
            if result.is_ok() {
                before.entry(batch.group).or_insert(undo);
                self.frame.push(batch);
                let next = WriteBatch::new(batch.group);
                accepted.push((mem::replace(batch, next), *bytes));
            }
            results.push(result);
        }
        if accepted.is_empty() {
            return results;
        }
        match self.journal_frame(accepted) {
            Ok(()) => results,
            Err(error) => {
                for (group, ahead) in before {
                    match ahead {
                        Some(ahead) => drop(self.groups.insert(group, ahead)),
                        None => drop(self.groups.remove(&group)),
                    }
                }
                results
                    .into_iter()
                    .map(|result| result.and(Err(error.clone())))
                    .collect()
            }
        }
    }

    fn journal_frame(&mut self, accepted: Vec<(WriteBatch, usize)>) -> Result<(), StoreError> {
        let pipeline = &self.shared.pipeline;
        let bytes = accepted.iter().map(|(_, bytes)| bytes).sum();
        let must_be_applied = self.journal.must_be_applied(self.frame.len());
        if must_be_applied > 0 {
            pipeline.wait_checkpoint(must_be_applied)?;
        }
        let sequence = self.journal.append(&mut self.frame).inspect_err(|error| {
            if error.is_fatal() {
                self.shared.stop(error);
                self.shared.pipeline.set_blocked(error.stopped());
            }
        })?;
        let batches = accepted.into_iter().map(|(batch, _)| batch).collect();
        pipeline.push(Frame {
            sequence,
            batches,
            bytes,
        });
        // Long before the other file is needed.
        pipeline.want_checkpoint(self.journal.idle_file_last());
        Ok(())
    }

    /// Decides on a batch, and moves its group on when it is valid.
    fn judge(&mut self, batch: &WriteBatch) -> Result<(), StoreError> {
        let group = batch.group;
        if let Some(stopped) = self.shared.stopped(group) {
            return Err(stopped);
        }
        let shared = &self.shared;
        let judged = guard(&shared.file, || {
            let ahead = match self.groups.entry(group) {
                Entry::Occupied(known) => known.into_mut(),
                // Nothing of this group is journaled that the tables do not show, so that they
                // can be read however far they are behind with others.
                Entry::Vacant(unknown) => {
                    let record = read::record(&*shared.database()?, group)?;
                    unknown.insert(Ahead::new(record.map(|record| record.state)))
                }
            };
            GroupState::after(ahead.state.as_ref(), batch, |index| {
                match ahead.recent_term(index) {
                    Some(term) => Ok(term),
                    None => read::term_at(&*shared.database()?, group, index),
                }
            })
        });
        let change = match judged {
            Ok(change) => change.map_err(|reason| StoreError::Invalid { group, reason })?,
            Err(error) => {
                match &error {
                    StoreError::Corrupt { .. } => shared.stop_group(group, &error),
                    error if error.is_fatal() => shared.stop(error),
                    _ => {}
                }
                return Err(error);
            }
        };
        let ahead = self.groups.get_mut(&group).expect("it was just there");
        ahead.apply(batch, change);
        Ok(())
    }
}
