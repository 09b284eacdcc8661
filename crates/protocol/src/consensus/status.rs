//! What a member can tell about itself.

use super::{
    core::{Core, Role},
    entry::{Entry, EntryBody, Recovery},
    ids::{Index, Lineage, LogIndex, Member, Position, Term},
    input::{Event, Output, Outputs},
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
            sealed: self.log.seal().is_some(),
            quiet: match &self.role {
                Role::Leader(leader) => leader.quiet,
                _ => self.following.quiet,
            },
        }
    }

    /// Goes on alone: the majority is lost for good. The new lineage shares the old one's past,
    /// and treats whatever is in this member's log as committed.
    pub(super) fn recover(&mut self, out: &mut Outputs) {
        let able = matches!(self.role, Role::Follower | Role::Candidate(_)) && !self.is_observer();
        if !able || self.lineage().is_none() || self.log.last_index().is_zero() {
            return;
        }
        let (parent, survivor) = (self.lineage(), self.me());
        let last = self.log.last();
        let salt = [last.index.0.to_le_bytes(), last.term.0.to_le_bytes()].concat();
        let parts: [&[u8]; 4] = [
            b"mosaik consensus recovery",
            &parent.0,
            &survivor.peer.0,
            &salt,
        ];
        let lineage = Lineage(*mosaik_primitives::Digest::from_parts(&parts).as_bytes());
        let hard = self.storing.change();
        hard.lineage = lineage;
        hard.term = hard.term.next();
        hard.vote = Some(survivor);
        let term = hard.term;
        self.storing.drop_held();
        let body = EntryBody::Recovery(Recovery {
            parent,
            lineage,
            survivor,
        });
        let index = last.index.next();
        let entry = Entry {
            index,
            term,
            body: body.encode(),
        };
        self.log.append(entry.clone(), &body);
        self.storing.append(entry);
        self.foreign.clear();
        out.push(Output::Event(Event::Lineage(lineage)));
        self.announce_membership(out);
        self.stand(false, out);
    }
}
