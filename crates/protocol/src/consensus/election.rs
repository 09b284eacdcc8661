//! Elections: who may stand, when, and who gets a vote.
//!
//! A member that hears no leader first asks whether it would be elected (pre-vote); only a
//! majority of yes raises the term. Voters say no while they hear a leader. A leader whose
//! heartbeat is late is asked whether it lives; when it does not answer, followers agree on that
//! long before the election timeout.

use {
    super::{
        core::{Core, Role},
        entry::EntryBody,
        fetches::Purpose,
        ids::{LogIndex, Member, Position, Term},
        input::{Event, Output, Outputs},
        leader::{Leader, electorate},
        membership::Preference,
        message::{Body, Message},
        mutants::mutant,
    },
    bytes::Bytes,
    core::time::Duration,
    mosaik_primitives::time::Instant,
    std::collections::BTreeSet,
};

/// What a follower knows of its leader.
#[derive(Debug, Default)]
pub(super) struct Following {
    pub(super) leader: Option<Member>,
    /// When the leader was last heard.
    pub(super) heard: Instant,
    /// When to stand for election, unless the leader is heard before.
    pub(super) election_at: Instant,
    /// The leader has gone silent on purpose.
    pub(super) quiet: bool,
    /// When the leader was asked whether it lives.
    pub(super) pinged: Option<Instant>,
    /// The leader did not answer: when to stand.
    pub(super) suspect_at: Option<Instant>,
    /// The log is known to be the leader's up to here.
    pub(super) matched: LogIndex,
    /// Acknowledged up to here.
    pub(super) acked: LogIndex,
    /// The leader awaits an acknowledgement.
    pub(super) ack_due: bool,
}

#[derive(Debug)]
pub(super) enum Standing {
    /// Asking who would vote.
    Pre,
    /// Standing in the current term.
    Real,
    /// Founding: the genesis entry, offered to those it names.
    Founding(Bytes),
}

#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) standing: Standing,
    pub(super) votes: BTreeSet<Member>,
    pub(super) retry_at: Instant,
}

impl Candidate {
    pub(super) fn is_pre(&self) -> bool {
        matches!(self.standing, Standing::Pre)
    }
}

impl Core {
    /// Silence after which a leader's heartbeat counts as late.
    fn late_after(&self) -> Duration {
        self.config.heartbeat_interval + self.config.heartbeat_jitter + self.patience() / 2
    }

    pub(super) fn reset_election_timer(&mut self) {
        let jitter = self.rng.upto(self.config.election_timeout_jitter);
        let factor = match self.config.preference {
            Preference::Reluctant { factor } => factor.max(1),
            _ => 1,
        };
        self.following.election_at = self.now + (self.config.election_timeout + jitter) * factor;
    }

    /// The leader was heard: everything is well.
    pub(super) fn heard_leader(&mut self) {
        self.stood = 0;
        self.following.heard = self.now;
        self.following.pinged = None;
        self.following.suspect_at = None;
        self.reset_election_timer();
    }

    pub(super) fn follower_deadline(&self) -> Option<Instant> {
        let following = &self.following;
        if following.quiet {
            return None;
        }
        let probe = following
            .leader
            .map(|_| match (following.suspect_at, following.pinged) {
                (Some(at), _) => at,
                (None, Some(pinged)) => pinged + self.patience(),
                (None, None) => following.heard + self.late_after(),
            });
        let probe = probe.filter(|_| self.is_voter());
        Some(probe.map_or(following.election_at, |probe| {
            probe.min(following.election_at)
        }))
    }

    pub(super) fn follower_tick(&mut self, out: &mut Outputs) {
        if self.following.quiet {
            return;
        }
        if self.now >= self.following.election_at {
            self.lose_leader(out);
            self.reset_election_timer();
            self.seek(out);
            self.stand_if_eligible(out);
            return;
        }
        if !self.is_voter() || self.following.leader.is_none() {
            return;
        }
        self.ask_whether_leader_lives(out);
        if self.following.suspect_at.is_some_and(|at| self.now >= at) {
            self.stand_if_eligible(out);
        }
    }

