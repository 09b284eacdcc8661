//! Proposals: from the caller, through the leader, into the log, and back to the caller.
//!
//! Each proposal of a member gets the next sequence numbers of that member. The leader takes a
//! member's operations in that order only, and each once, whatever is lost, repeated or
//! overtaken on the way, so a proposal may be sent again as often as it takes. What became of it
//! is read off the log itself.

use {
    super::{
        config::{Config, limits},
        core::{Core, Role, violation},
        entry::{EntryBody, encode_commands},
        ids::{Index, LogIndex, Member, OpRun, Origin},
        input::{NotDone, Outcome, Output, Outputs, Proposal, ProposalId},
        log::{ENTRY_OVERHEAD, Log},
        message::{Body, Forward, ForwardAnswer, Verdict},
        mutants::mutant,
        window::Seen,
    },
    bytes::Bytes,
    core::time::Duration,
    mosaik_primitives::time::Instant,
    std::collections::VecDeque,
};

/// Sequence numbers one run of a process may use up.
const SEQUENCES_BITS: u32 = 40;
/// Forward messages on their way at one time.
const FORWARDS: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not on its way to the present leader.
    Queued,
    /// On its way since then.
    Sent(Instant),
    /// In the present leader's log.
    Taken,
}

#[derive(Debug)]
struct Pending {
    id: ProposalId,
    first: u64,
    commands: Vec<Bytes>,
    bytes: usize,
    deadline: Instant,
    state: State,
    /// A leader may have it: it cannot be said any more that it is surely not done.
    exposed: bool,
    accepted: bool,
}

impl Pending {
    fn last(&self) -> u64 {
        self.first + self.commands.len() as u64 - 1
    }
}

/// Proposals without an outcome, in the order of their sequence numbers.
#[derive(Debug)]
pub(super) struct Proposals {
    pending: VecDeque<Pending>,
    bytes: usize,
    next: u64,
    /// How many at the front are not queued; those after may be.
    sent: usize,
    /// The leader was busy: not before then.
    retry_at: Option<Instant>,
    /// What is on its way has been for so long then that it must be lost.
    resend_at: Option<Instant>,
}

impl Proposals {
    pub(super) fn new(starts: u64) -> Self {
        Self {
            pending: VecDeque::new(),
            bytes: 0,
            next: (starts << SEQUENCES_BITS) + 1,
            sent: 0,
            retry_at: None,
            resend_at: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let expiry = self.pending.front().map(|pending| pending.deadline);
        let retry = self.retry_at.filter(|_| !self.pending.is_empty());
        let resend = self.resend_at.filter(|_| !self.pending.is_empty());
        [expiry, retry, resend].into_iter().flatten().min()
    }

    /// All proposals have to be sent (again), to whoever leads now.
    pub(super) fn requeue(&mut self) {
        for pending in &mut self.pending {
            pending.state = State::Queued;
        }
        self.sent = 0;
        self.retry_at = None;
        self.resend_at = None;
    }

    fn requeue_after(&mut self, last: u64) {
        let from = self
            .pending
            .partition_point(|pending| pending.last() <= last);
        for pending in self.pending.range_mut(from..) {
            pending.state = State::Queued;
        }
        self.sent = self.sent.min(from);
    }

    fn remove_front(&mut self) -> Option<Pending> {
        let pending = self.pending.pop_front()?;
        self.bytes -= pending.bytes;
        self.sent = self.sent.saturating_sub(1);
        Some(pending)
    }

    /// Ends what has waited for too long.
    pub(super) fn expire(&mut self, now: Instant, out: &mut Outputs) {
        while self
            .pending
            .front()
            .is_some_and(|pending| pending.deadline <= now)
        {
            let pending = self.remove_front().expect("there is one");
            out.push(Output::Proposal(pending.id, lost(&pending)));
        }
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.retry_at) || due(self.resend_at) {
            self.retry_at = None;
            self.resend_at = None;
            let first = self
                .pending
                .iter()
                .find(|pending| pending.state != State::Taken);
            if let Some(first) = first.map(|pending| pending.first) {
                self.requeue_after(first - 1);
            }
        }
        if self.pending.is_empty() {
            self.pending.shrink_to(16);
        }
    }

    /// Ends everything.
    pub(super) fn fail(&mut self, out: &mut Outputs) {
        while let Some(pending) = self.remove_front() {
            let outcome = match lost(&pending) {
                Outcome::NotDone(_) => Outcome::NotDone(NotDone::Stopped),
                other => other,
            };
            out.push(Output::Proposal(pending.id, outcome));
        }
    }

