//! [`GroupStatus`]: a member's view of itself and its group.

use {
    super::{
        error::Halted,
        index::{Index, Term},
    },
    crate::PeerId,
    mosaik_primitives::Digest,
    mosaik_protocol::consensus::{self, Member},
};

/// What a member does at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Looks for the others: the group has not formed, or this member has not found it.
    #[default]
    Joining,
    /// Follows a leader, or waits for one.
    Follower,
    /// Stands for election.
    Candidate,
    /// Leads.
    Leader,
    /// Hands over to the other side of a group that had formed twice.
    Merging,
    /// Has stopped or left.
    Stopped,
}

impl From<consensus::RoleName> for Role {
    fn from(role: consensus::RoleName) -> Self {
        use consensus::RoleName;
        match role {
            RoleName::Fresh => Self::Joining,
            RoleName::PreCandidate | RoleName::Candidate => Self::Candidate,
            RoleName::Leader => Self::Leader,
            RoleName::Retired => Self::Merging,
            RoleName::Stopped => Self::Stopped,
            _ => Self::Follower,
        }
    }
}

/// What a member is to the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Counted for majorities.
    Voter,
    /// Catching up, or standing by beyond the number of voters.
    Learner,
    /// Reads only.
    Observer,
}

impl From<consensus::Standing> for Standing {
    fn from(standing: consensus::Standing) -> Self {
        match standing {
            consensus::Standing::Voter => Self::Voter,
            consensus::Standing::Learner => Self::Learner,
            consensus::Standing::Observer => Self::Observer,
        }
    }
}

/// A member as the group's log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The node.
    pub peer: PeerId,
    /// Which life of it: another one each time it starts without its log.
    pub incarnation: u64,
    /// What it is to the group.
    pub standing: Standing,
}

/// A member's view of itself and its group, as of the last time something happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupStatus {
    /// What this member does.
    pub role: Role,
    /// Which life of this node this member is.
    pub incarnation: u64,
    /// The history it belongs to; `None` while it has not found the group.
    pub lineage: Option<Digest>,
    /// Its term.
    pub term: Term,
    /// Whom it follows; itself when it leads.
    pub leader: Option<PeerId>,
    /// Commands in its log, committed or not.
    pub last: Index,
    /// Commands it knows to be committed.
    pub committed: Index,
    /// Entries in its log, those that concern the group alone included. What was cut off is not
    /// counted: the log of a member whose state synchronisation allows it is cut now and then.
    pub log_entries: u64,
    /// Commands covered by the latest snapshot; zero while there is none.
    pub snapshot: Index,
    /// The members, voters first.
    pub members: Vec<GroupMember>,
    /// Whether the group has fallen silent for lack of work.
    pub quiet: bool,
    /// The log entry that made them members.
    pub(crate) membership_index: u64,
    /// Why it has stopped on this node, if it has.
    pub halted: Option<Halted>,
}

impl GroupStatus {
    /// Those who are counted for majorities.
    pub fn voters(&self) -> impl Iterator<Item = &GroupMember> {
        self.of(Standing::Voter)
    }

    /// The members of one standing.
    pub fn of(&self, standing: Standing) -> impl Iterator<Item = &GroupMember> {
        self.members
            .iter()
            .filter(move |member| member.standing == standing)
    }
}

/// A member as programs see it; `None` for bytes that are no node's key, which no peer that was
/// authenticated can have.
pub(crate) fn peer_id(member: &Member) -> Option<PeerId> {
    PeerId::from_bytes(&member.peer.0).ok()
}

/// The members, as programs see them.
pub(crate) fn members(membership: &consensus::Membership) -> Vec<GroupMember> {
    membership
        .members()
        .filter_map(|(member, standing)| {
            Some(GroupMember {
                peer: peer_id(member)?,
                incarnation: member.incarnation,
                standing: standing.into(),
            })
        })
        .collect()
}
