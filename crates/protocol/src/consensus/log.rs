//! The log as the core sees it: the tail in memory, and what follows from all of it.
//!
//! The store holds every entry after [`Log::base`]. In memory are the latest ones: all that are
//! not yet stored and handed out, and before them as many as the cache may hold. What the log
//! implies (memberships, public indices, applied operations) is kept as of the log's end and cut
//! back together with it.

use {
    super::{
        entry::{Entry, EntryBody, Seal},
        ids::{Index, Lineage, LogIndex, OpRun, Position, Term},
        membership::Membership,
        mutants::mutant,
        state::SnapshotMeta,
        window::Window,
    },
    bytes::Bytes,
    mosaik_primitives::time::UnixMillis,
    std::collections::VecDeque,
};

/// What holds right after an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) at: Position,
    /// Commands up to and including the entry.
    pub(super) commands: Index,
    /// Latest committed time up to there.
    pub(super) time: UnixMillis,
}

#[derive(Debug)]
struct Slot {
    mark: Mark,
    count: u32,
    body: Bytes,
}

/// Bytes an entry is taken to cost besides its body.
pub(super) const ENTRY_OVERHEAD: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Log {
    /// The entry before the first that the store holds.
    base: Mark,
    /// The entry before the first in memory.
    edge: Mark,
    slots: VecDeque<Slot>,
    bytes: usize,
    /// Memberships by the index that brought them in force; never empty in a lineage that has
    /// an entry. Older ones than the one in force at the applied index are dropped.
    memberships: Vec<(LogIndex, Membership)>,
    window: Window,
    seal: Option<(LogIndex, Seal)>,
}

impl Log {
    /// The log after a snapshot and nothing else.
    pub(super) fn after(meta: &SnapshotMeta) -> Self {
        let edge = Mark {
            at: meta.last,
            commands: meta.commands,
            time: meta.time,
        };
        let mut log = Self {
            base: edge,
            edge,
            ..Self::default()
        };
        if !meta.last.index.is_zero() {
            log.memberships
                .push((meta.last.index, meta.membership.clone()));
        }
        if !mutant!("window-dropped") {
            log.window = meta.window.clone();
        }
        log
    }

    /// Takes note that the store holds what follows `base` too.
    pub(super) fn reach_back(&mut self, base: Mark) {
        assert!(
            base.at.index <= self.base.at.index,
            "a log begins before its snapshot ends"
        );
        self.base = base;
    }

    pub(super) fn base(&self) -> Mark {
        self.base
    }

    /// The end of the log.
    pub(super) fn end(&self) -> Mark {
        self.slots.back().map_or(self.edge, |slot| slot.mark)
    }

    pub(super) fn last(&self) -> Position {
        self.end().at
    }

    pub(super) fn last_index(&self) -> LogIndex {
        self.last().index
    }

    /// The first index in memory, were it there.
    pub(super) fn first_cached(&self) -> LogIndex {
        self.edge.at.index.next()
    }

    fn slot(&self, index: LogIndex) -> Option<&Slot> {
        let at = index.0.checked_sub(self.first_cached().0)?;
        self.slots.get(usize::try_from(at).ok()?)
    }

    /// What holds after `index`, when that is in memory or at its edge.
    pub(super) fn mark(&self, index: LogIndex) -> Option<Mark> {
        if index == self.edge.at.index {
            return Some(self.edge);
        }
        self.slot(index).map(|slot| slot.mark)
    }

    pub(super) fn term(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.at.index {
            return Some(self.base.at.term);
        }
        self.mark(index).map(|mark| mark.at.term)
    }

    pub(super) fn entry(&self, index: LogIndex) -> Option<Entry> {
        let slot = self.slot(index)?;
        Some(Entry {
            index,
            term: slot.mark.at.term,
            body: slot.body.clone(),
        })
    }

    /// The entry with the number of commands before it and in it.
    pub(super) fn numbered(&self, index: LogIndex) -> Option<(Entry, Index, u32)> {
        let slot = self.slot(index)?;
        let before = Index(slot.mark.commands.0 - u64::from(slot.count));
        Some((self.entry(index)?, before, slot.count))
    }

