//! Proposals of this member's callers that have no outcome yet.
//!
//! Each gets the next sequence numbers of the member, is sent as often as it takes, and ends when
//! the log that was handed out says what became of it, or its time is up.

use {
    super::{
        config::{Config, limits},
        ids::{Index, Member, Origin},
        input::{NotDone, Outcome, Output, Outputs, Proposal, ProposalId},
        window::{Seen, Window},
    },
    bytes::Bytes,
    mosaik_primitives::time::Instant,
    std::collections::VecDeque,
};

/// What commands count as where their bytes are bounded, the same everywhere: what a member takes
/// from its callers, every leader takes from it.
pub(super) fn command_bytes(commands: &[Bytes]) -> usize {
    commands.iter().map(|command| command.len() + 8).sum()
}

/// Sequence numbers one run of a process may use up.
pub(super) const SEQUENCES_BITS: u32 = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not on its way to the present leader.
    Queued,
    /// On its way since then.
    Sent(Instant),
    /// In the present leader's log.
    Taken,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) id: ProposalId,
    pub(super) first: u64,
    pub(super) commands: Vec<Bytes>,
    pub(super) bytes: usize,
    pub(super) deadline: Instant,
    pub(super) state: State,
    /// A leader may have it: it cannot be said any more that it is surely not done.
    pub(super) exposed: bool,
    pub(super) accepted: bool,
}

impl Pending {
    pub(super) fn last(&self) -> u64 {
        self.first + self.commands.len() as u64 - 1
    }
}

/// Proposals without an outcome, in the order of their sequence numbers.
#[derive(Debug)]
pub(super) struct Proposals {
    pub(super) pending: VecDeque<Pending>,
    pub(super) bytes: usize,
    pub(super) next: u64,
    /// How many at the front are not queued; those after may be.
    pub(super) sent: usize,
    /// The leader was busy: not before then.
    pub(super) retry_at: Option<Instant>,
    /// What is on its way has been for so long then that it must be lost.
    pub(super) resend_at: Option<Instant>,
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

    pub(super) fn requeue_after(&mut self, last: u64) {
        let from = self
            .pending
            .partition_point(|pending| pending.last() <= last);
        for pending in self.pending.range_mut(from..) {
            pending.state = State::Queued;
        }
        self.sent = self.sent.min(from);
    }

    pub(super) fn remove_front(&mut self) -> Option<Pending> {
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

    pub(super) fn add(
        &mut self,
        proposal: Proposal,
        now: Instant,
        config: &Config,
    ) -> Result<(), (ProposalId, NotDone)> {
        let Proposal { id, commands } = proposal;
        let bytes = command_bytes(&commands);
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

    /// Ends what the first `emitted` commands of the log, which were handed out, have decided.
    pub(super) fn settle(
        &mut self,
        me: Member,
        window: &Window,
        emitted: Index,
        out: &mut Outputs,
    ) {
        let origin = Origin::Member(me);
        while let Some(pending) = self.pending.front() {
            let outcome = match window.settled(&origin, pending.first, emitted) {
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
    pub(super) fn next_batch(&mut self, max_bytes: usize, now: Instant) -> Option<Batch> {
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
    pub(super) fn taken(
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
            if pending.last() >= first.saturating_add(count) {
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
    pub(super) fn waiting(&self) -> usize {
        let sent = self.pending.range(..self.sent);
        sent.rev()
            .take_while(|pending| matches!(pending.state, State::Sent(_)))
            .count()
    }

    /// When the oldest message on its way left.
    pub(super) fn oldest_sent(&self) -> Option<Instant> {
        self.pending
            .range(..self.sent)
            .find_map(|pending| match pending.state {
                State::Sent(at) => Some(at),
                _ => None,
            })
    }
}

#[derive(Debug)]
pub(super) struct Batch {
    pub(super) after: u64,
    pub(super) first: u64,
    pub(super) commands: Vec<Bytes>,
    pub(super) proposals: core::ops::Range<usize>,
}

fn lost(pending: &Pending) -> Outcome {
    if pending.exposed {
        Outcome::Unknown
    } else {
        Outcome::NotDone(NotDone::Offline)
    }
}
