//! The model: the rules of a batch once more, written as plainly as possible and sharing no code
//! with the stores.

use {
    bytes::Bytes,
    mosaik_protocol::store::{
        Entry, GroupId, GroupState, Incarnation, LogStore, Position, SnapshotMeta, WriteBatch,
    },
    std::collections::BTreeMap,
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ModelGroup {
    pub(super) incarnation: u64,
    hard_state: Option<Bytes>,
    pub(super) base: Position,
    pub(super) log: BTreeMap<u64, (u64, Bytes)>,
    pub(super) snapshot: Option<(SnapshotMeta, Vec<Bytes>)>,
    pub(super) staged: Vec<Bytes>,
}

impl ModelGroup {
    pub(super) fn last(&self) -> Position {
        let last = self.log.last_key_value();
        last.map_or(self.base, |(&index, &(term, _))| Position { index, term })
    }

    /// Applies all but removal and creation; `None` when the batch is to be refused.
    fn apply(&mut self, batch: &WriteBatch) -> Option<()> {
        if let Some(hard_state) = &batch.hard_state {
            self.hard_state = Some(hard_state.clone());
        }
        for chunk in &batch.stage {
            if chunk.number == 0 {
                self.staged.clear();
            }
            if chunk.number as usize != self.staged.len() {
                return None;
            }
            self.staged.push(chunk.data.clone());
        }
        if let Some(meta) = &batch.install {
            self.install(meta)?;
        }
        if let Some(from) = batch.truncate_from {
            if from <= self.base.index {
                return None;
            }
            self.log.retain(|&index, _| index < from);
        }
        for entry in &batch.append {
            let last = self.last();
            if entry.index != last.index + 1 || entry.term < last.term {
                return None;
            }
            self.log
                .insert(entry.index, (entry.term, entry.payload.clone()));
        }
        if let Some(through) = batch.compact_through
            && through > self.base.index
        {
            let term = self.log.get(&through)?.0;
            self.log.retain(|&index, _| index > through);
            self.base = Position {
                index: through,
                term,
            };
        }
        Some(())
    }

    fn install(&mut self, meta: &SnapshotMeta) -> Option<()> {
        let before = self
            .snapshot
            .as_ref()
            .map_or(0, |(meta, _)| meta.last.index);
        if meta.chunks as usize != self.staged.len()
            || meta.last.index < before
            || meta.last.index < self.base.index
        {
            return None;
        }
        let term = self.log.get(&meta.last.index).map(|(term, _)| *term);
        if term != Some(meta.last.term) && self.base != meta.last {
            self.log.clear();
            self.base = meta.last;
        }
        self.snapshot = Some((meta.clone(), std::mem::take(&mut self.staged)));
        Some(())
    }

    fn state(&self) -> GroupState {
        GroupState {
            incarnation: Incarnation(self.incarnation),
            hard_state: self.hard_state.clone(),
            snapshot: self.snapshot.as_ref().map(|(meta, _)| meta.clone()),
            staged: self.staged.len() as u32,
            base: self.base,
            last: self.last(),
        }
    }
}

/// What a store must hold.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) groups: BTreeMap<GroupId, ModelGroup>,
}

impl Model {
    /// Applies a batch whole or not at all; says which.
    pub(super) fn apply(&mut self, batch: &WriteBatch) -> bool {
        let mut group = self
            .groups
            .get(&batch.group)
            .cloned()
            .filter(|_| !batch.remove);
        if let Some(incarnation) = batch.create {
            if group.is_some() {
                return false;
            }
            group = Some(ModelGroup {
                incarnation: incarnation.0,
                ..ModelGroup::default()
            });
        }
        let Some(mut after) = group else {
            let removal = *batch == WriteBatch::new(batch.group).remove();
            if removal {
                self.groups.remove(&batch.group);
            }
            return removal;
        };
        let accepted = after.apply(batch).is_some();
        if accepted {
            self.groups.insert(batch.group, after);
        }
        accepted
    }

    /// Compares everything that can be read.
    pub(super) fn check(&self, store: &mut impl LogStore, when: &str) {
        let groups = store.groups().expect("a healthy store lists its groups");
        assert!(
            groups.iter().eq(self.groups.keys()),
            "groups {when}: {groups:?}"
        );
        for (&id, group) in &self.groups {
            let state = store.load(id).expect("a healthy store loads a group");
            assert_eq!(state.as_ref(), Some(&group.state()), "state {when}");
            let entries = store
                .entries(id, 0..=u64::MAX, usize::MAX)
                .expect("entries are read");
            let expected = group.log.iter().map(|(&index, (term, payload))| Entry {
                index,
                term: *term,
                payload: payload.clone(),
            });
            assert_eq!(entries, expected.collect::<Vec<_>>(), "log {when}");
            let chunks = group
                .snapshot
                .as_ref()
                .map_or(&[][..], |(_, chunks)| chunks);
            for number in 0..=chunks.len() {
                let chunk = store.chunk(id, number as u32).expect("chunks are read");
                assert_eq!(chunk.as_ref(), chunks.get(number), "chunk {number} {when}");
            }
        }
    }
}
