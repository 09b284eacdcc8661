//! Formation: how members without a lineage come to have one.
//!
//! A fresh member that meets a lineage joins it. Fresh members that meet only each other wait a
//! while; then the lowest of those who hear each other founds, naming them all, and starts as
//! leader once a majority of the voters it named, and no fewer than founding takes
//! (`min_voters`), have taken the genesis. Taking one is a vote in term 1 of that lineage, stored
//! first, and the last thing a fresh member does.

use {
    super::{
        config::limits,
        core::{Core, Role, violation},
        election::{Candidate, Standing},
        entry::{Entry, EntryBody, Genesis},
        ids::{Lineage, LogIndex, Member, PeerKey, Term},
        input::{Event, Output, Outputs},
        membership::{Membership, Preference},
        message::{Body, Hello},
    },
    bytes::Bytes,
    core::time::Duration,
    mosaik_primitives::time::Instant,
    std::collections::{BTreeMap, BTreeSet},
};

/// A fresh member that another one hears.
#[derive(Debug)]
struct Other {
    member: Member,
    preference: Preference,
    started: Instant,
    sees: BTreeSet<Member>,
    heard: Instant,
}

#[derive(Debug)]
pub(super) struct Fresh {
    others: BTreeMap<PeerKey, Other>,
    hello_at: Instant,
    /// Since when everyone whom discovery shows hears everyone.
    settled: Option<Instant>,
    /// A lineage met, and who can let this member in.
    joining: Option<(Lineage, Member)>,
    joining_since: Instant,
    join_at: Instant,
    found_at: Instant,
    /// Since when this member is fresh; before, it may have been in a lineage.
    since: Instant,
}

impl Fresh {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            others: BTreeMap::new(),
            hello_at: now,
            settled: None,
            joining: None,
            joining_since: now,
            join_at: now,
            found_at: now,
            since: now,
        }
    }

    /// Fresh, on the way into a lineage.
    pub(super) fn joining(now: Instant, lineage: Lineage, contact: Member) -> Self {
        Self {
            joining: Some((lineage, contact)),
            ..Self::new(now)
        }
    }

    pub(super) fn sees(&self) -> Vec<Member> {
        self.others.values().map(|other| other.member).collect()
    }

    pub(super) fn deadline(&self, core: &Core) -> Instant {
        let founding = if core.is_observer() || self.found_at <= core.now {
            self.hello_at
        } else {
            self.found_at
        };
        let joining = if self.joining.is_some() {
            self.join_at
        } else {
            self.hello_at
        };
        self.hello_at.min(founding).min(joining)
    }

    /// Those who hear each other, this member among them, lowest first.
    fn circle(&self, me: Member) -> BTreeSet<Member> {
        let mut circle = BTreeSet::from([me]);
        for other in self.others.values() {
            let hears = |member: &Member| *member == other.member || other.sees.contains(member);
            let heard = circle.iter().all(|member| {
                *member == me
                    || self
                        .others
                        .get(&member.peer)
                        .is_some_and(|m| m.sees.contains(&other.member))
            });
            if circle.iter().all(hears) && heard {
                circle.insert(other.member);
            }
        }
        circle
    }
}

impl Core {
    fn hello_interval(&self) -> Duration {
        self.config
            .heartbeat_interval
            .min(self.config.settle_delay * 2)
    }

    pub(super) fn on_link_up(&mut self, peer: PeerKey, out: &mut Outputs) {
        if peer == self.config.peer || self.links.len() >= limits::MEMBERS * 2 {
            return;
        }
        self.links.insert(peer);
        self.wake();
        let members = self.log.membership().members();
        let known = members
            .map(|(member, _)| member)
            .find(|member| member.peer == peer)
            .copied();
        // A peer that is a member may have come back as another one; asking costs little.
        self.say_hello(known.unwrap_or(Member::new(peer, 0)), true, out);
        if let Role::Leader(leader) = &mut self.role {
            leader.heartbeat_at = leader.heartbeat_at.min(self.now);
        }
    }

