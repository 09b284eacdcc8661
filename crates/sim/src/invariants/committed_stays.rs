//! What a member holds of the committed past it keeps, across restarts too.

use {
    super::{Fact, Invariant, Scene, Subject},
    mosaik_protocol::consensus::Write,
};

#[derive(Default)]
pub(super) struct CommittedStays;

impl Invariant for CommittedStays {
    fn name(&self) -> &'static str {
        "committed never changes"
    }

    fn see(
        &mut self,
        subject: &Subject<'_>,
        fact: &Fact<'_>,
        scene: &Scene<'_>,
    ) -> Result<(), String> {
        let Some(line) = scene.chronicle.line(subject.lineage) else {
            return Ok(());
        };
        match fact {
            Fact::Writes {
                lineage,
                write: Write::Truncate(from),
            } if *lineage == subject.lineage && subject.written.hard.lineage == subject.lineage => {
                let entry = subject.written.entry(*from);
                // A member that is behind may follow a leader that was deposed before the entry was
                // committed, by others: it was not counted.
                let counted = line
                    .known_in(*from)
                    .is_some_and(|term| term <= subject.term);
                let committed = line.entry(*from).map(|committed| committed.entry.term);
                if counted && entry.is_some_and(|entry| Some(entry.term) == committed) {
                    return Err(format!("cuts its log from {from}, which is committed"));
                }
            }
            Fact::Starts => {
                for entry in &subject.durable.entries {
                    let committed = line.entry(entry.index);
                    if entry.index <= subject.durable.hard.commit
                        && committed.is_some_and(|committed| committed.entry != *entry)
                    {
                        return Err(format!(
                            "starts with {}, which differs from what was committed",
                            entry.position()
                        ));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
