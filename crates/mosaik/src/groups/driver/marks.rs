//! [`Marks`]: how the numbers of commands and of log entries go together, and how much there is
//! since the log was cut last.
//!
//! Only some places are remembered: a log is cut at one of them, or at the end of a snapshot.

use {
    mosaik_protocol::consensus::{CommittedEntry, Index, LogIndex},
    std::collections::VecDeque,
};

/// Entries handed out after which a member asks whether its log may be cut.
pub(super) const CUT_ENTRIES: u64 = 8_192;
/// Bytes of entries handed out after which it asks, whatever their number.
pub(super) const CUT_BYTES: u64 = 4 << 20;
/// Entries that stay in the log behind a snapshot, for members that lag a little, ...
const TAIL_ENTRIES: u64 = 1_024;
/// ... or bytes of entries, whichever is less. Well within what a core keeps in memory, where it
/// can cut.
const TAIL_BYTES: u64 = 256 << 10;
/// What an entry is taken to cost besides its body, bytes.
const ENTRY_BYTES: u64 = 64;

/// Places remembered at most; beyond that every other one is forgotten.
const KEPT: usize = 512;
/// Entries between places remembered, ...
const STEP_ENTRIES: u64 = 128;
/// ... or bytes, whichever is less.
const STEP_BYTES: u64 = 64 << 10;

/// A place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) index: LogIndex,
    /// Commands up to there.
    pub(super) commands: Index,
    /// Bytes handed out up to there.
    bytes: u64,
}

/// Places in what was handed out to be applied.
#[derive(Debug, Default)]
pub(super) struct Marks {
    places: VecDeque<Mark>,
    last: Mark,
    /// As of when the member asked last whether its log may be cut.
    asked: Mark,
    /// Whether the log could not be cut then, but can be when a tail has followed.
    soon: bool,
}

impl Marks {
    /// The log begins after this place, or nothing of what is before it is known.
    pub(super) fn start(index: LogIndex, commands: Index) -> Self {
        let last = Mark {
            index,
            commands,
            bytes: 0,
        };
        Self {
            places: VecDeque::new(),
            last,
            asked: last,
            soon: false,
        }
    }

    /// These are handed out.
    pub(super) fn note(&mut self, entries: &[CommittedEntry]) {
        for entry in entries {
            self.last = Mark {
                index: entry.entry.index,
                commands: entry.before.plus(u64::from(entry.count)),
                bytes: self.last.bytes + entry.entry.body.len() as u64 + ENTRY_BYTES,
            };
            let far = self.places.back().is_none_or(|before| {
                self.last.index.distance(before.index) >= STEP_ENTRIES
                    || self.last.bytes - before.bytes >= STEP_BYTES
            });
            if far {
                self.places.push_back(self.last);
            }
        }
        if self.places.len() > KEPT {
            let mut odd = false;
            self.places.retain(|_| {
                odd = !odd;
                odd
            });
        }
    }

    /// Whether there is so much that it is time to ask whether the log may be cut. Where a
    /// snapshot of `snapshot_bytes` has to be stored for that, at least as much is wanted.
    pub(super) const fn is_due(&self, snapshot_bytes: u64) -> bool {
        let bytes = self.last.bytes - self.asked.bytes;
        let entries = self.last.index.0.saturating_sub(self.asked.index.0);
        let is_due = if self.soon {
            // The end of that snapshot is out of the tail by then.
            entries >= 2 * TAIL_ENTRIES || bytes >= 2 * TAIL_BYTES
        } else {
            entries >= CUT_ENTRIES || bytes >= CUT_BYTES
        };
        is_due && bytes >= snapshot_bytes
    }

    /// The member has asked.
    pub(super) const fn asked(&mut self) {
        self.asked = self.last;
        self.soon = false;
    }

    /// A snapshot was taken, and the core did not remember the place where the log was to be cut:
    /// one that is quiet keeps nothing in memory. The end of the snapshot it will remember.
    pub(super) const fn ask_soon(&mut self) {
        self.soon = true;
    }

    /// Where to cut: up to command `safe`, at or before `snapshot`, and so that a tail stays.
    pub(super) fn cut(&self, snapshot: (LogIndex, Index), safe: Index) -> Option<Mark> {
        let leaves_tail = |mark: &Mark| {
            self.last.index.distance(mark.index) >= TAIL_ENTRIES
                || self.last.bytes.saturating_sub(mark.bytes) >= TAIL_BYTES
        };
        let fits =
            |mark: &&Mark| mark.index <= snapshot.0 && mark.commands <= safe && leaves_tail(mark);
        let mark = self.places.iter().rev().find(fits).copied()?;
        // The end of the snapshot is a place to cut too, and needs nothing in memory.
        let after = self.places.iter().find(|after| after.index >= snapshot.0);
        let whole = snapshot.1 <= safe && after.is_some_and(leaves_tail);
        Some(if whole {
            Mark {
                index: snapshot.0,
                commands: snapshot.1,
                ..mark
            }
        } else {
            mark
        })
    }

