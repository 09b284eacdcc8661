//! [`Driver`]: the task.

use {
    super::{
        catalog::Seen,
        inbox::{Command, Inbox, Slot},
        io::Io,
        lanes,
        member::{Member, NotStarted, Over},
        timers::Timer,
    },
    crate::{
        discovery::{Catalog, Discovery},
        groups::{Config, error::Halted, setup::Join},
        network::links::Links,
    },
    core::time::Duration,
    mosaik_primitives::{Digest, time::Instant},
    mosaik_protocol::consensus::Input,
    std::{
        collections::{BTreeSet, HashMap},
        sync::{Arc, atomic::AtomicU32},
    },
    tokio::sync::{oneshot, watch},
};

/// The driver of a node's groups.
pub(crate) struct Driver {
    pub(super) io: Io,
    pub(super) members: HashMap<Slot, Member>,
    /// The group that goes by an id now.
    pub(super) by_id: HashMap<Digest, Slot>,
    /// Groups that are joined again before they have been left.
    waiting: HashMap<Digest, Box<Join>>,
    /// Groups that were told something in this round.
    pub(super) dirty: BTreeSet<Slot>,
    /// Slots handed out so far.
    pub(super) slots: Arc<AtomicU32>,
    pub(super) seen: Seen,
    catalog: watch::Receiver<Catalog>,
    closing: Option<oneshot::Sender<()>>,
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
    ) -> Self {
        let io = Io::new(
            inbox,
            links.clone(),
            discovery.clone(),
            config,
            departure_window,
        );
        lanes::serve(links, &io.inbox, &io.peers.names());
        Self {
            catalog: discovery.catalog_watch(),
            io,
            members: HashMap::new(),
            by_id: HashMap::new(),
            waiting: HashMap::new(),
            dirty: BTreeSet::new(),
            slots,
            seen: Seen::default(),
            closing: None,
        }
    }

    /// Runs until the network closes.
    pub(crate) async fn run(mut self) {
        let inbox = Arc::clone(&self.io.inbox);
        let _close = CloseInbox(Arc::clone(&inbox));
        let mut commands = Vec::new();
        loop {
            let catalog_changed = tokio::select! {
                biased;
                () = inbox.ready() => false,
                () = sleep_until(&self.io) => false,
                changed = self.catalog.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    true
                }
            };
            self.io.look();
            if catalog_changed {
                self.catalog.mark_unchanged();
                self.read_catalog();
            }
            inbox.take(&mut commands);
            for command in commands.drain(..) {
                self.on_command(command);
            }
            self.fire();
            self.finish_round();
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Join(join) => self.join(join),
            Command::Propose(propose) => {
                let (slot, now) = (propose.slot, self.io.now);
                // Without its group it is dropped, which tells its caller.
                self.with(slot, |member, _| member.propose(propose, now));
            }
            Command::Read { slot, question } => {
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
            } => self.with(slot, |member, io| {
                let input = if installed {
                    Input::SnapshotInstalled(position)
                } else {
                    Input::SnapshotFailed(position)
                };
                member.handle(input, io);
            }),
            Command::Resolved { peer, slot } => {
                self.with(slot, |member, io| member.want(peer, io));
            }
            Command::Close(done) => self.close(done),
        }
    }

    fn with(&mut self, slot: Slot, what: impl FnOnce(&mut Member, &mut Io)) {
        if let Some(member) = self.members.get_mut(&slot) {
            what(member, &mut self.io);
            self.dirty.insert(slot);
        }
    }

    /// Starts a group, or keeps it until the one of the same id has left.
    fn join(&mut self, join: Box<Join>) {
        let id = *join.config.group_id();
        if self.by_id.contains_key(&id) {
            self.waiting.insert(id, join);
            return;
        }
        let slot = join.slot;
        match Member::start(join, &mut self.io) {
            Ok(member) => {
                self.by_id.insert(id, slot);
                self.members.insert(slot, member);
                self.dirty.insert(slot);
                self.io.list(id);
                self.read_catalog();
            }
            Err(NotStarted { join, error }) => {
                let why = Halted::Other(error.to_string().into());
                tracing::error!(group = ?id, %error, "group cannot start on this node");
                join.shared.end(Some(why));
                join.machine.close();
            }
        }
    }

    /// Leaves every group.
    fn close(&mut self, done: oneshot::Sender<()>) {
        for (_, join) in self.waiting.drain() {
            join.shared.end(None);
            join.machine.close();
        }
        for (slot, member) in &mut self.members {
            member.leave(false, &mut self.io);
            self.dirty.insert(*slot);
        }
        self.closing = Some(done);
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
            self.by_id.remove(&id);
            if let Some(join) = self.waiting.remove(&id) {
                self.join(join);
            }
        }
        if self.members.is_empty()
            && let Some(done) = self.closing.take()
        {
            // Whoever closes may have stopped waiting.
            let _ = done.send(());
        }
    }
}

/// Sleeps until the next timer.
async fn sleep_until(io: &Io) {
    match io.timers.next() {
        Some(at) if at < Instant::FAR_FUTURE => tokio::time::sleep_until(io.runtime_time(at)).await,
        _ => std::future::pending().await,
    }
}
