//! Cutting a member's log, and taking over a state that came from others.
//!
//! When much was applied, the machine's side is asked up to where members that lag can be helped
//! without the log. In memory the log is cut at once: the live state serves as the snapshot. On
//! disk the state is saved first, by the applier, into the store's staging area; it is installed
//! there together with what the core has to know of it, and only then does the core hear of it. So
//! is a state that came from other members, before it counts as held.
//!
//! The staging area has one user at a time: whoever [`Stage`] says.

use {
    super::{io::Io, marks::Marks, member::Member},
    crate::groups::{
        error::Halted,
        index::Index,
        setup::{SaveError, SaveRequest},
        store::{Saved, Store},
    },
    core::time::Duration,
    mosaik_primitives::time::Instant,
    mosaik_protocol::consensus::{self, Input, LogIndex, Position, SnapshotMeta},
    mosaik_storage::StoreError,
    std::{collections::VecDeque, sync::Arc},
};

/// Entries that may follow the last cut while another member fetches the state. Beyond that the
/// log is cut although that member may have to start over.
const HELD_ENTRIES: u64 = 262_144;
/// The same in bytes.
const HELD_BYTES: u64 = 64 << 20;
/// Messages kept for a core that must not be told anything for the moment. More are dropped, as
/// if the network had.
const DEFERRED_MESSAGES: usize = 1_024;
/// Bytes of them.
const DEFERRED_BYTES: usize = 64 << 20;

/// What the store is being given.
#[derive(Debug)]
enum Stored {
    /// A snapshot of this member's state, so that the log can be cut up to a command.
    Own {
        meta: Box<SnapshotMeta>,
        safe: Index,
    },
    /// A state that came from other members.
    Received { meta: Box<SnapshotMeta> },
}

/// How far an attempt to cut the log, or to store a state, has come.
#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    /// The machine's side was asked up to where it is safe to cut.
    Asked,
    /// It has answered.
    Answered(Option<Index>),
    /// The state is being staged.
    Saving(Stored),
    /// The state is being installed.
    Installing { what: Stored, bytes: u64 },
}

/// What a member keeps for cutting its log.
#[derive(Debug, Default)]
pub(super) struct Cutting {
    pub(super) marks: Marks,
    stage: Stage,
    /// Names attempts, so that what comes of one that is void is told apart.
    name: u64,
    /// The last entry that was cut off.
    base: LogIndex,
    /// Commands covered by the latest snapshot.
    snapshot: consensus::Index,
    /// Size of the latest state that was stored.
    stored_bytes: u64,
    /// Whether the machine has said that it cannot be saved.
    cannot_save: bool,
    /// When a member was last offered a snapshot.
    offered: Option<Instant>,
    /// What the core wants the state to be that of.
    wanted: Option<Box<SnapshotMeta>>,
    /// A state of the machine's that is to be stored when the staging area is free.
    reached: Option<Box<SnapshotMeta>>,
    /// What came while the core must not be told anything; `None` when it may.
    deferred: Option<VecDeque<Input>>,
    /// Bytes of the messages in it.
    deferred_bytes: usize,
}

impl Cutting {
    /// A member that goes on from a snapshot.
    pub(super) fn start(last: LogIndex, commands: consensus::Index, base: LogIndex) -> Self {
        Self {
            marks: Marks::start(last, commands),
            snapshot: commands,
            base,
            ..Self::default()
        }
    }

    /// Nothing of what there was counts any more.
    pub(super) fn start_over(&mut self) {
        *self = Self {
            name: self.name + 1,
            stored_bytes: self.stored_bytes,
            cannot_save: self.cannot_save,
            ..Self::default()
        };
    }

    /// Commands covered by the latest snapshot.
    pub(super) const fn snapshot(&self) -> consensus::Index {
        self.snapshot
    }

    /// Whether the core must not be told anything for the moment.
    pub(super) const fn is_frozen(&self) -> bool {
        self.deferred.is_some()
    }