    /// Commands up to the last place that is known to be at or before `index`.
    pub(super) fn commands_at(&self, index: LogIndex) -> Index {
        let mark = self.places.iter().rev().find(|mark| mark.index <= index);
        mark.map_or(Index::ZERO, |mark| mark.commands)
    }

    /// The log was cut there.
    pub(super) fn forget(&mut self, upto: LogIndex) {
        while self.places.front().is_some_and(|mark| mark.index < upto) {
            self.places.pop_front();
        }
    }

    /// Bytes handed out since `index`, as far as is known.
    pub(super) fn bytes_since(&self, index: LogIndex) -> u64 {
        let mark = self.places.iter().find(|mark| mark.index >= index);
        mark.map_or(0, |mark| self.last.bytes - mark.bytes)
    }
}

#[cfg(test)]
mod tests {
    use {
        super::*,
        bytes::Bytes,
        mosaik_protocol::consensus::{Entry, Term},
    };

    /// Entries of three commands each.
    fn entries(range: core::ops::RangeInclusive<u64>, bytes: usize) -> Vec<CommittedEntry> {
        let body = Bytes::from(vec![0; bytes]);
        range
            .map(|index| CommittedEntry {
                entry: Entry {
                    index: LogIndex(index),
                    term: Term(1),
                    body: body.clone(),
                },
                before: Index((index - 1) * 3),
                count: 3,
            })
            .collect()
    }

    fn all(marks: &Marks) -> (LogIndex, Index) {
        (marks.last.index, marks.last.commands)
    }

    #[test]
    fn it_is_time_after_many_entries_or_many_bytes_or_as_many_as_a_snapshot_has() {
        let mut marks = Marks::default();
        marks.note(&entries(1..=CUT_ENTRIES - 1, 1));
        assert!(!marks.is_due(0));
        marks.note(&entries(CUT_ENTRIES..=CUT_ENTRIES, 1));
        assert!(marks.is_due(0) && marks.is_due(500_000) && !marks.is_due(600_000));
        marks.asked();
        assert!(!marks.is_due(0));
        marks.note(&entries(CUT_ENTRIES + 1..=CUT_ENTRIES + 5, 1 << 20));
        assert!(marks.is_due(5 << 20) && !marks.is_due(6 << 20));
        marks.asked();
        marks.ask_soon();
        assert!(!marks.is_due(0));
        marks.note(&entries(CUT_ENTRIES + 6..=CUT_ENTRIES + 6, 1 << 20));
        assert!(marks.is_due(0));
    }

    #[test]
    fn a_tail_stays_and_nothing_beyond_what_is_safe_or_in_the_snapshot_goes() {
        let mut marks = Marks::default();
        marks.note(&entries(1..=10_000, 10));
        let everything = Index(u64::MAX);
        let cut = marks.cut(all(&marks), everything).expect("somewhere");
        let tail = 10_000 - cut.index.0;
        assert!(
            (TAIL_ENTRIES..TAIL_ENTRIES + STEP_ENTRIES).contains(&tail),
            "{tail}"
        );
        assert_eq!(cut.commands.0, cut.index.0 * 3);
        let cut = marks.cut(all(&marks), Index(6_000)).expect("somewhere");
        assert!(
            (2_000 - STEP_ENTRIES..=2_000).contains(&cut.index.0),
            "{cut:?}"
        );
        // A snapshot that the log has left behind is a place to cut.
        let cut = marks.cut((LogIndex(5_000), Index(15_000)), everything);
        assert_eq!(cut.map(|cut| cut.index), Some(LogIndex(5_000)));
        let cut = marks.cut((LogIndex(5_000), Index(15_000)), Index(14_999));
        assert!(cut.expect("somewhere").index < LogIndex(5_000));
        assert_eq!(marks.cut(all(&marks), Index(2)), None);
    }

    #[test]
    fn large_entries_leave_a_short_tail() {
        let mut marks = Marks::default();
        marks.note(&entries(1..=100, 64 << 10));
        let cut = marks.cut(all(&marks), Index(u64::MAX)).expect("somewhere");
        assert!((94..=96).contains(&cut.index.0), "{cut:?}");
    }

    #[test]
    fn memory_is_bounded_however_long_nothing_is_cut() {
        let mut marks = Marks::start(LogIndex(50), Index(150));
        for start in 0..300 {
            marks.note(&entries(51 + start * 1_000..=50 + (start + 1) * 1_000, 1));
        }
        assert!(marks.places.len() <= KEPT);
        let cut = marks.cut(all(&marks), Index(600_000)).expect("somewhere");
        assert_eq!(marks.commands_at(cut.index), cut.commands);
        marks.forget(cut.index);
        assert_eq!(marks.places.front(), Some(&cut));
    }
}
