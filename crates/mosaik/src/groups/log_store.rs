//! [`Storage`]: where a member keeps the group's commands, in their order.
//!
//! This is the log as machines see it: committed commands only, by their public index. What
//! makes a member safe (votes, entries that are not committed yet) is kept elsewhere.

use {
    super::{
        cursor::Cursor,
        index::{Index, IndexRange, Term},
        machine::Command,
    },
    mosaik_primitives::time::UnixMillis,
    std::collections::VecDeque,
};

/// Keeps a group's commands by their index, without gaps.
///
/// The commands held are those of [`Storage::available`]: a beginning may be missing after
/// [`Storage::prune_prefix`] or [`Storage::reset_to`].
pub trait Storage<C: Command>: Send + 'static {
    /// Appends a command taken in `term`; returns its index, the one after the last.
    fn append(&mut self, command: C, term: Term) -> Index;

    /// As [`Storage::append`], with the committed time of the command. A store that keeps no
    /// times is good for machines that do not ask for them.
    fn append_at(&mut self, command: C, term: Term, _time: UnixMillis) -> Index {
        self.append(command, term)
    }

    /// The indices held, first to last. Empty, with a first index one beyond the last, when
    /// nothing is held.
    fn available(&self) -> IndexRange;

    /// The command at `index` and its term, if it is held.
    fn get(&self, index: Index) -> Option<(C, Term)>;

    /// The commands of `range` that are held, in order.
    fn get_range(&self, range: &IndexRange) -> Vec<(Term, Index, C)>;

    /// Removes the command at `at` and all after it. Commands that were pruned stay counted.
    fn truncate(&mut self, at: Index);

    /// The last command that was appended and not truncated, held or pruned. Zero for none.
    fn last(&self) -> Cursor;

    /// The term of the command at `index`, if it is held.
    fn term_at(&self, index: Index) -> Option<Term> {
        self.get(index).map(|(_, term)| term)
    }

    /// The committed time of the command at `index`, if it is held and times are kept.
    fn time_at(&self, _index: Index) -> Option<UnixMillis> {
        None
    }

    /// Removes the commands up to and including `up_to`. When that is at or beyond the last, all
    /// are removed and [`Storage::last`] stays what it was.
    fn prune_prefix(&mut self, up_to: Index);

    /// Removes everything; the next command appended follows `cursor`, which
    /// [`Storage::last`] gives until then.
    ///
    /// The provided implementation only removes what it can. Stores that prune, or that are to
    /// go on after a snapshot, implement it: a group whose store is somewhere else afterwards
    /// stops on this node.
    fn reset_to(&mut self, cursor: Cursor) {
        self.truncate(Index::one());
        self.prune_prefix(cursor.index());
    }
}

/// Keeps the commands in memory. Lost when the process ends.
#[derive(Debug)]
pub struct InMemoryLogStore<C: Command> {
    entries: VecDeque<Held<C>>,
    /// The command before the first that is held.
    base: Cursor,
}

#[derive(Debug)]
struct Held<C> {
    command: C,
    term: Term,
    time: UnixMillis,
}

impl<C: Command> Default for InMemoryLogStore<C> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            base: Cursor::zero(),
        }
    }
}

impl<C: Command> InMemoryLogStore<C> {
    /// The place of `index` among the entries held.
    fn place(&self, index: Index) -> Option<usize> {
        let place = index.as_u64().checked_sub(self.base.index().as_u64() + 1)?;
        usize::try_from(place)
            .ok()
            .filter(|place| *place < self.entries.len())
    }

    fn held(&self, index: Index) -> Option<&Held<C>> {
        self.entries.get(self.place(index)?)
    }

    fn last_index(&self) -> Index {
        self.base.index() + self.entries.len()
    }
}

impl<C: Command> Storage<C> for InMemoryLogStore<C> {
    fn append(&mut self, command: C, term: Term) -> Index {
        self.append_at(command, term, UnixMillis::default())
    }

    fn append_at(&mut self, command: C, term: Term, time: UnixMillis) -> Index {
        self.entries.push_back(Held {
            command,
            term,
            time,
        });
        self.last_index()
    }

    fn available(&self) -> IndexRange {
        self.base.index().next()..=self.last_index()
    }

    fn get(&self, index: Index) -> Option<(C, Term)> {
        let held = self.held(index)?;
        Some((held.command.clone(), held.term))
    }

    fn get_range(&self, range: &IndexRange) -> Vec<(Term, Index, C)> {
        let first = (*range.start()).max(self.base.index().next());
        let last = (*range.end()).min(self.last_index());
        let (Some(from), Some(upto)) = (self.place(first), self.place(last)) else {
            return Vec::new();
        };
        if range.is_empty() {
            return Vec::new();
        }
        let held = self.entries.range(from..=upto).zip(first.as_u64()..);
        held.map(|(held, index)| (held.term, Index::from(index), held.command.clone()))
            .collect()
    }

    fn truncate(&mut self, at: Index) {
        let kept = at.prev() - self.base.index();
        self.entries.truncate(kept.as_usize());
    }

    fn last(&self) -> Cursor {
        self.entries
            .back()
            .map_or(self.base, |held| Cursor::new(held.term, self.last_index()))
    }

    fn term_at(&self, index: Index) -> Option<Term> {
        self.held(index).map(|held| held.term)
    }

    fn time_at(&self, index: Index) -> Option<UnixMillis> {
        self.held(index).map(|held| held.time)
    }

    fn prune_prefix(&mut self, up_to: Index) {
        let up_to = up_to.min(self.last_index());
        let Some(term) = self.term_at(up_to) else {
            return;
        };
        let removed = up_to.distance(&self.base.index()) as usize;
        self.entries.drain(..removed);
        self.entries.shrink_to(2 * self.entries.len());
        self.base = Cursor::new(term, up_to);
    }

    fn reset_to(&mut self, cursor: Cursor) {
        *self = Self {
            entries: VecDeque::new(),
            base: cursor,
        };
    }
}

#[cfg(test)]
mod tests;