    /// Ends what a leader may have taken; keeps the rest, renumbered, for another lineage.
    pub(super) fn change_lineage(&mut self, out: &mut Outputs) {
        let mut kept = VecDeque::new();
        while let Some(mut pending) = self.remove_front() {
            if pending.exposed {
                out.push(Output::Proposal(pending.id, Outcome::Unknown));
                continue;
            }
            pending.first = self.next;
            self.next += pending.commands.len() as u64;
            pending.state = State::Queued;
            pending.exposed = false;
            self.bytes += pending.bytes;
            kept.push_back(pending);
        }
        self.pending = kept;
        self.sent = 0;
    }

    fn add(
        &mut self,
        proposal: Proposal,
        now: Instant,
        config: &Config,
    ) -> Result<(), (ProposalId, NotDone)> {
        let Proposal { id, commands } = proposal;
        let bytes = commands.iter().map(|command| command.len() + 8).sum();
        if commands.is_empty()
            || commands.len() > limits::ENTRY_COMMANDS
            || bytes > config.proposal_bytes
        {
            return Err((id, NotDone::Size));
        }
        if self.pending.len() >= limits::PENDING_PROPOSALS
            || self.bytes + bytes > config.pending_bytes
        {
            return Err((id, NotDone::Overloaded));
        }
        let first = self.next;
        self.next += commands.len() as u64;
        self.bytes += bytes;
        self.pending.push_back(Pending {
            id,
            first,
            commands,
            bytes,
            deadline: now + config.forward_timeout,
            state: State::Queued,
            exposed: false,
            accepted: false,
        });
        Ok(())
    }

    /// Ends what the log up to `emitted`, which was handed out, has decided.
    pub(super) fn settle(&mut self, me: Member, log: &Log, emitted: LogIndex, out: &mut Outputs) {
        if self.pending.is_empty() {
            return;
        }
        let Some(mark) = log.mark(emitted) else {
            return;
        };
        let origin = Origin::Member(me);
        while let Some(pending) = self.pending.front() {
            let outcome = match log.window().settled(&origin, pending.first, mark.commands) {
                Seen::New => return,
                Seen::At(first) => Outcome::Committed { first },
                // A later one of this member is committed. This one never will be, here; but a
                // member that has it may bring it into another lineage.
                Seen::Skipped | Seen::Forgotten => Outcome::Unknown,
            };
            let pending = self.remove_front().expect("there is one");
            out.push(Output::Proposal(pending.id, outcome));
        }
    }

    /// The next queued proposals that fit one entry or message, marked as sent.
    fn next_batch(&mut self, max_bytes: usize, now: Instant) -> Option<Batch> {
        let first = self.pending.get(self.sent)?.first;
        let after = self
            .sent
            .checked_sub(1)
            .map_or(0, |before| self.pending[before].last());
        let mut batch = Batch {
            after,
            first,
            commands: Vec::new(),
            proposals: self.sent..self.sent,
        };
        let mut bytes = 0;
        while let Some(pending) = self.pending.get_mut(self.sent) {
            let contiguous = pending.first == first + batch.commands.len() as u64;
            let fits = bytes + pending.bytes <= max_bytes
                && batch.commands.len() + pending.commands.len() <= limits::ENTRY_COMMANDS;
            if !(batch.commands.is_empty() || fits && contiguous) {
                break;
            }
            bytes += pending.bytes;
            batch.commands.extend(pending.commands.iter().cloned());
            pending.state = State::Sent(now);
            pending.exposed = true;
            self.sent += 1;
            batch.proposals.end = self.sent;
        }
        Some(batch)
    }

    /// The leader has taken `count` operations from `first` on, the first as command `at`.
    fn taken(
        &mut self,
        first: u64,
        count: u64,
        at: Index,
        term: super::ids::Term,
        out: &mut Outputs,
    ) {
        let from = self
            .pending
            .partition_point(|pending| pending.first < first);
        for pending in self.pending.range_mut(from..) {
            if pending.last() >= first + count {
                break;
            }
            pending.state = State::Taken;
            if !std::mem::replace(&mut pending.accepted, true) {
                let first = at.plus(pending.first - first);
                out.push(Output::Proposal(
                    pending.id,
                    Outcome::Accepted { first, term },
                ));
            }
        }
    }

    /// Messages on their way, judged by proposals: enough to bound them.
    fn waiting(&self) -> usize {
        let sent = self.pending.range(..self.sent);
        sent.rev()
            .take_while(|pending| matches!(pending.state, State::Sent(_)))
            .count()
    }

    /// When the oldest message on its way left.
    fn oldest_sent(&self) -> Option<Instant> {
        self.pending
            .range(..self.sent)
            .find_map(|pending| match pending.state {
                State::Sent(at) => Some(at),
                _ => None,
            })
    }
}

