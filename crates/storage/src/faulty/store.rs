//! [`FaultyStore`]: decides when a batch is durable and what becomes of it before.

use {
    super::SplitMix,
    crate::MemoryStore,
    bytes::Bytes,
    core::{mem, ops::RangeInclusive, task::Waker},
    mosaik_protocol::store::{
        Completion, Entry, GroupId, GroupState, LogStore, StoreError, StoreLimits, SubmitError,
        Token, WriteBatch,
    },
    std::{
        collections::{BTreeMap, VecDeque},
        io,
    },
};

/// How often what goes wrong, and who decides when a batch is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    /// Whether [`LogStore::completed`] syncs by itself. Without it, only [`FaultyStore::sync`] and
    /// [`LogStore::write`] do.
    pub auto_sync: bool,
    /// Batches refused for lack of space, of 1,000.
    pub no_space_permille: u32,
    /// Syncs that fail, of 1,000. A failed sync stops the store until [`FaultyStore::crash`].
    pub sync_error_permille: u32,
    /// Groups of which a crash damages a record, of 1,000.
    pub damage_permille: u32,
}

impl FaultPlan {
    /// Nothing goes wrong but crashes, and batches complete when they are asked for.
    pub const NONE: Self = Self {
        auto_sync: true,
        no_space_permille: 0,
        sync_error_permille: 0,
        damage_permille: 0,
    };
}

/// A fault for the next sync, whatever the plan says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The write fails: [`StoreError::Io`], the store stops.
    WriteError,
    /// The sync fails: [`StoreError::Io`], the store stops, nobody knows what is stored.
    SyncError,
    /// The disk is full: [`StoreError::NoSpace`], nothing is stored.
    NoSpace,
}

/// What became of the batches that were not acknowledged when a store crashed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crash {
    /// Stored nevertheless: the first ones in the order of submission.
    pub survived: Vec<Token>,
    /// Not stored.
    pub lost: Vec<Token>,
    /// Groups of which a record was damaged.
    pub damaged: Vec<GroupId>,
}

/// A wrapper that keeps submitted batches in doubt until they are synced, and crashes on demand.
///
/// All of it follows from the seed and the calls. It owns no thread and no clock: whoever drives
/// it calls [`Self::sync`] when virtual time says so. What the wrapped store holds is what is
/// durable; reads show that and nothing else.
#[derive(Debug)]
pub struct FaultyStore<S = MemoryStore> {
    durable: S,
    plan: FaultPlan,
    rng: SplitMix,
    limits: StoreLimits,
    next_token: u64,
    unsynced: VecDeque<(Option<Token>, WriteBatch)>,
    unsynced_bytes: usize,
    /// Batches of a failed sync: a crash decides.
    doubtful: VecDeque<(Option<Token>, WriteBatch)>,
    next_fault: Option<Fault>,
    stopped: Option<StoreError>,
    damaged: BTreeMap<GroupId, StoreError>,
    completions: Vec<Completion>,
    waker: Option<Waker>,
}

const FILE: &str = "simulated";

impl<S: LogStore> FaultyStore<S> {
    /// A wrapper around a store that holds what is durable.
    pub const fn new(durable: S, seed: u64, plan: FaultPlan) -> Self {
        Self {
            durable,
            plan,
            rng: SplitMix::new(seed),
            limits: StoreLimits::DEFAULT,
            next_token: 0,
            unsynced: VecDeque::new(),
            unsynced_bytes: 0,
            doubtful: VecDeque::new(),
            next_fault: None,
            stopped: None,
            damaged: BTreeMap::new(),
            completions: Vec::new(),
            waker: None,
        }
    }

    /// Replaces the plan from the next call on.
    pub const fn set_plan(&mut self, plan: FaultPlan) {
        self.plan = plan;
    }

    /// Lets the next sync fail in this way.
    pub const fn inject(&mut self, fault: Fault) {
        self.next_fault = Some(fault);
    }

    /// Batches submitted and not synced.
    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// What is durable, to look at past all faults.
    pub const fn durable(&mut self) -> &mut S {
        &mut self.durable
    }

    /// One fsync for the first `max` batches that wait: they complete, one way or the other.
    /// Returns their number.
    pub fn sync(&mut self, max: usize) -> usize {
        let count = max.min(self.unsynced.len());
        if count == 0 {
            return 0;
        }
        let fault = self.draw_fault();
        let taken: Vec<_> = self.unsynced.drain(..count).collect();
        self.unsynced_bytes -= taken
            .iter()
            .map(|(_, batch)| batch.size_bytes())
            .sum::<usize>();
        for (token, batch) in taken {
            let group = batch.group;
            let result = self.end_of(token, batch, fault);
            self.completions.extend(token.map(|token| Completion {
                token,
                group,
                result,
            }));
        }
        if let Some(Fault::SyncError | Fault::WriteError) = fault {
            let error = io_error(fault);
            self.stopped.get_or_insert_with(|| error.stopped());
        }
        self.wake();
        count
    }

    fn draw_fault(&mut self) -> Option<Fault> {
        let no_space = self.rng.chance(self.plan.no_space_permille);
        let sync_error = self.rng.chance(self.plan.sync_error_permille);
        self.next_fault
            .take()
            .or_else(|| sync_error.then_some(Fault::SyncError))
            .or_else(|| no_space.then_some(Fault::NoSpace))
    }

    fn end_of(
        &mut self,
        token: Option<Token>,
        batch: WriteBatch,
        fault: Option<Fault>,
    ) -> Result<(), StoreError> {
        if let Some(stopped) = self.stopped_at(batch.group) {
            return Err(stopped);
        }
        match fault {
            None => self.durable.write(batch),
            Some(Fault::NoSpace) => Err(StoreError::NoSpace {
                file: FILE.to_owned(),
            }),
            Some(Fault::WriteError | Fault::SyncError) => {
                self.doubtful.push_back((token, batch));
                Err(io_error(fault))
            }
        }
    }

