//! [`Ahead`]: a group as the journal has it, which may be ahead of the tables.

use mosaik_protocol::store::{Change, Entry, GroupState, WriteBatch};

/// What it takes to judge the next batch of a group without waiting for the tables.
#[derive(Clone, Debug)]
pub(super) struct Ahead {
    pub(super) state: Option<GroupState>,
    /// Entries from this index on may not be in the tables; those before are, unchanged.
    recent_start: u64,
    /// Terms of the recent entries: (first index, term), ascending, without gaps.
    recent: Vec<(u64, u64)>,
}

impl Ahead {
    /// A group that the tables hold as the journal does.
    pub(super) fn new(state: Option<GroupState>) -> Self {
        let recent_start = state.as_ref().map_or(1, |state| state.last.index + 1);
        Self {
            state,
            recent_start,
            recent: Vec::new(),
        }
    }

    /// The term of a recent entry; `None` for those that are in the tables.
    pub(super) fn recent_term(&self, index: u64) -> Option<u64> {
        let run = self.recent.partition_point(|&(first, _)| first <= index);
        let (_, term) = self.recent.get(run.checked_sub(1)?)?;
        (index >= self.recent_start).then_some(*term)
    }

    /// Moves on by a batch that was found valid.
    pub(super) fn apply(&mut self, batch: &WriteBatch, change: Change) {
        let Some(state) = change.state else {
            *self = Self::new(None);
            return;
        };
        let before = self.state.as_ref().filter(|_| batch.create.is_none());
        let stored_through = before.map_or(0, |before| before.last.index);
        if change.kept.is_empty() {
            self.recent.clear();
            self.recent_start = state.base.index + 1;
        } else if *change.kept.end() < stored_through {
            let end = *change.kept.end();
            self.recent.retain(|&(first, _)| first <= end);
            self.recent_start = self.recent_start.min(end + 1);
        }
        let base = state.base.index;
        for Entry { index, term, .. } in batch.append.iter().filter(|entry| entry.index > base) {
            if self.recent.last().is_none_or(|&(_, last)| last != *term) {
                self.recent.push((*index, *term));
            }
        }
        // Runs that end at or before the base are never asked for again.
        let gone = self
            .recent
            .partition_point(|&(first, _)| first <= base + 1)
            .saturating_sub(1);
        if gone > 0 {
            self.recent.drain(..gone);
            self.recent_start = self.recent[0].0;
        }
        self.state = Some(state);
    }
}