    fn stand_if_eligible(&mut self, out: &mut Outputs) {
        if mutant!("skip-pre-vote") {
            self.stand(false, out);
        } else {
            self.ask_for_pre_votes(out);
        }
    }

    fn ask_whether_leader_lives(&mut self, out: &mut Outputs) {
        let Some(leader) = self.following.leader else {
            return;
        };
        let late = self.now >= self.following.heard + self.late_after();
        match self.following.pinged {
            None if late => {
                self.following.pinged = Some(self.now);
                self.send(leader, Body::Ping, out);
            }
            Some(pinged)
                if self.now >= pinged + self.patience() && self.following.suspect_at.is_none() =>
            {
                self.suspect_leader();
            }
            _ => {}
        }
    }

    /// The leader does not answer. Others find out at the same time: who stands first is drawn.
    pub(super) fn suspect_leader(&mut self) {
        let jitter = self.rng.upto(self.config.heartbeat_jitter);
        let reluctant = match self.config.preference {
            Preference::Reluctant { factor } => self.config.heartbeat_interval * factor,
            _ => Duration::ZERO,
        };
        self.following.quiet = false;
        self.following.suspect_at = Some(self.now + jitter + reluctant);
    }

    /// Whether this member has no reason to help depose the leader it knows.
    pub(super) fn leader_lives(&self) -> bool {
        if mutant!("vote-while-leader-lives") {
            return false;
        }
        match &self.role {
            Role::Leader(_) => true,
            Role::Follower | Role::Candidate(_) => {
                let following = &self.following;
                let recent = self.now.since(following.heard) < self.config.election_timeout;
                following.leader.is_some()
                    && following.suspect_at.is_none()
                    && (following.quiet || recent)
            }
            _ => false,
        }
    }

    fn lose_leader(&mut self, out: &mut Outputs) {
        self.following.quiet = false;
        self.following.pinged = None;
        self.following.suspect_at = None;
        if self.following.leader.take().is_some() {
            let term = self.storing.hard().term;
            out.push(Output::Event(Event::Leader { leader: None, term }));
            self.proposals.requeue();
            self.reads.requeue();
        }
    }

    /// Follows `leader` in `term`, or nobody yet.
    pub(super) fn become_follower(
        &mut self,
        term: Term,
        leader: Option<Member>,
        out: &mut Outputs,
    ) {
        let hard = self.storing.hard();
        assert!(term >= hard.term, "terms never go back");
        let new_term = term > hard.term;
        if new_term {
            let hard = self.storing.change();
            hard.term = term;
            hard.vote = None;
        }
        let led = match std::mem::replace(&mut self.role, Role::Follower) {
            Role::Leader(leader) => Some(leader),
            _ => None,
        };
        if let Some(mut leader) = led {
            self.reads.take_back(leader.rounds.drain());
            self.fetches
                .give_up(|purpose| matches!(purpose, Purpose::Peer(_)));
            self.following.leader = Some(self.me());
        }
        let changed = new_term || self.following.leader != leader;
        if changed {
            let election_at = self.following.election_at;
            self.following = Following {
                leader,
                heard: self.now,
                election_at,
                ..Following::default()
            };
            self.proposals.requeue();
            self.reads.requeue();
            if self.leaving {
                self.ask_at = self.now;
            }
            out.push(Output::Event(Event::Leader { leader, term }));
        }
        self.reset_election_timer();
    }

    fn ask_for_pre_votes(&mut self, out: &mut Outputs) {
        if !self.is_voter() || self.is_observer() {
            if matches!(self.role, Role::Candidate(_)) {
                // No voter any more: a candidate that only waits would be due for ever.
                self.role = Role::Follower;
                self.reset_election_timer();
            }
            return;
        }
        self.role = Role::Candidate(self.candidate(Standing::Pre));
        let last = self.log.last();
        self.ask_voters(&Body::PreVote { last }, out);
        self.tally(out);
    }

