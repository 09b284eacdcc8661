//! Following: taking a leader's entries and acknowledging them once they are stored.

use super::{
    core::{Core, Role, violation},
    entry::{Entry, EntryBody},
    ids::{LogIndex, Member, Position, Term},
    input::Outputs,
    message::Body,
    mutants::mutant,
};

impl Core {
    /// Whether `from` leads `term` as far as this member is concerned; if so, follows it.
    /// Answers leaders of the past, so that they learn that they are.
    pub(super) fn follow(&mut self, from: Member, term: Term, out: &mut Outputs) -> bool {
        let current = self.storing.hard().term;
        if term < current {
            let (matched, stored) = (LogIndex::ZERO, LogIndex::ZERO);
            let answer = Body::HeartbeatAck {
                round: 0,
                matched,
                stored,
                quiesced: false,
            };
            self.send(from, answer, out);
            return false;
        }
        if term == current {
            match &self.role {
                Role::Leader(_) => {
                    violation(from.peer, "leads a term that this member leads", out);
                    return false;
                }
                Role::Retired(_) | Role::Stopped | Role::Fresh(_) => return false,
                _ => {}
            }
            if self.following.leader.is_some_and(|leader| leader != from) {
                violation(from.peer, "leads a term that another leads", out);
                return false;
            }
        } else if matches!(self.role, Role::Retired(_) | Role::Stopped | Role::Fresh(_)) {
            return false;
        }
        let candidate = matches!(self.role, Role::Candidate(_));
        if term > current || candidate || self.following.leader.is_none() {
            self.become_follower(term, Some(from), out);
        }
        self.heard_leader();
        true
    }

    pub(super) fn on_append(
        &mut self,
        from: Member,
        prev: Position,
        commit: LogIndex,
        entries: Vec<Entry>,
        out: &mut Outputs,
    ) {
        self.following.quiet = false;
        let term = self.storing.hard().term;
        let last = entries.last().map_or(prev, Entry::position);
        let ordered = entries.windows(2).all(|pair| pair[0].term <= pair[1].term)
            && entries.first().is_none_or(|first| first.term >= prev.term)
            && last.term <= term;
        if !ordered {
            violation(from.peer, "sent entries whose terms make no sense", out);
            return;
        }
        if !self.meets(prev) {
            let hint = self.meeting_hint(prev);
            self.send(
                from,
                Body::AppendReject {
                    prev: prev.index,
                    hint,
                },
                out,
            );
            return;
        }
        if let Err(what) = self.take_entries(entries, out) {
            violation(from.peer, what, out);
            return;
        }
        let matched = last.index.max(self.commit).min(self.log.last_index());
        if last.index > self.following.matched || self.storing.durable() < matched {
            self.following.ack_due = true;
        }
        self.following.ack_due |= last.index > prev.index;
        self.following.matched = self.following.matched.max(matched);
        let limit = if mutant!("commit-beyond-match") {
            self.log.last_index()
        } else {
            self.following.matched
        };
        self.commit_to(commit.min(limit), out);
    }

    /// Whether the log holds `prev`. What is committed here is in every leader's log.
    fn meets(&self, prev: Position) -> bool {
        prev.index <= self.commit
            || self.log.term(prev.index) == Some(prev.term)
            || mutant!("append-without-prev") && prev.index <= self.log.last_index()
    }

    fn meeting_hint(&self, prev: Position) -> Position {
        let mut index = prev.index.prev().min(self.log.last_index());
        loop {
            match self.log.term(index) {
                Some(term) if term <= prev.term || index <= self.commit => {
                    return Position::new(term, index);
                }
                Some(_) => index = index.prev(),
                // Evicted: that far back everything is committed, and so is in the leader's log.
                None => return Position::new(prev.term, self.commit),
            }
        }
    }

    /// Appends what the log does not hold, after removing what contradicts it.
    fn take_entries(&mut self, entries: Vec<Entry>, out: &mut Outputs) -> Result<(), &'static str> {
        let mut cut = false;
        if mutant!("truncate-on-reorder")
            && let Some(last) = entries.last()
            && last.index < self.log.last_index()
            && last.index >= self.commit
        {
            self.truncate(last.index.next(), out);
        }
        for entry in entries {
            if entry.index <= self.commit {
                continue;
            }
            if entry.index <= self.log.last_index() {
                if self.log.term(entry.index) == Some(entry.term) || mutant!("keep-conflict") {
                    continue;
                }
                if cut {
                    return Err("sent entries that contradict each other");
                }
                self.truncate(entry.index, out);
                cut = true;
            }
            if entry.index != self.log.last_index().next() || entry.term < self.log.last().term {
                return Err("sent entries with gaps");
            }
            let body = entry
                .decode()
                .map_err(|_| "sent an entry that cannot be read")?;
            let membership = matches!(
                body,
                EntryBody::Membership(_) | EntryBody::Genesis(_) | EntryBody::Recovery(_)
            );
            self.log.append(entry.clone(), &body);
            self.storing.append(entry);
            if membership {
                self.announce_membership(out);
            }
        }
        Ok(())
    }

    fn truncate(&mut self, from: LogIndex, out: &mut Outputs) {
        assert!(from > self.commit, "committed entries are never removed");
        let membership = self.log.membership_index();
        self.log.truncate(from);
        self.storing.truncate(from);
        self.following.matched = self.following.matched.min(from.prev());
        if self.log.membership_index() != membership {
            self.announce_membership(out);
        }
    }

    pub(super) fn on_heartbeat(
        &mut self,
        from: Member,
        (commit, round): (LogIndex, u64),
        quiesce: bool,
        out: &mut Outputs,
    ) {
        let limit = if mutant!("commit-beyond-match") {
            self.log.last_index()
        } else {
            self.following.matched
        };
        self.commit_to(commit.min(limit), out);
        let matched = self.following.matched;
        let idle = self.commit == self.log.last_index()
            && matched == self.commit
            && self.proposals.is_empty()
            && self.reads.is_empty()
            && !self.leaving
            && !self.storing.is_busy();
        self.following.quiet = quiesce && idle && self.config.quiesce;
        let quiesced = self.following.quiet;
        if quiesced {
            self.log.evict(self.emitted, 0);
        }
        let stored = matched.min(self.storing.durable());
        self.send(
            from,
            Body::HeartbeatAck {
                round,
                matched,
                stored,
                quiesced,
            },
            out,
        );
    }

    /// Acknowledges what is stored, if the leader waits for it.
    pub(super) fn acknowledge(&mut self, out: &mut Outputs) {
        if !self.following.ack_due || !matches!(self.role, Role::Follower) {
            return;
        }
        let Some(leader) = self.following.leader else {
            return;
        };
        let matched = self.following.matched;
        let stored = if mutant!("ack-before-persist") {
            matched
        } else {
            matched.min(self.storing.durable())
        };
        let news = stored > self.following.acked;
        if news || stored == matched {
            self.following.ack_due = stored < matched;
            self.following.acked = stored;
            self.send(leader, Body::AppendAck { matched: stored }, out);
        }
    }
}
