//! What a member can tell about itself.

use super::{
    core::{Core, Role},
    ids::{Index, Lineage, LogIndex, Member, Position, Term},
    membership::Membership,
};

/// What a member does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RoleName {
    /// Belongs to no lineage.
    Fresh,
    /// Follows, or waits for someone to follow. Learners and observers do nothing else.
    Follower,
    /// Asks whether it would be elected.
    PreCandidate,
    /// Stands for election, or founds.
    Candidate,
    /// Leads.
    Leader,
    /// Hands over what its lineage had committed.
    Retired,
    /// Does nothing any more.
    Stopped,
}

/// A member's view of itself and its group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// This member.
    pub me: Member,
    /// Its lineage; [`Lineage::NONE`] for none.
    pub lineage: Lineage,
    /// What it does.
    pub role: RoleName,
    /// Its term.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<Member>,
    /// Whom it follows; itself when it leads.
    pub leader: Option<Member>,
    /// The end of its log.
    pub last: Position,
    /// Commands in its log, committed or not.
    pub last_command: Index,
    /// How much of its log is stored.
    pub durable: LogIndex,
    /// How much of it is known committed.
    pub commit: LogIndex,
    /// Commands known committed.
    pub committed: Index,
    /// How much was handed out to be applied.
    pub emitted: LogIndex,
    /// How much is reported applied.
    pub applied: LogIndex,
    /// The last entry the store has dropped.
    pub base: LogIndex,
    /// The membership in force.
    pub membership: Membership,
    /// The entry that brought it in force.
    pub membership_index: LogIndex,
    /// Whether the log ends in a seal.
    pub sealed: bool,
    /// Whether the group has fallen silent, as far as this member is concerned.
    pub quiet: bool,
}

impl Core {
    /// What this member does.
    pub fn role(&self) -> RoleName {
        match &self.role {
            Role::Fresh(_) => RoleName::Fresh,
            Role::Follower => RoleName::Follower,
            Role::Candidate(candidate) if candidate.is_pre() => RoleName::PreCandidate,
            Role::Candidate(_) => RoleName::Candidate,
            Role::Leader(_) => RoleName::Leader,
            Role::Retired(_) => RoleName::Retired,
            Role::Stopped => RoleName::Stopped,
        }
    }

    /// Whether this member leads.
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// A view of everything; costs a copy of the membership.
    pub fn status(&self) -> Status {
        let hard = self.storing.hard();
        let end = self.log.end();
        Status {
            me: hard.member,
            lineage: hard.lineage,
            role: self.role(),
            term: hard.term,
            vote: hard.vote,
            leader: self.following.leader,
            last: end.at,
            last_command: end.commands,
            durable: self.storing.durable(),
            commit: self.commit,
            committed: self.committed_commands(),
            emitted: self.emitted,
            applied: self.applied,
            base: self.log.base().at.index,
            membership: self.log.membership().clone(),
            membership_index: self.log.membership_index(),
            sealed: self.seal_in_log().is_some(),
            quiet: match &self.role {
                Role::Leader(leader) => leader.quiet,
                _ => self.following.quiet,
            },
        }
    }
}
