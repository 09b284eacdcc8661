//! [`State`]: the catalog machine, the local entry and the snapshot, kept consistent under one
//! lock.
//!
//! Programs ask discovery synchronously (`feed`, `insert`, `me`), so the machine does not live
//! inside the driver's task alone. Whoever feeds it an input applies what concerns memory at once
//! (snapshot, events); what concerns the network is queued for the driver, which is woken.

use {
    super::{
        AnnounceEvent, Catalog, Config, Error, Event, PeerEntry, PeerInfo, SignedPeerEntry,
        authority::{Keys, Verified, node_key, peer_id},
        local::LocalEntry,
        metrics::Metrics,
        news::{Change, News},
        version::unix_micros,
    },
    crate::network::PeerId,
    bytes::Bytes,
    mosaik_primitives::{
        Digest, Limits,
        codec::Versioned,
        time::{Instant, UnixMillis},
    },
    mosaik_protocol::catalog::{self, Departure, Input, NodeKey, Output, Outputs},
    parking_lot::{Mutex, MutexGuard},
    std::{
        collections::{HashMap, VecDeque},
        sync::Arc,
        time::Duration,
    },
    tokio::sync::{Notify, broadcast, oneshot, watch},
};

/// What the driver has to do for the machine.
#[derive(Debug)]
pub(super) enum Action {
    Broadcast(Bytes),
    Send {
        peer: PeerId,
        bytes: Bytes,
    },
    Probe {
        peer: PeerId,
        nonce: u64,
    },
    /// The local entry changed; publish it after the coalescing delay.
    Publish,
    /// A peer entered the catalog.
    Discovered,
    /// Ask a peer to become a gossip neighbour, soon.
    Join(PeerId),
    /// Tell when all of the above has been handed on.
    Acknowledge(oneshot::Sender<()>),
}

/// Everything that is guarded by the lock.
struct Core {
    machine: catalog::Catalog<Keys>,
    outputs: Outputs,
    verified: Verified,
    local: LocalEntry,
    view: Catalog,
    view_changed: bool,
    /// Told once the view that shows it is published.
    news: News,
    publishing: bool,
    /// The farewell was said: nothing follows it.
    left: bool,
    /// The round trips that were told of last, of peers in the view.
    told_rtts: HashMap<PeerId, Duration>,
    rtts_changed: bool,
    actions: VecDeque<Action>,
    /// Who waits for a comparison with a peer to end.
    syncs: HashMap<PeerId, Vec<oneshot::Sender<bool>>>,
}

/// The memory of discovery; the driver is its hands.
pub(super) struct State {
    core: Mutex<Core>,
    clock: Clock,
    limits: Limits,
    pub(super) max_message_bytes: usize,
    watch: watch::Sender<Catalog>,
    rtts: watch::Sender<()>,
    events: broadcast::Sender<Event>,
    announces: broadcast::Sender<AnnounceEvent>,
    /// Wakes the driver.
    pub(super) wake: Notify,
    pub(super) metrics: Metrics,
}

/// The machine's clock: tokio's, from an origin.
#[derive(Clone, Copy, Debug)]
struct Clock {
    origin: tokio::time::Instant,
    epoch: UnixMillis,
}

impl Clock {
    fn start() -> Self {
        Self {
            origin: tokio::time::Instant::now(),
            epoch: UnixMillis(unix_micros() / 1_000),
        }
    }

    fn now(self) -> Instant {
        Instant::ZERO + self.origin.elapsed()
    }
}

impl State {
    pub(super) fn new(
        config: &Config,
        limits: &Limits,
        secret: iroh::SecretKey,
        entry: PeerEntry,
    ) -> Result<Self, Error> {
        let clock = Clock::start();
        let network = *entry.network_id();
        let key = node_key(entry.id());
        let mut machine_config = catalog::Config::new(key, network, seed(), clock.epoch);
        machine_config.limits = limits.clone();
        machine_config.announce_interval = config.announce_interval;
        machine_config.announce_jitter = config.announce_jitter;
        machine_config.purge_after = config.purge_after;
        machine_config.max_time_drift = config.max_time_drift;
        let (keys, verified) = Keys::new(secret.clone(), network);
        let machine = catalog::Catalog::new(clock.now(), machine_config, keys)
            .map_err(|error| Error::Other(error.into()))?;
        let mut local = LocalEntry::new(secret, entry);
        let view = Catalog::new(Arc::clone(local.signed()));
        let news = News::new(config.events_backlog);
        let (events, announces) = news.senders();
        let state = Self {
            max_message_bytes: machine.max_message_bytes(),
            watch: watch::Sender::new(view.clone()),
            core: Mutex::new(Core {
                machine,
                outputs: Outputs::new(),
                verified,
                local,
                view,
                view_changed: false,
                news,
                publishing: false,
                left: false,
                told_rtts: HashMap::new(),
                rtts_changed: false,
                actions: VecDeque::new(),
                syncs: HashMap::new(),
            }),
            clock,
            limits: limits.clone(),
            rtts: watch::Sender::new(()),
            events,
            announces,
            wake: Notify::new(),
            metrics: Metrics::new(&network),
        };
        state.publish();
        Ok(state)
    }

