//! A store in memory that holds what it was told to, no more and no less.

use {
    bytes::Bytes,
    mosaik_protocol::consensus::{Entry, HardState, Position, SnapshotMeta, Write},
    std::collections::BTreeMap,
};

/// What a member's store holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) hard: Option<HardState>,
    pub(crate) snapshot: Option<(SnapshotMeta, Vec<Bytes>)>,
    pub(crate) entries: BTreeMap<u64, Entry>,
}

impl Disk {
    pub(crate) fn apply(&mut self, write: Write) {
        match write {
            Write::HardState(bytes) => self.hard = Some(HardState::decode(bytes).unwrap()),
            Write::Truncate(from) => drop(self.entries.split_off(&from.0)),
            Write::Append(entries) => {
                for entry in entries {
                    let index = entry.index.0;
                    if let Some((last, _)) = self.entries.last_key_value() {
                        assert_eq!(*last + 1, index, "appended with a gap");
                    }
                    self.entries.insert(index, entry);
                }
            }
            Write::Reset(position) => {
                self.entries.clear();
                if position == Position::ZERO {
                    self.snapshot = None;
                }
            }
            Write::Compact(upto) => self.entries = self.entries.split_off(&(upto.0 + 1)),
            other => panic!("unknown write {other:?}"),
        }
    }
}
