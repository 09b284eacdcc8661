//! What must be on disk before what: tokens, writes of the current step, and messages held back.
//!
//! The rule, in one place: nothing that depends on a write leaves, and nothing is counted, before
//! the write is confirmed. Votes and terms are hard state: while a change of it is unconfirmed,
//! every message waits. Entries are acknowledged, and counted for a leader itself, up to
//! [`Storing::durable`] only.

use {
    super::{
        config::limits,
        entry::Entry,
        ids::{Lineage, LogIndex, Member, Position, Term, Token},
        input::{Output, Outputs, Write},
        message::{Body, Message},
        mutants::mutant,
        state::HardState,
    },
    std::collections::VecDeque,
};

#[derive(Debug, Default)]
pub(super) struct Storing {
    /// As it shall be stored; changed through the methods only.
    hard: HardState,
    hard_dirty: bool,
    /// The write that carries the latest hard state.
    hard_token: Token,
    issued: Token,
    confirmed: Token,
    writes: Vec<Write>,
    /// Last entry of each unconfirmed append.
    appends: VecDeque<(Token, LogIndex)>,
    durable: LogIndex,
    held: VecDeque<(Token, Message)>,
    /// Commit index when the hard state was last written.
    commit_stored: LogIndex,
}

/// Entries that may be committed before the commit index is written along with the next append.
const COMMIT_HINT_EVERY: u64 = 1_024;

impl Storing {
    pub(super) fn new(hard: HardState, durable: LogIndex) -> Self {
        let commit_stored = hard.commit;
        Self {
            hard,
            durable,
            commit_stored,
            ..Self::default()
        }
    }

    pub(super) fn hard(&self) -> &HardState {
        &self.hard
    }

    /// The hard state, to be changed and stored.
    pub(super) fn change(&mut self) -> &mut HardState {
        self.hard_dirty = true;
        &mut self.hard
    }

    /// Raises the commit index that goes along with the next write of the hard state, as far as
    /// the entries are stored by then.
    pub(super) fn note_commit(&mut self, commit: LogIndex) {
        self.hard.commit = commit;
    }

    /// Whether the hard state is stored as it is.
    pub(super) fn hard_stored(&self) -> bool {
        !self.hard_dirty && self.hard_token <= self.confirmed
    }

    /// The last entry that is stored and will not be removed by a write on its way.
    pub(super) fn durable(&self) -> LogIndex {
        self.durable
    }

    /// Whether writes await their confirmation, or are about to be made.
    pub(super) fn is_busy(&self) -> bool {
        self.confirmed < self.issued || !self.writes.is_empty() || self.hard_dirty
    }

    /// Confirmations of appends outstanding.
    pub(super) fn appends_waiting(&self) -> usize {
        self.appends.len()
    }

    pub(super) fn append(&mut self, entry: Entry) {
        let (token, last) = (self.issued.next(), entry.index);
        match self.writes.last_mut() {
            Some(Write::Append(entries)) => entries.push(entry),
            _ => self.writes.push(Write::Append(vec![entry])),
        }
        match self.appends.back_mut() {
            Some(back) if back.0 == token => back.1 = last,
            _ => self.appends.push_back((token, last)),
        }
    }

    pub(super) fn truncate(&mut self, from: LogIndex) {
        self.writes.push(Write::Truncate(from));
        self.durable = self.durable.min(from.prev());
        for (_, last) in &mut self.appends {
            *last = (*last).min(from.prev());
        }
        self.withdraw(from.prev());
    }

    /// Drops confirmations held back of entries behind `last`: by the time they could leave, those
    /// entries are gone.
    fn withdraw(&mut self, last: LogIndex) {
        self.held.retain(|(_, message)| match message.body {
            Body::AppendAck { matched } | Body::HeartbeatAck { matched, .. } => matched <= last,
            _ => true,
        });
    }

    /// The log is emptied; what follows `after` counts as stored: a snapshot holds it.
    pub(super) fn reset(&mut self, after: Position) {
        self.writes.push(Write::Reset(after));
        self.appends.clear();
        self.durable = after.index;
        self.withdraw(after.index);
    }

    pub(super) fn compact(&mut self, upto: LogIndex) {
        self.writes.push(Write::Compact(upto));
    }

    /// Sends, or holds back while the hard state is not stored.
    pub(super) fn send(&mut self, to: Member, body: Body, out: &mut Outputs) {
        let (lineage, from, term) = (self.hard.lineage, self.hard.member, self.hard.term);
        self.post(
            Message {
                lineage,
                from,
                to,
                term,
                body,
            },
            out,
        );
    }

    /// Sends to a member of a lineage that this one does not belong to yet.
    pub(super) fn send_to_lineage(
        &mut self,
        lineage: Lineage,
        to: Member,
        body: Body,
        out: &mut Outputs,
    ) {
        let (from, term) = (self.hard.member, Term::ZERO);
        self.post(
            Message {
                lineage,
                from,
                to,
                term,
                body,
            },
            out,
        );
    }

    fn post(&mut self, message: Message, out: &mut Outputs) {
        if self.hard_stored() || mutant!("vote-not-stored") {
            out.push(Output::Send(message));
        } else if self.held.len() < limits::HELD_MESSAGES {
            let token = if self.hard_dirty {
                self.issued.next()
            } else {
                self.hard_token
            };
            self.held.push_back((token, message));
        }
    }

    /// Forgets messages held back: they speak of a lineage that was left.
    pub(super) fn drop_held(&mut self) {
        self.held.clear();
    }

    /// Puts the step's writes, if there are any.
    pub(super) fn flush(&mut self, out: &mut Outputs) {
        // A store that keeps a prefix of this step's writes, or of those on their way, keeps this
        // before what they replace.
        let commit = self.hard.commit.min(self.durable);
        let lags = commit.distance(self.commit_stored) >= COMMIT_HINT_EVERY;
        if self.writes.is_empty() && !self.hard_dirty {
            return;
        }
        self.issued = self.issued.next();
        let mut writes = std::mem::take(&mut self.writes);
        if self.hard_dirty || lags {
            self.commit_stored = commit;
            // First, so that a store that keeps a prefix never keeps entries without the term
            // they were taken in, or an emptied log under the member that had it full.
            let mut hard = self.hard.clone();
            hard.commit = commit;
            hard.vote = hard.vote.filter(|_| !mutant!("vote-not-stored"));
            writes.insert(0, Write::HardState(hard.encode()));
        }
        if self.hard_dirty {
            self.hard_token = self.issued;
            self.hard_dirty = false;
        }
        out.push(Output::Persist {
            token: self.issued,
            writes,
        });
    }

    /// Everything up to `token` is stored. Says whether that is news.
    pub(super) fn confirm(&mut self, token: Token, out: &mut Outputs) -> bool {
        if token <= self.confirmed || token > self.issued {
            return false;
        }
        self.confirmed = token;
        while let Some((_, last)) = self.appends.pop_front_if(|(at, _)| *at <= token) {
            self.durable = self.durable.max(last);
        }
        while let Some((_, message)) = self.held.pop_front_if(|(at, _)| *at <= token) {
            out.push(Output::Send(message));
        }
        true
    }
}
