//! A disk that a crash can hurt: what was synced stays, what was not may be lost or torn.
//!
//! Writes keep their order, and a crash keeps a prefix of those that were not synced, cut between
//! any two of them: this is what the core's contract asks of a store. What happens inside one torn
//! write is the business of the storage crate's own tests.

use {
    crate::{chronicle::membership_of, machine::Machine, nemesis::Unsynced, rng::Rng},
    bytes::Bytes,
    mosaik_protocol::consensus::{
        Entry, HardState, Lineage, LogIndex, Membership, Position, SnapshotMeta, Term, Write,
    },
    std::collections::VecDeque,
};

/// A snapshot as it is stored: what the core needs and the machine's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The lineage it belongs to.
    pub lineage: Lineage,
    /// What the core needs.
    pub meta: SnapshotMeta,
    /// The machine after [`SnapshotMeta::last`].
    pub machine: Machine,
}

/// What a member's part of a disk holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The hard state as the core encoded it.
    pub hard_state: Option<Bytes>,
    /// The same, decoded; the default before the first is written.
    pub hard: HardState,
    /// What the first entry follows.
    pub base: Position,
    /// The entries behind the base.
    pub entries: VecDeque<Entry>,
    /// The latest snapshot.
    pub snapshot: Option<Box<Snapshot>>,
    /// The memberships that the log holds, by index.
    pub memberships: Vec<(LogIndex, Membership)>,
}

impl Image {
    /// The entry at `index`, where the log still holds it.
    pub fn entry(&self, index: LogIndex) -> Option<&Entry> {
        let offset = index.0.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    /// The end of the log.
    pub fn last(&self) -> Position {
        self.entries.back().map_or(self.base, Entry::position)
    }

    /// Up to where the log, or a snapshot of its lineage, leads.
    pub fn covers(&self) -> LogIndex {
        let snapshot = self
            .snapshot
            .as_ref()
            .filter(|s| s.lineage == self.hard.lineage);
        let covered = snapshot.map_or(LogIndex::ZERO, |snapshot| snapshot.meta.last.index);
        self.last().index.max(covered)
    }

    /// Term of the entry at `index`, the base included.
    pub fn term(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        self.entry(index).map(|entry| entry.term)
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::Snapshot(snapshot) => self.snapshot = Some(snapshot),
            Record::Core(Write::HardState(bytes)) => {
                let before = core::mem::take(&mut self.hard);
                self.hard = HardState::decode(bytes.clone()).expect("the core reads what it wrote");
                // From one lineage straight into another: it starts where this log ends, and
                // shares its past.
                if !self.hard.lineage.is_none()
                    && self.hard.member == before.member
                    && let Some(snapshot) = &mut self.snapshot
                    && snapshot.lineage == before.lineage
                {
                    snapshot.lineage = self.hard.lineage;
                }
                self.hard_state = Some(bytes);
            }
            Record::Core(Write::Truncate(from)) => {
                assert!(
                    from > self.base.index,
                    "a truncation reaches into what was compacted"
                );
                while self.entries.back().is_some_and(|entry| entry.index >= from) {
                    self.entries.pop_back();
                }
                self.memberships.retain(|(index, _)| *index < from);
            }
            Record::Core(Write::Append(entries)) => {
                for entry in entries {
                    assert_eq!(entry.index, self.last().index.next(), "the log has no gaps");
                    assert!(
                        entry.term >= self.last().term,
                        "terms never decrease along a log"
                    );
                    if let Some(membership) = membership_of(&entry) {
                        self.memberships.push((entry.index, membership));
                    }
                    self.entries.push_back(entry);
                }
            }
            Record::Core(Write::Reset(position)) => {
                self.entries.clear();
                self.memberships.clear();
                self.base = position;
            }
            Record::Core(Write::Compact(upto)) => {
                while self
                    .entries
                    .front()
                    .is_some_and(|entry| entry.index <= upto)
                {
                    let entry = self.entries.pop_front().expect("the front exists");
                    self.base = entry.position();
                }
            }
            Record::Core(other) => unreachable!("a write the simulator does not know: {other:?}"),
        }
    }
}

