//! Leader completeness (Raft, figure 3): a leader's log holds everything that was committed.

use super::{Fact, Invariant, Scene, Subject};

#[derive(Default)]
pub(super) struct LeaderCompleteness;

impl Invariant for LeaderCompleteness {
    fn name(&self) -> &'static str {
        "leader completeness"
    }

    fn see(
        &mut self,
        subject: &Subject<'_>,
        fact: &Fact<'_>,
        scene: &Scene<'_>,
    ) -> Result<(), String> {
        if !matches!(fact, Fact::Leads) {
            return Ok(());
        }
        let Some(line) = scene.chronicle.line(subject.lineage) else {
            return Ok(());
        };
        let base = subject.written.base.index.0 as usize;
        for committed in line.entries.iter().skip(base.saturating_sub(1)) {
            let position = committed.entry.position();
            if position.term > subject.term {
                // Committed in a later term: this leader is late, and will find out.
                return Ok(());
            }
            if subject.written.term(position.index) != Some(position.term) {
                return Err(format!(
                    "leads term {} without the committed entry {position}; its log ends at {}",
                    subject.term,
                    subject.written.last()
                ));
            }
        }
        Ok(())
    }
}
