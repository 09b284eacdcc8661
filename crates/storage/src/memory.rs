//! [`MemoryStore`]: a store that ends with its owner.

use {
    bytes::Bytes,
    core::{convert::Infallible, mem, ops::RangeInclusive, task::Waker},
    mosaik_protocol::store::{
        Completion, Entry, GroupId, GroupState, Invalid, LogStore, StoreError, StoreLimits,
        SubmitError, Token, WriteBatch,
    },
    std::collections::{BTreeMap, VecDeque},
};

/// Keeps groups in memory. Every batch completes within its submission, so nothing is ever queued
/// but completions that were not taken. A clone is a copy that goes its own way.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    groups: BTreeMap<GroupId, Group>,
    limits: StoreLimits,
    next_token: u64,
    completions: Vec<Completion>,
    waker: Option<Waker>,
}

#[derive(Clone, Debug)]
struct Group {
    state: GroupState,
    /// The entries `state.base.index + 1 ..= state.last.index`.
    entries: VecDeque<Entry>,
    chunks: Vec<Bytes>,
    staged: Vec<Bytes>,
}

impl Group {
    fn entry(&self, index: u64) -> Option<&Entry> {
        let offset = index.checked_sub(self.state.base.index + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.chunks.clear();
        self.staged.clear();
    }

    fn apply(&mut self, state: GroupState, kept: &RangeInclusive<u64>, batch: WriteBatch) {
        if batch.remove {
            self.clear();
        }
        for chunk in batch.stage {
            if chunk.number == 0 {
                self.staged.clear();
            }
            self.staged.push(chunk.data);
        }
        if batch.install.is_some() {
            self.chunks = mem::take(&mut self.staged);
        }
        if kept.is_empty() {
            self.entries.clear();
        } else {
            let compacted = (kept.start() - self.state.base.index - 1) as usize;
            self.entries.drain(..compacted);
            self.entries
                .truncate((kept.end() - kept.start() + 1) as usize);
        }
        let base = state.base.index;
        self.entries
            .extend(batch.append.into_iter().filter(|entry| entry.index > base));
        self.state = state;
        let expected = self.state.last.index - base;
        assert_eq!(
            self.entries.len() as u64,
            expected,
            "the log is what its state says"
        );
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store with other bounds than [`StoreLimits::DEFAULT`].
    pub fn with_limits(limits: StoreLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    fn check_size(&self, batch: &WriteBatch) -> Result<(), StoreError> {
        let (bytes, limit) = (batch.size_bytes(), self.limits.batch_bytes);
        if bytes > limit {
            Err(StoreError::TooLarge { bytes, limit })
        } else {
            Ok(())
        }
    }

    fn apply(&mut self, batch: WriteBatch) -> Result<(), StoreError> {
        let id = batch.group;
        let group = self.groups.get(&id);
        let change = GroupState::after(group.map(|group| &group.state), &batch, |index| {
            let entry = group.and_then(|group| group.entry(index));
            Ok::<_, Infallible>(entry.expect("asked for stored entries only").term)
        });
        let Ok(change) = change;
        let change = change.map_err(|reason| StoreError::Invalid { group: id, reason })?;
        match change.state {
            None => drop(self.groups.remove(&id)),
            Some(state) => self
                .groups
                .entry(id)
                .or_insert_with(|| Group {
                    state: GroupState::new(state.incarnation),
                    entries: VecDeque::new(),
                    chunks: Vec::new(),
                    staged: Vec::new(),
                })
                .apply(state, &change.kept, batch),
        }
        Ok(())
    }

    fn group(&self, group: GroupId) -> Result<&Group, StoreError> {
        let unknown = StoreError::Invalid {
            group,
            reason: Invalid::UnknownGroup,
        };
        self.groups.get(&group).ok_or(unknown)
    }
}

impl LogStore for MemoryStore {
    fn is_durable(&self) -> bool {
        false
    }

    fn groups(&mut self) -> Result<Vec<GroupId>, StoreError> {
        Ok(self.groups.keys().copied().collect())
    }

    fn submit(&mut self, batch: WriteBatch) -> Result<Token, SubmitError> {
        if let Err(reason) = self.check_size(&batch) {
            return Err(SubmitError::Refused {
                batch: Box::new(batch),
                reason,
            });
        }
        if self.completions.len() >= self.limits.queued_batches {
            return Err(SubmitError::Full(Box::new(batch)));
        }
        let token = Token(self.next_token);
        self.next_token += 1;
        let group = batch.group;
        let result = self.apply(batch);
        self.completions.push(Completion {
            token,
            group,
            result,
        });
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
        Ok(token)
    }

    fn completed(&mut self, out: &mut Vec<Completion>) {
        out.append(&mut self.completions);
    }

    fn wake_on_completion(&mut self, waker: &Waker) {
        self.waker = Some(waker.clone());
    }

    fn write(&mut self, batch: WriteBatch) -> Result<(), StoreError> {
        self.check_size(&batch)?;
        self.apply(batch)
    }

    fn load(&mut self, group: GroupId) -> Result<Option<GroupState>, StoreError> {
        Ok(self.groups.get(&group).map(|group| group.state.clone()))
    }

    fn entries(
        &mut self,
        group: GroupId,
        range: RangeInclusive<u64>,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let group = self.group(group)?;
        let first = (*range.start()).max(group.state.base.index + 1);
        let last = (*range.end()).min(group.state.last.index);
        let mut bytes = 0;
        let mut entries = Vec::new();
        for index in first..=last {
            let entry = group.entry(index).expect("the log has no gaps");
            bytes += entry.payload.len();
            if bytes > max_bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }

    fn chunk(&mut self, group: GroupId, number: u32) -> Result<Option<Bytes>, StoreError> {
        Ok(self.group(group)?.chunks.get(number as usize).cloned())
    }
}
