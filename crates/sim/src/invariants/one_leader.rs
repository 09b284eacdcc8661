//! Election safety (Raft, figure 3): one leader a term and lineage.

use super::{Fact, Invariant, Scene, Subject};

#[derive(Default)]
pub(super) struct OneLeader;

impl Invariant for OneLeader {
    fn name(&self) -> &'static str {
        "one leader a term and lineage"
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
        match scene
            .chronicle
            .leaders
            .get(&(subject.lineage, subject.term))
        {
            Some(other) if *other != subject.member => Err(format!(
                "leads term {} of {}, which {other} led",
                subject.term, subject.lineage
            )),
            _ => Ok(()),
        }
    }
}
