//! [`GroupState`]: what a store knows of a group besides its entries, and how a batch changes it.

use {
    super::{Incarnation, Invalid, Position, SnapshotMeta, WriteBatch},
    bytes::Bytes,
    core::ops::RangeInclusive,
};

/// What a batch makes of a group, see [`GroupState::after`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The group after the batch; `None` when it is removed.
    pub state: Option<GroupState>,
    /// The entries stored before the batch that are still part of the log; every other stored
    /// entry is dropped. Appended entries come behind it, those above `state.base` only.
    pub kept: RangeInclusive<u64>,
}

/// A group as a store holds it, without entries and chunks.
///
/// The log is the entries from `base.index + 1` to `last.index`; it is empty when both are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupState {
    /// What the group was created with.
    pub incarnation: Incarnation,
    /// The last one set, if any.
    pub hard_state: Option<Bytes>,
    /// The installed snapshot, if any.
    pub snapshot: Option<SnapshotMeta>,
    /// Chunks in the staging area.
    pub staged: u32,
    /// Where the log begins: the last entry that was compacted or replaced by a snapshot.
    pub base: Position,
    /// The last entry, or `base` when the log is empty.
    pub last: Position,
}

impl GroupState {
    /// A group that was just created.
    pub const fn new(incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            hard_state: None,
            snapshot: None,
            staged: 0,
            base: Position { index: 0, term: 0 },
            last: Position { index: 0, term: 0 },
        }
    }

    /// The state of a group after `batch`, by the rules that are written at [`WriteBatch`]'s fields.
    ///
    /// Every store uses this, so that they refuse and accept the same. `term_at` answers for the
    /// entries that are stored *before* the batch; it is asked for stored indices only. The outer
    /// error is the one of `term_at`.
    pub fn after<E>(
        before: Option<&Self>,
        batch: &WriteBatch,
        mut term_at: impl FnMut(u64) -> Result<u64, E>,
    ) -> Result<Result<Change, Invalid>, E> {
        #[expect(
            clippy::reversed_empty_ranges,
            reason = "an empty range is what is meant"
        )]
        const NOTHING: RangeInclusive<u64> = 1..=0;
        let mut state = match (before, batch.remove, batch.create) {
            (Some(_), false, Some(_)) => return Ok(Err(Invalid::GroupExists)),
            (Some(before), false, None) => before.clone(),
            (_, _, Some(incarnation)) => Self::new(incarnation),
            (_, true, None) if batch.is_only_remove() => {
                return Ok(Ok(Change {
                    state: None,
                    kept: NOTHING,
                }));
            }
            (_, _, None) => return Ok(Err(Invalid::UnknownGroup)),
        };
        if let Some(hard_state) = &batch.hard_state {
            state.hard_state = Some(hard_state.clone());
        }
        if let Err(invalid) = state.stage(batch) {
            return Ok(Err(invalid));
        }
        if let Some(snapshot) = &batch.install
            && let Err(invalid) = state.install(snapshot, &mut term_at)?
        {
            return Ok(Err(invalid));
        }
        if let Some(from) = batch.truncate_from
            && let Err(invalid) = state.truncate(from, &mut term_at)?
        {
            return Ok(Err(invalid));
        }
        // What is stored before the batch and still there: entries above it come from the batch.
        let stored_through = state.last.index;
        if let Err(invalid) = state.append(batch) {
            return Ok(Err(invalid));
        }
        if let Some(through) = batch
            .compact_through
            .filter(|&through| through > state.base.index)
        {
            let last = state.last.index;
            if through > last {
                return Ok(Err(Invalid::CompactBeyondEnd { through, last }));
            }
            let term = if through > stored_through {
                batch.append[(through - stored_through) as usize - 1].term
            } else {
                term_at(through)?
            };
            state.base = Position {
                index: through,
                term,
            };
        }
        let kept = state.base.index + 1..=stored_through;
        assert!(
            state.base.index <= state.last.index,
            "a log does not end before it begins"
        );
        assert!(
            state.base.term <= state.last.term,
            "terms do not decrease along a log"
        );
        Ok(Ok(Change {
            state: Some(state),
            kept,
        }))
    }

    fn stage(&mut self, batch: &WriteBatch) -> Result<(), Invalid> {
        for chunk in &batch.stage {
            if chunk.number != 0 && chunk.number != self.staged {
                let (number, expected) = (chunk.number, self.staged);
                return Err(Invalid::ChunkOutOfOrder { number, expected });
            }
            self.staged = chunk.number + 1;
        }
        Ok(())
    }

    fn install<E>(
        &mut self,
        snapshot: &SnapshotMeta,
        term_at: &mut impl FnMut(u64) -> Result<u64, E>,
    ) -> Result<Result<(), Invalid>, E> {
        let (named, staged) = (snapshot.chunks, self.staged);
        if named != staged {
            return Ok(Err(Invalid::ChunksMissing { named, staged }));
        }
        let index = snapshot.last.index;
        let installed = self
            .snapshot
            .as_ref()
            .map_or(0, |installed| installed.last.index);
        let existing = installed.max(self.base.index);
        if index < existing {
            return Ok(Err(Invalid::SnapshotRegressed { index, existing }));
        }
        let matches = if index == self.base.index {
            self.base == snapshot.last
        } else {
            index <= self.last.index && term_at(index)? == snapshot.last.term
        };
        if !matches {
            self.base = snapshot.last;
            self.last = snapshot.last;
        }
        self.snapshot = Some(snapshot.clone());
        self.staged = 0;
        Ok(Ok(()))
    }

    fn truncate<E>(
        &mut self,
        from: u64,
        term_at: &mut impl FnMut(u64) -> Result<u64, E>,
    ) -> Result<Result<(), Invalid>, E> {
        let base = self.base.index;
        if from <= base {
            return Ok(Err(Invalid::TruncateCompacted { from, base }));
        }
        if from <= self.last.index {
            let index = from - 1;
            let term = if index == base {
                self.base.term
            } else {
                term_at(index)?
            };
            self.last = Position { index, term };
        }
        Ok(Ok(()))
    }

    fn append(&mut self, batch: &WriteBatch) -> Result<(), Invalid> {
        for entry in &batch.append {
            let (index, term) = (entry.index, entry.term);
            let Some(expected) = self.last.index.checked_add(1).filter(|&next| next == index)
            else {
                let expected = self.last.index.saturating_add(1);
                return Err(Invalid::Gap { index, expected });
            };
            if term < self.last.term {
                return Err(Invalid::TermRegressed {
                    index,
                    term,
                    last: self.last.term,
                });
            }
            self.last = Position {
                index: expected,
                term,
            };
        }
        Ok(())
    }
}

