//! Two lineages of one group meet. It takes two sides that each founded while unable to see the
//! other; after formation it cannot happen, because it takes a majority to commit.
//!
//! The side with more committed commands goes on. The other side's leader seals its log: a last
//! entry, after which nothing is committed, so that all its members agree on what was. Each
//! member then proposes to the winner what the winner lacks, each command under the operation id
//! it has had from the start and so once, and only then forgets the old log and joins.
//!
//! A member of a losing side without a leader does the same, after a while, with all of its log:
//! what it does not know to be committed may be. Where that was never committed, its proposer
//! was told that the outcome is unknown.
//!
//! Only hellos of leaders that have committed in their term decide: a leader's figures never go
//! back, and one that has decided to give way says so, so that never two leaders give way to each
//! other. Of leaders that follow one another the commands never become fewer, but the later one may
//! have fewer voters, or more of its log. Where that alone decides, and leaders change while a hello
//! is on its way, both sides can be sealed: each goes on by itself after a while, as below.
//!
//! Giving way ends in one of three ways, so that nobody waits for ever (see
//! [`Core::give_up_waiting`]): all is handed over; or the side chosen is not heard of any more, and
//! a member whose lineage is not sealed goes back to it as if it had only been away, while one
//! whose lineage is sealed goes on from it under a new name once no other lineage opens for it.

use {
    super::{
        config::{MergePolicy, limits},
        core::{Core, Role},
        entry::{EntryBody, Seal},
        formation::Fresh,
        ids::{Index, Lineage, LogIndex, Member, Position, Term},
        input::{Event, Output, Outputs},
        log::Log,
        message::{Body, Hello, Resubmit},
        mutants::mutant,
        resubmit::Retired,
        state::SnapshotMeta,
    },
    core::cmp::Reverse,
};

/// A member of another lineage, as its latest hello showed it.
#[derive(Debug)]
pub(super) struct Foreign {
    pub(super) member: Member,
    pub(super) lineage: Lineage,
}

/// What decides which of two lineages goes on: greater wins.
type Weight = (bool, bool, Index, u32, Reverse<Lineage>);

fn weight(lineage: Lineage, hello: &Hello) -> Weight {
    (
        !hello.sealed,
        hello.cut,
        hello.committed,
        hello.voters,
        Reverse(lineage),
    )
}

impl Core {
    /// Whether the log is about to be handed over to another lineage, and must stay whole.
    pub(super) fn is_giving_way(&self) -> bool {
        self.seal_in_log().is_some() || matches!(self.role, Role::Retired(_))
    }

    /// Where the log is sealed, and for whom. A seal of the lineage that this one went on from is
    /// an entry like others.
    pub(super) fn seal_in_log(&self) -> Option<(LogIndex, Lineage)> {
        self.log.seal(self.lineage())
    }

    /// Whether there are commands whose effect only a snapshot has.
    pub(super) fn is_cut(&self) -> bool {
        !self.log.base().commands.is_zero()
    }

    /// Whether giving way would drop what was acknowledged.
    fn must_stay(&self) -> bool {
        self.config.merge == MergePolicy::Resubmit && self.is_cut() && !mutant!("cut-log-gives-way")
    }

    /// Whether nothing can be committed in this lineage any more.
    pub(super) fn is_sealed(&self) -> bool {
        self.seal_in_log()
            .is_some_and(|(index, _)| index <= self.commit)
    }

    /// As leader: says hello to linked peers that are no members.
    pub(super) fn greet_strangers(&mut self, out: &mut Outputs) {
        let interval = self.config.election_timeout / 2;
        let now = self.now;
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        if now < leader.hello_at {
            return;
        }
        leader.hello_at = now + interval;
        let membership = self.log.membership();
        let strangers: Vec<_> = self
            .links
            .iter()
            .filter(|peer| {
                membership
                    .members()
                    .all(|(member, _)| member.peer != **peer)
            })
            .copied()
            .collect();
        for peer in strangers {
            self.say_hello(Member::new(peer, 0), true, out);
        }
    }

