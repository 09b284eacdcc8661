//! Snapshots: what goes into one, cutting the log, and catching up from another member's.

use super::{
    core::{Core, Role, violation},
    ids::{LogIndex, Member, Position},
    input::{Output, Outputs},
    log::{Log, Mark},
    mutants::mutant,
    state::SnapshotMeta,
    window::Window,
};

impl Core {
    /// What a snapshot of the state machine at the applied index has to carry. `None` when
    /// nothing is applied, `at` is not the index last reported applied, or the lineage gives way
    /// to another one, which gets its commands from the log.
    pub fn snapshot_meta(&self, at: LogIndex) -> Option<SnapshotMeta> {
        if at != self.applied || at.is_zero() || self.is_giving_way() {
            return None;
        }
        let mark = self.log.mark(at)?;
        let window = if mutant!("window-dropped") {
            Window::default()
        } else {
            self.log.window().as_of(mark.commands)
        };
        Some(SnapshotMeta {
            last: mark.at,
            commands: mark.commands,
            time: mark.time,
            membership: self.log.membership_at(at)?.clone(),
            window,
        })
    }

    pub(super) fn on_snapshot_taken(&mut self, meta: SnapshotMeta, upto: LogIndex) {
        let newer = self
            .snapshot
            .as_ref()
            .is_none_or(|old| old.last.index < meta.last.index);
        if !newer || meta.last.index > self.applied {
            return;
        }
        if self.is_giving_way() {
            // The log is handed over, and stays whole. The snapshot has replaced the one before
            // all the same, and is the one to offer should this member go back to its lineage.
            self.snapshot = Some(Box::new(meta));
            return;
        }
        // The log can be cut where its numbering is known: at an entry in memory, or where a
        // snapshot was taken.
        let mark = |meta: &SnapshotMeta| Mark {
            at: meta.last,
            commands: meta.commands,
            time: meta.time,
        };
        let cut = if upto >= meta.last.index {
            Some(mark(&meta))
        } else {
            let earlier = self.snapshot.as_deref().map(mark);
            self.log
                .mark(upto)
                .or(earlier.filter(|earlier| earlier.at.index <= upto))
        };
        self.snapshot = Some(Box::new(meta));
        if let Some(cut) = cut
            && cut.at.index > self.log.base().at.index
        {
            self.log.compact(cut);
            self.storing.compact(cut.at.index);
        }
    }

    /// The leader has cut its log beyond what this member has.
    pub(super) fn on_snapshot(&mut self, from: Member, meta: Box<SnapshotMeta>, out: &mut Outputs) {
        self.following.quiet = false;
        let last = meta.last;
        let stale = last.index <= self.commit && !mutant!("snapshot-over-newer");
        if last.term > self.storing.hard().term
            || meta.membership.voters().is_empty()
            || last.index.0.max(meta.commands.0) > u64::MAX / 4
        {
            violation(from.peer, "offered a snapshot that makes no sense", out);
        } else if stale || self.log.term(last.index) == Some(last.term) {
            // It is all here already.
            self.commit_to(last.index, out);
            self.following.matched = self.following.matched.max(last.index);
            self.following.ack_due = true;
        } else if self
            .installing
            .as_ref()
            .is_none_or(|other| other.last.index < last.index)
        {
            self.installing = Some(meta.clone());
            out.push(Output::FetchSnapshot { meta, source: from });
        }
    }

    pub(super) fn on_snapshot_installed(&mut self, position: Position, out: &mut Outputs) {
        let wanted = self.wants_snapshot(position);
        let Some(meta) = self.installing.take_if(|meta| meta.last == position) else {
            return;
        };
        if !wanted {
            return;
        }
        if self.log.term(position.index) == Some(position.term) {
            // It is of this log's own past: what follows it here may have been acknowledged.
            self.commit = self.commit.max(position.index);
        } else {
            self.log = Log::after(&meta);
            self.storing.reset(position);
            self.fetches.give_up(|_| true);
            self.commit = position.index;
            self.following.matched = position.index;
        }
        self.storing.note_commit(self.commit);
        self.emitted = position.index;
        self.emitted_commands = meta.commands;
        self.applied = position.index;
        self.unapplied.clear();
        self.unapplied_bytes = 0;
        self.snapshot = Some(meta);
        self.announce_membership(out);
        self.following.matched = self.following.matched.max(position.index);
        self.following.ack_due = true;
    }

    pub(super) fn on_snapshot_failed(&mut self, position: Position) {
        // The leader offers one again, after a while.
        self.installing.take_if(|meta| meta.last == position);
    }

    /// Whether a snapshot may be installed still: not when the log has overtaken it, nor while
    /// this member leads or hands its log over.
    ///
    /// [`Input::SnapshotInstalled`] of a snapshot that is not wanted changes nothing: entries that
    /// it covers are handed out all the same. A driver asks right before it replaces the state,
    /// or leaves out commands that the state has seen.
    ///
    /// [`Input::SnapshotInstalled`]: super::Input::SnapshotInstalled
    pub fn wants_snapshot(&self, position: Position) -> bool {
        let follows = !matches!(self.role, Role::Retired(_) | Role::Leader(_));
        let fetched = self.installing.as_ref();
        follows
            && fetched.is_some_and(|meta| meta.last == position)
            && (position.index > self.commit || mutant!("snapshot-over-newer"))
    }
}
