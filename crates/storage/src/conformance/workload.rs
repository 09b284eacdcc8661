//! [`Workload`]: a series of batches that can be continued after a crash and checked from outside.

use {
    crate::{MemoryStore, faulty::SplitMix},
    bytes::Bytes,
    mosaik_protocol::store::{
        Entry, GroupId, GroupState, Incarnation, LogStore, SnapshotMeta, StoreError, WriteBatch,
    },
};

/// An endless series of batches of one group in which every batch follows from its number and the
/// state before it, and leaves its number in the hard state.
///
/// A process writes it, tells what was acknowledged, and is killed. Whoever opens the store
/// then reads a number from the hard state, which must not be below the last acknowledged, and
/// knows everything that the store must hold: no batch lost, none half, none twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Chooses the series.
    pub seed: u64,
    /// The group.
    pub group: GroupId,
}

/// How many numbers two batches that start the group over are apart.
const LIFE: u64 = 997;

impl Workload {
    /// Batch `number`, from 1 on, for the group as it is after the batch before.
    pub fn batch(&self, number: u64, before: Option<&GroupState>) -> WriteBatch {
        let batch = WriteBatch::new(self.group).hard_state(number.to_le_bytes().to_vec());
        let mut rng = SplitMix::new(self.seed ^ number.wrapping_mul(0x9e37_79b9));
        let Some(state) = before.filter(|_| !number.is_multiple_of(LIFE)) else {
            return batch.remove().create(Incarnation(number));
        };
        let last = state.last;
        match rng.below(100) {
            0..75 => batch.append(entries(last.index + 1, number, &mut rng)),
            75..85 => {
                // What a snapshot contains is committed and never truncated.
                let snapshot = state
                    .snapshot
                    .as_ref()
                    .map_or(0, |snapshot| snapshot.last.index);
                let first = state.base.index.max(snapshot) + 1;
                let from = (last.index - rng.below(5).min(last.index)).max(first);
                batch
                    .truncate_from(from)
                    .append(entries(from, number, &mut rng))
            }
            85..92 => {
                let through = last.index - rng.below(10).min(last.index);
                batch.compact_through(through)
            }
            92..97 => {
                let data = Bytes::from(vec![number as u8; 100 + rng.below(9_000) as usize]);
                let meta = Bytes::from(number.to_string());
                let first = batch.stage(0, data.clone()).stage(1, data);
                first.install(SnapshotMeta {
                    last,
                    chunks: 2,
                    meta,
                })
            }
            _ => batch,
        }
    }

    /// The number of the last batch that `state` contains; 0 before the first.
    pub fn number(state: Option<&GroupState>) -> u64 {
        let hard_state = state.and_then(|state| state.hard_state.as_deref());
        let number = hard_state.map(|bytes| bytes.try_into().expect("the workload's own bytes"));
        number.map_or(0, u64::from_le_bytes)
    }

    /// Compares all that `store` holds of the group with what it must hold, and returns the
    /// number it has come to. `model` is at an earlier number, and is taken to the same one.
    ///
    /// # Panics
    /// When an acknowledged batch is missing, or anything differs.
    pub fn check(
        &self,
        store: &mut impl LogStore,
        model: &mut MemoryStore,
        acknowledged: u64,
        submitted: u64,
    ) -> Result<u64, StoreError> {
        let state = store.load(self.group)?;
        let reached = Self::number(state.as_ref());
        assert!(
            reached >= acknowledged,
            "batch {acknowledged} was acknowledged, then {reached}"
        );
        assert!(
            reached <= submitted,
            "batch {reached} is there before {submitted} was submitted"
        );
        let mut expected = model.load(self.group)?;
        while Self::number(expected.as_ref()) < reached {
            let number = Self::number(expected.as_ref()) + 1;
            model.write(self.batch(number, expected.as_ref()))?;
            expected = model.load(self.group)?;
        }
        assert_eq!(state, expected, "state after batch {reached}");
        if let Some(state) = state {
            let read =
                |store: &mut dyn LogStore| store.entries(self.group, 0..=u64::MAX, usize::MAX);
            assert_eq!(read(store)?, read(model)?, "log after batch {reached}");
            for number in 0..=state.snapshot.map_or(0, |snapshot| snapshot.chunks) {
                let [chunk, expected] = [
                    store.chunk(self.group, number)?,
                    model.chunk(self.group, number)?,
                ];
                assert_eq!(chunk, expected, "chunk {number} after batch {reached}");
            }
        }
        Ok(reached)
    }
}

fn entries(first: u64, term: u64, rng: &mut SplitMix) -> Vec<Entry> {
    let count = 1 + rng.below(6);
    let entry = |index| {
        let mut payload = vec![index as u8; 8 + (index * 37 % 400) as usize];
        payload[..8].copy_from_slice(&term.to_le_bytes());
        Entry {
            index,
            term,
            payload: payload.into(),
        }
    };
    (first..first + count).map(entry).collect()
}