    pub(super) fn on_link_down(&mut self, peer: PeerKey) {
        self.links.remove(&peer);
        self.foreign.remove(&peer);
        self.wake();
        if let Role::Fresh(fresh) = &mut self.role {
            fresh.others.remove(&peer);
            fresh.joining.take_if(|(_, contact)| contact.peer == peer);
        }
        // A lost link is a reason to doubt the leader, and to ask others whether they do.
        if self
            .following
            .leader
            .is_some_and(|leader| leader.peer == peer)
            && matches!(self.role, Role::Follower)
            && self.is_voter()
        {
            if self.following.quiet {
                self.following.heard = self.now;
                self.reset_election_timer();
            }
            self.suspect_leader();
        }
        if self
            .following
            .leader
            .is_some_and(|leader| leader.peer == peer)
        {
            self.following.quiet = false;
        }
    }

    pub(super) fn fresh_tick(&mut self, out: &mut Outputs) {
        let interval = self.hello_interval();
        let (now, me) = (self.now, self.me());
        let Role::Fresh(fresh) = &mut self.role else {
            return;
        };
        fresh
            .others
            .retain(|_, other| now.since(other.heard) < interval * 4);
        if now >= fresh.hello_at {
            fresh.hello_at = now + interval;
            let known: BTreeMap<_, _> = fresh
                .others
                .iter()
                .map(|(peer, other)| (*peer, other.member))
                .collect();
            for peer in self.links.clone() {
                let to = known.get(&peer).copied().unwrap_or(Member::new(peer, 0));
                self.say_hello(to, !known.contains_key(&peer), out);
            }
        }
        let Role::Fresh(fresh) = &mut self.role else {
            return;
        };
        // Whoever is there says hello, and says where to join, again and again.
        let patience = self.config.death_timeout();
        fresh
            .joining
            .take_if(|_| now.since(fresh.joining_since) > patience);
        if let Some((lineage, contact)) = fresh.joining {
            if now >= fresh.join_at {
                fresh.join_at = now + self.config.heartbeat_interval;
                self.ask_to_join(lineage, contact, out);
            }
            return;
        }
        if self.config.preference != Preference::Observer {
            self.found_if_due(me, out);
        }
    }

    /// A join speaks of the lineage it is about, though its sender does not belong to it yet.
    fn ask_to_join(&mut self, lineage: Lineage, contact: Member, out: &mut Outputs) {
        let member = self.me();
        let body = Body::Join {
            member,
            preference: self.config.preference,
        };
        self.storing.send_to_lineage(lineage, contact, body, out);
    }

    fn found_if_due(&mut self, me: Member, out: &mut Outputs) {
        let now = self.now;
        let Role::Fresh(fresh) = &mut self.role else {
            return;
        };
        let circle = fresh.circle(me);
        let earliest = fresh
            .others
            .values()
            .filter(|other| circle.contains(&other.member))
            .map(|other| other.started)
            .fold(self.started, Instant::min);
        fresh.found_at = earliest.max(fresh.since) + self.config.bootstrap_delay;
        let all_here = !self.discovered.is_empty()
            && self.discovered.iter().all(|peer| {
                *peer == me.peer
                    || fresh
                        .others
                        .get(peer)
                        .is_some_and(|other| circle.contains(&other.member))
            });
        if all_here {
            let settled = *fresh.settled.get_or_insert(now) + self.config.settle_delay;
            fresh.found_at = fresh.found_at.min(settled);
        } else {
            fresh.settled = None;
        }
        let eligible = |member: &Member| {
            *member == me
                || fresh
                    .others
                    .get(&member.peer)
                    .is_some_and(|other| other.preference != Preference::Observer)
        };
        let (able, observers): (Vec<_>, Vec<_>) = circle.iter().copied().partition(eligible);
        let lowest = able.first() == Some(&me);
        // What was left is gone from the store first: half of one lineage is none.
        let leaving = self.storing.is_busy();
        if now < fresh.found_at
            || leaving
            || !lowest
            || able.len() < self.config.min_voters as usize
        {
            return;
        }
        let voters = able
            .iter()
            .copied()
            .take(self.config.max_voters as usize)
            .collect();
        let learners = able
            .into_iter()
            .skip(self.config.max_voters as usize)
            .collect();
        if let Ok(membership) = Membership::new(voters, learners, observers) {
            self.found(membership, out);
        }
    }

    fn found(&mut self, membership: Membership, out: &mut Outputs) {
        let founder = self.me();
        let nonce = self.rng.next();
        let genesis = Genesis {
            group: self.config.group,
            founder,
            nonce,
            membership,
        };
        let body = EntryBody::Genesis(genesis.clone()).encode();
        self.take_genesis(&genesis, body.clone(), out);
        let votes = BTreeSet::new();
        let retry_at = self.now + self.patience();
        let standing = Standing::Founding(body.clone());
        self.role = Role::Candidate(Candidate {
            standing,
            votes,
            retry_at,
        });
        let voters = genesis.membership.voters().to_vec();
        for voter in voters.into_iter().filter(|voter| *voter != founder) {
            self.send(voter, Body::Genesis(body.clone()), out);
        }
        self.tally(out);
    }