    /// Whether a message of so many bytes finds room, where it would have to be kept.
    pub(super) fn takes(&mut self, bytes: usize) -> bool {
        let fits = self.deferred_bytes + bytes <= DEFERRED_BYTES;
        if self.is_frozen() && fits {
            self.deferred_bytes += bytes;
        }
        !self.is_frozen() || fits
    }

    /// Keeps what came for a core that must not be told anything; hands it back where it may.
    pub(super) fn defer(&mut self, input: Input) -> Option<Input> {
        let Some(deferred) = &mut self.deferred else {
            return Some(input);
        };
        let is_message = matches!(input, Input::Receive(_));
        if !is_message || deferred.len() < DEFERRED_MESSAGES {
            deferred.push_back(input);
        }
        None
    }

    /// What was kept.
    pub(super) fn thaw(&mut self) -> VecDeque<Input> {
        self.deferred_bytes = 0;
        self.deferred.take().unwrap_or_default()
    }

    /// A member was offered a snapshot.
    pub(super) const fn note_offer(&mut self, now: Instant) {
        self.offered = Some(now);
    }

    /// The core wants a snapshot's state.
    pub(super) fn want(&mut self, meta: Box<SnapshotMeta>) {
        self.wanted = Some(meta);
    }

    /// The member goes on from its own log; says what was wanted until now.
    pub(super) fn want_nothing(&mut self) -> Option<Position> {
        self.reached = None;
        self.wanted.take().map(|meta| meta.last)
    }

    /// Whether a member that was offered a snapshot may be busy with it still, so that another
    /// snapshot would make it start over.
    fn is_waited_for(&self, now: Instant, patience: Duration, last: LogIndex) -> bool {
        let recent = self.offered.is_some_and(|at| now.since(at) < patience);
        recent
            && last.distance(self.base) < HELD_ENTRIES
            && self.marks.bytes_since(self.base) < HELD_BYTES
    }
}

impl Member {
    /// Whether this member's log is on disk.
    const fn is_on_disk(&self) -> bool {
        matches!(self.store, Store::Disk(_))
    }

    /// At the end of a round: asks whether the log may be cut, or takes the next step on that
    /// way.
    pub(super) fn look_after_log(&mut self, io: &mut Io) {
        match self.cutting.stage {
            Stage::Idle if self.cutting.marks.is_due(self.cutting.stored_bytes) => {
                // A leader says again what it offers after four election timeouts.
                let patience = self.config.consensus().election_timeout * 6;
                let waited_for = self
                    .cutting
                    .is_waited_for(io.now, patience, self.handed_out);
                if !waited_for {
                    self.cutting.marks.asked();
                    self.cutting.stage = Stage::Asked;
                    self.machine.ask_to_cut(self.epoch);
                }
            }
            Stage::Answered(safe) => {
                self.cutting.stage = Stage::Idle;
                if let Some(safe) = safe {
                    self.take_snapshot(safe, io);
                }
            }
            _ => {}
        }
    }

    /// Up to this command the log may be cut, as far as the machine's side is concerned.
    pub(super) fn on_may_cut(&mut self, epoch: u64, safe: Option<Index>) {
        if epoch == self.epoch && matches!(self.cutting.stage, Stage::Asked) {
            self.cutting.stage = Stage::Answered(safe);
        }
    }

    fn take_snapshot(&mut self, safe: Index, io: &mut Io) {
        if self.cutting.wanted.is_some() {
            // The state is about to be another one, and may be half of it.
            return;
        }
        let Some(meta) = self.core.snapshot_meta(self.applied) else {
            // The core remembers no place that is far behind what it has handed out. What was
            // handed out by now is applied when this is answered.
            if self.applied < self.handed_out {
                self.cutting.stage = Stage::Asked;
                self.machine.ask_to_cut(self.epoch);
            }
            return;
        };
        let meta = Box::new(meta);
        let cut = self
            .cutting
            .marks
            .cut((meta.last.index, meta.commands), safe.into());
        let Some(cut) = cut else {
            return;
        };
        if !self.is_on_disk() {
            self.snapshot_taken(*meta, cut.index, io);
        } else if self.cutting.cannot_save {
            // The program's store of commands is no part of what the member goes on from.
            self.machine.cut(cut.commands.into());
        } else {
            self.save(Stored::Own { meta, safe }, io);
        }
    }