impl WriteBatch {
    fn is_only_remove(&self) -> bool {
        let nothing_else = Self::new(self.group).remove();
        *self == nothing_else
    }
}

#[cfg(test)]
mod tests {
    use {
        super::*,
        crate::store::{Entry, GroupId},
    };

    const GROUP: GroupId = GroupId::zero();

    fn entries(indices: core::ops::RangeInclusive<u64>, term: u64) -> Vec<Entry> {
        indices
            .map(|index| Entry {
                index,
                term,
                payload: Bytes::new(),
            })
            .collect()
    }

    fn position(index: u64, term: u64) -> Position {
        Position { index, term }
    }

    fn snapshot(last: Position, chunks: u32) -> SnapshotMeta {
        SnapshotMeta {
            last,
            chunks,
            meta: Bytes::new(),
        }
    }

    /// Entries 3..=10 of term 2 behind a compacted prefix of term 1.
    fn log() -> GroupState {
        let mut state = GroupState::new(Incarnation(7));
        state.base = position(2, 1);
        state.last = position(10, 2);
        state
    }

    fn after(before: &GroupState, batch: &WriteBatch) -> Result<GroupState, Invalid> {
        let stored = before.base.index + 1..=before.last.index;
        GroupState::after(Some(before), batch, |index| {
            assert!(
                stored.contains(&index),
                "asked for {index}, stored are {stored:?}"
            );
            Ok::<_, ()>(2)
        })
        .unwrap()
        .map(|change| change.state.expect("the batch does not remove the group"))
    }

    fn batch() -> WriteBatch {
        WriteBatch::new(GROUP)
    }

    #[test]
    fn truncation_then_append_replaces_the_suffix() {
        let state = after(&log(), &batch().truncate_from(3).append(entries(3..=4, 5))).unwrap();
        assert_eq!((state.base, state.last), (position(2, 1), position(4, 5)));
        let state = after(&log(), &batch().truncate_from(3)).unwrap();
        assert_eq!(
            state.last,
            position(2, 1),
            "an empty log ends where it begins"
        );
        assert_eq!(after(&log(), &batch().truncate_from(11)).unwrap(), log());
        assert_eq!(
            after(&log(), &batch().truncate_from(2)),
            Err(Invalid::TruncateCompacted { from: 2, base: 2 })
        );
    }

