//! Leading: replication, heartbeats, check-quorum, commit, and falling silent.

use {
    super::{
        config::Config,
        core::{Core, Role, violation},
        entry::{Entry, EntryBody},
        fetches::Fetches,
        ids::{Lineage, LogIndex, Member, PeerKey, Position},
        input::Outputs,
        log::Log,
        membership::{Membership, Preference},
        message::Body,
        mutants::mutant,
        progress::{Mode, Progress},
        reads::Rounds,
        replicate::replicate_to,
        state::SnapshotMeta,
        storing::Storing,
    },
    mosaik_primitives::time::Instant,
    std::{
        borrow::Cow,
        collections::{BTreeMap, BTreeSet},
    },
};

/// A hand-over of leadership.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) to: Member,
    /// When it is given up.
    pub(super) until: Instant,
    /// The target was told to stand.
    pub(super) told: bool,
}

#[derive(Debug)]
pub(super) struct Leader {
    /// Everyone in the membership in force but the leader.
    pub(super) peers: BTreeMap<Member, Progress>,
    /// The most voters there were since it leads. Other lineages are told this: what they were
    /// told never becomes less while they decide on it.
    pub(super) most_voters: u32,
    /// The first entry of the leader's term.
    pub(super) term_start: LogIndex,
    /// Number of the latest heartbeat round.
    pub(super) round: u64,
    pub(super) heartbeat_at: Instant,
    pub(super) since: Instant,
    pub(super) rounds: Rounds,
    pub(super) transfer: Option<Transfer>,
    pub(super) joins: Vec<(Member, Preference)>,
    pub(super) leaves: Vec<Member>,
    /// Silent: no timers and no messages until something happens.
    pub(super) quiet: bool,
    pub(super) hello_at: Instant,
    /// Since when the seal is committed, while its followers are told.
    pub(super) sealed_since: Option<Instant>,
    /// The round that told them.
    pub(super) told_seal: Option<u64>,
}

/// What a leader works with.
pub(super) struct Cx<'c> {
    pub(super) config: &'c Config,
    pub(super) storing: &'c mut Storing,
    pub(super) log: &'c mut Log,
    pub(super) fetches: &'c mut Fetches,
    pub(super) snapshot: Option<&'c SnapshotMeta>,
    pub(super) links: &'c BTreeSet<PeerKey>,
    pub(super) commit: LogIndex,
    pub(super) now: Instant,
}

impl Cx<'_> {
    pub(super) fn me(&self) -> Member {
        self.storing.hard().member
    }

    pub(super) fn seal(&self) -> Option<(LogIndex, Lineage)> {
        self.log.seal(self.storing.hard().lineage)
    }

    /// Appends an entry of the leader's term.
    pub(super) fn append(&mut self, body: &EntryBody, bytes: bytes::Bytes) -> LogIndex {
        let index = self.log.last_index().next();
        let entry = Entry {
            index,
            term: self.storing.hard().term,
            body: bytes,
        };
        self.log.append(entry.clone(), body);
        self.storing.append(entry);
        index
    }
}

/// Those who are counted; the logged voters, and nobody else.
pub(super) fn electorate<'a>(
    membership: &'a Membership,
    links: &BTreeSet<PeerKey>,
) -> Cow<'a, Membership> {
    let mut voters = Cow::Borrowed(membership.voters());
    if mutant!("count-observers") {
        voters.to_mut().extend(membership.observers());
    }
    if mutant!("count-learners") {
        voters.to_mut().extend(membership.learners());
    }
    if mutant!("quorum-from-links") {
        // The member itself has no link to itself; it counts as one more below.
        let linked: Vec<_> = voters
            .iter()
            .filter(|v| links.contains(&v.peer))
            .copied()
            .collect();
        if !linked.is_empty() {
            voters = Cow::Owned(linked);
        }
    }
    match voters {
        Cow::Borrowed(_) => Cow::Borrowed(membership),
        Cow::Owned(voters) => Cow::Owned(
            Membership::new(voters, vec![], vec![]).expect("a part of a membership is one"),
        ),
    }
}

impl Leader {
    pub(super) fn new(log: &Log, me: Member, now: Instant) -> Self {
        let mut leader = Self {
            peers: BTreeMap::new(),
            most_voters: 0,
            term_start: log.last_index().next(),
            round: 0,
            heartbeat_at: now,
            since: now,
            rounds: Rounds::default(),
            transfer: None,
            joins: Vec::new(),
            leaves: Vec::new(),
            quiet: false,
            hello_at: now,
            sealed_since: None,
            told_seal: None,
        };
        leader.adopt_membership(log, me, now);
        leader
    }

    /// Makes the tracked members those of the membership in force.
    pub(super) fn adopt_membership(&mut self, log: &Log, me: Member, now: Instant) {
        let membership = log.membership();
        self.most_voters = self.most_voters.max(membership.voters().len() as u32);
        self.peers
            .retain(|member, _| membership.standing(member).is_some());
        for (member, _) in membership.members().filter(|(member, _)| **member != me) {
            self.peers
                .entry(*member)
                .or_insert_with(|| Progress::new(log.last_index().next(), now));
        }
    }