    /// Enters the lineage of `genesis` by voting for its founder in term 1.
    fn take_genesis(&mut self, genesis: &Genesis, body: Bytes, out: &mut Outputs) {
        let hard = self.storing.change();
        hard.lineage = genesis.lineage();
        hard.term = Term(1);
        hard.vote = Some(genesis.founder);
        let entry = Entry {
            index: LogIndex(1),
            term: Term(1),
            body,
        };
        self.log
            .append(entry.clone(), &EntryBody::Genesis(genesis.clone()));
        self.storing.append(entry);
        self.enter_lineage(out);
    }

    fn enter_lineage(&mut self, out: &mut Outputs) {
        self.role = Role::Follower;
        self.following = super::election::Following {
            heard: self.now,
            ..Default::default()
        };
        self.reset_election_timer();
        out.push(Output::Event(Event::Lineage(self.lineage())));
        if !self.log.membership().is_empty() {
            self.announce_membership(out);
        }
    }

    /// A leader whose log names this very member has written to it: that is where it belongs.
    pub(super) fn adopt_lineage(&mut self, lineage: Lineage, out: &mut Outputs) {
        let hard = self.storing.change();
        hard.lineage = lineage;
        hard.term = Term::ZERO;
        hard.vote = None;
        self.enter_lineage(out);
    }

    pub(super) fn on_genesis(
        &mut self,
        from: Member,
        lineage: Lineage,
        entry: Bytes,
        out: &mut Outputs,
    ) {
        let Ok(EntryBody::Genesis(genesis)) = EntryBody::decode(entry.clone()) else {
            violation(from.peer, "sent a genesis that cannot be read", out);
            return;
        };
        if genesis.group != self.config.group
            || genesis.lineage() != lineage
            || !genesis.membership.is_voter(&self.me())
            || genesis.membership.voters().len() < self.config.min_voters as usize
        {
            return;
        }
        let joining = matches!(&self.role, Role::Fresh(fresh) if fresh.joining.is_some());
        if self.lineage().is_none() && !joining && !self.is_observer() {
            self.take_genesis(&genesis, entry, out);
        }
        let hard = self.storing.hard();
        let granted =
            hard.lineage == lineage && hard.term == Term(1) && hard.vote == Some(genesis.founder);
        if granted && genesis.founder == from {
            self.send(from, Body::GenesisAnswer { granted }, out);
        } else if hard.lineage != lineage {
            // Says where this member belongs instead.
            self.say_hello(from, false, out);
        }
    }

    pub(super) fn on_genesis_answer(&mut self, from: Member, granted: bool, out: &mut Outputs) {
        if let Role::Candidate(candidate) = &mut self.role
            && matches!(candidate.standing, Standing::Founding(_))
            && granted
        {
            candidate.votes.insert(from);
            self.tally(out);
        }
    }

    pub(super) fn on_hello(
        &mut self,
        from: Member,
        lineage: Lineage,
        hello: &Hello,
        out: &mut Outputs,
    ) {
        if hello.group != self.config.group {
            violation(from.peer, "speaks for another group", out);
            return;
        }
        let answer = hello.answer;
        if matches!(self.role, Role::Fresh(_)) {
            self.on_hello_while_fresh(from, lineage, hello, out);
        } else if lineage.is_none() {
            // A member of this lineage in an older incarnation asks to join by itself. Where this
            // lineage is a genesis yet, the one that it named will never take it.
            self.note_replaced(from, out);
        } else if lineage != self.lineage() {
            self.on_foreign(from, lineage, hello, out);
        } else {
            self.on_hello_of_own(from, hello, out);
        }
        if answer {
            self.say_hello(from, false, out);
        }
    }

