//! [`Driver`]: the task.

use {
    super::{
        catalog::Seen,
        inbox::{Command, Inbox, Propose, Slot, Wish},
        io::Io,
        lanes,
        member::{Member, NotStarted, Over},
        timers::Timer,
    },
    crate::{
        discovery::{Catalog, Discovery},
        groups::{
            Config,
            error::Halted,
            setup::{Join, Machine},
            store::{self, Disk, Done, Opened, Store},
        },
        network::links::Links,
    },
    core::time::Duration,
    mosaik_primitives::{Digest, time::Instant},
    mosaik_protocol::consensus::{NotDone, Outcome, ReadOutcome, Restored},
    mosaik_storage::{DiskStore, StoreError},
    std::{
        collections::{BTreeSet, HashMap, hash_map::Entry},
        sync::{Arc, atomic::AtomicU32},
    },
    tokio::sync::{oneshot, watch},
};

/// With so much to do in one step, the next one waits until everybody else has had a turn.
const CROWD: usize = 8;

/// Commands and reads kept for a group that has not started yet. More are refused.
const STASHED: usize = 4_096;

/// A group that has not started yet.
struct Opening {
    machine: Arc<dyn Machine>,
    /// What was asked of it.
    stashed: Vec<Command>,
}

impl Opening {
    fn new(join: &Join) -> Self {
        Self {
            machine: Arc::clone(&join.machine),
            stashed: Vec::new(),
        }
    }
}

/// The driver of a node's groups.
pub(crate) struct Driver {
    pub(super) io: Io,
    pub(super) members: HashMap<Slot, Member>,
    /// The group that goes by an id now.
    pub(super) by_id: HashMap<Digest, Slot>,
    /// Groups that are joined again before they have been left.
    waiting: HashMap<Digest, Box<Join>>,
    /// Groups whose former member's last writes are under way.
    settling: HashMap<Slot, Box<Join>>,
    /// What was asked of groups that have not started yet.
    opening: HashMap<Slot, Opening>,
    /// Groups that were told something in this round.
    pub(super) dirty: BTreeSet<Slot>,
    /// Slots handed out so far.
    pub(super) slots: Arc<AtomicU32>,
    pub(super) seen: Seen,
    catalog: watch::Receiver<Catalog>,
    closing: Closing,
}

/// Whether the network is being closed.
enum Closing {
    No,
    /// Every group is being left; who waits for that is told.
    Leaving(oneshot::Sender<()>),
    Left,
}

/// Refuses what comes when the driver has ended, however it ended.
struct CloseInbox(Arc<Inbox>);

impl Drop for CloseInbox {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Driver {
    /// A driver, and the service of the lanes that peers open.
    pub(crate) fn new(
        inbox: Arc<Inbox>,
        links: &Links,
        discovery: &Discovery,
        config: Config,
        departure_window: Duration,
        slots: Arc<AtomicU32>,
        store: Option<DiskStore>,
    ) -> Self {
        let io = Io::new(
            inbox,
            links.clone(),
            discovery.clone(),
            config,
            departure_window,
            store.map(Disk::new),
        );
        lanes::serve(
            links,
            &io.inbox,
            &io.peers.names(),
            io.config.handshake_timeout,
        );
        Self {
            catalog: discovery.catalog_watch(),
            io,
            members: HashMap::new(),
            by_id: HashMap::new(),
            waiting: HashMap::new(),
            settling: HashMap::new(),
            opening: HashMap::new(),
            dirty: BTreeSet::new(),
            slots,
            seen: Seen::default(),
            closing: Closing::No,
        }
    }

