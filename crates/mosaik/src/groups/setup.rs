//! What the driver and a group's typed side give each other.

use {
    super::{
        bond::BondsSender,
        config::GroupConfig,
        driver::{Command, Inbox, Question, Reply, Slot},
        error::Halted,
        event::Event,
        index::Index,
        metrics::Metrics,
        status::{GroupStatus, Role},
        store::Saved,
        when::{Leadership, Progress},
    },
    crate::{PeerId, network::close::Cancelled},
    bytes::Bytes,
    core::{fmt, ops::Deref},
    mosaik_primitives::Digest,
    mosaik_protocol::consensus::{
        self, CommittedEntry, LogIndex, Member, Outcome, ReadOutcome, SnapshotMeta,
    },
    mosaik_storage::DiskStore,
    parking_lot::Mutex,
    std::sync::{Arc, OnceLock},
    tokio::sync::{broadcast, watch},
};

/// Events kept for a receiver that lags.
const EVENTS_BACKLOG: usize = 256;

/// What runs a group's state machine, as the driver sees it. Nothing here waits.
///
/// What is asked for is done in order: an outcome is told after everything that was handed out
/// to be applied before it.
pub(crate) trait Machine: Send + Sync {
    /// Apply these.
    fn apply(&self, entries: Vec<CommittedEntry>);

    /// Forget everything: the entries that follow are another lineage's.
    fn start_over(&self);

    /// Tell a caller what became of its commands.
    fn resolve(&self, reply: Reply, outcome: Outcome);

    /// Answer a strong read now.
    fn answer(&self, question: Question);

    /// Tell the asker of a strong read that there is no answer.
    fn refuse(&self, question: Question, outcome: ReadOutcome);

    /// How far the log is applied, since the machine has started over so many times.
    fn applied(&self, epoch: u64) -> LogIndex;

    /// A peer's state synchronisation says something.
    fn receive(&self, peer: PeerId, message: Bytes);

    /// Make the state that of this snapshot, with the help of the other members.
    fn synchronise(&self, meta: SnapshotMeta, source: Member);

    /// What follows is of another lineage than what was not finished.
    fn change_lineage(&self, lineage: Digest);

    /// The member goes on from its log in this lineage, with the state as it is.
    fn continue_lineage(&self, lineage: Digest);

    /// Say with [`Command::MayCut`] up to where the log may be cut.
    fn ask_to_cut(&self, epoch: u64);

    /// The log was cut after this command.
    fn cut(&self, upto: Index);

    /// Stage the state.
    fn save(&self, request: SaveRequest);

    /// Begin with this state.
    fn restore(&self, state: StoredState);

    /// Nothing follows.
    fn close(&self);
}

/// Why a state was not staged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SaveError {
    /// The machine does not save its state.
    Cannot,
    /// The store or the machine has failed, as the text says.
    Failed(String),
    /// It was given up: the group ends here, or the state is about to be another.
    Ended,
}

/// A state to be staged in the node's store. Its end is told to the driver, whatever it is.
pub(crate) struct SaveRequest {
    slot: Slot,
    name: u64,
    pub(crate) group: Digest,
    store: Option<DiskStore>,
    inbox: Arc<Inbox>,
    saved: Result<Saved, SaveError>,
}

impl SaveRequest {
    pub(crate) const fn new(
        (slot, name): (Slot, u64),
        group: Digest,
        store: DiskStore,
        inbox: Arc<Inbox>,
    ) -> Self {
        Self {
            slot,
            name,
            group,
            store: Some(store),
            inbox,
            saved: Err(SaveError::Ended),
        }
    }

    /// The store, which must be dropped before the end is told: the last handle closes it.
    pub(crate) const fn take_store(&mut self) -> Option<DiskStore> {
        self.store.take()
    }

    /// Tells the end.
    pub(crate) fn end(mut self, saved: Result<Saved, SaveError>) {
        self.saved = saved;
    }
}

impl Drop for SaveRequest {
    fn drop(&mut self) {
        self.store = None;
        self.inbox.tell(Command::Saved {
            slot: self.slot,
            group: self.group,
            name: self.name,
            saved: self.saved.clone(),
        });
    }
}

/// A state in the node's store.
pub(crate) struct StoredState {
    pub(crate) store: DiskStore,
    pub(crate) group: Digest,
    pub(crate) chunks: u32,
    /// The last entry that it holds the effect of; it may hold that of more.
    pub(crate) last: LogIndex,
}

/// What a group shows to programs, fed by its driver and its applier.
pub(crate) struct Shared {
    pub(crate) leadership: watch::Sender<Leadership>,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) bonds: BondsSender,
    /// Made when somebody listens: a group that nobody listens to keeps no events.
    events: OnceLock<broadcast::Sender<Event>>,
    pub(crate) status: Mutex<GroupStatus>,
    pub(crate) metrics: Metrics,
    /// Set when the group has ended on this node.
    pub(crate) ended: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            leadership: watch::Sender::default(),
            progress: watch::Sender::default(),
            bonds: BondsSender::new(),
            events: OnceLock::new(),
            status: Mutex::default(),
            metrics,
            ended: watch::Sender::new(false),
        }
    }

    /// The group has ended on this node.
    pub(crate) fn end(&self, why: Option<Halted>) {
        self.leadership.send_modify(|shown| {
            shown.online = false;
            shown.leader = None;
        });
        let mut status = self.status.lock();
        status.role = Role::Stopped;
        status.leader = None;
        status.halted.clone_from(&why);
        drop(status);
        self.tell(why.map_or(Event::Left, Event::Halted));
        self.ended.send_replace(true);
    }

    /// Tells whoever listens.
    pub(crate) fn tell(&self, event: Event) {
        if let Some(events) = self.events.get() {
            // Whoever listened may have stopped.
            let _ = events.send(event);
        }
    }

    /// What happens from now on.
    pub(crate) fn events(&self) -> broadcast::Receiver<Event> {
        let events = self
            .events
            .get_or_init(|| broadcast::Sender::new(EVENTS_BACKLOG));
        events.subscribe()
    }
}

/// The driver's hold on what a group shows: a group that is driven no more has ended, however that
/// came about, and nobody waits for it.
pub(crate) struct Driven(Arc<Shared>);

impl Driven {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }
}

impl Deref for Driven {
    type Target = Arc<Shared>;

    fn deref(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        // Those that were not ended in order.
        self.0.bonds.end(&Cancelled::REASON.into());
        if !*self.0.ended.borrow() {
            self.0.end(None);
        }
    }
}

/// A group to be driven.
pub(crate) struct Join {
    pub(crate) slot: Slot,
    pub(crate) config: Arc<GroupConfig>,
    pub(crate) core: consensus::Config,
    /// Whether it is kept in the node's store.
    pub(crate) durable: bool,
    pub(crate) machine: Arc<dyn Machine>,
    pub(crate) shared: Driven,
}

impl Join {
    /// Ends a group that does not start.
    pub(crate) fn refuse(&self, why: Option<Halted>) {
        if let Some(why) = &why {
            tracing::error!(group = ?self.config.group_id(), %why, "group cannot start on this node");
        }
        self.shared.end(why);
        self.machine.close();
    }
}

impl fmt::Debug for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join")
            .field("slot", &self.slot)
            .field("group", self.config.group_id())
            .finish_non_exhaustive()
    }
}