    fn on_hello_while_fresh(
        &mut self,
        from: Member,
        lineage: Lineage,
        hello: &Hello,
        out: &mut Outputs,
    ) {
        let now = self.now;
        let Role::Fresh(fresh) = &mut self.role else {
            return;
        };
        if !lineage.is_none() {
            fresh.others.remove(&from.peer);
            let stale = fresh.joining.is_some_and(|(joining, contact)| {
                joining != lineage
                    && (contact.peer == from.peer
                        || now.since(fresh.joining_since) > self.config.election_timeout)
            });
            if stale {
                // That lineage is not where it was met, or does not let anyone in.
                fresh.joining = None;
            }
            self.on_hello_of_lineage(from, lineage, hello, out);
            return;
        }
        if fresh.others.len() >= limits::FRESH_MEMBERS && !fresh.others.contains_key(&from.peer) {
            return;
        }
        let age = Duration::from_millis(hello.age_ms);
        let started = Instant::from_nanos(now.as_nanos().saturating_sub(age.as_nanos() as u64));
        let sees: BTreeSet<Member> = hello.sees.iter().copied().collect();
        let me = self.storing.hard().member;
        let unseen = !sees.contains(&me);
        let preference = hello.preference;
        let other = Other {
            member: from,
            preference,
            started,
            sees,
            heard: now,
        };
        let known = fresh.others.insert(from.peer, other);
        let news = known.is_none_or(|old| old.member != from);
        if news {
            // Everyone learns at once that this one is heard.
            fresh.hello_at = now;
        } else if unseen && !hello.answer {
            self.say_hello(from, false, out);
        }
    }

    /// A lineage is met: asks to be let in.
    fn on_hello_of_lineage(
        &mut self,
        from: Member,
        lineage: Lineage,
        hello: &Hello,
        out: &mut Outputs,
    ) {
        let now = self.now;
        let Role::Fresh(fresh) = &mut self.role else {
            return;
        };
        let contact = hello
            .leader
            .filter(|l| self.links.contains(&l.peer))
            .unwrap_or(from);
        let better = match fresh.joining {
            None => true,
            Some((joining, old)) => joining == lineage && hello.leader.is_some() && old != contact,
        };
        if hello.formed && !hello.sealed && better {
            if fresh.joining.is_none() {
                fresh.joining_since = now;
            }
            fresh.joining = Some((lineage, contact));
            fresh.join_at = now + self.config.heartbeat_interval;
            self.ask_to_join(lineage, contact, out);
        }
    }

    /// Someone of the own lineage follows a leader that this member does not hear: it may have
    /// been forgotten or removed there, whatever its own log says. Members are not taken twice.
    fn on_hello_of_own(&mut self, from: Member, hello: &Hello, out: &mut Outputs) {
        let unsealed = self
            .seal_in_log()
            .is_none_or(|(index, _)| index > self.commit);
        if matches!(self.role, Role::Retired(_)) && unsealed && hello.leader == Some(from) {
            // It gave up its lineage for lack of a leader, and here is one.
            let term = self.storing.hard().term;
            self.become_follower(term, None, out);
        }
        let leads = [self.following.leader, hello.leader].contains(&Some(from));
        if self.following.quiet && leads {
            // A leader greets strangers. It sends heartbeats to members it greets by chance; one
            // that it, or the leader after it, has taken out meanwhile would stay silent for ever.
            self.following.quiet = false;
            self.following.heard = self.now;
            self.reset_election_timer();
        }
        let lost = self.following.leader.is_none()
            && matches!(self.role, Role::Follower | Role::Candidate(_));
        let Some(leader) = hello.leader.filter(|_| lost && self.now >= self.ask_at) else {
            return;
        };
        self.ask_at = self.now + self.patience();
        let contact = if self.links.contains(&leader.peer) {
            leader
        } else {
            from
        };
        let (member, preference) = (self.me(), self.config.preference);
        self.send(contact, Body::Join { member, preference }, out);
    }

    /// Without a leader: looks around for one, here or in another lineage. As long as nothing is
    /// committed, some of those whom the genesis names may never have got it, from a founder that
    /// was interrupted.
    pub(super) fn seek(&mut self, out: &mut Outputs) {
        let genesis = self.log.entry(LogIndex(1)).map(|entry| entry.body);
        if let Some(genesis) = genesis.filter(|_| self.commit.is_zero() && self.is_voter()) {
            let me = self.me();
            let voters = self.log.membership().voters().to_vec();
            let others = voters.into_iter().filter(|voter| *voter != me);
            for voter in others
                .filter(|voter| self.links.contains(&voter.peer))
                .collect::<Vec<_>>()
            {
                self.send(voter, Body::Genesis(genesis.clone()), out);
            }
        }
        for peer in self.links.clone() {
            self.say_hello(Member::new(peer, 0), true, out);
        }
    }
}
