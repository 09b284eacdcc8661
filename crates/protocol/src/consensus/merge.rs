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
//! Only hellos of leaders that have committed in their term decide: their figures never go back,
//! and a leader that has decided to give way says so, so that never both sides do.

use {
    super::{
        config::{MergePolicy, limits},
        core::{Core, Purpose, Role},
        entry::{Entry, EntryBody, Seal},
        formation::Fresh,
        ids::{Index, Lineage, LogIndex, Member, OpRun, Origin, Position, Term},
        input::{Event, Output, Outputs},
        leader::fetch,
        log::Log,
        message::{Body, Hello, Resubmit},
        mutants::mutant,
        state::SnapshotMeta,
    },
    bytes::Bytes,
    core::cmp::Reverse,
    mosaik_primitives::time::Instant,
};

/// A member of another lineage, as its latest hello showed it.
#[derive(Debug)]
pub(super) struct Foreign {
    pub(super) member: Member,
    pub(super) lineage: Lineage,
}

/// Whom a member hands its lineage's commands to, and how far it has come.
#[derive(Debug)]
pub(super) struct Retired {
    pub(super) winner: Lineage,
    contact: Option<Member>,
    /// When the winner was last heard.
    heard: Instant,
    /// The last entry to hand over from.
    upto: LogIndex,
    /// The last command to hand over.
    limit: Index,
    /// Commands known committed in the own lineage.
    commands: Index,
    /// What is being handed over; the next is read when it is committed over there.
    batch: Option<Resubmit>,
    /// Where the next command is looked for.
    next: LogIndex,
    /// Its number.
    next_command: Index,
    resubmitted: u64,
    dropped: u64,
    retry_at: Instant,
}

impl Retired {
    pub(super) fn deadline(&self) -> Instant {
        self.retry_at
    }
}

/// Bytes of commands in one batch, about.
const BATCH_BYTES: usize = 1 << 20;
/// Runs of operation ids in one batch, about; one entry may add more.
const BATCH_RUNS: usize = 256;

fn add_to_runs(runs: &mut Vec<OpRun>, origin: Origin, seq: u64) {
    match runs.last_mut() {
        Some(run) if run.origin == origin && run.first + u64::from(run.count) == seq => {
            run.count += 1;
        }
        _ => runs.push(OpRun {
            origin,
            first: seq,
            count: 1,
        }),
    }
}

/// What decides which of two lineages goes on: greater wins.
type Weight = (bool, Index, u32, Reverse<Lineage>);

fn weight(lineage: Lineage, hello: &Hello) -> Weight {
    (
        !hello.sealed,
        hello.committed,
        hello.voters,
        Reverse(lineage),
    )
}

impl Core {
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
        if self.foreign.len() < limits::MEMBERS || self.foreign.contains_key(&member.peer) {
            self.foreign
                .insert(member.peer, Foreign { member, lineage });
        }
        self.wake();
        let (now, patience) = (self.now, self.config.death_timeout());
        if let Role::Retired(retired) = &mut self.role {
            let lost = now.since(retired.heard) > patience;
            let open = hello.formed && !hello.sealed && hello.leader.is_some();
            if open && (lineage == retired.winner || lost) {
                let leads = hello.leader == Some(member);
                retired.winner = lineage;
                retired.contact = retired.contact.filter(|_| !lost && !leads).or(Some(member));
            }
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
        if self.config.merge == MergePolicy::Refuse {
            out.push(Output::Event(Event::Apart(lineage)));
        } else if leads {
            self.seal(lineage, member, out);
        } else if hopeless || silence >= self.config.death_timeout() * 2 {
            self.retire(lineage, Some(member), out);
        }
    }

