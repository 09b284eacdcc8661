//! An entry is committed only when a majority of the voters that the log names have it on disk.
//!
//! A leader is judged by the membership in force where it stands, as soon as anything that it
//! does shows that it takes more for committed; members that hear of it later may not know that
//! membership yet.

use {
    super::{Fact, Invariant, Scene, Subject},
    crate::{chronicle::memberships, disk::Image},
    mosaik_protocol::consensus::{Lineage, LogIndex, Membership, Position},
    std::collections::HashMap,
};

#[derive(Default)]
pub(super) struct CommitMajority {
    shown: HashMap<Lineage, LogIndex>,
}

fn holds(image: &Image, lineage: Lineage, position: Position) -> bool {
    let snapshot = image.snapshot.as_ref();
    let covered = image.base.index > position.index
        || snapshot.is_some_and(|snapshot| {
            snapshot.lineage == lineage && snapshot.meta.last.index >= position.index
        });
    let held = covered || image.term(position.index) == Some(position.term);
    image.hard.lineage == lineage && held
}

fn judge<'m>(
    subject: &Subject<'_>,
    position: Position,
    memberships: impl Iterator<Item = &'m Membership>,
    scene: &Scene<'_>,
) -> Result<(), String> {
    let lineage = subject.lineage;
    let stored = |voter: &_| {
        scene
            .stored(voter)
            .is_some_and(|image| holds(image, lineage, position))
    };
    let mut voters = Vec::new();
    for membership in memberships {
        if membership.is_quorum(stored) {
            return Ok(());
        }
        voters.push(membership.voters());
    }
    let holders: Vec<_> = scene
        .images()
        .filter(|(_, image)| holds(image, lineage, position))
        .map(|(member, _)| member)
        .collect();
    Err(format!(
        "commits {position}, stored by {holders:?} of the voters {voters:?}"
    ))
}

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
        if subject.lineage.is_none() {
            return Ok(());
        }
        let shown = self.shown.entry(subject.lineage).or_default();
        if subject.leading && subject.commit > *shown {
            let Some(term) = subject.written.term(subject.commit) else {
                return Ok(());
            };
            *shown = subject.commit;
            let position = Position::new(term, subject.commit);
            // In one step it may commit and then change the membership, which it has not written.
            let written = memberships(subject.written, LogIndex(u64::MAX));
            let known = core::iter::once(subject.membership).chain(written.first().copied());
            return judge(subject, position, known, scene);
        }
        let Fact::Applies(applied) = fact else {
            return Ok(());
        };
        let position = applied.entry.position();
        if position.index <= *shown {
            return Ok(());
        }
        *shown = position.index;
        let logged = memberships(subject.written, position.index);
        let known = core::iter::once(subject.membership).chain(logged);
        judge(subject, position, known, scene)
    }
}
