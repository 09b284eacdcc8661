//! Changes of membership, by the leader, through the log, one voter at a time.
//!
//! A change is proposed only when the one before is committed and the leader has committed an
//! entry of its own term (Ongaro's correction to single-server changes), and a voter is taken
//! out only while a majority of the voters in force is heard, and one of those that stay.

use super::{
    config::limits,
    core::{Core, Role},
    entry::EntryBody,
    ids::{LogIndex, Member},
    input::{Event, Output, Outputs},
    leader::{Cx, Leader, Transfer},
    membership::{Membership, Preference, Standing},
    message::Body,
    mutants::mutant,
    progress::{Mode, Progress},
};

/// A learner at most this many entries behind is taken for caught up.
const CAUGHT_UP_ENTRIES: u64 = 64;

impl Leader {
    /// The next membership, if anything is to change and may.
    fn next_membership(&self, cx: &Cx<'_>) -> Option<Membership> {
        let pending = cx.log.membership_index() > cx.commit;
        if pending && !mutant!("two-changes-at-once") {
            return None;
        }
        if !self.is_ready(cx.commit) && !mutant!("change-before-own-term") {
            return None;
        }
        if cx.seal().is_some() {
            return None;
        }
        let now = cx.log.membership();
        self.with_joins(cx)
            .or_else(|| self.with_leave(now, cx))
            .or_else(|| {
                let steady = cx.commit == cx.log.last_index() || self.transfer.is_none();
                if !steady {
                    return None;
                }
                self.without_dead(now, cx)
                    .or_else(|| self.with_promotion(now, cx))
            })
    }

    /// Lets in those who ask. A new incarnation of a member takes the place of the old one,
    /// which is one voter less: only one of those at a time.
    fn with_joins(&self, cx: &Cx<'_>) -> Option<Membership> {
        let now = cx.log.membership();
        let mut next = now.clone();
        for (member, preference) in &self.joins {
            let standing = match preference {
                Preference::Observer => Standing::Observer,
                _ => Standing::Learner,
            };
            let newest = next
                .members()
                .all(|(old, _)| old.peer != member.peer || old.incarnation < member.incarnation);
            let with = next.with(*member, Some(standing));
            let few = now.voters_changed(&with) == 0
                || now.voters_changed(&with) == 1 && self.could_commit(&with, cx);
            if newest && few && with.len() <= limits::MEMBERS {
                next = with;
            }
        }
        (next != *now).then_some(next)
    }

    fn with_leave(&self, now: &Membership, cx: &Cx<'_>) -> Option<Membership> {
        let leaver = self
            .leaves
            .iter()
            .find(|member| now.standing(member).is_some())?;
        let next = now.with(*leaver, None);
        let counted = now.voters_changed(&next) > 0;
        (!counted || self.could_commit(&next, cx)).then_some(next)
    }

    /// Whether a membership with a voter less could be committed, and leaves enough to go on: a
    /// majority is heard now, and one of those who stay, not long ago. One that falls silent may
    /// be gone for good; the change would stand in the way of whoever else could lead.
    fn could_commit(&self, next: &Membership, cx: &Cx<'_>) -> bool {
        let config = cx.config;
        let recently =
            config.heartbeat_interval + config.heartbeat_jitter + config.election_timeout / 4;
        let heard = |voter: &Member| {
            let progress = self.peers.get(voter);
            *voter == cx.me() || progress.is_some_and(|p| cx.now.since(p.heard) < recently)
        };
        !next.voters().is_empty() && self.hears_quorum(cx) && next.is_quorum(heard)
    }