    /// Feeds the machine.
    pub(super) fn handle(&self, input: Input) {
        let mut core = self.core.lock();
        self.feed_machine(&mut core, input);
        self.finish(core);
    }

    /// Feeds the machine several inputs, publishing one snapshot.
    pub(super) fn handle_all(&self, inputs: impl IntoIterator<Item = Input>) {
        let mut core = self.core.lock();
        for input in inputs {
            self.feed_machine(&mut core, input);
        }
        self.finish(core);
    }

    /// When the machine wants to be told the time.
    pub(super) fn next_deadline(&self) -> tokio::time::Instant {
        let deadline = self.core.lock().machine.next_deadline();
        // A deadline in the far future must not leave the clock's range.
        let wait = deadline
            .since(self.clock.now())
            .min(Duration::from_hours(1));
        tokio::time::Instant::now() + wait
    }

    /// Tells the machine the time, and the wall clock's when it was set.
    pub(super) fn tick(&self) {
        let shown = unix_micros() / 1_000;
        let elapsed = self.clock.now().as_millis();
        let set = shown.abs_diff(self.clock.epoch.0 + elapsed) > 1_000;
        let wall_clock = set.then_some(Input::WallClock(UnixMillis(shown)));
        self.handle_all(wall_clock.into_iter().chain([Input::Tick]));
    }

    /// What the driver has to do.
    pub(super) fn take_actions(&self) -> VecDeque<Action> {
        std::mem::take(&mut self.core.lock().actions)
    }

    /// Signs and publishes the local entry if it changed.
    pub(super) fn publish(&self) {
        let mut core = self.core.lock();
        core.publishing = false;
        if core.left {
            return;
        }
        let entry = Arc::clone(core.local.signed());
        let bytes = entry.encode();
        if bytes.len() > self.limits.entry_bytes {
            tracing::error!(
                bytes = bytes.len(),
                limit = self.limits.entry_bytes,
                "the local entry is too large to be published; peers keep the last one"
            );
            return;
        }
        core.verified
            .remember(Digest::hash(&bytes), Arc::clone(&entry));
        core.view.set_local(entry);
        core.view_changed = true;
        self.feed_machine(&mut core, Input::Publish(bytes));
        self.finish(core);
    }

    /// Says farewell. From then on the entry stays as it is: a newer one would be taken for a
    /// return by whoever gets to see it.
    pub(super) fn leave(&self) {
        let mut core = self.core.lock();
        core.left = true;
        self.feed_machine(&mut core, Input::Leave);
        self.finish(core);
    }

    /// Changes the local entry; it is published soon, together with other changes.
    pub(super) fn update_local(&self, change: impl FnOnce(PeerEntry) -> PeerEntry) {
        let mut core = self.core.lock();
        if !core.left && core.local.update(change) {
            schedule_publish(&mut core);
        }
        self.finish(core);
    }

    /// The local entry as it is now, published or not yet.
    pub(super) fn me(&self) -> Arc<SignedPeerEntry> {
        Arc::clone(self.core.lock().local.signed())
    }

    /// Feeds a signed entry; whether it replaced what was known.
    pub(super) fn feed(&self, entry: SignedPeerEntry) -> bool {
        let mut core = self.core.lock();
        let key = node_key(entry.id());
        if *entry.network_id() != core.view.network_id() || *entry.id() == core.view.local_id() {
            return false;
        }
        let before = core
            .view
            .get_signed(entry.id())
            .map(|known| known.update_version());
        let version = entry.update_version();
        let bytes = entry.encode();
        core.verified
            .remember(Digest::hash(&bytes), Arc::new(entry));
        self.feed_machine(&mut core, Input::Feed(bytes));
        let after = core.machine.get(&key).map(|record| record.version);
        self.finish(core);
        before != Some(version) && after == Some(version.into())
    }

    /// Inserts an unsigned entry that only this node sees.
    pub(super) fn insert(&self, entry: PeerEntry) -> bool {
        let mut core = self.core.lock();
        if *entry.network_id() != core.view.network_id() {
            return false;
        }
        let entry = Arc::new(entry);
        let Some(was_there) = core.view.put_unsigned(Arc::clone(&entry)) else {
            return false;
        };
        core.view_changed = true;
        let is_new = !was_there;
        core.news.push(Change::Inserted { entry, is_new });
        self.finish(core);
        true
    }

