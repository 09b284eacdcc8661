//! What a durable log store for many consensus groups of one node takes, promises and answers.
//!
//! Only the vocabulary and the rules live here, so that the consensus core, its drivers and the
//! simulator agree without knowing which store they use. Absent on purpose: files, threads, clocks,
//! and any meaning of hard state, payloads and snapshot bytes: they are opaque.
//!
//! # Contract of every store
//! - A [`WriteBatch`] is applied whole or not at all, whatever crash interrupts it.
//! - A batch is acknowledged ([`Completion`] with `Ok`) only when it survives a loss of power, as far
//!   as the store is [`LogStore::is_durable`].
//! - Batches of one group complete in the order of their submission. Between groups there is no order.
//! - Once a batch of a group failed with an error that [`StoreError::is_fatal`], every later
//!   batch and read of that group fails until the store is opened again.
//! - Reads show every acknowledged batch and nothing that a crash could take back.

mod batch;
mod error;
mod state;

pub use {
    batch::{Chunk, WriteBatch},
    error::{Invalid, StoreError, SubmitError},
    state::{Change, GroupState},
};

use {
    bytes::Bytes,
    core::{ops::RangeInclusive, task::Waker},
    mosaik_primitives::Digest,
};

/// The group that a batch or a read is about.
pub type GroupId = Digest;

/// Tells one life of a member's log from the next.
///
/// A member that lost its log is another member, so that it never votes as the old one. Whoever
/// opens a group draws a value at random for the case that the store does not know the group;
/// the store keeps the one that the group was created with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// A place in a log: an index and the term of the entry there. Index 0 is before the first entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Log index, counted from 1 over all entries, internal ones included.
    pub index: u64,
    /// Term of the entry at `index`; 0 at index 0.
    pub term: u64,
}

/// One entry of a group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Log index, counted from 1 without gaps.
    pub index: u64,
    /// Term in which the entry was proposed; never decreases along a log.
    pub term: u64,
    /// Encoded content, opaque to the store.
    pub payload: Bytes,
}

impl Entry {
    /// Index and term of the entry.
    pub const fn position(&self) -> Position {
        Position {
            index: self.index,
            term: self.term,
        }
    }
}

/// What describes an installed snapshot; its data is read chunk by chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The last entry that the snapshot contains the effect of.
    pub last: Position,
    /// Number of chunks, which are numbered from 0.
    pub chunks: u32,
    /// Membership and whatever else goes with the data, opaque to the store.
    pub meta: Bytes,
}

/// Names a submitted batch until it completes. Increases by one a submission on one handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// The end of a submitted batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// What [`LogStore::submit`] returned.
    pub token: Token,
    /// Group of the batch.
    pub group: GroupId,
    /// `Ok` when the batch is durable.
    pub result: Result<(), StoreError>,
}

/// Bounds of what a store holds for its callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreLimits {
    /// [`WriteBatch::size_bytes`] of one batch. 128 MiB.
    pub batch_bytes: usize,
    /// Batches submitted and not completed, all handles together. 16,384.
    pub queued_batches: usize,
    /// [`WriteBatch::size_bytes`] of all batches submitted and not completed. At least one
    /// batch is taken whatever its size within `batch_bytes`. 256 MiB.
    pub queued_bytes: usize,
}

impl StoreLimits {
    /// The defaults, as listed at each field.
    pub const DEFAULT: Self = Self {
        batch_bytes: 128 << 20,
        queued_batches: 16_384,
        queued_bytes: 256 << 20,
    };
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A store of logs, hard states and snapshots of many groups, see the module's contract.
///
/// There are two ways to write. [`submit`](Self::submit) never blocks: it queues the batch, and
/// [`completed`](Self::completed) tells its end later, which lets one fsync serve all that
/// waits. [`write`](Self::write) blocks until the batch is durable. Mixing them on one handle is
/// allowed; a `write` takes its place behind what was submitted before it.
///
/// Reads may block on the disk.
pub trait LogStore: Send {
    /// Whether acknowledged batches survive the end of the process.
    fn is_durable(&self) -> bool;

    /// The groups that the store holds, in ascending order.
    fn groups(&mut self) -> Result<Vec<GroupId>, StoreError>;

    /// Queues a batch. What could not be queued is handed back in the error.
    fn submit(&mut self, batch: WriteBatch) -> Result<Token, SubmitError>;

    /// Moves the batches of this handle that ended since the last call to the end of `out`.
    fn completed(&mut self, out: &mut Vec<Completion>);

    /// Has `waker` woken after every later completion on this handle, replacing the one before.
    /// To miss none: register, then drain [`completed`](Self::completed), then sleep.
    fn wake_on_completion(&mut self, waker: &Waker);

    /// Applies a batch and returns when it is durable. It causes no [`Completion`].
    fn write(&mut self, batch: WriteBatch) -> Result<(), StoreError>;

    /// The state of a group, or `None` when the store does not hold it.
    ///
    /// The first call for a group after opening the store verifies every record that the store
    /// holds for it; damage is [`StoreError::Corrupt`] and makes the group unusable, never empty.
    fn load(&mut self, group: GroupId) -> Result<Option<GroupState>, StoreError>;

    /// The entries of `range` that exist, in order, at most about `max_bytes` of payload but at
    /// least one entry when there is one. An index at or below [`GroupState::base`] is skipped.
    fn entries(
        &mut self,
        group: GroupId,
        range: RangeInclusive<u64>,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StoreError>;

    /// A chunk of the installed snapshot, or `None` when there is none of that number.
    fn chunk(&mut self, group: GroupId, number: u32) -> Result<Option<Bytes>, StoreError>;

    /// The state of a group, which is created with the incarnation `fresh` when the store does
    /// not hold it. The incarnation of a group that exists is kept.
    fn open(&mut self, group: GroupId, fresh: Incarnation) -> Result<GroupState, StoreError> {
        if let Some(state) = self.load(group)? {
            return Ok(state);
        }
        self.write(WriteBatch::new(group).create(fresh))?;
        Ok(GroupState::new(fresh))
    }
}
