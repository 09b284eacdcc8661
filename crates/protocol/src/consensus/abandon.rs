//! A lineage that has nothing but its genesis: who may lead it, and who may forget it.
//!
//! Taking a genesis is a vote for its founder and nothing more: whoever holds no other entry has
//! acknowledged nothing that anyone may rely on. Like a member that loses its disk, it comes back
//! as another one.
//!
//! The first leader of a lineage takes the votes of [`Core::founders_needed`] of its voters, which
//! may be more than a majority of them: a genesis may name few, and each node takes one genesis only.
//! Where `min_voters` is more than half of all nodes, two lineages can then not both have leaders.
//! For that a member leaves such a lineage only for one that has a leader, or once it cannot have
//! one itself, which is when too many of its voters have taken another genesis. Voters that come back
//! as other members, because they have forgotten everything, are not waited for: of those the
//! others cannot know what they had promised.

use super::{
    core::{Core, Role},
    formation::Fresh,
    ids::{Lineage, LogIndex, Member},
    input::Outputs,
    merge::Foreign,
    mutants::mutant,
};

impl Core {
    /// A peer that the genesis names is another member now.
    pub(super) fn note_replaced(&mut self, newer: Member, out: &mut Outputs) {
        if !self.has_only_genesis() {
            return;
        }
        let mut voters = self.log.membership().voters().iter();
        let replaced = voters
            .find(|v| v.peer == newer.peer && v.incarnation < newer.incarnation)
            .copied();
        if let Some(member) = replaced {
            let lineage = Lineage::NONE;
            self.foreign
                .insert(member.peer, Foreign { member, lineage });
            self.abandon_if_blocked(out);
        }
    }

    /// Votes that it takes at least to lead: as many as founding takes, until an entry after the
    /// genesis shows that somebody has led, less those who forgot that they are voters.
    pub(super) fn founders_needed(&self) -> usize {
        if !self.has_only_genesis() || mutant!("founded-by-few") {
            return 0;
        }
        self.min_voters() - self.lost_to(Lineage::is_none).min(self.min_voters())
    }

    fn min_voters(&self) -> usize {
        let voters = self.log.membership().voters().len();
        voters.min(self.config.min_voters as usize)
    }

    /// Voters of the genesis that are known to belong to such a lineage, or to be another member
    /// that belongs to none.
    fn lost_to(&self, lineage: impl Fn(&Lineage) -> bool) -> usize {
        let voters = self.log.membership().voters().iter();
        let lost = voters.filter(|voter| {
            let foreign = self.foreign.get(&voter.peer);
            foreign.is_some_and(|known| known.member == **voter && lineage(&known.lineage))
        });
        lost.count()
    }

    pub(super) fn has_only_genesis(&self) -> bool {
        self.log.last_index() == LogIndex(1) && self.commit.is_zero()
    }

    /// Whether enough of those whom the genesis names have refused it for good, or have forgotten it:
    /// then nobody can ever rely on this lineage, and the member is free again.
    pub(super) fn abandon_if_blocked(&mut self, out: &mut Outputs) {
        let membership = self.log.membership();
        if !self.has_only_genesis()
            || self.now < self.following.heard + self.config.election_timeout
        {
            return;
        }
        let voters = membership.voters().len();
        let (refused, lost) = (self.lost_to(|of| !of.is_none()), self.lost_to(|_| true));
        if lost > voters - membership.quorum() || refused > voters - self.min_voters() {
            self.forget_lineage(out);
        }
    }

    /// A crash while founding may leave the vote in the store and not the genesis. Nobody else has
    /// it then: it is offered once it is stored.
    pub(super) fn forget_lost_genesis(&mut self, out: &mut Outputs) {
        let hard = self.storing.hard();
        let founded = !hard.lineage.is_none() && hard.vote == Some(hard.member);
        if founded && self.log.last_index().is_zero() {
            self.forget_lineage(out);
        }
    }

    /// Belongs to no lineage again, as another member.
    pub(super) fn forget_lineage(&mut self, out: &mut Outputs) {
        self.leave_lineage(out);
        self.role = Role::Fresh(Box::new(Fresh::new(self.now)));
    }
}
