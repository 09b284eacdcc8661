//! Log matching (Raft, figure 3): two logs that hold an entry of the same index and term are equal
//! up to it. By induction it is enough that equal places have equal content and predecessors.

use {
    super::{Fact, Invariant, Scene, Subject},
    bytes::Bytes,
    mosaik_protocol::consensus::{Lineage, LogIndex, Term, Write},
    std::collections::HashMap,
};

#[derive(Default)]
pub(super) struct LogMatching {
    places: HashMap<(Lineage, LogIndex, Term), (Term, Bytes)>,
}

impl Invariant for LogMatching {
    fn name(&self) -> &'static str {
        "log matching"
    }

    fn see(&mut self, subject: &Subject<'_>, fact: &Fact<'_>, _: &Scene<'_>) -> Result<(), String> {
        let Fact::Writes {
            lineage,
            write: Write::Append(entries),
        } = fact
        else {
            return Ok(());
        };
        let mut previous = subject.written.last();
        for entry in entries {
            if entry.index != previous.index.next() {
                return Err(format!("appends {} behind {previous}", entry.position()));
            }
            let place = (*lineage, entry.index, entry.term);
            let content = (previous.term, entry.body.clone());
            let known = self.places.entry(place).or_insert_with(|| content.clone());
            if *known != content {
                return Err(format!(
                    "has another entry at {} than others",
                    entry.position()
                ));
            }
            previous = entry.position();
        }
        Ok(())
    }
}