    /// A snapshot is where it has to be: the log can be cut.
    fn snapshot_taken(&mut self, meta: SnapshotMeta, upto: LogIndex, io: &mut Io) {
        let (base, commands) = (self.cutting.base, meta.commands);
        self.handle(Input::SnapshotTaken { meta, upto }, io);
        self.cutting.snapshot = self.cutting.snapshot.max(commands);
        self.shared.metrics.snapshots_taken.increment(1);
        let cut = self.core.status().base;
        if cut > base {
            self.cutting.base = cut;
            let commands = self.cutting.marks.commands_at(cut);
            self.machine.cut(commands.into());
            self.cutting.marks.forget(cut);
        } else {
            self.cutting.marks.ask_soon();
        }
    }

    /// Has the machine's state put into the staging area.
    fn save(&mut self, what: Stored, io: &mut Io) {
        let (Store::Disk(log), Some(disk)) = (&self.store, &mut io.disk) else {
            unreachable!("only members on disk store states");
        };
        self.cutting.name += 1;
        self.cutting.stage = Stage::Saving(what);
        let (slot, name) = (self.slot, self.cutting.name);
        let group = disk.start_saving(log);
        let inbox = Arc::clone(&io.inbox);
        let request = SaveRequest::new((slot, name), group, disk.reader(), inbox);
        self.machine.save(request);
    }

    /// The staging of a state has ended.
    pub(super) fn on_saved(&mut self, name: u64, saved: Result<Saved, SaveError>, io: &mut Io) {
        if name != self.cutting.name {
            return;
        }
        let Stage::Saving(what) = std::mem::take(&mut self.cutting.stage) else {
            return;
        };
        match saved {
            Ok(saved) => self.install(what, saved, io),
            Err(error) => {
                self.not_saved(what, error, io);
                self.store_next(io);
            }
        }
    }

    fn not_saved(&mut self, what: Stored, error: SaveError, io: &mut Io) {
        if matches!(error, SaveError::Failed(_)) {
            self.shared.metrics.snapshots_failed.increment(1);
        }
        match (what, error) {
            (Stored::Own { .. }, SaveError::Ended) => {}
            (Stored::Received { meta }, SaveError::Ended) => {
                self.handle(Input::SnapshotFailed(meta.last), io);
            }
            (Stored::Own { .. }, SaveError::Cannot) => self.cutting.cannot_save = true,
            (Stored::Received { .. }, SaveError::Cannot) => self.halt(Halted::CannotSave),
            (Stored::Own { .. }, SaveError::Failed(why)) => {
                tracing::warn!(
                    group = ?self.config.group_id(), %why,
                    "the state could not be saved: the log stays as it is",
                );
            }
            (Stored::Received { meta }, SaveError::Failed(why)) => {
                tracing::error!(group = ?self.config.group_id(), %why, "the state could not be saved");
                if self.core.wants_snapshot(meta.last) {
                    let why = format!("the state could not be saved: {why}");
                    self.halt(Halted::Storage(why.into()));
                } else {
                    self.handle(Input::SnapshotFailed(meta.last), io);
                }
            }
        }
    }