    /// Someone of another lineage has said hello, here or to someone who passed it on.
    pub(super) fn on_foreign(
        &mut self,
        member: Member,
        lineage: Lineage,
        hello: &Hello,
        out: &mut Outputs,
    ) {
        if lineage.is_none() || lineage == self.lineage() || hello.group != self.config.group {
            return;
        }
        if member.peer == self.config.peer {
            // Somebody passed on what this node said in an earlier life, which is over.
            return;
        }
        if self.foreign.len() < limits::MEMBERS || self.foreign.contains_key(&member.peer) {
            self.foreign
                .insert(member.peer, Foreign { member, lineage });
        }
        self.wake();
        if matches!(self.role, Role::Retired(_)) {
            self.on_foreign_while_retired(member, lineage, hello);
            return;
        }
        self.abandon_if_blocked(out);
        let decides = hello.leader == Some(member) && hello.formed;
        if matches!(self.role, Role::Fresh(_) | Role::Stopped) || !decides {
            return;
        }
        if let Some(leader) = self.following.leader
            && matches!(self.role, Role::Follower)
        {
            if self.links.contains(&member.peer) {
                let hello = Box::new(hello.clone());
                self.send(
                    leader,
                    Body::Foreign {
                        member,
                        lineage,
                        hello,
                    },
                    out,
                );
            }
            return;
        }
        let silence = self.now.since(self.following.heard);
        let leads = matches!(self.role, Role::Leader(_));
        let heavier = weight(lineage, hello) > weight(self.lineage(), &self.hello(false));
        // What has had no leader for very long gives way whatever it holds: it is handed over.
        let hopeless = !leads && silence >= self.config.death_timeout() * 5;
        if hello.sealed || !heavier && !hopeless {
            return;
        }
        let patient = silence >= self.config.death_timeout() * 2;
        if self.has_only_genesis() && !leads {
            // There is nothing to hand over or to keep apart, and nobody relies on this one.
            if patient {
                self.forget_lineage(out);
                self.role = Role::Fresh(Box::new(Fresh::joining(self.now, lineage, member)));
            }
        } else if self.config.merge == MergePolicy::Refuse || leads && self.must_stay() {
            out.push(Output::Event(Event::Apart(lineage)));
        } else if leads {
            self.seal(lineage, member, out);
        } else if hopeless || patient && !self.must_stay() {
            // Who has cut its log seldom can, and is better there when the others elect.
            self.retire(lineage, Some(member), out);
        }
    }

    /// While giving way: whom to hand over to, in the lineage chosen or, when that one is not
    /// heard of any more, in any that is open.
    fn on_foreign_while_retired(&mut self, member: Member, lineage: Lineage, hello: &Hello) {
        let (now, patience) = (self.now, self.config.death_timeout());
        let (base, lacking) = (self.log.base(), self.lacking());
        let Role::Retired(retired) = &mut self.role else {
            return;
        };
        let other = lineage != retired.winner;
        let lost = now.since(retired.heard) > patience;
        let open = hello.formed && !hello.sealed && hello.leader.is_some();
        if !open || other && !lost {
            return;
        }
        let leads = hello.leader == Some(member);
        retired.winner = lineage;
        retired.contact = retired.contact.filter(|_| !lost && !leads).or(Some(member));
        if other {
            // That one has not seen what the one before was given. Operations reach a lineage in
            // their order or not at all.
            retired.heard = now;
            retired.start_over(base, lacking);
        }
    }

    /// What others have to hand over, or have handed over, before this member may: operations of
    /// which it has the effect only.
    fn lacking(&self) -> Option<Resubmit> {
        let base = self.log.base();
        self.must_stay().then(|| Resubmit {
            upto: base.commands,
            runs: self.log.window().latest(base.commands),
            commands: Vec::new(),
        })
    }

    fn seal(&mut self, winner: Lineage, contact: Member, out: &mut Outputs) {
        if mutant!("merge-without-seal") {
            self.retire(winner, Some(contact), out);
            return;
        }
        let Some((leader, mut cx)) = self.leading() else {
            return;
        };
        if !leader.is_ready(cx.commit) || cx.seal().is_some() {
            return;
        }
        let body = EntryBody::Seal(Seal {
            lineage: cx.storing.hard().lineage,
            winner,
        });
        let bytes = body.encode();
        cx.append(&body, bytes);
        leader.wake(cx.now);
    }

    /// As leader of a sealed lineage: retires once the followers know, or after a while.
    pub(super) fn retire_when_told(&mut self, out: &mut Outputs) {
        let emitted = self.emitted;
        let Some((leader, mut cx)) = self.leading() else {
            return;
        };
        let Some((index, winner)) = cx.seal().filter(|(index, _)| *index <= emitted) else {
            return;
        };
        let untold = |leader: &super::leader::Leader| {
            leader
                .peers
                .values()
                .any(|progress| progress.knows_commit < index)
        };
        if leader.sealed_since.is_none() {
            leader.sealed_since = Some(cx.now);
        }
        let since = leader.sealed_since.unwrap_or(cx.now);
        let all_stored = leader
            .peers
            .values()
            .all(|progress| progress.matched >= index);
        if untold(leader) && all_stored && leader.told_seal != Some(leader.round) {
            leader.heartbeat(false, &mut cx, out);
            leader.told_seal = Some(leader.round);
        }
        if !untold(leader) || cx.now.since(since) >= cx.config.election_timeout {
            self.retire_sealed(winner, out);
        }
    }

    /// As follower: retires once the seal is committed and everything before it is handed out.
    pub(super) fn retire_when_sealed(&mut self, out: &mut Outputs) {
        if !matches!(self.role, Role::Follower | Role::Candidate(_)) {
            return;
        }
        if let Some((index, winner)) = self.seal_in_log()
            && index <= self.emitted
        {
            self.acknowledge(out);
            self.retire_sealed(winner, out);
        }
    }