#[derive(Debug)]
struct Batch {
    after: u64,
    first: u64,
    commands: Vec<Bytes>,
    proposals: core::ops::Range<usize>,
}

fn lost(pending: &Pending) -> Outcome {
    if pending.exposed {
        Outcome::Unknown
    } else {
        Outcome::NotDone(NotDone::Offline)
    }
}

impl Core {
    pub(super) fn propose(&mut self, proposals: Vec<Proposal>, out: &mut Outputs) {
        for proposal in proposals {
            if let Err((id, why)) = self.proposals.add(proposal, self.now, &self.config) {
                out.push(Output::Proposal(id, Outcome::NotDone(why)));
            }
        }
        self.wake();
        self.rouse(out);
    }

    /// Ends a follower's silence: it is about to need its leader, which may be gone.
    pub(super) fn rouse(&mut self, out: &mut Outputs) {
        if self.following.quiet
            && let Some(leader) = self.following.leader
        {
            self.following.quiet = false;
            self.heard_leader();
            self.send(leader, Body::Ping, out);
        }
    }

    /// How much may be in the log and not committed before proposals wait to be coalesced.
    fn has_room(&self) -> bool {
        let entries = self.log.last_index().distance(self.commit);
        entries < self.config.inflight_appends as u64 && self.storing.appends_waiting() < 8
    }

    /// As leader: puts this member's own proposals into the log.
    pub(super) fn append_proposals(&mut self, out: &mut Outputs) {
        while self.proposals.sent < self.proposals.pending.len() && self.has_room() {
            let Role::Leader(leader) = &self.role else {
                return;
            };
            if leader.transfer.is_some() || self.log.seal().is_some() {
                return;
            }
            let batch = self.proposals.next_batch(self.config.batch_bytes, self.now);
            let Some(batch) = batch else { return };
            let origin = Origin::Member(self.me());
            self.take_own(&batch, origin, out);
        }
    }

    fn take_own(&mut self, batch: &Batch, origin: Origin, out: &mut Outputs) {
        let term = self.storing.hard().term;
        let last = self.log.window().last(&origin);
        if batch.first > last || mutant!("forward-applied-twice") {
            let run = OpRun {
                origin,
                first: batch.first,
                count: batch.commands.len() as u32,
            };
            let at = self.append_commands(&[run], &batch.commands);
            self.proposals
                .taken(batch.first, batch.commands.len() as u64, at, term, out);
            return;
        }
        // Sent before, to this leader's predecessor, and some of it is in the log. A proposal is
        // in one entry, so each is there or is not.
        let proposals = batch.proposals.clone();
        for at in proposals {
            let pending = &self.proposals.pending[at];
            let (first, commands) = (pending.first, pending.commands.clone());
            let count = commands.len() as u64;
            match self.log.window().seen(&origin, first) {
                Seen::New => {
                    let run = OpRun {
                        origin,
                        first,
                        count: count as u32,
                    };
                    let index = self.append_commands(&[run], &commands);
                    self.proposals.taken(first, count, index, term, out);
                }
                Seen::At(index) => self.proposals.taken(first, count, index, term, out),
                // Its end is read off the log, or comes with its deadline.
                Seen::Skipped | Seen::Forgotten => {}
            }
        }
    }

    /// Appends commands to the leader's log and says which index the first one has.
    pub(super) fn append_commands(&mut self, runs: &[OpRun], commands: &[Bytes]) -> Index {
        let time = self.wall_clock().max(self.log.end().time);
        let first = self.log.end().commands.next();
        let bytes = encode_commands(time, runs, commands.iter());
        let body = EntryBody::decode(bytes.clone()).expect("what was encoded can be decoded");
        self.wake();
        let (_, mut cx) = self.leading().expect("only leaders append");
        cx.append(&body, bytes);
        first
    }

    /// As follower: sends this member's proposals to the leader.
    pub(super) fn forward(&mut self, out: &mut Outputs) {
        if self.proposals.pending.is_empty() || !matches!(self.role, Role::Follower) {
            return;
        }
        let Some(leader) = self.following.leader else {
            return;
        };
        if self.proposals.retry_at.is_some() {
            return;
        }
        let retry: Duration = self.config.heartbeat_interval;
        while self.proposals.sent < self.proposals.pending.len()
            && self.proposals.waiting() < FORWARDS.max(1)
        {
            let Some(batch) = self.proposals.next_batch(self.config.batch_bytes, self.now) else {
                break;
            };
            let Batch {
                after,
                first,
                commands,
                ..
            } = batch;
            self.send(
                leader,
                Body::Forward(Forward {
                    after,
                    first,
                    commands,
                }),
                out,
            );
        }
        self.proposals.resend_at = self.proposals.oldest_sent().map(|at| at + retry);
    }