    /// Has what is staged installed. A core that is to go on from it is told nothing until that
    /// is done: what it would have stored meanwhile would follow a log that is gone.
    fn install(&mut self, what: Stored, saved: Saved, io: &mut Io) {
        let meta = match &what {
            Stored::Received { meta } if !self.core.wants_snapshot(meta.last) => {
                let position = meta.last;
                self.handle(Input::SnapshotFailed(position), io);
                self.store_next(io);
                return;
            }
            Stored::Received { meta } => {
                self.cutting.deferred = Some(VecDeque::new());
                meta
            }
            Stored::Own { meta, .. } => meta,
        };
        let (Store::Disk(log), Some(disk)) = (&self.store, &mut io.disk) else {
            unreachable!("only members on disk store states");
        };
        disk.install(log, meta, (saved.chunks, self.cutting.name), io.now);
        let bytes = saved.bytes;
        self.cutting.stage = Stage::Installing { what, bytes };
    }

    /// What was staged is installed, or not.
    pub(super) fn on_installed(&mut self, name: u64, result: Result<(), StoreError>, io: &mut Io) {
        if name != self.cutting.name {
            return;
        }
        let Stage::Installing { what, bytes } = std::mem::take(&mut self.cutting.stage) else {
            return;
        };
        let deferred = self.cutting.thaw();
        match result {
            Ok(()) => {
                self.cutting.stored_bytes = bytes;
                self.shared.metrics.snapshot_bytes.set(bytes as f64);
                self.note_installed(what, io);
            }
            Err(error) if error.is_fatal() => {
                self.halt(Halted::Storage(error.to_string().into()));
            }
            Err(error) => {
                self.shared.metrics.snapshots_failed.increment(1);
                tracing::warn!(
                    group = ?self.config.group_id(), %error, "a snapshot could not be stored",
                );
                if let Stored::Received { meta } = what {
                    self.handle(Input::SnapshotFailed(meta.last), io);
                }
            }
        }
        self.inputs.extend(deferred);
        self.store_next(io);
    }

    fn note_installed(&mut self, what: Stored, io: &mut Io) {
        match what {
            Stored::Received { meta } => self.go_on_from(&meta, io),
            Stored::Own { meta, safe } => {
                let covered = (meta.last.index, meta.commands);
                let cut = self.cutting.marks.cut(covered, safe.into());
                let upto = cut.map_or(LogIndex::ZERO, |cut| cut.index);
                self.snapshot_taken(*meta, upto, io);
            }
        }
    }

    /// The staging area is free: stores a state that waits for it.
    fn store_next(&mut self, io: &mut Io) {
        let Some(meta) = self.cutting.reached.take() else {
            return;
        };
        if self.core.wants_snapshot(meta.last) {
            self.save(Stored::Received { meta }, io);
        } else {
            self.handle(Input::SnapshotFailed(meta.last), io);
        }
    }

    /// The state synchronisation that the core asked for has ended.
    pub(super) fn on_synced(&mut self, position: Position, reached: bool, io: &mut Io) {
        let Some(meta) = self.cutting.wanted.take_if(|meta| meta.last == position) else {
            // The core wants another one by now, or none.
            return;
        };
        if !reached || !self.core.wants_snapshot(position) {
            self.handle(Input::SnapshotFailed(position), io);
        } else if !self.is_on_disk() {
            self.go_on_from(&meta, io);
        } else {
            self.cutting.reached = Some(meta);
            if matches!(self.cutting.stage, Stage::Asked | Stage::Answered(_)) {
                self.cutting.stage = Stage::Idle;
            }
            if matches!(self.cutting.stage, Stage::Idle) {
                self.store_next(io);
            }
        }
    }

    /// The state is that of this snapshot, and stored if it has to be.
    fn go_on_from(&mut self, meta: &SnapshotMeta, io: &mut Io) {
        let SnapshotMeta { last, commands, .. } = *meta;
        self.note_applied(last.index);
        self.cutting.marks = Marks::start(last.index, commands);
        self.cutting.snapshot = self.cutting.snapshot.max(commands);
        self.shared.metrics.snapshots_installed.increment(1);
        self.handle(Input::SnapshotInstalled(last), io);
        self.cutting.base = self.core.status().base;
    }
}
