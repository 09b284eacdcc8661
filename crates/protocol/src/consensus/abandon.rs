//! Forgetting a lineage that has nothing but its genesis.
//!
//! Taking a genesis is a vote for its founder and nothing more: whoever holds no other entry has
//! acknowledged nothing that anyone may rely on. Like a member that loses its disk, it comes back
//! as another one.

use super::{
    core::{Core, Role},
    formation::Fresh,
    ids::{Lineage, LogIndex, Member},
    input::Outputs,
    merge::Foreign,
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

    pub(super) fn has_only_genesis(&self) -> bool {
        self.log.last_index() == LogIndex(1) && self.commit.is_zero()
    }

    /// Whether enough of those whom the genesis names have refused it for good: then nobody can
    /// ever rely on this lineage, and the member is free again.
    pub(super) fn abandon_if_blocked(&mut self, out: &mut Outputs) {
        let membership = self.log.membership();
        if !self.has_only_genesis()
            || self.now < self.following.heard + self.config.election_timeout
        {
            return;
        }
        let refused = membership
            .voters()
            .iter()
            .filter(|voter| {
                self.foreign
                    .get(&voter.peer)
                    .is_some_and(|f| f.member == **voter)
            })
            .count();
        if refused > membership.voters().len() - membership.quorum() {
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
