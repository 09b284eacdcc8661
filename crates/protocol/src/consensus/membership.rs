//! Who belongs to a group, as its log says, and what a quorum of them is.
//!
//! Quorum is computed here and nowhere else, from a [`Membership`] that came out of the log.
//! Connections, discovery and clocks are not inputs to anything in this file.

use {
    super::{
        config::limits,
        ids::Member,
        wire::{Reader, WireError, put_member, put_varint},
    },
    bytes::BytesMut,
};

/// What a member wants to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Preference {
    /// Stands for election like everyone.
    #[default]
    Normal,
    /// Votes, but waits `factor` times as long before it stands for election.
    Reluctant {
        /// Multiplies the election timeout; at least 1.
        factor: u32,
    },
    /// Replicates and reads; never votes, never leads, never founds.
    Observer,
}

/// What a member is, as the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Counted.
    Voter,
    /// Not counted: catching up, or standing by beyond the committee.
    Learner,
    /// Never counted.
    Observer,
}

/// The members of a group at one place of its log.
///
/// The lists are sorted and disjoint, and no peer is in them twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    voters: Vec<Member>,
    learners: Vec<Member>,
    observers: Vec<Member>,
}

impl Membership {
    /// The membership of these lists, in any order. Fails when a peer is in them twice or there
    /// are more members than [`limits::MEMBERS`].
    pub fn new(
        mut voters: Vec<Member>,
        mut learners: Vec<Member>,
        mut observers: Vec<Member>,
    ) -> Result<Self, WireError> {
        voters.sort_unstable();
        learners.sort_unstable();
        observers.sort_unstable();
        let this = Self {
            voters,
            learners,
            observers,
        };
        let mut peers: Vec<_> = this.members().map(|(member, _)| member.peer).collect();
        if peers.len() > limits::MEMBERS {
            return Err(WireError::TooLarge {
                what: "members",
                len: peers.len() as u64,
                max: limits::MEMBERS as u64,
            });
        }
        peers.sort_unstable();
        if peers.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(WireError::Invalid("a peer is a member twice"));
        }
        Ok(this)
    }

    /// Those who are counted, sorted.
    pub fn voters(&self) -> &[Member] {
        &self.voters
    }

    /// Those who catch up or stand by, sorted.
    pub fn learners(&self) -> &[Member] {
        &self.learners
    }

    /// Those who only read, sorted.
    pub fn observers(&self) -> &[Member] {
        &self.observers
    }

    /// Everyone with their standing: voters, learners, observers.
    pub fn members(&self) -> impl Iterator<Item = (&Member, Standing)> {
        let voters = self.voters.iter().map(|member| (member, Standing::Voter));
        let learners = self
            .learners
            .iter()
            .map(|member| (member, Standing::Learner));
        let observers = self
            .observers
            .iter()
            .map(|member| (member, Standing::Observer));
        voters.chain(learners).chain(observers)
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.voters.len() + self.learners.len() + self.observers.len()
    }

    /// Whether there is no member at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What `member` is; `None` for strangers and for other incarnations of a member's peer.
    pub fn standing(&self, member: &Member) -> Option<Standing> {
        if self.is_voter(member) {
            Some(Standing::Voter)
        } else if self.learners.binary_search(member).is_ok() {
            Some(Standing::Learner)
        } else if self.observers.binary_search(member).is_ok() {
            Some(Standing::Observer)
        } else {
            None
        }
    }

    /// Whether `member` is counted.
    pub fn is_voter(&self, member: &Member) -> bool {
        self.voters.binary_search(member).is_ok()
    }

    /// How many voters are a majority.
    pub fn quorum(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// Whether those voters for whom `holds` are a majority. Never true without voters.
    pub fn is_quorum(&self, mut holds: impl FnMut(&Member) -> bool) -> bool {
        self.voters.iter().filter(|voter| holds(voter)).count() >= self.quorum()
    }

    /// The highest value that a majority of voters has reached.
    pub fn quorum_value<T: Copy + Ord + Default>(&self, mut value: impl FnMut(&Member) -> T) -> T {
        let mut values: Vec<T> = self.voters.iter().map(&mut value).collect();
        values.sort_unstable_by(|a, b| b.cmp(a));
        values.get(self.quorum() - 1).copied().unwrap_or_default()
    }

    /// This membership with `member` as `standing`, or without it. The old place of the peer,
    /// in whatever incarnation, is given up.
    #[must_use]
    pub fn with(&self, member: Member, standing: Option<Standing>) -> Self {
        let without = |list: &[Member]| -> Vec<Member> {
            list.iter()
                .copied()
                .filter(|other| other.peer != member.peer)
                .collect()
        };
        let mut next = Self {
            voters: without(&self.voters),
            learners: without(&self.learners),
            observers: without(&self.observers),
        };
        let list = match standing {
            Some(Standing::Voter) => &mut next.voters,
            Some(Standing::Learner) => &mut next.learners,
            Some(Standing::Observer) => &mut next.observers,
            None => return next,
        };
        let at = list.binary_search(&member).unwrap_or_else(|at| at);
        list.insert(at, member);
        next
    }

    /// How many voters are in one of the two memberships but not in the other. A logged change
    /// may differ from its predecessor by one at most (Ongaro's dissertation, §4.1).
    pub fn voters_changed(&self, other: &Self) -> usize {
        let missing = |a: &Self, b: &Self| a.voters.iter().filter(|v| !b.is_voter(v)).count();
        missing(self, other) + missing(other, self)
    }

    pub(super) fn encode(&self, buf: &mut BytesMut) {
        for list in [&self.voters, &self.learners, &self.observers] {
            put_varint(buf, list.len() as u64);
            for member in list {
                put_member(buf, member);
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        Self::new(
            reader.members("voters", limits::MEMBERS)?,
            reader.members("learners", limits::MEMBERS)?,
            reader.members("observers", limits::MEMBERS)?,
        )
    }
}

#[cfg(test)]
mod tests {
    use {super::*, crate::consensus::ids::PeerKey};

    fn member(n: u8) -> Member {
        Member::new(PeerKey([n; 32]), 1)
    }

    #[test]
    fn only_voters_are_counted() {
        let voters = vec![member(1), member(2), member(3)];
        let membership = Membership::new(voters, vec![member(4)], vec![member(5)]).unwrap();
        assert_eq!(membership.quorum(), 2);
        assert!(!membership.is_quorum(|m| [member(1), member(4), member(5)].contains(m)));
        assert!(membership.is_quorum(|m| [member(1), member(3)].contains(m)));
        assert_eq!(membership.quorum_value(|m| m.peer.0[0]), 2);
        assert!(!Membership::default().is_quorum(|_| true));
    }

    #[test]
    fn another_incarnation_is_another_member_and_takes_the_place_of_the_old_one() {
        let membership = Membership::new(vec![member(1), member(2)], vec![], vec![]).unwrap();
        let reborn = Member::new(member(2).peer, 9);
        assert_eq!(membership.standing(&reborn), None);
        let next = membership.with(reborn, Some(Standing::Learner));
        assert_eq!(next.voters(), [member(1)]);
        assert_eq!(next.learners(), [reborn]);
        assert_eq!(membership.voters_changed(&next), 1);
        assert!(Membership::new(vec![member(2)], vec![reborn], vec![]).is_err());
    }
}
