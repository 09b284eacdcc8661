//! What can go wrong with a store, and what the caller may conclude from it.

use {
    super::{GroupId, WriteBatch},
    std::io,
    thiserror::Error,
};

/// Why a batch or a read failed.
///
/// | error | was the batch applied | later batches of the group |
/// |---|---|---|
/// | [`Io`](Self::Io) | perhaps: known when the store is opened again | fail |
/// | [`Corrupt`](Self::Corrupt) | no | fail |
/// | [`Stopped`](Self::Stopped) | no | fail |
/// | [`NoSpace`](Self::NoSpace) | no | are tried |
/// | [`Invalid`](Self::Invalid), [`TooLarge`](Self::TooLarge) | no | are tried |
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk failed. After a failed fsync nobody knows what is on disk, and a second fsync
    /// would report success without it being true: the file is not used again before reopening.
    #[error("{file}: {operation} failed: {detail}")]
    Io {
        /// File or directory concerned.
        file: String,
        /// What was tried, as a verb: "write", "fsync".
        operation: &'static str,
        /// Kind of the operating system's error.
        kind: io::ErrorKind,
        /// Text of the operating system's error.
        detail: String,
    },
    /// The disk is full, and nothing of the batch was applied. It may be tried again.
    #[error("{file}: no space left for the batch")]
    NoSpace {
        /// File concerned.
        file: String,
    },
    /// What is stored is not what was written. Nothing was repaired or reset.
    #[error("{file}: damaged at {position}: {what}")]
    Corrupt {
        /// File concerned.
        file: String,
        /// Where in the file: byte offset, or table and key.
        position: String,
        /// What does not fit.
        what: String,
    },
    /// The group stopped after an earlier fatal error.
    #[error("group stopped after an earlier error: {reason}")]
    Stopped {
        /// Text of the error that stopped it.
        reason: String,
    },
    /// The batch breaks a rule of [`WriteBatch`], or the read names an unknown group.
    #[error("group {group}: {reason}")]
    Invalid {
        /// Group of the batch or read.
        group: GroupId,
        /// The rule.
        reason: Invalid,
    },
    /// The batch is larger than [`StoreLimits::batch_bytes`](super::StoreLimits::batch_bytes).
    #[error("batch of {bytes} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// [`WriteBatch::size_bytes`].
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

impl StoreError {
    /// Whether the group takes nothing more until the store is opened again.
    pub const fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::Io { .. } | Self::Corrupt { .. } | Self::Stopped { .. }
        )
    }

    /// Whether the batch that got this error may be on disk nevertheless.
    pub const fn may_be_applied(&self) -> bool {
        matches!(self, Self::Io { .. })
    }

    /// The error that everything after this one gets.
    #[must_use]
    pub fn stopped(&self) -> Self {
        match self {
            Self::Stopped { .. } => self.clone(),
            other => Self::Stopped {
                reason: other.to_string(),
            },
        }
    }
}

/// A rule that a batch or a read broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Invalid {
    /// The group was never created, or was removed.
    #[error("the store does not hold the group")]
    UnknownGroup,
    /// `create` for a group that exists.
    #[error("the group exists already")]
    GroupExists,
    /// A chunk's number is neither 0 nor the next.
    #[error("snapshot chunk {number} staged where {expected} was due")]
    ChunkOutOfOrder {
        /// The chunk's number.
        number: u32,
        /// The number of chunks staged.
        expected: u32,
    },
    /// `install` names another number of chunks than are staged.
    #[error("snapshot of {named} chunks installed with {staged} staged")]
    ChunksMissing {
        /// [`SnapshotMeta::chunks`](super::SnapshotMeta::chunks).
        named: u32,
        /// Chunks in the staging area.
        staged: u32,
    },
    /// `install` goes back behind the snapshot or the compacted prefix that exists.
    #[error("snapshot at index {index} is behind index {existing}")]
    SnapshotRegressed {
        /// Index of the new snapshot.
        index: u64,
        /// Index of the snapshot or base that exists.
        existing: u64,
    },
    /// `truncate_from` reaches into the compacted prefix.
    #[error("truncation from index {from} reaches into what is compacted through {base}")]
    TruncateCompacted {
        /// First index to drop.
        from: u64,
        /// Last index compacted.
        base: u64,
    },
    /// An appended entry does not follow the one before it.
    #[error("entry {index} appended where {expected} was due")]
    Gap {
        /// Index of the entry.
        index: u64,
        /// Index that follows the log.
        expected: u64,
    },
    /// An appended entry has a lower term than the one before it.
    #[error("entry {index} of term {term} appended behind term {last}")]
    TermRegressed {
        /// Index of the entry.
        index: u64,
        /// Term of the entry.
        term: u64,
        /// Term of the entry before it.
        last: u64,
    },
    /// `compact_through` names an index that the log does not have yet.
    #[error("compaction through index {through} beyond the last entry {last}")]
    CompactBeyondEnd {
        /// Last index to drop.
        through: u64,
        /// Last index of the log.
        last: u64,
    },
}

/// Why a batch was not queued. It is handed back: nothing of it was done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The queue is at its bound: drain completions and try again.
    #[error("the store's queue is full")]
    Full(Box<WriteBatch>),
    /// The batch can never be taken, for the reason given.
    #[error("batch refused: {reason}")]
    Refused {
        /// The batch.
        batch: Box<WriteBatch>,
        /// Why.
        reason: StoreError,
    },
}

impl SubmitError {
    /// The batch that was not queued.
    pub fn into_batch(self) -> WriteBatch {
        match self {
            Self::Full(batch) | Self::Refused { batch, .. } => *batch,
        }
    }
}
