//! Where members keep their logs and what they must not forget.
//!
//! All members of a node that last beyond its process share one store and its fsyncs. Absent on
//! purpose: what entries mean.

mod chunks;
mod disk;
mod memory;

pub(crate) use {
    chunks::{ChunkReader, ChunkWriter, Saved},
    disk::{Disk, DiskLog, Done, Opened, Purpose, fetch, open},
};
use {
    memory::MemoryLog,
    mosaik_protocol::consensus::{Entry, LogIndex, Write},
};

/// Where a member keeps its log.
#[derive(Debug)]
pub(crate) enum Store {
    /// Nowhere beyond the process.
    Memory(MemoryLog),
    /// In the node's store.
    Disk(DiskLog),
}

impl Store {
    /// A store that forgets everything with its process.
    pub(crate) fn memory() -> Self {
        Self::Memory(MemoryLog::default())
    }
}

impl MemoryLog {
    /// Stores what a step asks for.
    pub(crate) fn persist(&mut self, writes: Vec<Write>) {
        for write in writes {
            self.write(write);
        }
    }

    /// Reads entries back: from `from` to `upto`, of at most `max_bytes` unless the first alone
    /// is larger.
    pub(crate) fn fetch(&self, from: LogIndex, upto: LogIndex, max_bytes: usize) -> Vec<Entry> {
        self.read(from, upto, max_bytes)
    }
}