    /// Whether the leader knows what is committed: something of its own term is.
    pub(super) fn is_ready(&self, commit: LogIndex) -> bool {
        commit >= self.term_start
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let transfer = self.transfer.as_ref().map(|transfer| transfer.until);
        let heartbeat = (!self.quiet).then_some(self.heartbeat_at);
        [transfer, heartbeat].into_iter().flatten().min()
    }

    /// Ends silence; everyone gets time to be heard again.
    pub(super) fn wake(&mut self, now: Instant) {
        if self.quiet {
            self.quiet = false;
            self.heartbeat_at = now;
            self.since = now;
            for progress in self.peers.values_mut() {
                progress.heard = now;
            }
        }
        for progress in self.peers.values_mut() {
            progress.quiesced = false;
        }
    }

    /// Whether a majority of the voters was heard within the election timeout.
    pub(super) fn hears_quorum(&self, cx: &Cx<'_>) -> bool {
        let (me, limit) = (cx.me(), cx.config.election_timeout);
        electorate(cx.log.membership(), cx.links).is_quorum(|voter| {
            *voter == me
                || self
                    .peers
                    .get(voter)
                    .is_some_and(|p| cx.now.since(p.heard) < limit)
        })
    }

    /// The index up to which a majority has stored the log.
    fn quorum_index(&self, cx: &Cx<'_>) -> LogIndex {
        let me = cx.me();
        let own = if mutant!("count-self-before-persist") {
            cx.log.last_index()
        } else {
            cx.storing.durable()
        };
        let matched = |voter: &Member| {
            if *voter == me {
                return own;
            }
            self.peers
                .get(voter)
                .map_or(LogIndex::ZERO, |progress| progress.matched)
        };
        let voters = cx.log.membership();
        // The rule on every commit: kept free of allocations for the committee sizes there are.
        if voters.voters().len() <= 7 && !cfg!(mosaik_mutants) {
            let mut values = [LogIndex::ZERO; 7];
            for (value, voter) in values.iter_mut().zip(voters.voters()) {
                *value = matched(voter);
            }
            let values = &mut values[..voters.voters().len()];
            values.sort_unstable_by(|a, b| b.cmp(a));
            return values.get(voters.quorum() - 1).copied().unwrap_or_default();
        }
        electorate(voters, cx.links).quorum_value(matched)
    }

    /// The index up to which the log is committed now: counted for entries of the own term
    /// only; earlier ones follow (Raft §5.4.2).
    pub(super) fn committed(&self, cx: &Cx<'_>) -> LogIndex {
        let index = self.quorum_index(cx);
        let countable = index >= self.term_start || mutant!("commit-older-term");
        if countable && index > cx.commit {
            index
        } else {
            cx.commit
        }
    }

    /// Sends every member what it can take.
    pub(super) fn replicate(&mut self, cx: &mut Cx<'_>, out: &mut Outputs) {
        let last = cx.log.last_index();
        for (member, progress) in &mut self.peers {
            if progress.next <= last
                || progress.commit_sent < cx.commit
                || progress.mode == (Mode::Probe { waiting: false })
            {
                replicate_to(*member, progress, cx, out);
            }
        }
    }

    /// Tells everyone that the leader lives. With a new round, answers to it prove leadership.
    pub(super) fn heartbeat(&mut self, quiesce: bool, cx: &mut Cx<'_>, out: &mut Outputs) {
        self.round += 1;
        for (member, progress) in &mut self.peers {
            let commit = if mutant!("commit-beyond-match") {
                cx.commit
            } else {
                cx.commit.min(progress.matched)
            };
            progress.round_sent = (self.round, progress.next.prev(), commit);
            progress.commit_sent = commit.max(progress.commit_sent);
            let body = Body::Heartbeat {
                commit,
                round: self.round,
                quiesce,
            };
            cx.storing.send(*member, body, out);
            if let Mode::Snapshot { since, .. } = progress.mode
                && cx.now.since(since) > cx.config.election_timeout * 4
            {
                progress.probe(progress.next);
            }
        }
    }

    /// Whether there is nothing to do and everyone has everything.
    pub(super) fn is_idle(&self, cx: &Cx<'_>) -> bool {
        let last = cx.log.last_index();
        let member = |peer: &PeerKey| {
            let mut members = cx.log.membership().members();
            members.any(|(member, _)| member.peer == *peer)
        };
        cx.commit == last
            && self.transfer.is_none()
            && self.joins.is_empty()
            && self.leaves.is_empty()
            && self.rounds.is_empty()
            && cx.seal().is_none()
            && !cx.storing.is_busy()
            && self.peers.values().all(|progress| progress.matched == last)
            && cx.links.iter().all(member)
    }
}

