//! State machine safety (Raft, figure 3): all members apply the same entries in the same order,
//! without gaps, each once in a run of the process.

use {
    super::{Fact, Invariant, Scene, Subject},
    mosaik_protocol::consensus::{Lineage, LogIndex},
    std::collections::BTreeMap,
};

#[derive(Default)]
pub(super) struct AppliedPrefix {
    reached: BTreeMap<usize, (Lineage, LogIndex)>,
}

impl Invariant for AppliedPrefix {
    fn name(&self) -> &'static str {
        "applied prefix equal on all"
    }

    fn see(
        &mut self,
        subject: &Subject<'_>,
        fact: &Fact<'_>,
        scene: &Scene<'_>,
    ) -> Result<(), String> {
        let reached = self.reached.entry(subject.node).or_default();
        let lineage = subject.lineage;
        match fact {
            Fact::Starts => {
                let hard = &subject.durable.hard;
                let snapshot = subject
                    .durable
                    .snapshot
                    .as_ref()
                    .filter(|s| s.lineage == hard.lineage);
                let index = snapshot.map_or(LogIndex::ZERO, |snapshot| snapshot.meta.last.index);
                *reached = (lineage, index);
            }
            Fact::Begins => *reached = (Lineage::NONE, LogIndex::ZERO),
            Fact::Continues { .. } => reached.0 = lineage,
            Fact::Installs(index) => {
                if reached.0 == lineage && *index <= reached.1 {
                    return Err(format!(
                        "installs a snapshot to {index} after {}",
                        reached.1
                    ));
                }
                *reached = (lineage, *index);
            }
            Fact::Applies(applied) => {
                let index = applied.entry.index;
                if reached.0 != lineage {
                    *reached = (lineage, LogIndex::ZERO);
                }
                if index != reached.1.next() {
                    return Err(format!("applies {index} after {}", reached.1));
                }
                reached.1 = index;
                let line = scene.chronicle.line(subject.lineage);
                let committed = line.and_then(|line| line.entry(index));
                if committed.is_some_and(|committed| committed != *applied) {
                    return Err(format!(
                        "applies another entry at {} than was committed there",
                        applied.entry.position()
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