    /// Entries from `from` on that are in memory, at least one if there is one.
    pub(super) fn slice(&self, from: LogIndex, max_bytes: usize, max: usize) -> Vec<Entry> {
        let Some(at) = from.0.checked_sub(self.first_cached().0) else {
            return Vec::new();
        };
        let at = usize::try_from(at)
            .unwrap_or(usize::MAX)
            .min(self.slots.len());
        let mut bytes = 0;
        let wanted = self.slots.range(at..).take(max).take_while(|slot| {
            bytes += slot.body.len() + ENTRY_OVERHEAD;
            bytes <= max_bytes || bytes == slot.body.len() + ENTRY_OVERHEAD
        });
        wanted
            .map(|slot| {
                let Position { term, index } = slot.mark.at;
                Entry {
                    index,
                    term,
                    body: slot.body.clone(),
                }
            })
            .collect()
    }

    /// Bytes of the entries after `index` that are in memory.
    pub(super) fn bytes_after(&self, index: LogIndex) -> usize {
        let at = index.next().distance(self.first_cached()) as usize;
        let slots = self.slots.range(at.min(self.slots.len())..);
        slots.map(|slot| slot.body.len() + ENTRY_OVERHEAD).sum()
    }

    /// The membership in force.
    pub(super) fn membership(&self) -> &Membership {
        static NOBODY: std::sync::LazyLock<Membership> =
            std::sync::LazyLock::new(Membership::default);
        self.memberships
            .last()
            .map_or(&NOBODY, |(_, membership)| membership)
    }

    /// Where the membership in force came from.
    pub(super) fn membership_index(&self) -> LogIndex {
        self.memberships
            .last()
            .map_or(LogIndex::ZERO, |(index, _)| *index)
    }

    /// The membership that was in force at `index`, which is not before the applied index.
    pub(super) fn membership_at(&self, index: LogIndex) -> Option<&Membership> {
        self.memberships
            .iter()
            .rev()
            .find(|(at, _)| *at <= index)
            .map(|(_, m)| m)
    }

    pub(super) fn window(&self) -> &Window {
        &self.window
    }

    /// Where `lineage` was sealed, and for whom.
    pub(super) fn seal(&self, lineage: Lineage) -> Option<(LogIndex, Lineage)> {
        let (index, seal) = self.seal.as_ref()?;
        (seal.lineage == lineage).then_some((*index, seal.winner))
    }

    /// Adds the entry that follows the end. `body` is its decoded body.
    pub(super) fn append(&mut self, entry: Entry, body: &EntryBody) {
        let end = self.end();
        assert_eq!(entry.index, end.at.index.next(), "the log has no gaps");
        assert!(
            entry.term >= end.at.term,
            "terms never decrease along a log"
        );
        let mut mark = Mark {
            at: entry.position(),
            ..end
        };
        let mut count = 0;
        match body {
            EntryBody::Commands(commands) => {
                count = commands.count;
                self.record(&commands.runs, end.commands.next());
                mark.commands = end.commands.plus(u64::from(count));
                mark.time = end.time.max(commands.time);
            }
            EntryBody::Membership(membership) => {
                self.memberships.push((entry.index, membership.clone()));
            }
            EntryBody::Genesis(genesis) => {
                self.memberships
                    .push((entry.index, genesis.membership.clone()));
            }
            EntryBody::Recovery(recovery) => {
                let alone = Membership::new(vec![recovery.survivor], vec![], vec![]);
                self.memberships
                    .push((entry.index, alone.expect("one member is a membership")));
            }
            EntryBody::Seal(seal) => self.seal = Some((entry.index, seal.clone())),
            EntryBody::Noop => {}
        }
        self.bytes += entry.body.len() + ENTRY_OVERHEAD;
        self.slots.push_back(Slot {
            mark,
            count,
            body: entry.body,
        });
    }

    fn record(&mut self, runs: &[OpRun], first: Index) {
        let mut next = first;
        for run in runs {
            self.window.record(run, next);
            next = next.plus(u64::from(run.count));
        }
    }

    /// Removes the entries from `from` on, all of which are in memory: only entries that are not
    /// committed are ever removed, and those stay there.
    pub(super) fn truncate(&mut self, from: LogIndex) {
        assert!(
            from >= self.first_cached(),
            "committed entries are never removed"
        );
        let commands = self.end().commands;
        while self
            .slots
            .back()
            .is_some_and(|slot| slot.mark.at.index >= from)
        {
            let slot = self.slots.pop_back().expect("there is a last one");
            self.bytes -= slot.body.len() + ENTRY_OVERHEAD;
        }
        self.memberships.retain(|(index, _)| *index < from);
        if self.seal.as_ref().is_some_and(|(index, _)| *index >= from) {
            self.seal = None;
        }
        if self.end().commands < commands {
            self.window.truncate(self.end().commands);
        }
    }