    /// Runs until the network closes.
    pub(crate) async fn run(mut self) {
        let inbox = Arc::clone(&self.io.inbox);
        let _close = CloseInbox(Arc::clone(&inbox));
        let mut commands = Vec::new();
        let mut crowded = false;
        let mut alarm = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
        loop {
            let (wake_at, clock) = (self.io.wake_at(), self.io.clock());
            if let Some(at) = wake_at {
                // Set to later only when it has rung: setting it costs more than one round in vain.
                if at < alarm.deadline() || alarm.is_elapsed() {
                    alarm.as_mut().reset(at);
                }
            }
            let mut stored = Vec::new();
            let catalog_changed = tokio::select! {
                biased;
                // In the order of what cannot starve the rest.
                done = stored_by(self.io.disk.as_mut(), clock) => {
                    stored = done;
                    false
                }
                changed = self.catalog.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    true
                }
                () = alarm.as_mut(), if wake_at.is_some() => false,
                () = inbox.ready() => false,
            };
            self.io.look();
            if catalog_changed {
                self.catalog.mark_unchanged();
                self.read_catalog();
            }
            for done in stored {
                if let Some(slot) = self.by_id.get(&done.group).copied() {
                    self.with(slot, |member, io| member.on_stored(done, io));
                }
            }
            self.settle();
            if crowded {
                // Those who were told something are about to ask for more: one step for all.
                tokio::task::yield_now().await;
            }
            inbox.take(&mut commands);
            crowded = commands.len() >= CROWD;
            for command in commands.drain(..) {
                self.on_command(command);
            }
            self.fire();
            self.finish_round();
            self.io.peers.flush();
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Join(join) => self.join(join),
            Command::Propose(Propose { slot, .. })
            | Command::Read { slot, .. }
            | Command::Wish { slot, .. }
                if self.opening.contains_key(&slot) =>
            {
                self.stash(slot, command);
            }
            Command::Propose(propose) => self.propose(propose),
            Command::Read { slot, question } => {
                // Without its group it is dropped, which tells its caller.
                self.with(slot, |member, io| member.read(question, io));
            }
            Command::Wish { slot, wish } => {
                self.with(slot, |member, io| member.on_wish(wish, io));
            }
            Command::Lane {
                peer,
                lane,
                kind,
                news,
            } => self.on_lane(peer, lane, kind, news),
            Command::Opened { join, opened } => self.opened(join, opened),
            Command::Fetched {
                slot,
                from,
                entries,
            } => self.with(slot, |member, _| member.on_fetched(from, entries)),
            Command::Applied(slot) => self.with(slot, |_, _| {}),
            Command::Halted { slot, why } => {
                self.with(slot, |member, _| member.halt(why));
            }
            Command::Sync {
                slot,
                peer,
                message,
            } => self.with(slot, |member, io| member.send_sync(peer, message, io)),
            Command::Synced {
                slot,
                position,
                installed,
            } => self.with(slot, |member, io| member.on_synced(position, installed, io)),
            Command::MayCut { slot, epoch, safe } => {
                self.with(slot, |member, _| member.on_may_cut(epoch, safe));
            }
            Command::Saved {
                slot,
                group,
                name,
                saved,
            } => {
                if let Some(disk) = &mut self.io.disk {
                    disk.end_saving(&group);
                }
                self.settle();
                self.with(slot, |member, io| member.on_saved(name, saved, io));
            }
            Command::Resolved { peer, slot } => {
                self.with(slot, |member, io| member.want(peer, io));
            }
            Command::Close(done) => self.close(done),
        }
    }

    pub(super) fn with(&mut self, slot: Slot, what: impl FnOnce(&mut Member, &mut Io)) {
        if let Some(member) = self.members.get_mut(&slot) {
            what(member, &mut self.io);
            self.dirty.insert(slot);
        }
    }

    fn propose(&mut self, propose: Propose) {
        if self.members.contains_key(&propose.slot) {
            let now = self.io.now;
            self.with(propose.slot, |member, _| member.propose(propose, now));
        } else {
            let outcome = Outcome::NotDone(NotDone::Stopped);
            propose.reply.send(outcome);
        }
    }

    /// Starts a group, or keeps it until the one of the same id has left.
    fn join(&mut self, join: Box<Join>) {
        let id = *join.config.group_id();
        if !matches!(self.closing, Closing::No) {
            join.refuse(None);
            return;
        }
        match self.by_id.entry(id) {
            Entry::Occupied(_) => {
                self.opening.insert(join.slot, Opening::new(&join));
                if let Some(before) = self.waiting.insert(id, join) {
                    self.opening.remove(&before.slot);
                    before.refuse(None);
                }
            }
            Entry::Vacant(free) => {
                free.insert(join.slot);
                self.open(join);
            }
        }
    }

    /// Reads what the group goes on from; from a disk in a thread that may wait for it.
    fn open(&mut self, join: Box<Join>) {
        let Some(disk) = self.io.disk.as_ref().filter(|_| join.durable) else {
            self.start(join, (Store::memory(), Restored::default(), 0));
            return;
        };
        let opening = self.opening.entry(join.slot);
        opening.or_insert_with(|| Opening::new(&join));
        if disk.is_busy(join.config.group_id()) {
            self.settling.insert(join.slot, join);
            return;
        }
        let mut reader = disk.reader();
        let inbox = Arc::clone(&self.io.inbox);
        self.io.spawn_blocking(move || {
            let (id, fresh) = (*join.config.group_id(), join.core.incarnation);
            let opened = store::open(&mut reader, id, fresh).map(Box::new);
            // Before the news of it: the last handle to go closes the store.
            drop(reader);
            inbox.tell(Command::Opened { join, opened });
        });
    }

