//! Leader completeness (Raft, figure 3): a leader's log holds everything that was committed in
//! earlier terms. One that was elected long ago and learns of it late lacks what later leaders
//! committed, entries of older terms among it.

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
        let entries = line.entries.iter().zip(&line.known_in);
        for (committed, known_in) in entries.skip(base.saturating_sub(1)) {
            let position = committed.entry.position();
            if *known_in > subject.term {
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
