//! A member's term and commit index never go back within a lineage.

use {
    super::{Fact, Invariant, Scene, Subject},
    mosaik_protocol::consensus::{HardState, Lineage, LogIndex, Member, Term, Write},
    std::collections::HashMap,
};

#[derive(Default)]
pub(super) struct MonotoneTerms {
    stored: HashMap<(Member, Lineage), (Term, LogIndex)>,
}

impl Invariant for MonotoneTerms {
    fn name(&self) -> &'static str {
        "terms never decrease"
    }

    fn see(&mut self, subject: &Subject<'_>, fact: &Fact<'_>, _: &Scene<'_>) -> Result<(), String> {
        match fact {
            Fact::Writes {
                write: Write::HardState(bytes),
                ..
            } => {
                let hard = HardState::decode(bytes.clone()).map_err(|error| error.to_string())?;
                let before = &subject.written.hard;
                if before.member == hard.member
                    && before.lineage == hard.lineage
                    && (hard.term, hard.commit) < (before.term, LogIndex::ZERO)
                {
                    return Err(format!("goes from term {} to {}", before.term, hard.term));
                }
                Ok(())
            }
            Fact::Synced => {
                let hard = &subject.durable.hard;
                let known = self.stored.entry((hard.member, hard.lineage)).or_default();
                if hard.term < known.0 || (hard.term == known.0 && hard.commit < known.1) {
                    return Err(format!(
                        "stores term {} and commit {} after {known:?}",
                        hard.term, hard.commit
                    ));
                }
                *known = (hard.term, hard.commit);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