    /// Takes out a member that has been silent for too long, where somebody gains by it.
    fn without_dead(&self, now: &Membership, cx: &Cx<'_>) -> Option<Membership> {
        let limit = cx.config.death_timeout();
        let silent = |progress: &Progress| cx.now.since(progress.heard) > limit;
        let dead: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, progress)| silent(progress))
            .map(|(member, _)| *member)
            .collect();
        let voters = now.voters();
        let dead_voters = dead.iter().filter(|member| voters.contains(member)).count();
        // One voter of an odd number less asks for as many votes as before. The silent one may be
        // back any time, and counts at once if it was never taken out; otherwise it has to catch
        // up first, and the next one to die takes the group with it.
        let gains = voters.len().is_multiple_of(2)
            || dead_voters > 1
            || Self::is_full(now, cx) && self.caught_up(now, cx).is_some();
        dead.iter()
            .filter(|member| gains || !voters.contains(member))
            .map(|member| now.with(*member, None))
            .find(|next| self.could_commit(next, cx))
    }

    fn is_full(now: &Membership, cx: &Cx<'_>) -> bool {
        now.voters().len() >= cx.config.max_voters as usize
    }

    /// A learner that could be a voter.
    fn caught_up(&self, now: &Membership, cx: &Cx<'_>) -> Option<Member> {
        let last = cx.log.last_index();
        let caught_up = |member: &&Member| {
            self.peers.get(member).is_some_and(|progress| {
                progress.mode == Mode::Replicate
                    && last.distance(progress.matched) <= CAUGHT_UP_ENTRIES
                    && !progress.matched.is_zero()
                    && cx.now.since(progress.heard) < cx.config.election_timeout
            })
        };
        now.learners().iter().find(caught_up).copied()
    }

    /// Makes a learner that has caught up a voter.
    fn with_promotion(&self, now: &Membership, cx: &Cx<'_>) -> Option<Membership> {
        if Self::is_full(now, cx) {
            return None;
        }
        let learner = self.caught_up(now, cx)?;
        Some(now.with(learner, Some(Standing::Voter)))
    }

    /// Tells the target of a hand-over to stand, once it has everything.
    pub(super) fn hand_over(&mut self, cx: &mut Cx<'_>, out: &mut Outputs) {
        let Some(transfer) = &mut self.transfer else {
            return;
        };
        let last = cx.log.last_index();
        let ready = self
            .peers
            .get(&transfer.to)
            .is_some_and(|p| p.matched == last);
        if !transfer.told && (ready || mutant!("transfer-without-catch-up")) {
            transfer.told = true;
            cx.storing.send(transfer.to, Body::TimeoutNow, out);
        }
    }

    /// The voter that could take over soonest.
    fn successor(&self, cx: &Cx<'_>) -> Option<Member> {
        let alive =
            |progress: &&Progress| cx.now.since(progress.heard) < cx.config.election_timeout;
        let voters = cx.log.membership().voters().iter();
        voters
            .filter_map(|voter| Some((self.peers.get(voter).filter(alive)?.matched, *voter)))
            .max()
            .map(|(_, voter)| voter)
    }
}

impl Core {
    pub(super) fn change_membership(&mut self, out: &mut Outputs) {
        let Some((leader, mut cx)) = self.leading() else {
            return;
        };
        if leader.quiet {
            return;
        }
        leader
            .joins
            .retain(|(member, _)| cx.log.membership().standing(member).is_none());
        let Some(next) = leader.next_membership(&cx) else {
            return;
        };
        assert!(
            cx.log.membership().voters_changed(&next) <= 1,
            "one voter changes at a time"
        );
        let body = EntryBody::Membership(next);
        let bytes = body.encode();
        cx.append(&body, bytes);
        let (me, now) = (cx.me(), cx.now);
        leader.adopt_membership(cx.log, me, now);
        leader.wake(now);
        self.announce_membership(out);
    }

    pub(super) fn announce_membership(&self, out: &mut Outputs) {
        out.push(Output::Event(Event::Membership(
            self.log.membership().clone(),
        )));
    }

    pub(super) fn on_join(
        &mut self,
        from: Member,
        member: Member,
        preference: Preference,
        out: &mut Outputs,
    ) {
        if let Role::Leader(leader) = &mut self.role {
            let known = leader.joins.iter().any(|(other, _)| *other == member)
                || self.log.membership().standing(&member).is_some();
            if !known && leader.joins.len() < limits::MEMBERS {
                leader.joins.push((member, preference));
            }
            self.wake();
        } else if let Some(leader) = self.following.leader
            && from == member
            && leader != from
        {
            self.send(leader, Body::Join { member, preference }, out);
        }
    }

