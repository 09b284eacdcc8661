//! [`WriteBatch`]: everything that one step of a group wants on disk, as one atomic change.

use {
    super::{Entry, GroupId, Incarnation, SnapshotMeta},
    bytes::Bytes,
};

/// A piece of snapshot data that waits in the group's staging area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Place in the snapshot. Number 0 clears the staging area first; any other number must be
    /// the count of chunks already staged.
    pub number: u32,
    /// Content, opaque to the store.
    pub data: Bytes,
}

/// One atomic change of one group.
///
/// The parts are applied in the order of the fields. A batch that breaks a rule is refused whole
/// with [`StoreError::Invalid`](super::StoreError::Invalid).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct WriteBatch {
    /// The group that changes.
    pub group: GroupId,
    /// Forgets the group: log, hard state, snapshot, incarnation. No error when it is unknown.
    /// Together with `create` it starts the group over in one step.
    pub remove: bool,
    /// Creates the group, which must not exist. All that follows needs a group that exists.
    pub create: Option<Incarnation>,
    /// Replaces the hard state.
    pub hard_state: Option<Bytes>,
    /// Adds chunks to the staging area, so that a large snapshot needs no large batch.
    pub stage: Vec<Chunk>,
    /// Makes the staged chunks the group's snapshot in place of the one before, whose position
    /// must not be higher. Where the log holds an entry at exactly the snapshot's position, the
    /// log is kept (compaction is a separate wish); else the log is emptied and starts behind
    /// the snapshot.
    pub install: Option<SnapshotMeta>,
    /// Drops the entries from this index on, which must be above [`GroupState::base`].
    /// Nothing happens when it is above the last entry.
    ///
    /// [`GroupState::base`]: super::GroupState::base
    pub truncate_from: Option<u64>,
    /// Adds entries right behind the last one, indices without gaps, terms not decreasing.
    pub append: Vec<Entry>,
    /// Drops the entries up to and including this index, which must exist or be dropped already.
    /// The store does not ask for a snapshot that covers them.
    pub compact_through: Option<u64>,
}

impl WriteBatch {
    /// A batch that changes nothing yet.
    pub const fn new(group: GroupId) -> Self {
        Self {
            group,
            remove: false,
            create: None,
            hard_state: None,
            stage: Vec::new(),
            install: None,
            truncate_from: None,
            append: Vec::new(),
            compact_through: None,
        }
    }

    /// Sets [`Self::remove`].
    pub const fn remove(mut self) -> Self {
        self.remove = true;
        self
    }

    /// Sets [`Self::create`].
    pub const fn create(mut self, incarnation: Incarnation) -> Self {
        self.create = Some(incarnation);
        self
    }

    /// Sets [`Self::hard_state`].
    pub fn hard_state(mut self, hard_state: impl Into<Bytes>) -> Self {
        self.hard_state = Some(hard_state.into());
        self
    }

    /// Adds to [`Self::stage`].
    pub fn stage(mut self, number: u32, data: impl Into<Bytes>) -> Self {
        self.stage.push(Chunk {
            number,
            data: data.into(),
        });
        self
    }

    /// Sets [`Self::install`].
    pub fn install(mut self, snapshot: SnapshotMeta) -> Self {
        self.install = Some(snapshot);
        self
    }

    /// Sets [`Self::truncate_from`].
    pub const fn truncate_from(mut self, index: u64) -> Self {
        self.truncate_from = Some(index);
        self
    }

    /// Adds to [`Self::append`].
    pub fn append(mut self, entries: impl IntoIterator<Item = Entry>) -> Self {
        self.append.extend(entries);
        self
    }

    /// Sets [`Self::compact_through`].
    pub const fn compact_through(mut self, index: u64) -> Self {
        self.compact_through = Some(index);
        self
    }

    /// What the batch counts against [`StoreLimits`](super::StoreLimits), bytes: its payloads
    /// plus a fixed share for each part.
    pub fn size_bytes(&self) -> usize {
        const PART_BYTES: usize = 64;
        let entries = self
            .append
            .iter()
            .map(|entry| PART_BYTES + entry.payload.len());
        let chunks = self.stage.iter().map(|chunk| PART_BYTES + chunk.data.len());
        let hard_state = self.hard_state.as_ref().map_or(0, Bytes::len);
        let snapshot = self
            .install
            .as_ref()
            .map_or(0, |snapshot| snapshot.meta.len());
        PART_BYTES + hard_state + snapshot + entries.sum::<usize>() + chunks.sum::<usize>()
    }
}