    /// As leader: takes another member's proposals.
    pub(super) fn on_forward(&mut self, from: Member, forward: &Forward, out: &mut Outputs) {
        let count = forward.commands.len() as u32;
        let answer = |first, count, verdict| {
            Body::ForwardAnswer(ForwardAnswer {
                first,
                count,
                verdict,
            })
        };
        if forward.first == 0 || count == 0 || forward.first.checked_add(count.into()).is_none() {
            violation(
                from.peer,
                "forwarded operations with impossible numbers",
                out,
            );
            return;
        }
        let first = forward.first;
        let Role::Leader(leader) = &self.role else {
            let leader = self.following.leader;
            self.send(
                from,
                answer(first, count, Verdict::NotLeader { leader }),
                out,
            );
            return;
        };
        if self.surely_no_member(&from) {
            self.send(from, Body::Removed, out);
            return;
        }
        let bytes: usize = forward
            .commands
            .iter()
            .map(|c| c.len() + ENTRY_OVERHEAD)
            .sum();
        let refuse = leader.transfer.is_some()
            || self.log.seal().is_some()
            || bytes > limits::ENTRY_BYTES / 2
            || self.log.last_index().distance(self.commit)
                >= self.config.inflight_appends as u64 * 4;
        if refuse {
            self.send(from, answer(first, count, Verdict::Busy), out);
            return;
        }
        self.take_forward(from, forward, out);
    }

    fn take_forward(&mut self, from: Member, forward: &Forward, out: &mut Outputs) {
        let origin = Origin::Member(from);
        let answer = |first, count, verdict| {
            Body::ForwardAnswer(ForwardAnswer {
                first,
                count,
                verdict,
            })
        };
        let (first, count) = (forward.first, forward.commands.len() as u64);
        let mut last = self.log.window().last(&origin);
        if mutant!("forward-applied-twice") {
            last = last.min(first - 1);
        }
        if forward.after > last {
            self.send(
                from,
                answer(first, count as u32, Verdict::Missing { last }),
                out,
            );
            return;
        }
        // What is in the log already is answered for; the rest is appended.
        let known = (last + 1).saturating_sub(first).min(count);
        if known > 0 {
            self.answer_known(from, first, known, out);
        }
        let rest = &forward.commands[known as usize..];
        if !rest.is_empty() {
            let run = OpRun {
                origin,
                first: first + known,
                count: rest.len() as u32,
            };
            let at = self.append_commands(&[run], rest);
            self.send(from, answer(run.first, run.count, Verdict::At(at)), out);
        }
    }

    /// Says where operations stand that the log's window has passed, neighbours together.
    fn answer_known(&mut self, from: Member, first: u64, count: u64, out: &mut Outputs) {
        let origin = Origin::Member(from);
        let verdict = |core: &Self, seq| match core.log.window().seen(&origin, seq) {
            Seen::At(index) => Verdict::At(index),
            Seen::Skipped => Verdict::Skipped,
            Seen::Forgotten | Seen::New => Verdict::Forgotten,
        };
        let mut at = first;
        while at < first + count {
            let start = verdict(self, at);
            let mut run = 1;
            while at + run < first + count {
                let next = verdict(self, at + run);
                let goes_on = match start {
                    Verdict::At(index) => next == Verdict::At(index.plus(run)),
                    other => next == other,
                };
                if !goes_on {
                    break;
                }
                run += 1;
            }
            let answer = ForwardAnswer {
                first: at,
                count: run as u32,
                verdict: start,
            };
            self.send(from, Body::ForwardAnswer(answer), out);
            at += run;
        }
    }

    pub(super) fn on_forward_answer(
        &mut self,
        from: Member,
        answer: &ForwardAnswer,
        out: &mut Outputs,
    ) {
        if self.following.leader != Some(from) {
            return;
        }
        let term = self.storing.hard().term;
        let (first, count) = (answer.first, u64::from(answer.count));
        match answer.verdict {
            Verdict::At(index) => self.proposals.taken(first, count, index, term, out),
            Verdict::Missing { last } => self.proposals.requeue_after(last),
            Verdict::Busy => {
                self.proposals.retry_at = Some(self.now + self.patience());
            }
            // The log says what became of it, or will: this member has yet to receive that part.
            Verdict::Skipped | Verdict::Forgotten | Verdict::NotLeader { .. } => {}
        }
    }
}
