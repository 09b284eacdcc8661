//! The node's store and each member's part of it.

use {
    bytes::Bytes,
    core::{future::poll_fn, task::Poll, time::Duration},
    mosaik_primitives::{Digest, time::Instant},
    mosaik_protocol::consensus::{
        self, Entry, HardState, LogIndex, Position, Restored, Term, Token, Write,
    },
    mosaik_storage::{
        Completion, DiskStore, GroupState, Incarnation, LogStore, SnapshotMeta, StoreError,
        SubmitError, WriteBatch,
    },
    std::collections::{HashMap, VecDeque},
};

/// Bytes of a log read at a time when a member starts.
const READ_BYTES: usize = 8 << 20;

/// What a batch was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A step of the core, by its name; `None` where more of it follows.
    Step(Option<Token>),
    /// A state that was staged, by the name of whoever had that done.
    Install(u64),
}

/// The end of what was to be stored.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) group: Digest,
    pub(crate) purpose: Purpose,
    pub(crate) result: Result<(), StoreError>,
    pub(crate) took: Duration,
}

/// A batch under way.
#[derive(Debug)]
struct Waiting {
    group: Digest,
    purpose: Purpose,
    since: Instant,
}

/// The driver's handle on the node's store.
#[derive(Debug)]
pub(crate) struct Disk {
    store: DiskStore,
    waiting: HashMap<u64, Waiting>,
    /// What the store had no room for, in order.
    overflow: VecDeque<(WriteBatch, Waiting)>,
    /// Batches that were refused at once.
    refused: Vec<Done>,
    /// Groups of which a state is being staged, by another handle.
    saving: Vec<Digest>,
}

impl Disk {
    pub(crate) fn new(store: DiskStore) -> Self {
        Self {
            store,
            waiting: HashMap::new(),
            overflow: VecDeque::new(),
            refused: Vec::new(),
            saving: Vec::new(),
        }
    }

    /// Another handle, to read with.
    pub(crate) fn reader(&self) -> DiskStore {
        self.store.clone()
    }

    /// Stores what a step of a member asks for. The outcome comes from [`Disk::done`].
    pub(crate) fn persist(
        &mut self,
        log: &mut DiskLog,
        token: Token,
        writes: Vec<Write>,
        now: Instant,
    ) {
        let mut batches = log.batches(writes).into_iter().peekable();
        while let Some(batch) = batches.next() {
            let token = batches.peek().is_none().then_some(token);
            let waiting = Waiting {
                group: log.group,
                purpose: Purpose::Step(token),
                since: now,
            };
            self.submit(batch, waiting);
        }
    }

    /// Makes the state that was staged for a group the one that it goes on from, in one step with
    /// what its core has to know of it, and after everything that was to be stored before. Where
    /// the log does not lead to it, the log is emptied.
    pub(crate) fn install(
        &mut self,
        log: &DiskLog,
        meta: &consensus::SnapshotMeta,
        (chunks, name): (u32, u64),
        now: Instant,
    ) {
        let batch = installation(log.group, meta, chunks);
        let waiting = Waiting {
            group: log.group,
            purpose: Purpose::Install(name),
            since: now,
        };
        self.submit(batch, waiting);
    }

    /// Whether something of a group is still being stored or staged, so that reading it now would
    /// show what is about to be replaced.
    pub(crate) fn is_busy(&self, group: &Digest) -> bool {
        let overflow = self.overflow.iter().map(|(_, waiting)| waiting);
        let mut all = self.waiting.values().chain(overflow);
        all.any(|waiting| waiting.group == *group) || self.saving.contains(group)
    }

    /// A state of this log's group is about to be staged, by another handle.
    pub(crate) fn start_saving(&mut self, log: &DiskLog) -> Digest {
        self.saving.push(log.group);
        log.group
    }

    /// The staging of a state has ended.
    pub(crate) fn end_saving(&mut self, group: &Digest) {
        if let Some(at) = self.saving.iter().position(|saving| saving == group) {
            self.saving.swap_remove(at);
        }
    }

