//! One simulated node: a process that may run, its clock, its disk, its machine.

use {
    crate::{
        disk::{Disk, Snapshot},
        history::{OperationId, Reply},
        invariants::Subject,
        machine::Machine,
        queue::Nanos,
    },
    mosaik_primitives::time::Instant,
    mosaik_protocol::consensus::{
        Config, Core, Input, Lineage, LogIndex, Member, Membership, PeerKey, ProposalId, ReadId,
        RoleName, SnapshotMeta, Term, Token,
    },
    std::collections::{BTreeMap, VecDeque},
};

/// A clock that runs at its own rate and may jump forward.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    true_at: Nanos,
    shown_at: Nanos,
    per_mille: u32,
}

impl Clock {
    /// A true clock whose origin is `offset` before the start of the run.
    pub fn new(offset: Nanos) -> Self {
        Self {
            true_at: 0,
            shown_at: offset,
            per_mille: 1_000,
        }
    }

    /// What it shows at a true time.
    pub fn shown(&self, at: Nanos) -> Instant {
        let passed = u128::from(at.saturating_sub(self.true_at)) * u128::from(self.per_mille);
        Instant::from_nanos(self.shown_at + (passed / 1_000) as Nanos)
    }

    /// The first true time at which it shows at least `instant`.
    pub fn true_time(&self, instant: Instant) -> Nanos {
        let ahead = u128::from(instant.as_nanos().saturating_sub(self.shown_at)) * 1_000;
        let wait = ahead.div_ceil(u128::from(self.per_mille.max(1)));
        self.true_at
            .saturating_add(Nanos::try_from(wait).unwrap_or(Nanos::MAX))
    }

    /// Changes the rate from `at` on, in thousandths of the true one.
    pub fn set_rate(&mut self, at: Nanos, per_mille: u32) {
        self.shown_at = self.shown(at).as_nanos();
        self.true_at = at;
        self.per_mille = per_mille.max(1);
    }

    /// Jumps forward.
    pub fn jump(&mut self, by: Nanos) {
        self.shown_at += by;
    }
}

/// What a node's process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// Never started, or left for good.
    Absent,
    /// Ended by a crash; may start again.
    Down,
    /// Running.
    Running,
    /// Running, but getting no time from its machine until resumed.
    Paused,
}

/// What a core says of itself.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Its lineage.
    pub lineage: Lineage,
    /// Its term.
    pub term: Term,
    /// Up to where it knows its log to be committed.
    pub commit: LogIndex,
    /// Whether it believes to lead.
    pub leading: bool,
    /// The membership that it takes to be in force.
    pub membership: Membership,
}

/// A command that a client waits for.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// In the history.
    pub operation: OperationId,
    /// The command's tag.
    pub tag: u64,
    /// The answer, once the machine has applied it.
    pub reply: Option<Reply>,
    /// Which client asked, if one is to be told.
    pub client: Option<usize>,
}

/// A strong read that a client waits for.
#[derive(Clone, Copy, Debug)]
pub struct WaitingRead {
    /// In the history.
    pub operation: OperationId,
    /// The register read.
    pub key: u8,
    /// What had been acknowledged, and in which lineage, when it began.
    pub floor: (Lineage, LogIndex),
    /// Which client asked, if one is to be told.
    pub client: Option<usize>,
}

/// A sync under way, and what to tell the core when it ends.
#[derive(Clone, Debug)]
pub struct Sync {
    /// The last record that it covers.
    pub record: u64,
    /// What it confirms.
    pub confirms: Confirms,
}

/// What the end of a sync confirms.
#[derive(Clone, Debug)]
pub enum Confirms {
    /// Writes of the core.
    Writes(Token),
    /// A snapshot of this member's own machine, and up to where the log may be cut.
    Taken(Box<SnapshotMeta>, LogIndex),
    /// A snapshot that came from another member.
    Installed(Box<Snapshot>),
}