    fn seal(&mut self, winner: Lineage, contact: Member, out: &mut Outputs) {
        if mutant!("merge-without-seal") {
            self.retire(winner, Some(contact), out);
            return;
        }
        let Some((leader, mut cx)) = self.leading() else {
            return;
        };
        if !leader.is_ready(cx.commit) || cx.log.seal().is_some() {
            return;
        }
        let body = EntryBody::Seal(Seal { winner });
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
        let Some((index, winner)) = cx.log.seal().filter(|(index, _)| *index <= emitted) else {
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
        if let Some((index, winner)) = self.log.seal()
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
        let sealed = self
            .log
            .seal()
            .is_some_and(|(index, _)| index <= self.commit);
        let (upto, mut limit) = if sealed {
            (self.commit, commands)
        } else {
            (self.log.last_index(), self.log.end().commands)
        };
        if mutant!("merge-loses-last") {
            limit = limit.prev();
        }
        // What was cut off the log lives on in a snapshot's effect only.
        let base = self.log.base();
        let discard = self.config.merge == MergePolicy::Discard;
        let retired = Retired {
            winner,
            contact,
            heard: self.now,
            upto: if discard { base.at.index } else { upto },
            limit,
            commands,
            batch: None,
            next: base.at.index.next(),
            next_command: base.commands.next(),
            resubmitted: 0,
            dropped: if discard { commands.0 } else { base.commands.0 },
            retry_at: self.now,
        };
        if let Role::Leader(leader) = &mut self.role {
            let reads = leader.rounds.drain();
            self.reads.take_back(reads);
        }
        self.following.leader = None;
        self.fetches.clear();
        self.role = Role::Retired(Box::new(retired));
        let term = self.storing.hard().term;
        out.push(Output::Event(Event::Leader { leader: None, term }));
        self.retired_tick(out);
    }

    pub(super) fn retired_tick(&mut self, out: &mut Outputs) {
        let (now, retry) = (self.now, self.config.heartbeat_interval);
        let Role::Retired(retired) = &mut self.role else {
            return;
        };
        if now < retired.retry_at {
            return;
        }
        retired.retry_at = now + retry;
        if retired.batch.is_none() {
            self.read_to_resubmit(out);
        } else {
            self.ask_about_batch(out);
        }
        self.seek(out);
    }

    /// Looks up the commands that come next.
    fn read_to_resubmit(&mut self, out: &mut Outputs) {
        loop {
            let Role::Retired(retired) = &self.role else {
                return;
            };
            let (from, upto) = (retired.next, retired.upto);
            if from > upto {
                self.rejoin(out);
                return;
            }
            let cached = self
                .log
                .slice(from, self.config.append_bytes, limits::APPEND_ENTRIES);
            if cached.first().is_none_or(|first| first.index != from) {
                fetch(
                    from,
                    upto,
                    Purpose::Resubmit,
                    &self.config,
                    &mut self.fetches,
                    out,
                );
                return;
            }
            self.make_batch(&cached);
            if self.ask_about_batch(out) {
                return;
            }
        }
    }

    pub(super) fn on_fetched_to_resubmit(&mut self, entries: &[Entry], out: &mut Outputs) {
        self.make_batch(entries);
        if !self.ask_about_batch(out) && !entries.is_empty() {
            self.read_to_resubmit(out);
        }
    }

    /// Makes the next batch of these entries' commands, if they have any.
    fn make_batch(&mut self, entries: &[Entry]) {
        let Role::Retired(retired) = &mut self.role else {
            return;
        };
        let mut batch = Resubmit {
            upto: Index::ZERO,
            runs: Vec::new(),
            commands: Vec::new(),
        };
        let mut bytes = 0;
        for entry in entries {
            let full = bytes > BATCH_BYTES || batch.runs.len() > BATCH_RUNS;
            if entry.index != retired.next || entry.index > retired.upto || full {
                break;
            }
            retired.next = entry.index.next();
            let Ok(EntryBody::Commands(commands)) = entry.decode() else {
                continue;
            };
            for ((origin, seq), command) in commands.ops().zip(commands.iter()) {
                let index = retired.next_command;
                if index > retired.limit {
                    break;
                }
                retired.next_command = index.next();
                bytes += command.len() + 8;
                batch.upto = index;
                add_to_runs(&mut batch.runs, origin, seq);
                batch.commands.push(command);
            }
        }
        if !batch.commands.is_empty() {
            retired.batch = Some(batch);
        }
    }

    /// Asks the winner about the batch. Says whether there is one.
    fn ask_about_batch(&mut self, out: &mut Outputs) -> bool {
        let Role::Retired(retired) = &self.role else {
            return false;
        };
        let Some(batch) = &retired.batch else {
            return false;
        };
        let (upto, runs) = (batch.upto, batch.runs.clone());
        if let Some(contact) = retired.contact {
            self.send(
                contact,
                Body::Resubmit(Resubmit {
                    upto,
                    runs,
                    commands: vec![],
                }),
                out,
            );
        }
        true
    }

    /// As leader of the winning side: takes another lineage's commands, in their order, once.
    pub(super) fn on_resubmit(
        &mut self,
        from: Member,
        lineage: Lineage,
        resubmit: &Resubmit,
        out: &mut Outputs,
    ) {
        if lineage.is_none() || lineage == self.lineage() || self.lineage().is_none() {
            return;
        }
        self.wake();
        let open = match &self.role {
            Role::Leader(leader) => leader.is_ready(self.commit) && leader.transfer.is_none(),
            _ => false,
        };
        let leading = open && self.log.seal().is_none();
        let counted: u64 = resubmit.runs.iter().map(|run| u64::from(run.count)).sum();
        let bytes: usize = resubmit
            .commands
            .iter()
            .map(|command| command.len() + 8)
            .sum();
        let fits = counted == resubmit.commands.len() as u64
            && counted <= limits::ENTRY_COMMANDS as u64
            && bytes <= limits::ENTRY_BYTES / 2;
        if leading && fits && !resubmit.commands.is_empty() {
            self.append_resubmitted(resubmit);
        }
        let committed_commands = self.committed_commands();
        let window = self.log.window();
        let in_log = |run: &OpRun| window.last(&run.origin) >= run.last();
        let in_commit =
            |run: &OpRun| window.last_committed(&run.origin, committed_commands) >= run.last();
        let body = Body::ResubmitAnswer {
            lineage,
            leading,
            leader: self.following.leader,
            upto: resubmit.upto,
            taken: resubmit.runs.iter().all(in_log),
            committed: resubmit.runs.iter().all(in_commit),
        };
        self.send(from, body, out);
    }

    /// Appends what is not in the log yet.
    fn append_resubmitted(&mut self, resubmit: &Resubmit) {
        let mut runs: Vec<OpRun> = Vec::new();
        let mut commands: Vec<Bytes> = Vec::new();
        let mut at = 0;
        for run in &resubmit.runs {
            let count = run.count as usize;
            let known = self
                .log
                .window()
                .last(&run.origin)
                .saturating_sub(run.first - 1);
            let skip = known.min(u64::from(run.count)) as usize;
            let skip = if mutant!("merge-applied-twice") {
                0
            } else {
                skip
            };
            if skip < count {
                let first = run.first + skip as u64;
                runs.push(OpRun {
                    origin: run.origin,
                    first,
                    count: (count - skip) as u32,
                });
                commands.extend(resubmit.commands[at + skip..at + count].iter().cloned());
            }
            at += count;
        }
        if !commands.is_empty() {
            self.append_commands(&runs, &commands);
        }
    }

    pub(super) fn on_resubmit_answer(
        &mut self,
        from: Member,
        winner: Lineage,
        answer: &Body,
        out: &mut Outputs,
    ) {
        let &Body::ResubmitAnswer {
            leading,
            leader,
            upto,
            taken,
            committed,
            ..
        } = answer
        else {
            return;
        };
        let (now, poll) = (self.now, self.config.heartbeat_interval / 8);
        let Role::Retired(retired) = &mut self.role else {
            return;
        };
        if winner != retired.winner {
            return;
        }
        if !leading {
            retired.contact = leader.or(retired.contact);
            return;
        }
        retired.heard = now;
        retired.contact = Some(from);
        let Some(batch) = retired.batch.as_ref().filter(|batch| batch.upto == upto) else {
            return;
        };
        retired.retry_at = now + poll;
        if committed {
            retired.batch = None;
            self.read_to_resubmit(out);
        } else if !taken {
            retired.resubmitted += batch.commands.len() as u64;
            let batch = batch.clone();
            self.send(from, Body::Resubmit(batch), out);
        }
    }

    /// All is handed over: forgets the old lineage and joins the other as a new member.
    fn rejoin(&mut self, out: &mut Outputs) {
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
        self.storing.drop_held();
        self.storing.reset(Position::ZERO);
        self.log = Log::after(&SnapshotMeta::default());
        (self.commit, self.emitted, self.applied) = Default::default();
        self.emitted_commands = Index::ZERO;
        self.unapplied.clear();
        self.unapplied_bytes = 0;
        self.snapshot = None;
        self.installing = None;
        self.fetches.clear();
        self.foreign.clear();
        self.following = super::election::Following::default();
        self.reads.requeue();
        self.proposals.change_lineage(out);
    }
}
