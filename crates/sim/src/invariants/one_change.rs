//! One uncommitted membership change at a time, of one voter, and none before the leader has
//! committed an entry of its term (Ongaro's correction of 2015).

use {
    super::{Fact, Invariant, Scene, Subject},
    crate::chronicle::{membership_of, memberships},
    mosaik_protocol::consensus::{EntryBody, LogIndex, Write},
};

#[derive(Default)]
pub(super) struct OneChange;

impl Invariant for OneChange {
    fn name(&self) -> &'static str {
        "one uncommitted membership change"
    }

    fn see(&mut self, subject: &Subject<'_>, fact: &Fact<'_>, _: &Scene<'_>) -> Result<(), String> {
        let Fact::Writes {
            lineage,
            write: Write::Append(entries),
        } = fact
        else {
            return Ok(());
        };
        if !subject.leading || *lineage != subject.lineage {
            return Ok(());
        }
        let mut pending: Vec<LogIndex> = subject
            .written
            .entries
            .iter()
            .filter(|entry| entry.index > subject.commit && membership_of(entry).is_some())
            .map(|entry| entry.index)
            .collect();
        let mut in_force = memberships(subject.written, LogIndex(u64::MAX))
            .first()
            .map(|first| (*first).clone());
        for entry in entries.iter().filter(|entry| entry.term == subject.term) {
            let Ok(EntryBody::Membership(next)) = entry.decode() else {
                continue;
            };
            if !pending.is_empty() {
                return Err(format!(
                    "changes the membership at {} while {pending:?} is not committed",
                    entry.index
                ));
            }
            if subject.written.term(subject.commit) != Some(subject.term) {
                return Err(format!(
                    "changes the membership at {} before committing in term {}",
                    entry.index, subject.term
                ));
            }
            if in_force
                .as_ref()
                .is_some_and(|before| before.voters_changed(&next) > 1)
            {
                return Err(format!("changes more than one voter at {}", entry.index));
            }
            pending.push(entry.index);
            in_force = Some(next);
        }
        Ok(())
    }
}