/// One step that a crash cannot divide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A step the core asked for.
    Core(Write),
    /// A snapshot that the driver stores.
    Snapshot(Box<Snapshot>),
}

/// The disk of one node.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    durable: Image,
    written: Image,
    unsynced: VecDeque<Record>,
    /// Records written since the disk was new.
    count: u64,
}

impl Disk {
    /// What survives any crash from here on.
    pub fn durable(&self) -> &Image {
        &self.durable
    }

    /// What the process that wrote it reads.
    pub fn written(&self) -> &Image {
        &self.written
    }

    /// Writes a record, which survives crashes only once [`Disk::sync`] was told the number
    /// that this returns, or a later one.
    pub fn write(&mut self, record: Record) -> u64 {
        self.written.apply(record.clone());
        self.unsynced.push_back(record);
        self.count += 1;
        self.count
    }

    /// Makes every record up to number `upto` survive.
    pub fn sync(&mut self, upto: u64) {
        let unsynced = self.unsynced.len() as u64;
        let synced = self.count - unsynced;
        for record in self
            .unsynced
            .drain(..upto.saturating_sub(synced).min(unsynced) as usize)
        {
            self.durable.apply(record);
        }
    }

    /// What a crash leaves.
    pub fn crash(&mut self, unsynced: Unsynced, rng: &mut Rng) {
        let keep = match unsynced {
            Unsynced::Lost => 0,
            Unsynced::Torn => rng.below(self.unsynced.len() as u64 + 1) as usize,
            Unsynced::Kept => self.unsynced.len(),
        };
        for record in self.unsynced.drain(..).take(keep) {
            self.durable.apply(record);
        }
        self.written = self.durable.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> Entry {
        Entry {
            index: LogIndex(index),
            term: Term(term),
            body: Bytes::from_static(b"x"),
        }
    }

    fn append(entries: impl IntoIterator<Item = Entry>) -> Record {
        Record::Core(Write::Append(entries.into_iter().collect()))
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_a_prefix_of_the_rest() {
        for seed in 0..50 {
            let mut disk = Disk::default();
            let first = disk.write(append([entry(1, 1)]));
            disk.write(append([entry(2, 1)]));
            disk.sync(first);
            disk.write(append([entry(3, 1)]));
            let last = |image: &Image| image.last().index.0;
            assert_eq!((last(disk.durable()), last(disk.written())), (1, 3));
            let mut torn = disk.clone();
            torn.crash(Unsynced::Torn, &mut Rng::new(seed));
            assert!((1..=3).contains(&last(torn.durable())));
            assert_eq!(torn.durable(), torn.written());
            disk.crash(Unsynced::Lost, &mut Rng::new(seed));
            assert_eq!(last(disk.written()), 1);
        }
    }

    #[test]
    fn truncation_compaction_and_reset_move_the_log() {
        let mut disk = Disk::default();
        disk.write(append([entry(1, 1), entry(2, 1)]));
        disk.write(Record::Core(Write::Truncate(LogIndex(2))));
        disk.write(append([entry(2, 2), entry(3, 2)]));
        assert_eq!(disk.written().term(LogIndex(2)), Some(Term(2)));
        disk.write(Record::Core(Write::Compact(LogIndex(2))));
        let base = Position::new(Term(2), LogIndex(2));
        assert_eq!(
            (disk.written().base, disk.written().entry(LogIndex(2))),
            (base, None)
        );
        let reset = Position::new(Term(4), LogIndex(9));
        disk.write(Record::Core(Write::Reset(reset)));
        assert_eq!(
            (disk.written().last(), disk.written().entries.len()),
            (reset, 0)
        );
    }
}