    /// Forgets a group.
    pub(crate) fn remove(&mut self, group: Digest, now: Instant) {
        let batch = WriteBatch::new(group).remove();
        let waiting = Waiting {
            group,
            purpose: Purpose::Step(None),
            since: now,
        };
        self.submit(batch, waiting);
    }

    fn submit(&mut self, batch: WriteBatch, waiting: Waiting) {
        if self.overflow.is_empty() {
            self.try_submit(batch, waiting);
        } else {
            self.overflow.push_back((batch, waiting));
        }
    }

    /// Whether the store took it, or refused it for good.
    fn try_submit(&mut self, batch: WriteBatch, waiting: Waiting) -> bool {
        match self.store.submit(batch) {
            Ok(token) => {
                self.waiting.insert(token.0, waiting);
                true
            }
            Err(SubmitError::Full(batch)) => {
                self.overflow.push_front((*batch, waiting));
                false
            }
            Err(refused) => {
                let reason = match refused {
                    SubmitError::Refused { reason, .. } => reason,
                    other => StoreError::Stopped {
                        reason: other.to_string(),
                    },
                };
                self.refused.push(Done {
                    group: waiting.group,
                    purpose: waiting.purpose,
                    result: Err(reason),
                    took: Duration::ZERO,
                });
                true
            }
        }
    }