/// One simulated node.
#[derive(Debug)]
pub struct Node {
    /// Its number.
    pub id: usize,
    /// Its configuration; the incarnation is set at each start.
    pub config: Config,
    /// Whether its disk keeps anything when the process ends.
    pub durable: bool,
    /// What its process is doing.
    pub process: Process,
    /// What the core said of itself after its last step.
    pub view: View,
    /// The core, while the process runs.
    pub core: Option<Core>,
    /// Which start of the process this is.
    pub life: u32,
    /// The member it is, or was when it last ran.
    pub member: Member,
    /// Its clock.
    pub clock: Clock,
    /// Its disk.
    pub disk: Disk,
    /// Its machine.
    pub machine: Machine,
    /// Index of the last entry that the machine has applied.
    pub applied: LogIndex,
    /// Lineage that the machine belongs to.
    pub lineage: Lineage,
    /// The term it last led, if it did.
    pub led: Option<(Lineage, Term)>,
    /// Whether it was asked to leave.
    pub leaving: bool,
    /// Whether its disk has failed, so that its core may stop.
    pub disk_failed: bool,
    /// How long its disk takes to sync; `None` while it stalls.
    pub sync_time: Option<Nanos>,
    /// When the sync under way ends, and when the one after it will have.
    pub sync_ends: (Nanos, Nanos),
    /// Syncs under way, in order: they end in the order in which they began.
    pub syncing: VecDeque<Sync>,
    /// How many of them would have ended, had the disk not stalled or the process paused.
    pub overdue: usize,
    /// True time of the wake-up that is scheduled.
    pub wake_at: Option<Nanos>,
    /// The millisecond of the last deadlines that had passed when they were set, and how many.
    pub haste: (Nanos, u32),
    /// Inputs that came while paused.
    pub backlog: Vec<Input>,
    /// Entries applied since the last snapshot.
    pub since_snapshot: u64,
    /// Whether a snapshot is being stored.
    pub snapshotting: bool,
    /// Commands that clients wait for, by proposal.
    pub waiting: BTreeMap<ProposalId, Vec<Waiting>>,
    /// Reads that clients wait for.
    pub reads: BTreeMap<ReadId, WaitingRead>,
}

impl Node {
    /// A node that has not started yet.
    pub fn new(id: usize, config: Config, offset: Nanos) -> Self {
        Self {
            id,
            config,
            durable: true,
            process: Process::Absent,
            view: View::default(),
            core: None,
            life: 0,
            member: Member::default(),
            clock: Clock::new(offset),
            disk: Disk::default(),
            machine: Machine::default(),
            applied: LogIndex::ZERO,
            lineage: Lineage::NONE,
            led: None,
            leaving: false,
            disk_failed: false,
            sync_time: Some(0),
            sync_ends: (0, 0),
            syncing: VecDeque::new(),
            overdue: 0,
            wake_at: None,
            haste: (0, 0),
            backlog: Vec::new(),
            since_snapshot: 0,
            snapshotting: false,
            waiting: BTreeMap::new(),
            reads: BTreeMap::new(),
        }
    }

    /// Key of node number `id`: its letter, so that stories can name it. Ascending with `id`.
    pub fn key(id: usize) -> PeerKey {
        let mut bytes = [0; 32];
        bytes[..5].fill(b'a' + u8::try_from(id).expect("worlds are small"));
        PeerKey(bytes)
    }

    /// The number of the node with this key.
    pub fn of_key(key: PeerKey) -> usize {
        usize::from(key.0[0] - b'a')
    }

    /// When what is written now is synced, by a sync that takes so long: the next after the one
    /// under way, which all share that wait (group commit).
    pub fn next_sync(&mut self, now: Nanos, takes: Nanos) -> Nanos {
        let (running, next) = self.sync_ends;
        self.sync_ends = if now >= next {
            (now + takes, now + takes)
        } else if now >= running || next == running {
            (next, next + takes)
        } else {
            (running, next)
        };
        self.sync_ends.1
    }

    /// Whether its process exists.
    pub fn is_up(&self) -> bool {
        matches!(self.process, Process::Running | Process::Paused)
    }

    /// Whether it believes to lead.
    pub fn leads(&self) -> bool {
        self.is_up() && self.view.leading
    }

    /// Looks at what the core says of itself, or the disk where no process runs.
    pub fn look(&mut self) {
        let Some(core) = &self.core else {
            let hard = &self.disk.durable().hard;
            let (lineage, term, commit) = (hard.lineage, hard.term, hard.commit);
            self.view = View {
                lineage,
                term,
                commit,
                ..View::default()
            };
            return;
        };
        let status = core.status();
        self.member = status.me;
        self.view = View {
            lineage: status.lineage,
            term: status.term,
            commit: status.commit,
            leading: status.role == RoleName::Leader,
            membership: status.membership,
        };
    }

    /// How invariants see it.
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            node: self.id,
            member: self.member,
            preference: self.config.preference,
            lineage: self.view.lineage,
            term: self.view.term,
            leading: self.view.leading,
            commit: self.view.commit,
            membership: &self.view.membership,
            written: self.disk.written(),
            durable: self.disk.durable(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_run_at_their_rate_and_jump_forward() {
        let mut clock = Clock::new(1_000);
        assert_eq!(clock.shown(50).as_nanos(), 1_050);
        clock.set_rate(100, 2_000);
        assert_eq!(clock.shown(150).as_nanos(), 1_200);
        clock.jump(1_000);
        assert_eq!(clock.shown(150).as_nanos(), 2_200);
        for target in [2_200, 2_201, 9_999] {
            let at = clock.true_time(Instant::from_nanos(target));
            assert!(clock.shown(at).as_nanos() >= target);
            assert!(at == 0 || clock.shown(at - 1).as_nanos() < target);
        }
    }
}