    pub(super) fn on_leave_request(&mut self, from: Member, member: Member, out: &mut Outputs) {
        if member.peer == self.me().peer {
            // Passed on late: what this node was before has left already.
            return;
        }
        if let Role::Leader(leader) = &mut self.role {
            if self.log.membership().standing(&member).is_none() {
                if self.log.membership_index() <= self.commit && leader.is_ready(self.commit) {
                    self.send(member, Body::Removed, out);
                }
            } else if !leader.leaves.contains(&member) && leader.leaves.len() < limits::MEMBERS {
                leader.leaves.push(member);
            }
            self.wake();
        } else if let Some(leader) = self.following.leader
            && from == member
            && leader != from
        {
            self.send(leader, Body::Leave { member }, out);
        }
    }

    /// As leader: tells those who asked to leave that they have.
    pub(super) fn release_leavers(&mut self, out: &mut Outputs) {
        let Some((leader, cx)) = self.leading() else {
            return;
        };
        if leader.leaves.is_empty() || cx.log.membership_index() > cx.commit {
            return;
        }
        let gone = |member: &mut Member| cx.log.membership().standing(member).is_none();
        for member in leader.leaves.extract_if(.., gone) {
            cx.storing.send(member, Body::Removed, out);
        }
    }

    pub(super) fn on_transfer(&mut self, to: Option<Member>) {
        self.wake();
        let Some((leader, cx)) = self.leading() else {
            return;
        };
        let target = to.or_else(|| leader.successor(&cx));
        let until = cx.now + cx.config.election_timeout;
        if let Some(to) = target.filter(|to| *to != cx.me() && cx.log.membership().is_voter(to)) {
            leader.transfer = Some(Transfer {
                to,
                until,
                told: false,
            });
        }
    }

    pub(super) fn on_leave(&mut self, out: &mut Outputs) {
        self.leaving = true;
        self.ask_at = self.now;
        if matches!(self.role, Role::Leader(_)) {
            self.on_transfer(None);
            if let Role::Leader(leader) = &self.role
                && leader.transfer.is_none()
                && self.log.membership().voters().len() <= 1
            {
                // Nobody to hand over to. The group ends here, or waits for its learners.
                self.left(out);
            }
        }
    }

    /// Asks to be let go until it is granted.
    pub(super) fn leave_tick(&mut self, out: &mut Outputs) {
        if !self.leaving || self.now < self.ask_at || matches!(self.role, Role::Stopped) {
            return;
        }
        self.ask_at = self.now + self.patience();
        let me = self.me();
        match &self.role {
            Role::Fresh(_) => self.left(out),
            Role::Leader(leader) if leader.transfer.is_none() => self.on_transfer(None),
            Role::Follower | Role::Candidate(_) => {
                if let Some(leader) = self.following.leader {
                    self.send(leader, Body::Leave { member: me }, out);
                }
            }
            _ => {}
        }
    }

    pub(super) fn left(&mut self, out: &mut Outputs) {
        out.push(Output::Event(Event::Left));
        self.stop("left the group", out);
    }

    /// A leader says that this member is not in its membership.
    pub(super) fn on_removed(&mut self, from: Member, out: &mut Outputs) {
        if self.leaving {
            self.left(out);
            return;
        }
        if self.now >= self.ask_at && !matches!(self.role, Role::Leader(_) | Role::Retired(_)) {
            self.ask_at = self.now + self.patience();
            let (member, preference) = (self.me(), self.config.preference);
            out.push(Output::Event(Event::Removed));
            self.send(from, Body::Join { member, preference }, out);
        }
    }

    /// Whether the committed membership, as this leader knows it, lacks `member`.
    pub(super) fn surely_no_member(&self, member: &Member) -> bool {
        match &self.role {
            Role::Leader(leader) => {
                leader.is_ready(self.commit)
                    && self.log.membership_index() <= self.commit
                    && self.log.membership().standing(member).is_none()
            }
            _ => false,
        }
    }

    /// A leader that has committed its own removal stops leading.
    pub(super) fn step_down_when_removed(&mut self, out: &mut Outputs) {
        let index: LogIndex = self.log.membership_index();
        if index > self.commit || self.log.membership().standing(&self.me()).is_some() {
            return;
        }
        if let Some((leader, mut cx)) = self.leading() {
            leader.heartbeat(false, &mut cx, out);
            let term = self.storing.hard().term;
            self.become_follower(term, None, out);
            if self.leaving {
                self.left(out);
            }
        }
    }
}