    /// Waits for the end of batches.
    pub(crate) async fn done(&mut self, now: impl Fn() -> Instant) -> Vec<Done> {
        let mut completions = Vec::new();
        poll_fn(|cx| {
            if !self.refused.is_empty() {
                return Poll::Ready(());
            }
            self.store.wake_on_completion(cx.waker());
            self.store.completed(&mut completions);
            if completions.is_empty() {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
        let now = now();
        let mut done = std::mem::take(&mut self.refused);
        done.extend(completions.into_iter().filter_map(|completion| {
            let Completion {
                token,
                group,
                result,
            } = completion;
            let waiting = self.waiting.remove(&token.0)?;
            Some(Done {
                group,
                purpose: waiting.purpose,
                result,
                took: now.since(waiting.since),
            })
        }));
        while let Some((batch, waiting)) = self.overflow.pop_front() {
            if !self.try_submit(batch, waiting) {
                break;
            }
        }
        done
    }
}

/// A member's part of the node's store.
#[derive(Debug)]
pub(crate) struct DiskLog {
    group: Digest,
    incarnation: Incarnation,
    /// The latest, which outlives a log that is emptied.
    hard_state: Option<Bytes>,
}

/// What a member goes on from.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) log: DiskLog,
    pub(crate) restored: Restored,
    /// Chunks of the state that goes with the snapshot.
    pub(crate) chunks: u32,
}

/// Opens a group of the store, made where there is none, and reads what its member goes on from.
/// May block.
pub(crate) fn open(
    store: &mut impl LogStore,
    group: Digest,
    fresh: u64,
) -> Result<Opened, StoreError> {
    let state = store.open(group, Incarnation(fresh))?;
    let unreadable = |what: &str| StoreError::Corrupt {
        file: "the node's store".to_owned(),
        position: format!("group {group}"),
        what: what.to_owned(),
    };
    let hard_state = state
        .hard_state
        .clone()
        .map(HardState::decode)
        .transpose()
        .map_err(|_| unreadable("hard state"))?;
    let snapshot = state
        .snapshot
        .as_ref()
        .map(|snapshot| consensus::SnapshotMeta::decode(snapshot.meta.clone()))
        .transpose()
        .map_err(|_| unreadable("snapshot"))?;
    let entries = read_all(store, group, &state)?;
    let log = DiskLog {
        group,
        incarnation: state.incarnation,
        hard_state: state.hard_state,
    };
    let restored = Restored {
        hard_state,
        snapshot,
        entries,
    };
    let chunks = state.snapshot.map_or(0, |snapshot| snapshot.chunks);
    Ok(Opened {
        log,
        restored,
        chunks,
    })
}

fn read_all(
    store: &mut impl LogStore,
    group: Digest,
    state: &GroupState,
) -> Result<Vec<Entry>, StoreError> {
    let mut entries = Vec::new();
    let mut next = state.base.index + 1;
    while next <= state.last.index {
        let read = store.entries(group, next..=state.last.index, READ_BYTES)?;
        let Some(last) = read.last() else {
            break;
        };
        next = last.index + 1;
        entries.extend(read.into_iter().map(from_stored));
    }
    Ok(entries)
}

/// Reads entries back. May block.
pub(crate) fn fetch(
    store: &mut DiskStore,
    group: Digest,
    range: (LogIndex, LogIndex),
    max_bytes: usize,
) -> Result<Vec<Entry>, StoreError> {
    let (from, upto) = range;
    let entries = store.entries(group, from.0..=upto.0, max_bytes)?;
    // Where the log begins later, nothing of what follows answers the question.
    let found = entries.first().is_some_and(|first| first.index == from.0);
    Ok(if found {
        entries.into_iter().map(from_stored).collect()
    } else {
        Vec::new()
    })
}

/// Makes the staged chunks a group's snapshot.
fn installation(group: Digest, meta: &consensus::SnapshotMeta, chunks: u32) -> WriteBatch {
    WriteBatch::new(group).install(SnapshotMeta {
        last: mosaik_storage::Position {
            index: meta.last.index.0,
            term: meta.last.term.0,
        },
        chunks,
        meta: meta.encode(),
    })
}

fn from_stored(entry: mosaik_storage::Entry) -> Entry {
    Entry {
        index: LogIndex(entry.index),
        term: Term(entry.term),
        body: entry.payload,
    }
}

fn to_stored(entry: Entry) -> mosaik_storage::Entry {
    mosaik_storage::Entry {
        index: entry.index.0,
        term: entry.term.0,
        payload: entry.body,
    }
}

impl DiskLog {
    /// Which life of the node this member is.
    pub(crate) const fn incarnation(&self) -> u64 {
        self.incarnation.0
    }

    /// The group.
    pub(crate) const fn group(&self) -> Digest {
        self.group
    }

    /// What a step asks for as batches, each of which is stored whole or not at all.
    ///
    /// A batch has its own order, so that what does not fit it starts another one.
    fn batches(&mut self, writes: Vec<Write>) -> Vec<WriteBatch> {
        let mut batches = vec![WriteBatch::new(self.group)];
        for write in writes {
            let started = batches.last().is_some_and(|batch| {
                let (appends, compacts) = (!batch.append.is_empty(), batch.compact_through);
                match &write {
                    Write::Truncate(_) => appends || compacts.is_some(),
                    Write::Append(_) => compacts.is_some(),
                    Write::Reset(_) => {
                        appends || compacts.is_some() || batch.truncate_from.is_some()
                    }
                    _ => false,
                }
            });
            if started {
                batches.push(WriteBatch::new(self.group));
            }
            let batch = batches.pop().unwrap_or_else(|| WriteBatch::new(self.group));
            batches.push(self.add(batch, write));
        }
        batches
    }

    fn add(&mut self, mut batch: WriteBatch, write: Write) -> WriteBatch {
        match write {
            Write::HardState(bytes) => {
                self.hard_state = Some(bytes.clone());
                batch.hard_state(bytes)
            }
            Write::Truncate(from) => {
                let from = batch.truncate_from.map_or(from.0, |at| at.min(from.0));
                batch.truncate_from(from)
            }
            Write::Append(entries) => batch.append(entries.into_iter().map(to_stored)),
            Write::Reset(Position::ZERO) => {
                batch = batch.remove().create(self.incarnation);
                match self.hard_state.clone() {
                    Some(bytes) => batch.hard_state(bytes),
                    None => batch,
                }
            }
            // Installing the snapshot that ends there has emptied the log.
            Write::Compact(upto) => batch.compact_through(upto.0),
            _ => batch,
        }
    }
}

#[cfg(test)]
mod tests;
