//! An entry is committed only when a majority of the voters that the log names have it on disk.

use {
    super::{Fact, Invariant, Scene, Subject},
    crate::chronicle::memberships,
};

#[derive(Default)]
pub(super) struct CommitMajority;

impl Invariant for CommitMajority {
    fn name(&self) -> &'static str {
        "commit only by a stored majority"
    }

    fn see(
        &mut self,
        subject: &Subject<'_>,
        fact: &Fact<'_>,
        scene: &Scene<'_>,
    ) -> Result<(), String> {
        let Fact::Applies(applied) = fact else {
            return Ok(());
        };
        let position = applied.entry.position();
        let known = scene
            .chronicle
            .line(subject.lineage)
            .is_some_and(|line| line.entry(position.index).is_some());
        if known {
            return Ok(());
        }
        let holds = |image: &crate::disk::Image| {
            let snapshot = image.snapshot.as_ref();
            let covered = image.base.index > position.index
                || snapshot.is_some_and(|snapshot| {
                    snapshot.lineage == subject.lineage
                        && snapshot.meta.last.index >= position.index
                });
            image.hard.lineage == subject.lineage
                && (covered || image.term(position.index) == Some(position.term))
        };
        // A leader counts by its latest membership; whoever learns of the commit from it may
        // have a shorter log.
        let mut memberships = memberships(subject.written, position.index);
        memberships.insert(0, subject.membership);
        let majority = memberships
            .iter()
            .any(|members| members.is_quorum(|voter| scene.stored(voter).is_some_and(holds)));
        if majority {
            return Ok(());
        }
        let voters = memberships.first().map(|members| members.voters().to_vec());
        let holders: Vec<_> = scene
            .images()
            .filter(|(_, image)| holds(image))
            .map(|(member, _)| member)
            .collect();
        Err(format!(
            "applies {position}, stored by {holders:?} of the voters {voters:?}"
        ))
    }
}