    fn candidate(&mut self, standing: Standing) -> Candidate {
        // Longer each time: whatever a vote takes on its way and to be stored, one round is
        // at last long enough for it.
        let wait = self.patience() + self.rng.upto(self.config.heartbeat_interval);
        let wait = wait * (1 << self.stood.min(6));
        Candidate {
            standing,
            votes: BTreeSet::new(),
            retry_at: self.now + wait,
        }
    }

    fn ask_voters(&mut self, body: &Body, out: &mut Outputs) {
        let me = self.me();
        let voters: Vec<_> = self.log.membership().voters().to_vec();
        for voter in voters.into_iter().filter(|voter| *voter != me) {
            self.send(voter, body.clone(), out);
        }
    }

    /// Stands for election in the next term.
    pub(super) fn stand(&mut self, transfer: bool, out: &mut Outputs) {
        if !self.is_voter() || self.is_observer() {
            return;
        }
        self.lose_leader(out);
        self.stood = self.stood.saturating_add(1);
        let me = self.me();
        let hard = self.storing.change();
        hard.term = hard.term.next();
        hard.vote = Some(me);
        self.role = Role::Candidate(self.candidate(Standing::Real));
        let last = self.log.last();
        self.ask_voters(&Body::Vote { last, transfer }, out);
        self.tally(out);
    }

    pub(super) fn candidate_tick(&mut self, out: &mut Outputs) {
        let Role::Candidate(candidate) = &self.role else {
            return;
        };
        if self.now < candidate.retry_at {
            return;
        }
        if !candidate.is_pre() && !self.storing.hard_stored() {
            // Nobody has been asked yet: a new term would only be stored later still.
            let retry_at = self.now + self.patience();
            if let Role::Candidate(candidate) = &mut self.role {
                candidate.retry_at = retry_at;
            }
            return;
        }
        if let Standing::Founding(entry) = &candidate.standing {
            let entry = entry.clone();
            self.ask_voters(&Body::Genesis(entry), out);
            let retry_at = self.now + self.patience();
            if let Role::Candidate(candidate) = &mut self.role {
                candidate.retry_at = retry_at;
            }
        } else {
            if self.now >= self.following.election_at {
                self.lose_leader(out);
            }
            self.seek(out);
            self.stand_if_eligible(out);
        }
        self.abandon_if_blocked(out);
    }

    /// Counts the votes; a candidate's own counts once it is stored.
    pub(super) fn tally(&mut self, out: &mut Outputs) {
        let Role::Candidate(candidate) = &self.role else {
            return;
        };
        let me = self.me();
        let real = !matches!(candidate.standing, Standing::Pre);
        let stored = self.storing.hard_stored() && (!real || self.own_genesis_stored());
        let own = !real || stored;
        let voters = electorate(self.log.membership(), &self.links);
        let votes = voters.voters().iter().filter(|voter| {
            if **voter == me {
                own
            } else {
                candidate.votes.contains(voter)
            }
        });
        if votes.count() < voters.quorum().max(self.founders_needed()) {
            return;
        }
        if real {
            self.become_leader(out);
        } else {
            self.stand(false, out);
        }
    }

    /// A founder's log must hold the genesis before its own acceptance counts.
    fn own_genesis_stored(&self) -> bool {
        self.storing.durable() >= LogIndex(1).min(self.log.last_index())
    }

    fn become_leader(&mut self, out: &mut Outputs) {
        let (me, now) = (self.me(), self.now);
        let term = self.storing.hard().term;
        assert!(self.storing.hard_stored(), "a leader's own vote is stored");
        self.stood = 0;
        self.role = Role::Leader(Box::new(Leader::new(&self.log, me, now)));
        self.following = Following {
            leader: Some(me),
            heard: now,
            ..Following::default()
        };
        self.proposals.requeue();
        self.reads.requeue();
        out.push(Output::Event(Event::Leader {
            leader: Some(me),
            term,
        }));
        let Some((leader, mut cx)) = self.leading() else {
            return;
        };
        cx.append(&EntryBody::Noop, EntryBody::Noop.encode());
        leader.heartbeat(false, &mut cx, out);
        leader.heartbeat_at = now + cx.config.heartbeat_interval;
    }

