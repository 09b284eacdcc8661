//! What really happened: the committed log of every lineage, put together from what members
//! applied. Invariants compare members with it, not with each other.

use {
    crate::{disk::Image, machine::Command},
    mosaik_protocol::consensus::{
        CommittedEntry, Entry, EntryBody, Lineage, LogIndex, Member, Membership, Origin, Term,
    },
    std::collections::BTreeMap,
};

/// One lineage's committed past.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// Every committed entry, from index 1.
    pub entries: Vec<CommittedEntry>,
    /// For each entry, the term of the first member that applied it: it was committed by then.
    pub known_in: Vec<Term>,
    /// Every committed command with its operation, in order.
    pub commands: Vec<(Origin, u64, Command)>,
}

impl Line {
    /// The committed entry at `index`.
    pub fn entry(&self, index: LogIndex) -> Option<&CommittedEntry> {
        self.entries
            .get(usize::try_from(index.0.checked_sub(1)?).ok()?)
    }

    /// The term in which the entry at `index` was known to be committed.
    pub fn known_in(&self, index: LogIndex) -> Option<Term> {
        let at = usize::try_from(index.0.checked_sub(1)?).ok()?;
        self.known_in.get(at).copied()
    }

    /// The last index known to be committed.
    pub fn commit(&self) -> LogIndex {
        LogIndex(self.entries.len() as u64)
    }

    fn add(&mut self, applied: &CommittedEntry, term: Term) {
        self.entries.push(applied.clone());
        self.known_in.push(term);
        if let Ok(EntryBody::Commands(commands)) = applied.entry.decode() {
            let commands = commands.ops().zip(commands.iter());
            self.commands.extend(
                commands.map(|((origin, seq), bytes)| (origin, seq, Command::decode(bytes))),
            );
        }
    }
}

/// Everything that was committed in a run, and what only the dead knew.
#[derive(Clone, Debug, Default)]
pub struct Chronicle {
    /// Every lineage in which anything was committed.
    pub lineages: BTreeMap<Lineage, Line>,
    /// Disks of members that lost them, as they were: their promises were kept while they lived.
    pub graves: BTreeMap<Member, Image>,
    /// Votes that were stored, ever.
    pub votes: BTreeMap<(Member, Lineage, Term), Member>,
    /// Leaders seen.
    pub leaders: BTreeMap<(Lineage, Term), Member>,
}

impl Chronicle {
    /// The committed past of a lineage, empty when nothing was committed.
    pub fn line(&self, lineage: Lineage) -> Option<&Line> {
        self.lineages.get(&lineage)
    }

    /// A member goes on from what it has applied in a lineage of its own: that is the past there.
    pub fn go_on(&mut self, from: Lineage, into: Lineage, applied: LogIndex) {
        let mut line = Line::default();
        for entry in self.line(from).into_iter().flat_map(|line| &line.entries) {
            if entry.entry.index <= applied {
                line.add(entry, entry.entry.term);
            }
        }
        self.lineages.insert(into, line);
    }

    /// Takes note of an entry that a member applied in `term`, when it is the next of its lineage.
    pub fn note(&mut self, lineage: Lineage, applied: &CommittedEntry, term: Term) {
        let line = self.lineages.entry(lineage).or_default();
        if applied.entry.index == line.commit().next() {
            line.add(applied, term);
        }
    }
}

/// The membership that an entry puts in force, if it does.
pub fn membership_of(entry: &Entry) -> Option<Membership> {
    match entry.decode() {
        Ok(EntryBody::Membership(membership)) => Some(membership),
        Ok(EntryBody::Genesis(genesis)) => Some(genesis.membership),
        Ok(EntryBody::Recovery(recovery)) => {
            Membership::new(vec![recovery.survivor], vec![], vec![]).ok()
        }
        _ => None,
    }
}

/// The memberships that a log holds, the latest first, down to the one in force at `index`.
pub fn memberships(image: &Image, index: LogIndex) -> Vec<&Membership> {
    let mut found = Vec::new();
    for (at, membership) in image.memberships.iter().rev() {
        found.push(membership);
        if *at <= index {
            return found;
        }
    }
    if let Some(snapshot) = &image.snapshot {
        found.push(&snapshot.meta.membership);
    }
    found
}