    fn stopped_at(&self, group: GroupId) -> Option<StoreError> {
        self.stopped
            .as_ref()
            .or_else(|| self.damaged.get(&group))
            .cloned()
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// The process dies and the store is opened again: of what was not acknowledged, a first
    /// part chosen by chance is stored, and completions that were not taken are gone. What is
    /// damaged stays damaged.
    pub fn crash(&mut self) -> Crash {
        let mut in_doubt = mem::take(&mut self.doubtful);
        if self.stopped.take().is_none() {
            in_doubt.append(&mut self.unsynced);
        }
        // Behind a failure nothing was written, so nothing can survive.
        let mut crash = Crash::default();
        let surviving = self.rng.below(in_doubt.len() as u64 + 1) as usize;
        for (number, (token, batch)) in in_doubt.into_iter().enumerate() {
            // An invalid batch is as good as lost: it never was to be stored.
            let stored = number < surviving && self.durable.write(batch).is_ok();
            let fate = if stored {
                &mut crash.survived
            } else {
                &mut crash.lost
            };
            fate.extend(token);
        }
        crash
            .lost
            .extend(self.unsynced.drain(..).filter_map(|(token, _)| token));
        self.unsynced_bytes = 0;
        self.next_fault = None;
        self.completions.clear();
        self.waker = None;
        if self.plan.damage_permille > 0 {
            for group in self.durable.groups().unwrap_or_default() {
                if self.rng.chance(self.plan.damage_permille) {
                    self.damage(group);
                    crash.damaged.push(group);
                }
            }
        }
        crash
    }

    /// Damages a record of the group: from now on it is refused, and never reset.
    pub fn damage(&mut self, group: GroupId) {
        let position = format!("record {} of group {group}", self.rng.below(1 << 20));
        let what = "checksum does not match".to_owned();
        let error = StoreError::Corrupt {
            file: FILE.to_owned(),
            position,
            what,
        };
        self.damaged.entry(group).or_insert(error);
    }
}

impl<S: LogStore + Default> FaultyStore<S> {
    /// The disk is replaced by an empty one. Take the node as crashed.
    pub fn wipe(&mut self) {
        self.crash();
        self.durable = S::default();
        self.damaged.clear();
    }
}

fn io_error(fault: Option<Fault>) -> StoreError {
    let operation = if fault == Some(Fault::WriteError) {
        "write"
    } else {
        "fsync"
    };
    StoreError::Io {
        file: FILE.to_owned(),
        operation,
        kind: io::ErrorKind::Other,
        detail: "injected error".to_owned(),
    }
}

impl<S: LogStore> LogStore for FaultyStore<S> {
    /// True: that acknowledged batches survive [`FaultyStore::crash`] is what it is for.
    fn is_durable(&self) -> bool {
        true
    }

    fn groups(&mut self) -> Result<Vec<GroupId>, StoreError> {
        match &self.stopped {
            Some(stopped) => Err(stopped.clone()),
            None => self.durable.groups(),
        }
    }

    fn submit(&mut self, batch: WriteBatch) -> Result<Token, SubmitError> {
        let (bytes, limit) = (batch.size_bytes(), self.limits.batch_bytes);
        if bytes > limit {
            let reason = StoreError::TooLarge { bytes, limit };
            return Err(SubmitError::Refused {
                batch: Box::new(batch),
                reason,
            });
        }
        let count = self.unsynced.len() + self.completions.len();
        let fits = self.unsynced_bytes + bytes <= self.limits.queued_bytes;
        if count >= self.limits.queued_batches || !(fits || count == 0) {
            return Err(SubmitError::Full(Box::new(batch)));
        }
        let token = Token(self.next_token);
        self.next_token += 1;
        self.unsynced.push_back((Some(token), batch));
        self.unsynced_bytes += bytes;
        if self.plan.auto_sync {
            self.wake();
        }
        Ok(token)
    }

    fn completed(&mut self, out: &mut Vec<Completion>) {
        if self.plan.auto_sync {
            self.sync(usize::MAX);
        }
        out.append(&mut self.completions);
    }

    fn wake_on_completion(&mut self, waker: &Waker) {
        self.waker = Some(waker.clone());
    }

    fn write(&mut self, batch: WriteBatch) -> Result<(), StoreError> {
        let (bytes, limit) = (batch.size_bytes(), self.limits.batch_bytes);
        if bytes > limit {
            return Err(StoreError::TooLarge { bytes, limit });
        }
        self.sync(usize::MAX);
        let fault = self.draw_fault();
        let result = self.end_of(None, batch, fault);
        if let Err(error @ StoreError::Io { .. }) = &result {
            self.stopped.get_or_insert_with(|| error.stopped());
        }
        result
    }

    fn load(&mut self, group: GroupId) -> Result<Option<GroupState>, StoreError> {
        match self.stopped_at(group) {
            Some(stopped) => Err(stopped),
            None => self.durable.load(group),
        }
    }

    fn entries(
        &mut self,
        group: GroupId,
        range: RangeInclusive<u64>,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        match self.stopped_at(group) {
            Some(stopped) => Err(stopped),
            None => self.durable.entries(group, range, max_bytes),
        }
    }

    fn chunk(&mut self, group: GroupId, number: u32) -> Result<Option<Bytes>, StoreError> {
        match self.stopped_at(group) {
            Some(stopped) => Err(stopped),
            None => self.durable.chunk(group, number),
        }
    }
}
