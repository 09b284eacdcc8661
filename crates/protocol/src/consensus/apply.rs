//! From committed to applied: handing entries out, in order, each once, as many as the driver
//! can take.

use super::{
    core::{Core, Role},
    entry::{Entry, EntryBody},
    fetches::Purpose,
    ids::{Index, LogIndex},
    input::{CommittedEntry, Output, Outputs},
    log::ENTRY_OVERHEAD,
    mutants::mutant,
};

/// Entries handed out with one output at most.
const APPLY_ENTRIES: usize = 1_024;

impl Core {
    /// Commands known committed.
    pub(super) fn committed_commands(&self) -> Index {
        self.log
            .mark(self.commit)
            .map_or(Index::ZERO, |mark| mark.commands)
    }

    /// Raises the commit index; it never goes back.
    pub(super) fn commit_to(&mut self, commit: LogIndex, out: &mut Outputs) {
        if commit <= self.commit {
            return;
        }
        assert!(
            commit <= self.log.last_index(),
            "only entries that are there are committed"
        );
        self.commit = commit;
        self.storing.note_commit(commit);
        self.step_down_when_removed(out);
    }

    /// Hands out what is committed, then what waited for it.
    pub(super) fn hand_out(&mut self, out: &mut Outputs) {
        if matches!(self.role, Role::Fresh(_) | Role::Stopped) {
            return;
        }
        let commit = if mutant!("apply-uncommitted") {
            self.storing.durable().max(self.commit)
        } else {
            self.commit
        };
        while self.emitted < commit && self.unapplied_bytes < self.config.apply_bytes {
            if self.emitted < self.log.first_cached().prev() {
                self.fetch_to_apply(out);
                break;
            }
            let mut batch = Vec::new();
            while self.emitted < commit
                && batch.len() < APPLY_ENTRIES
                && self.unapplied_bytes < self.config.apply_bytes
            {
                let index = self.emitted.next();
                let numbered = self.log.numbered(index);
                let (entry, before, count) = numbered.expect("it is in memory");
                self.emitted_commands = before.plus(u64::from(count));
                self.count_unapplied(index, entry.body.len());
                batch.push(CommittedEntry {
                    entry,
                    before,
                    count,
                });
            }
            out.push(Output::Apply(batch));
        }
        let (me, window) = (self.me(), self.log.window());
        self.proposals
            .settle(me, window, self.emitted_commands, out);
        self.reads.release(self.emitted, out);
        self.log.evict(
            self.emitted.min(self.storing.durable()),
            self.config.cache_bytes,
        );
        self.retire_when_sealed(out);
    }

    fn count_unapplied(&mut self, index: LogIndex, bytes: usize) {
        self.emitted = index;
        let bytes = bytes + ENTRY_OVERHEAD;
        self.unapplied
            .push_back((index, self.emitted_commands, bytes));
        self.unapplied_bytes += bytes;
    }

    fn fetch_to_apply(&mut self, out: &mut Outputs) {
        let from = self.emitted.next();
        if self.fetches.is_asked(from, Purpose::Apply) || self.fetches.again_at.is_some() {
            return;
        }
        let (log, config) = (&self.log, &self.config);
        if !self.fetches.ask(from, Purpose::Apply, log, config, out) {
            self.fetches.again_at = Some(self.now + self.patience());
        }
    }

    pub(super) fn on_applied(&mut self, index: LogIndex) {
        let index = index.min(self.emitted);
        let mut applied = None;
        while let Some((_, commands, bytes)) = self.unapplied.pop_front_if(|(at, ..)| *at <= index)
        {
            applied = Some(commands);
            self.unapplied_bytes -= bytes;
        }
        if let Some(commands) = applied {
            self.log.forget_operations(commands);
        }
        if self.unapplied.is_empty() {
            self.unapplied.shrink_to(16);
        }
        if index > self.applied {
            self.applied = index;
            self.log.forget_memberships(index);
        }
    }

    pub(super) fn on_fetched(&mut self, from: LogIndex, entries: &[Entry], out: &mut Outputs) {
        let (wanted, current) = self.fetches.answered(from);
        let gapless = entries
            .iter()
            .zip(from.0..)
            .all(|(entry, index)| entry.index.0 == index && entry.index <= self.log.last_index());
        // What makes no sense is no answer: whoever needs one asks again, after a while.
        let entries = if gapless && current { entries } else { &[] };
        for purpose in wanted {
            match purpose {
                Purpose::Apply => self.apply_fetched(entries, out),
                Purpose::Peer(member) => self.on_fetched_for_peer(member, from, entries, out),
                Purpose::Resubmit => self.on_fetched_to_resubmit(entries, out),
                Purpose::Nothing | Purpose::Left => {}
            }
        }
    }

    /// Hands out entries that had to be read back. Their numbering is counted on from the last
    /// entry handed out.
    fn apply_fetched(&mut self, entries: &[Entry], out: &mut Outputs) {
        let Some(first) = entries.first() else {
            self.fetches.again_at = Some(self.now + self.patience());
            return;
        };
        if first.index != self.emitted.next() {
            return;
        }
        let commit = self.commit;
        let mut batch = Vec::new();
        for entry in entries.iter().take_while(|entry| entry.index <= commit) {
            let count = match entry.decode() {
                Ok(EntryBody::Commands(commands)) => commands.count,
                Ok(_) => 0,
                Err(_) => {
                    self.stop("a stored entry cannot be read", out);
                    return;
                }
            };
            let before = self.emitted_commands;
            self.emitted_commands = before.plus(u64::from(count));
            self.count_unapplied(entry.index, entry.body.len());
            batch.push(CommittedEntry {
                entry: entry.clone(),
                before,
                count,
            });
        }
        if !batch.is_empty() {
            out.push(Output::Apply(batch));
        }
    }
}