    #[test]
    fn appended_entries_leave_no_gap_and_terms_do_not_decrease() {
        assert_eq!(
            after(&log(), &batch().append(entries(12..=12, 2))),
            Err(Invalid::Gap {
                index: 12,
                expected: 11
            })
        );
        assert_eq!(
            after(&log(), &batch().append(entries(11..=11, 1))),
            Err(Invalid::TermRegressed {
                index: 11,
                term: 1,
                last: 2
            })
        );
    }

    #[test]
    fn compaction_may_reach_into_what_the_same_batch_appends() {
        let state = after(
            &log(),
            &batch().append(entries(11..=12, 3)).compact_through(11),
        )
        .unwrap();
        assert_eq!((state.base, state.last), (position(11, 3), position(12, 3)));
        assert_eq!(after(&log(), &batch().compact_through(1)).unwrap(), log());
        assert_eq!(
            after(&log(), &batch().compact_through(11)),
            Err(Invalid::CompactBeyondEnd {
                through: 11,
                last: 10
            })
        );
    }

    #[test]
    fn a_snapshot_of_the_logs_own_history_keeps_the_log_and_any_other_empties_it() {
        let own = batch()
            .stage(0, "data")
            .install(snapshot(position(5, 2), 1));
        let state = after(&log(), &own).unwrap();
        assert_eq!(
            (state.base, state.last, state.staged),
            (position(2, 1), position(10, 2), 0)
        );
        for foreign in [position(5, 3), position(20, 2), position(2, 2)] {
            let state = after(&log(), &batch().install(snapshot(foreign, 0))).unwrap();
            assert_eq!((state.base, state.last), (foreign, foreign));
        }
        assert_eq!(
            after(&log(), &batch().install(snapshot(position(1, 1), 0))),
            Err(Invalid::SnapshotRegressed {
                index: 1,
                existing: 2
            })
        );
    }

    #[test]
    fn what_is_kept_of_the_stored_log_is_named() {
        let kept = |batch: WriteBatch| {
            let change = GroupState::after(Some(&log()), &batch, |_| Ok::<_, ()>(2)).unwrap();
            change.unwrap().kept
        };
        assert_eq!(kept(batch().append(entries(11..=12, 2))), 3..=10);
        assert_eq!(kept(batch().truncate_from(6).compact_through(3)), 4..=5);
        assert!(kept(batch().append(entries(11..=12, 2)).compact_through(11)).is_empty());
        assert!(kept(batch().install(snapshot(position(5, 9), 0))).is_empty());
        assert!(kept(batch().remove().create(Incarnation(1))).is_empty());
    }

    #[test]
    fn chunks_are_staged_in_order_and_all_of_them_installed() {
        let state = after(&log(), &batch().stage(0, "a").stage(1, "b")).unwrap();
        assert_eq!(
            after(&state, &batch().stage(3, "d")),
            Err(Invalid::ChunkOutOfOrder {
                number: 3,
                expected: 2
            })
        );
        assert_eq!(
            after(&state, &batch().install(snapshot(position(5, 2), 3))),
            Err(Invalid::ChunksMissing {
                named: 3,
                staged: 2
            })
        );
        assert_eq!(after(&state, &batch().stage(0, "again")).unwrap().staged, 1);
    }

    #[test]
    fn a_group_starts_over_only_when_removed_first() {
        let fresh = Incarnation(8);
        assert_eq!(
            after(&log(), &batch().create(fresh)),
            Err(Invalid::GroupExists)
        );
        let state = after(&log(), &batch().remove().create(fresh)).unwrap();
        assert_eq!(state, GroupState::new(fresh));
        let unknown = |batch| GroupState::after(None, &batch, |_| Err(())).unwrap();
        assert_eq!(unknown(batch().remove()).unwrap().state, None);
        assert_eq!(
            unknown(batch().hard_state("vote")),
            Err(Invalid::UnknownGroup)
        );
        assert_eq!(
            unknown(batch().remove().hard_state("vote")),
            Err(Invalid::UnknownGroup)
        );
    }
}