    /// Removes a peer, signed or not.
    pub(super) fn remove(&self, peer: &PeerId) -> bool {
        let mut core = self.core.lock();
        let removed = if core.view.remove_unsigned(peer) {
            core.told_rtts.remove(peer);
            core.view_changed = true;
            core.news.push(Change::Departed(*peer));
            true
        } else {
            let known = *peer != core.view.local_id() && core.view.get_signed(peer).is_some();
            if known {
                self.feed_machine(&mut core, Input::Remove(node_key(peer)));
            }
            known
        };
        self.finish(core);
        removed
    }

    /// Removes all unsigned entries.
    pub(super) fn clear_unsigned(&self) -> bool {
        let mut core = self.core.lock();
        let removed = core.view.clear_unsigned();
        core.view_changed |= !removed.is_empty();
        for peer in &removed {
            core.told_rtts.remove(peer);
            core.news.push(Change::Departed(*peer));
        }
        self.finish(core);
        !removed.is_empty()
    }

    /// Compares the catalog with a peer's; resolves with whether that worked.
    pub(super) fn sync_with(&self, peer: &PeerId) -> oneshot::Receiver<bool> {
        let (done, outcome) = oneshot::channel();
        let mut core = self.core.lock();
        let waiting = core.syncs.entry(*peer).or_default();
        waiting.retain(|waiter| !waiter.is_closed());
        waiting.push(done);
        self.feed_machine(&mut core, Input::SyncWith(node_key(peer)));
        self.finish(core);
        outcome
    }

    pub(super) fn snapshot(&self) -> Catalog {
        self.watch.borrow().clone()
    }

