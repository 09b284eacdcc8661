//! Proposals: from the caller, through the leader, into the log, and back to the caller.
//!
//! Each proposal of a member gets the next sequence numbers of that member. The leader takes a
//! member's operations in that order only, and each once, whatever is lost, repeated or
//! overtaken on the way, so a proposal may be sent again as often as it takes. What became of it
//! is read off the log itself.

use {
    super::{
        config::limits,
        core::{Core, Role, violation},
        entry::{EntryBody, encode_commands},
        ids::{Index, Member, OpRun, Origin},
        input::{Outcome, Output, Outputs, Proposal},
        message::{Body, Forward, ForwardAnswer, Verdict},
        mutants::mutant,
        proposals::{Batch, command_bytes},
        window::Seen,
    },
    bytes::Bytes,
    core::time::Duration,
};

/// Forward messages on their way at one time.
const FORWARDS: usize = 16;

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

    /// Whether little enough is in the log and not committed, so that one more entry of commands
    /// may be. What others forward may be more than what this member's own proposals are, which
    /// wait here to be coalesced.
    pub(super) fn has_room(&self, entries: usize) -> bool {
        self.log.last_index().distance(self.commit) < entries as u64
            && self.log.bytes_after(self.commit) < limits::BACKLOG_BYTES
    }

    /// Uncommitted entries up to which others are served.
    pub(super) fn backlog_entries(&self) -> usize {
        self.config.inflight_appends.saturating_mul(4)
    }

    /// As leader: puts this member's own proposals into the log.
    pub(super) fn append_proposals(&mut self, out: &mut Outputs) {
        while self.proposals.sent < self.proposals.pending.len()
            && self.has_room(self.config.inflight_appends)
            && self.storing.appends_waiting() < 8
        {
            let Role::Leader(leader) = &self.role else {
                return;
            };
            if leader.transfer.is_some() || self.seal_in_log().is_some() {
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
        let refuse = leader.transfer.is_some()
            || self.seal_in_log().is_some()
            || command_bytes(&forward.commands) > limits::ENTRY_BYTES / 2
            || !self.has_room(self.backlog_entries());
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