impl Core {
    /// Everything a leader does when something has happened.
    pub(super) fn lead(&mut self, out: &mut Outputs) {
        if !matches!(self.role, Role::Leader(_)) {
            return;
        }
        self.append_proposals(out);
        self.change_membership(out);
        self.advance_commit(out);
        if let Some((leader, mut cx)) = self.leading() {
            leader.replicate(&mut cx, out);
            leader.hand_over(&mut cx, out);
        }
        self.release_leavers(out);
        self.serve_reads(out);
        self.retire_when_told(out);
    }

    fn advance_commit(&mut self, out: &mut Outputs) {
        let Some((leader, cx)) = self.leading() else {
            return;
        };
        let committed = leader.committed(&cx);
        self.commit_to(committed, out);
    }

    pub(super) fn leader_tick(&mut self, out: &mut Outputs) {
        let next = self.jittered_heartbeat();
        let Some((leader, mut cx)) = self.leading() else {
            return;
        };
        if leader
            .transfer
            .as_ref()
            .is_some_and(|transfer| cx.now >= transfer.until)
        {
            leader.transfer = None;
        }
        if leader.quiet || cx.now < leader.heartbeat_at {
            return;
        }
        leader.heartbeat_at = next;
        let settled = cx.now.since(leader.since) >= cx.config.election_timeout;
        if settled && !leader.hears_quorum(&cx) && !mutant!("no-check-quorum") {
            // Someone else may lead by now; whoever still asks here deserves to know.
            let term = cx.storing.hard().term;
            self.become_follower(term, None, out);
            return;
        }
        let idle = cx.config.quiesce && leader.is_idle(&cx);
        if idle && leader.peers.values().all(|progress| progress.quiesced) {
            leader.quiet = true;
            for progress in leader.peers.values_mut() {
                progress.shrink();
            }
            cx.log.evict(cx.commit, 0);
            return;
        }
        leader.heartbeat(idle, &mut cx, out);
        self.greet_strangers(out);
    }

    /// Ends a leader's silence.
    pub(super) fn wake(&mut self) {
        let now = self.now;
        if let Role::Leader(leader) = &mut self.role {
            leader.wake(now);
        }
    }

    pub(super) fn on_append_ack(&mut self, from: Member, matched: LogIndex, out: &mut Outputs) {
        let Some((leader, cx)) = self.leading() else {
            return;
        };
        let Some(progress) = leader.peers.get_mut(&from) else {
            return;
        };
        progress.heard = cx.now;
        if matched > cx.log.last_index() {
            violation(from.peer, "acknowledged entries that were never sent", out);
            return;
        }
        progress.acked(matched);
    }

    pub(super) fn on_append_reject(
        &mut self,
        from: Member,
        prev: LogIndex,
        hint: Position,
        out: &mut Outputs,
    ) {
        let Some((leader, cx)) = self.leading() else {
            return;
        };
        let Some(progress) = leader.peers.get_mut(&from) else {
            return;
        };
        progress.heard = cx.now;
        if prev > cx.log.last_index() {
            violation(from.peer, "rejected entries that were never sent", out);
            return;
        }
        if prev <= progress.matched {
            return;
        }
        match progress.mode {
            Mode::Replicate | Mode::Fetch { probing: false, .. } => {
                let next = progress.matched.next().max(hint.index.next().min(prev));
                progress.probe(next);
            }
            Mode::Probe { .. } if progress.next.prev() == prev => {
                let mut meet = hint.index.min(prev.prev());
                while meet > progress.matched
                    && cx.log.term(meet).is_some_and(|term| term > hint.term)
                {
                    meet = meet.prev();
                }
                progress.probe(meet.next());
            }
            _ => {}
        }
    }

    pub(super) fn on_heartbeat_ack(
        &mut self,
        from: Member,
        (round, matched, stored): (u64, LogIndex, LogIndex),
        quiesced: bool,
        out: &mut Outputs,
    ) {
        let Some((leader, cx)) = self.leading() else {
            return;
        };
        let Some(progress) = leader.peers.get_mut(&from) else {
            return;
        };
        if round > leader.round || stored > cx.log.last_index() {
            violation(from.peer, "answered a heartbeat that was never sent", out);
            return;
        }
        progress.heard = cx.now;
        progress.acked_round = progress.acked_round.max(round);
        progress.quiesced = quiesced;
        progress.acked(stored);
        let (sent_round, sent, commit) = progress.round_sent;
        if round == sent_round {
            progress.knows_commit = progress.knows_commit.max(commit);
        }
        match progress.mode {
            Mode::Probe { waiting: true } => progress.mode = Mode::Probe { waiting: false },
            // What had been sent before the heartbeat has not arrived before it: it is lost, or
            // was overtaken.
            Mode::Replicate if round == sent_round && matched < sent => {
                progress.probe(matched.max(progress.matched).next());
            }
            _ => {}
        }
    }
}