    pub(super) fn knows(&self, peer: &PeerId) -> bool {
        self.watch.borrow().get_signed(peer).is_some()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Catalog> {
        self.watch.subscribe()
    }

    pub(super) fn rtts_watch(&self) -> watch::Receiver<()> {
        self.rtts.subscribe()
    }

    pub(super) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    pub(super) fn announces(&self) -> broadcast::Receiver<AnnounceEvent> {
        self.announces.subscribe()
    }

    pub(super) fn rtt(&self, peer: &PeerId) -> Option<Duration> {
        rtt(&self.core.lock().machine, peer)
    }

    /// Has the driver ask a peer to become a gossip neighbour.
    pub(super) fn want_neighbor(&self, peer: PeerId) {
        let mut core = self.core.lock();
        core.actions.push_back(Action::Join(peer));
        self.finish(core);
    }

    /// Resolves when the driver has handed on what it was given to do until now, or has ended.
    pub(super) fn handed_on(&self) -> oneshot::Receiver<()> {
        let (done, handed_on) = oneshot::channel();
        let mut core = self.core.lock();
        core.actions.push_back(Action::Acknowledge(done));
        self.finish(core);
        handed_on
    }

    /// A broadcast as a message to one peer; `None` for what is no broadcast.
    pub(super) fn as_direct(&self, gossip: &Bytes) -> Option<Bytes> {
        let gossip = catalog::Gossip::from_versioned(gossip, self.limits.entry_bytes).ok()?;
        catalog::Message::Direct(gossip).to_versioned().ok()
    }

    /// The local entry as a broadcast, if it fits one; a larger one is found by comparisons.
    pub(super) fn introduction(&self) -> Option<Bytes> {
        let entry = self.core.lock().view.local().encode();
        let bytes = catalog::Gossip::Entry(entry).to_versioned().ok()?;
        (bytes.len() <= self.limits.gossip_bytes).then_some(bytes)
    }

    pub(super) fn info(&self, peer: &PeerId) -> Option<PeerInfo> {
        let core = self.core.lock();
        core.view.info(peer, rtt(&core.machine, peer))
    }

    pub(super) fn infos(&self) -> Vec<PeerInfo> {
        let core = self.core.lock();
        core.view.infos(|peer| rtt(&core.machine, peer)).collect()
    }

    fn feed_machine(&self, core: &mut Core, input: Input) {
        let measured = match &input {
            Input::RttSample { peer, .. }
            | Input::ProbeAck { peer, .. }
            | Input::LinkDown { peer, .. } => Some(*peer),
            _ => None,
        };
        core.machine
            .handle(self.clock.now(), input, &mut core.outputs);
        while let Some(output) = core.outputs.pop_front() {
            self.apply(core, output);
        }
        if let Some(peer) = measured {
            with_peer(&peer, |peer| core.look_at_rtt(&peer));
        }
    }

    fn apply(&self, core: &mut Core, output: Output) {
        match output {
            Output::Broadcast(bytes) => core.actions.push_back(Action::Broadcast(bytes)),
            Output::Send { peer, bytes } => {
                with_peer(&peer, |peer| {
                    core.actions.push_back(Action::Send { peer, bytes });
                });
            }
            Output::Probe { peer, nonce } => {
                with_peer(&peer, |peer| {
                    core.actions.push_back(Action::Probe { peer, nonce });
                });
            }
            Output::Event(event) => self.apply_event(core, event),
            Output::Synced(peer) => {
                self.metrics.syncs.increment(1);
                with_peer(&peer, |peer| end_sync(core, &peer, true));
            }
            Output::SyncFailed(peer) => with_peer(&peer, |peer| end_sync(core, &peer, false)),
            Output::Refused { from, reason } => {
                tracing::debug!(?from, %reason, "refused");
                self.metrics.refused(reason);
            }
            Output::Superseded(_) if core.left => {}
            Output::Superseded(version) => {
                core.local.supersede(version.into());
                schedule_publish(core);
            }
            // The vocabulary may grow; what is not known here needs no driver.
            _ => {}
        }
    }

    fn apply_event(&self, core: &mut Core, event: catalog::Event) {
        core.view_changed = true;
        match event {
            catalog::Event::Discovered(record) => {
                let entry = core.verified.take(&record.digest, &record.bytes);
                self.metrics.discovered.increment(1);
                core.news.push(Change::Discovered(Arc::clone(&entry)));
                core.actions.push_back(Action::Discovered);
                core.view.put_signed(entry);
            }
            catalog::Event::Updated(record) => {
                let entry = core.verified.take(&record.digest, &record.bytes);
                self.metrics.updated.increment(1);
                core.news.push(Change::Updated(Arc::clone(&entry)));
                core.view.put_signed(entry);
            }
            catalog::Event::Departed {
                peer,
                version,
                departure,
            } => {
                with_peer(&peer, |peer| {
                    tracing::debug!(peer = %peer.fmt_short(), ?departure, "departed");
                    core.view.remove_signed(&peer);
                    core.told_rtts.remove(&peer);
                    self.metrics.departed.increment(1);
                    core.news.push(Change::Departed(peer));
                    if departure == Departure::Farewell {
                        core.news.push(Change::Farewell(peer, version.into()));
                    }
                });
            }
            _ => {}
        }
    }

    /// Makes what changed under the lock visible.
    fn finish(&self, mut core: MutexGuard<'_, Core>) {
        core.verified.clear();
        if std::mem::take(&mut core.view_changed) {
            // The size counts this node.
            self.metrics
                .catalog_size
                .set(core.view.iter().count() as f64);
            self.watch.send_replace(core.view.clone());
        }
        core.news.tell();
        if std::mem::take(&mut core.rtts_changed) {
            self.rtts.send_replace(());
        }
        let wake = !core.actions.is_empty();
        drop(core);
        if wake {
            self.wake.notify_one();
        }
    }
}

impl Core {
    /// Has it told that a peer's round trip is known, forgotten, or not nearly what it was.
    fn look_at_rtt(&mut self, peer: &PeerId) {
        if self.view.get(peer).is_none() {
            return;
        }
        let told = self.told_rtts.get(peer).copied();
        let now = rtt(&self.machine, peer);
        match (told, now) {
            (None, None) => return,
            (Some(told), Some(now)) if told.abs_diff(now) <= told / 8 => return,
            (_, Some(now)) => self.told_rtts.insert(*peer, now),
            (Some(_), None) => self.told_rtts.remove(peer),
        };
        self.rtts_changed = true;
    }
}

fn schedule_publish(core: &mut Core) {
    if !std::mem::replace(&mut core.publishing, true) {
        core.actions.push_back(Action::Publish);
    }
}

fn end_sync(core: &mut Core, peer: &PeerId, worked: bool) {
    for waiter in core.syncs.remove(peer).into_iter().flatten() {
        // Whoever asked may have stopped waiting.
        let _ = waiter.send(worked);
    }
}

fn rtt(machine: &catalog::Catalog<Keys>, peer: &PeerId) -> Option<Duration> {
    machine.rtt(&node_key(peer)).and_then(|rtt| rtt.smoothed())
}

/// Keys that the machine names were public keys when it learnt them; anything else is nobody.
fn with_peer(key: &NodeKey, then: impl FnOnce(PeerId)) {
    if let Some(peer) = peer_id(key) {
        then(peer);
    }
}

/// Entropy for the machine's jitter and choices.
fn seed() -> u64 {
    let random = Digest::random();
    let (seed, _) = random
        .as_bytes()
        .split_first_chunk()
        .expect("a digest is longer than a seed");
    u64::from_le_bytes(*seed)
}