    /// Drops entries up to `upto` from memory, oldest first, until `max_bytes` remain.
    pub(super) fn evict(&mut self, upto: LogIndex, max_bytes: usize) {
        while self.bytes > max_bytes
            && let Some(slot) = self.slots.front()
            && slot.mark.at.index <= upto
        {
            self.bytes -= slot.body.len() + ENTRY_OVERHEAD;
            self.edge = slot.mark;
            self.slots.pop_front();
        }
        if self.slots.capacity() > 64 && self.slots.len() < self.slots.capacity() / 8 {
            self.slots.shrink_to(16);
        }
    }

    /// Forgets operations that the window need not remember, of the first `applied` commands.
    pub(super) fn forget_operations(&mut self, applied: Index) {
        self.window.forget(applied);
    }

    /// Drops memberships that were no longer in force at `applied`.
    pub(super) fn forget_memberships(&mut self, applied: LogIndex) {
        let in_force = self
            .memberships
            .iter()
            .rposition(|(index, _)| *index <= applied);
        if let Some(at @ 1..) = in_force {
            self.memberships.drain(..at);
        }
    }

    /// Takes note that the store holds nothing up to `upto` any more.
    pub(super) fn compact(&mut self, upto: Mark) {
        assert!(
            upto.at.index >= self.base.at.index,
            "what was cut off does not come back"
        );
        self.evict(upto.at.index, 0);
        self.base = upto;
    }
}

#[cfg(test)]
mod tests {
    use {
        super::*,
        crate::consensus::{
            entry::encode_commands,
            ids::{Member, Origin, PeerKey},
            window::Seen,
        },
    };

    fn commands(index: u64, term: u64, seq: u64) -> Entry {
        let origin = Origin::Member(Member::default());
        let run = OpRun {
            origin,
            first: seq,
            count: 2,
        };
        let payload = [Bytes::from_static(b"a"), Bytes::from_static(b"b")];
        let body = encode_commands(UnixMillis(index), &[run], payload.iter());
        Entry {
            index: LogIndex(index),
            term: Term(term),
            body,
        }
    }

    fn put(log: &mut Log, entry: Entry) {
        let body = entry.decode().unwrap();
        log.append(entry, &body);
    }

    #[test]
    fn what_the_log_implies_is_cut_back_with_it() {
        let mut log = Log::default();
        put(&mut log, commands(1, 1, 1));
        let members = Membership::new(vec![Member::new(PeerKey([1; 32]), 1)], vec![], vec![]);
        let change = EntryBody::Membership(members.unwrap());
        put(
            &mut log,
            Entry {
                index: LogIndex(2),
                term: Term(1),
                body: change.encode(),
            },
        );
        put(&mut log, commands(3, 2, 3));
        assert_eq!(log.end().commands, Index(4));
        assert_eq!(log.membership().voters().len(), 1);
        log.truncate(LogIndex(2));
        assert_eq!(log.last(), Position::new(Term(1), LogIndex(1)));
        assert_eq!(log.end().commands, Index(2));
        assert!(log.membership().is_empty());
        let origin = Origin::Member(Member::default());
        assert_eq!(log.window().seen(&origin, 2), Seen::At(Index(2)));
        assert_eq!(log.window().seen(&origin, 3), Seen::New);
    }

    #[test]
    fn eviction_keeps_the_position_before_the_first_entry_in_memory() {
        let mut log = Log::default();
        for index in 1..=10 {
            put(&mut log, commands(index, 1, index * 2 - 1));
        }
        log.evict(LogIndex(6), 0);
        assert_eq!(log.first_cached(), LogIndex(7));
        assert_eq!(log.term(LogIndex(6)), Some(Term(1)));
        assert_eq!(log.term(LogIndex(5)), None);
        assert_eq!(log.bytes_after(LogIndex(6)), log.bytes);
        assert_eq!(log.bytes_after(LogIndex(8)), log.bytes / 2);
        assert_eq!(log.bytes_after(LogIndex(10)), 0);
        assert_eq!(log.slice(LogIndex(7), 1, 9).len(), 1);
        assert_eq!(log.slice(LogIndex(7), usize::MAX, 9).len(), 4);
        assert_eq!(log.numbered(LogIndex(8)).unwrap().1, Index(14));
    }
}
