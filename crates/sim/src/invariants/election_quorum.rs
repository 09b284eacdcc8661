//! A leader was elected by a majority of the voters that its log names, each of which stored its
//! vote, and voted once in the term.

use {
    super::{Fact, Invariant, Scene, Subject},
    crate::chronicle::memberships,
    mosaik_protocol::consensus::LogIndex,
};

#[derive(Default)]
pub(super) struct ElectionQuorum;

impl Invariant for ElectionQuorum {
    fn name(&self) -> &'static str {
        "elected by a stored majority, one vote each"
    }

    fn see(
        &mut self,
        subject: &Subject<'_>,
        fact: &Fact<'_>,
        scene: &Scene<'_>,
    ) -> Result<(), String> {
        let votes = &scene.chronicle.votes;
        match fact {
            Fact::Synced => {
                let hard = &subject.durable.hard;
                let place = (hard.member, hard.lineage, hard.term);
                match (votes.get(&place), hard.vote) {
                    (Some(before), now) if now != Some(*before) => Err(format!(
                        "voted for {before} in term {} and now stores {now:?}",
                        hard.term
                    )),
                    _ => Ok(()),
                }
            }
            Fact::Leads => {
                let memberships = memberships(subject.written, LogIndex(u64::MAX));
                let Some(members) = memberships.first() else {
                    return Err("leads without a membership".to_owned());
                };
                let voted = |voter: &_| {
                    votes.get(&(*voter, subject.lineage, subject.term)) == Some(&subject.member)
                };
                if members.is_quorum(voted) {
                    return Ok(());
                }
                let for_it: Vec<_> = members.voters().iter().filter(|v| voted(v)).collect();
                Err(format!(
                    "leads term {} by {for_it:?} of the voters {:?}",
                    subject.term,
                    members.voters()
                ))
            }
            _ => Ok(()),
        }
    }
}