    pub(super) fn on_pre_vote(&mut self, message: &Message, last: Position, out: &mut Outputs) {
        let from = message.from;
        if self.surely_no_member(&from) {
            self.send(from, Body::Removed, out);
            return;
        }
        if self.is_observer() {
            return;
        }
        let term = message.term.next();
        let lives = self.leader_lives();
        let up_to_date = last >= self.log.last() || mutant!("vote-ignores-log");
        let granted = !lives && term > self.storing.hard().term && up_to_date;
        self.send(from, Body::PreVoteAnswer { term, granted }, out);
        if lives {
            self.defend_leader(from, out);
        }
    }

    /// Someone misses the leader that this member believes alive: make sure it is.
    fn defend_leader(&mut self, from: Member, out: &mut Outputs) {
        self.wake();
        if let Some((leader, mut cx)) = self.leading() {
            if leader.peers.contains_key(&from) {
                leader.heartbeat(false, &mut cx, out);
            }
        } else if self.following.quiet
            && let Some(leader) = self.following.leader
        {
            self.following.quiet = false;
            self.following.heard = self.now;
            self.following.pinged = Some(self.now);
            self.reset_election_timer();
            self.send(leader, Body::Ping, out);
        }
    }

    pub(super) fn on_pre_vote_answer(
        &mut self,
        message: &Message,
        term: Term,
        granted: bool,
        out: &mut Outputs,
    ) {
        if !granted && message.term > self.storing.hard().term {
            self.become_follower(message.term, None, out);
            return;
        }
        let wanted = self.storing.hard().term.next();
        if let Role::Candidate(candidate) = &mut self.role
            && matches!(candidate.standing, Standing::Pre)
            && granted
            && term == wanted
        {
            candidate.votes.insert(message.from);
            self.tally(out);
        }
    }

    pub(super) fn on_vote(
        &mut self,
        message: &Message,
        last: Position,
        transfer: bool,
        out: &mut Outputs,
    ) {
        let from = message.from;
        if self.surely_no_member(&from) {
            self.send(from, Body::Removed, out);
            return;
        }
        if self.is_observer() {
            return;
        }
        let term = self.storing.hard().term;
        if message.term < term {
            self.send(from, Body::VoteAnswer { granted: false }, out);
            return;
        }
        if !transfer && self.leader_lives() {
            self.defend_leader(from, out);
            return;
        }
        if message.term > term {
            self.become_follower(message.term, None, out);
        }
        let hard = self.storing.hard();
        let free = hard.vote.is_none() || hard.vote == Some(from);
        let up_to_date = last >= self.log.last() || mutant!("vote-ignores-log");
        let idle = match &self.role {
            Role::Follower => true,
            Role::Candidate(candidate) => matches!(candidate.standing, Standing::Pre),
            _ => false,
        };
        let granted = free && up_to_date && idle;
        if granted {
            if hard.vote.is_none() {
                self.storing.change().vote = Some(from);
            }
            self.role = Role::Follower;
            self.reset_election_timer();
        }
        self.send(from, Body::VoteAnswer { granted }, out);
    }

    pub(super) fn on_vote_answer(&mut self, from: Member, granted: bool, out: &mut Outputs) {
        if let Role::Candidate(candidate) = &mut self.role
            && matches!(candidate.standing, Standing::Real)
            && granted
        {
            candidate.votes.insert(from);
            self.tally(out);
        }
    }

    pub(super) fn on_timeout_now(&mut self, from: Member, out: &mut Outputs) {
        if self.following.leader == Some(from) && matches!(self.role, Role::Follower) {
            self.stand(true, out);
        }
    }

    pub(super) fn on_ping(&mut self, from: Member, out: &mut Outputs) {
        self.wake();
        if let Some((leader, cx)) = self.leading()
            && leader.peers.contains_key(&from)
        {
            let (round, commit) = (leader.round, leader.peers[&from].matched.min(cx.commit));
            cx.storing.send(from, Body::Pong, out);
            cx.storing.send(
                from,
                Body::Heartbeat {
                    commit,
                    round,
                    quiesce: false,
                },
                out,
            );
        } else if self.surely_no_member(&from) {
            self.send(from, Body::Removed, out);
        }
    }
}