    fn opened(&mut self, join: Box<Join>, opened: Result<Box<Opened>, StoreError>) {
        match opened {
            Ok(opened) => {
                let Opened {
                    log,
                    restored,
                    chunks,
                } = *opened;
                self.start(join, (Store::Disk(log), restored, chunks));
            }
            Err(error) => {
                self.opening.remove(&join.slot);
                join.refuse(Some(Halted::Storage(error.to_string().into())));
                self.free(join.config.group_id());
            }
        }
    }

    /// Keeps a request until its group has started.
    fn stash(&mut self, slot: Slot, command: Command) {
        let Some(Opening { machine, stashed }) = self.opening.get_mut(&slot) else {
            return;
        };
        let is_full = stashed.len() >= STASHED;
        match command {
            Command::Propose(propose) if is_full => {
                let outcome = Outcome::NotDone(NotDone::Overloaded);
                propose.reply.send(outcome);
            }
            Command::Read { question, .. } if is_full => {
                machine.refuse(question, ReadOutcome::Overloaded);
            }
            // To leave once is enough, and is never too much.
            Command::Wish {
                wish: Wish::Leave { .. },
                ..
            } => stashed.push(command),
            Command::Wish { .. } if is_full => {
                tracing::warn!("a wish was dropped: too much is asked of a group that is starting");
            }
            _ => stashed.push(command),
        }
    }

    /// Looks again at groups that waited for their former members' last writes.
    fn settle(&mut self) {
        for (_, join) in std::mem::take(&mut self.settling) {
            self.open(join);
        }
    }

    /// No group goes by this id any more: one that waited for that starts.
    fn free(&mut self, id: &Digest) {
        self.by_id.remove(id);
        if let Some(join) = self.waiting.remove(id) {
            self.join(join);
        }
    }

    fn start(&mut self, join: Box<Join>, from: (Store, Restored, u32)) {
        let (slot, id) = (join.slot, *join.config.group_id());
        match Member::start(join, from, &mut self.io) {
            Ok(member) => {
                self.members.insert(slot, member);
                self.dirty.insert(slot);
                self.io.list(id);
                self.read_catalog_for(slot, &id);
            }
            Err(NotStarted { join, error }) => {
                join.refuse(Some(Halted::Other(error.to_string().into())));
                self.free(&id);
            }
        }
        let opening = self.opening.remove(&slot);
        for command in opening.into_iter().flat_map(|opening| opening.stashed) {
            self.on_command(command);
        }
    }

    /// Leaves every group.
    fn close(&mut self, done: oneshot::Sender<()>) {
        for (_, join) in self.waiting.drain() {
            self.opening.remove(&join.slot);
            join.refuse(None);
        }
        for slot in self.opening.keys().copied().collect::<Vec<_>>() {
            let wish = Wish::Leave { for_good: false };
            self.stash(slot, Command::Wish { slot, wish });
        }
        for (slot, member) in &mut self.members {
            member.leave(false, &mut self.io);
            self.dirty.insert(*slot);
        }
        self.closing = Closing::Leaving(done);
    }

    /// Does what is due.
    fn fire(&mut self) {
        while let Some(timer) = self.io.timers.pop(self.io.now) {
            match timer {
                Timer::Core(slot) => self.with(slot, Member::on_core_timer),
                Timer::Bond(slot, key) => {
                    self.with(slot, |member, io| member.on_bond_timer(key, io));
                }
                Timer::Leave(slot) => self.with(slot, |member, _| member.on_leave_timer()),
                Timer::Probe(slot) => self.with(slot, Member::on_probe_timer),
                Timer::Pacing(slot) => self.with(slot, Member::on_pacing_timer),
                Timer::Lane(peer) => self.io.peers.on_timer(peer),
            }
        }
    }

    /// Finishes the round of every group that was told something.
    fn finish_round(&mut self) {
        while let Some(slot) = self.dirty.pop_first() {
            let Some(member) = self.members.get_mut(&slot) else {
                continue;
            };
            if member.finish_round(&mut self.io) {
                continue;
            }
            let over = member.over.clone().unwrap_or(Over::Left);
            let Some(member) = self.members.remove(&slot) else {
                continue;
            };
            let id = *member.config.group_id();
            member.end(&over, &mut self.io);
            self.free(&id);
        }
        if self.members.is_empty()
            && self.opening.is_empty()
            && matches!(self.closing, Closing::Leaving(_))
            && let Closing::Leaving(done) = std::mem::replace(&mut self.closing, Closing::Left)
        {
            // Whoever closes may have stopped waiting.
            let _ = done.send(());
        }
    }
}

/// What the store has done.
async fn stored_by(disk: Option<&mut Disk>, clock: impl Fn() -> Instant) -> Vec<Done> {
    match disk {
        Some(disk) => disk.done(clock).await,
        None => std::future::pending().await,
    }
}