    fn retire_sealed(&mut self, winner: Lineage, out: &mut Outputs) {
        let mut of_winner = self
            .foreign
            .values()
            .filter(|foreign| foreign.lineage == winner);
        let contact = of_winner.next().map(|foreign| foreign.member);
        let commands = self.committed_commands();
        let lineage = self.lineage();
        out.push(Output::Event(Event::Sealed {
            lineage,
            winner,
            commands,
        }));
        self.retire(winner, contact, out);
    }

    fn retire(&mut self, winner: Lineage, contact: Option<Member>, out: &mut Outputs) {
        let commands = self.committed_commands();
        let sealed = self.is_sealed();
        let (upto, mut limit) = if sealed {
            (self.commit, commands)
        } else {
            (self.log.last_index(), self.log.end().commands)
        };
        if mutant!("merge-loses-last") {
            limit = limit.prev();
        }
        let patience = self.config.death_timeout();
        let grace = patience * 8 + self.rng.upto(patience);
        // What was cut off the log has to come from somebody who has it still.
        let base = self.log.base();
        let discard = self.config.merge == MergePolicy::Discard;
        let retired = Retired {
            winner,
            contact,
            heard: self.now,
            grace,
            upto: if discard { base.at.index } else { upto },
            limit,
            commands,
            batch: self.lacking(),
            next: base.at.index.next(),
            next_command: base.commands.next(),
            resubmitted: 0,
            counted: Index::ZERO,
            dropped: if discard { commands.0 } else { 0 },
            retry_at: self.now,
        };
        if let Role::Leader(leader) = &mut self.role {
            let reads = leader.rounds.drain();
            self.reads.take_back(reads);
        }
        self.following.leader = None;
        self.fetches.give_up(|_| true);
        self.role = Role::Retired(Box::new(retired));
        let term = self.storing.hard().term;
        out.push(Output::Event(Event::Leader { leader: None, term }));
        self.retired_tick(out);
    }

    /// Stops waiting for a lineage that does not answer. Says whether it did.
    ///
    /// A member of a lineage that is not sealed has promised nothing by retiring and has its log
    /// still: it goes back and helps to elect a leader, from which it may be all that is missing.
    /// A sealed lineage has an end that all its members agree on, and commits nothing more. When
    /// none of those it could be handed over to has been heard of for very long, each member goes
    /// on from that end in a lineage of its own. Those meet like any that formed apart, and know
    /// by the operation ids what they have in common.
    pub(super) fn give_up_waiting(&mut self, out: &mut Outputs) -> bool {
        let Role::Retired(retired) = &self.role else {
            return false;
        };
        let waited = self.now.since(retired.heard);
        if !self.is_sealed() && waited > self.config.death_timeout() {
            if retired.lacks_commands() {
                out.push(Output::Event(Event::Apart(retired.winner)));
            }
            let term = self.storing.hard().term;
            self.become_follower(term, None, out);
            self.following.heard = self.now;
            return true;
        }
        if self.is_sealed() && waited > retired.grace && !self.is_observer() {
            self.go_on_alone(out);
            return true;
        }
        false
    }

    /// All is handed over: forgets the old lineage and joins the other as a new member.
    pub(super) fn rejoin(&mut self, out: &mut Outputs) {
        let from = self.lineage();
        let Role::Retired(retired) = &self.role else {
            return;
        };
        let (into, contact, commands) = (retired.winner, retired.contact, retired.commands);
        let (resubmitted, dropped) = (retired.resubmitted, retired.dropped);
        self.leave_lineage(out);
        out.push(Output::Event(Event::Merged {
            from,
            into,
            commands,
            resubmitted,
            dropped,
        }));
        self.role = Role::Fresh(Box::new(match contact {
            Some(contact) => Fresh::joining(self.now, into, contact),
            None => Fresh::new(self.now),
        }));
    }

    /// Belongs to no lineage from here on, as a new member with an empty log.
    pub(super) fn leave_lineage(&mut self, out: &mut Outputs) {
        let hard = self.storing.change();
        hard.lineage = Lineage::NONE;
        hard.member.incarnation += 1;
        hard.term = Term::ZERO;
        hard.vote = None;
        hard.commit = LogIndex::ZERO;
        hard.continued = None;
        self.storing.drop_held();
        self.storing.reset(Position::ZERO);
        self.log = Log::after(&SnapshotMeta::default());
        (self.commit, self.emitted, self.applied) = Default::default();
        self.emitted_commands = Index::ZERO;
        self.unapplied.clear();
        self.unapplied_bytes = 0;
        self.snapshot = None;
        self.installing = None;
        self.fetches.leave();
        self.foreign.clear();
        self.following = super::election::Following::default();
        self.reads.requeue();
        self.proposals.change_lineage(out);
    }
}
