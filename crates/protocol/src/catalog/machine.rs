//! [`Catalog`]: dispatch of inputs, and everything that happens because time passes.

use {
    super::{
        detector::Detector,
        io::{
            Config, ConfigError, Counters, Departure, Event, Input, LinkLoss, Output, Outputs,
            Refusal,
        },
        message::{Gossip, Message},
        pulls::Pulls,
        receive::Route,
        rtt::Rtt,
        store::{Latest, Merged, Slot, Store},
        sync::Syncs,
        types::{Announcement, Authority, Farewell, NodeKey, Record, Suspicion, Version},
        unproven::Unproven,
    },
    bytes::Bytes,
    core::time::Duration,
    mosaik_primitives::{
        codec::Versioned,
        lag::Lag,
        prng::Prng,
        time::{Instant, UnixMillis},
    },
    std::collections::BTreeSet,
};

/// Own changes are broadcast at most this often; a burst of them becomes one broadcast.
const BROADCAST_EVERY: Duration = Duration::from_millis(100);
/// Suspicions are refuted at most this often.
const REFUTE_EVERY: Duration = Duration::from_millis(200);
/// Being called this much after the deadline is not a sign that the node was starved.
const PUNCTUAL: Duration = Duration::from_millis(50);
/// Announcements a second that the whole network makes at most, by stretching the interval.
const ANNOUNCEMENTS_PER_S: f64 = 14.0;
/// Peers that are told of a farewell directly.
const FAREWELLS: usize = 16;
/// Peers that are sent a refutation directly, besides the broadcast.
const REFUTATIONS: usize = 8;

/// An answer to suspicions of this node that is to be made.
#[derive(Debug)]
struct Refutation {
    due: Instant,
    /// Who told this node in person, and may be out of reach of the broadcast.
    to: BTreeSet<NodeKey>,
}

/// What an own announcement is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// This node is still there.
    Alive,
    /// What was suspected of it is not so.
    Refuted,
}

/// The catalog of peers of one node. See the module's documentation.
#[derive(Debug)]
pub struct Catalog<A> {
    pub(super) config: Config,
    pub(super) authority: A,
    pub(super) store: Store,
    pub(super) detector: Detector,
    pub(super) pulls: Pulls,
    pub(super) unproven: Unproven,
    pub(super) syncs: Syncs,
    pub(super) prng: Prng,
    pub(super) counters: Counters,
    pub(super) links: BTreeSet<NodeKey>,
    epoch: UnixMillis,
    /// Time during which this node did not get to run.
    stalled: Duration,
    lag: Lag,
    planned: Instant,
    next_announcement: Instant,
    broadcast_due: Option<Instant>,
    last_broadcast: Option<Instant>,
    refutation: Option<Refutation>,
    last_refutation: Option<Instant>,
    left: bool,
}

impl<A: Authority> Catalog<A> {
    /// An empty catalog. The node itself is in it from its first [`Input::Publish`] on.
    pub fn new(now: Instant, config: Config, authority: A) -> Result<Self, ConfigError> {
        config.validate()?;
        let mut prng = Prng::new(config.seed);
        Ok(Self {
            store: Store::new(&config),
            detector: Detector::new(&config),
            pulls: Pulls::new(config.pulls),
            unproven: Unproven::default(),
            syncs: Syncs::new(now, &mut prng),
            prng,
            authority,
            counters: Counters::default(),
            links: BTreeSet::new(),
            epoch: config.epoch,
            stalled: Duration::ZERO,
            lag: Lag::default(),
            planned: Instant::FAR_FUTURE,
            next_announcement: Instant::FAR_FUTURE,
            broadcast_due: None,
            last_broadcast: None,
            refutation: None,
            last_refutation: None,
            left: false,
            config,
        })
    }

    /// Takes one input into account, and everything that has become due by `now`.
    ///
    /// `now` must not go back.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Outputs) {
        self.account_for_stall(now);
        match input {
            Input::Tick => {}
            Input::WallClock(wall) => self.epoch = UnixMillis(wall.0 - now.as_millis().min(wall.0)),
            Input::Publish(bytes) => self.publish(now, bytes, out),
            Input::Leave => self.leave(now, out),
            Input::Feed(bytes) => self.feed(now, &bytes, out),
            Input::Remove(peer) => self.set_down(now, &peer, Departure::Removed, out),
            Input::SyncWith(peer) => self.request_sync(now, peer, out),
            Input::Gossip { from, bytes } => {
                self.heard(now, from, out);
                match Gossip::from_versioned(&bytes, self.config.max_gossip_bytes()) {
                    Ok(gossip) => self.receive(now, Route::broadcast(from), gossip, out),
                    Err(_) => self.refuse(Some(from), Refusal::Message, out),
                }
            }
            Input::Message { from, bytes } => {
                self.heard(now, from, out);
                match Message::from_versioned(&bytes, self.max_message_bytes()) {
                    Ok(message) => self.receive_message(now, from, message, out),
                    Err(_) => self.refuse(Some(from), Refusal::Message, out),
                }
            }
            Input::Unreachable(peer) => {
                self.pulls.unreachable(self.running(now), &peer);
                self.sync_unreachable(&peer, out);
            }
            Input::LinkUp(peer) => self.link_up(now, peer, out),
            Input::LinkDown { peer, loss } => {
                self.links.remove(&peer);
                if !self.store.up().contains_key(&peer) {
                    self.detector.forget(&peer);
                } else if loss == LinkLoss::Lost {
                    self.detector.look_after(self.running(now), peer);
                }
            }
            Input::ProbeAck { peer, nonce } => {
                let running = self.running(now);
                self.detector.ack(running, peer, nonce, &mut self.prng);
                self.heard(now, peer, out);
            }
            Input::Heard(peer) => self.heard(now, peer, out),
            Input::RttSample { peer, rtt } => self.detector.sample(peer, rtt),
        }
        self.run_due(now, out);
        self.planned = self.plan(now);
    }

    /// When the catalog wants [`Input::Tick`] next, unless another input comes before.
    pub const fn next_deadline(&self) -> Instant {
        self.planned
    }

    /// The entry of a peer in the visible catalog, or of this node.
    pub fn get(&self, peer: &NodeKey) -> Option<&Record> {
        self.store.up().get(peer).map(|slot| &slot.record)
    }

    /// The visible catalog, in key order, this node included.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.store.up().values().map(|slot| &slot.record)
    }

    /// How many entries are visible, this node's included.
    pub fn len(&self) -> usize {
        self.store.up().len()
    }

    /// Whether not even this node's entry is here.
    pub fn is_empty(&self) -> bool {
        self.store.up().is_empty()
    }

    /// The date of a visible peer's newest announcement, by its own clock.
    pub fn last_announced(&self, peer: &NodeKey) -> Option<UnixMillis> {
        self.store.up().get(peer).map(|slot| slot.latest.issued)
    }

    /// The round-trip time to a peer, if it was ever measured.
    pub fn rtt(&self, peer: &NodeKey) -> Option<Rtt> {
        self.detector.rtt(peer)
    }

    /// What happened since the catalog was created.
    pub fn counters(&self) -> Counters {
        Counters {
            pulls: self.pulls.asked,
            pulls_dropped: self.pulls.dropped,
            tombstones_dropped: self.store.tombstones_dropped,
            evicted: self.store.evicted,
            ..self.counters
        }
    }

    /// No [`Output::Send`] is larger, and a larger [`Input::Message`] is refused.
    pub fn max_message_bytes(&self) -> usize {
        self.config.max_message_bytes()
    }

    pub(super) fn wall(&self, now: Instant) -> UnixMillis {
        UnixMillis(self.epoch.0.saturating_add(now.as_millis()))
    }

    /// The clock that stops while this node does not get to run.
    pub(super) fn running(&self, now: Instant) -> Instant {
        Instant::ZERO + now.since(Instant::ZERO).saturating_sub(self.stalled)
    }

    fn account_for_stall(&mut self, now: Instant) {
        if now >= self.planned {
            self.lag.woke(self.planned, now);
        }
        self.detector.grace = self.lag.grace(now);
        if now > self.planned + PUNCTUAL {
            self.stalled += now.since(self.planned + PUNCTUAL);
        }
    }

    /// A sign of life: whatever is believed to the contrary, the peer is told of.
    fn heard(&mut self, now: Instant, peer: NodeKey, out: &mut Outputs) {
        let running = self.running(now);
        self.detector.heard(running, peer, &mut self.prng);
        if !self.left {
            self.tell_suspect(peer, out);
            self.tell_down_peer(now, peer, out);
        }
    }

    pub(super) fn own(&self) -> Option<&Slot> {
        self.store.up().get(&self.config.me)
    }

    pub(super) fn refuse(&mut self, from: Option<NodeKey>, reason: Refusal, out: &mut Outputs) {
        self.counters.count(reason);
        // Echoes and old news are how gossip works, not an offence.
        if !matches!(reason, Refusal::Superseded | Refusal::Departed) {
            out.push_back(Output::Refused { from, reason });
        }
    }

    pub(super) fn send(&self, peer: NodeKey, message: &Message, out: &mut Outputs) {
        let bytes = message.to_versioned().expect("messages are plain data");
        assert!(
            bytes.len() <= self.max_message_bytes(),
            "messages are built within the bound"
        );
        out.push_back(Output::Send { peer, bytes });
    }

    pub(super) fn broadcast(gossip: &Gossip, out: &mut Outputs) {
        out.push_back(Output::Broadcast(
            gossip.to_versioned().expect("gossip is plain data"),
        ));
    }

    /// Hands a statement about a failure to the neighbours on the rings.
    ///
    /// Whoever learns something from it hands it on, so it reaches everyone over the rings too:
    /// the broadcast takes long to notice that one of its own links leads to the dead.
    pub(super) fn flood(
        &self,
        from: Option<NodeKey>,
        about: &NodeKey,
        gossip: &Gossip,
        out: &mut Outputs,
    ) {
        let me = self.config.me;
        let mut to = self.detector.rings.monitored_by(me);
        to.extend(self.detector.rings.monitors_of(me));
        for peer in to
            .into_iter()
            .filter(|peer| peer != about && Some(*peer) != from)
        {
            self.send(peer, &Message::Direct(gossip.clone()), out);
        }
    }

    fn publish(&mut self, now: Instant, bytes: Bytes, out: &mut Outputs) {
        let head = match self.authority.inspect(&bytes) {
            Ok(head) => head,
            Err(fault) => return self.refuse(None, fault.into(), out),
        };
        let newer = self
            .own()
            .is_none_or(|own| own.record.version < head.version);
        if head.peer != self.config.me || !newer {
            return self.refuse(None, Refusal::NotMine, out);
        }
        let first = self.own().is_none();
        let latest = Latest::of_entry(head.issued);
        match self
            .store
            .admit(self.wall(now), Record::new(head, bytes), latest)
        {
            Ok(_) => {
                self.left = false;
                if first {
                    self.detector.rings.insert(self.config.me);
                    self.detector.members_changed = true;
                }
                self.schedule_announcement(now);
                let earliest = self
                    .last_broadcast
                    .map_or(now, |last| last + BROADCAST_EVERY);
                self.broadcast_due.get_or_insert(earliest);
            }
            Err(reason) => self.refuse(None, reason, out),
        }
    }

    fn leave(&mut self, now: Instant, out: &mut Outputs) {
        let Some(own) = self.own() else { return };
        let (peer, version) = (self.config.me, own.record.version);
        // Dated like what it ends: where that is refused for its date, this is too.
        let issued = self.wall(now).max(own.latest.issued);
        let text = Farewell::statement(&self.config.network, &peer, version, issued);
        let signature = self.authority.sign(&text);
        let farewell = Gossip::Farewell(Farewell {
            peer,
            version,
            issued,
            signature,
        });
        Self::broadcast(&farewell, out);
        let mut told = self.detector.rings.monitors_of(peer);
        told.extend(self.links.iter().copied().take(FAREWELLS));
        for peer in told.into_iter().take(FAREWELLS) {
            self.send(peer, &Message::Direct(farewell.clone()), out);
        }
        self.left = true;
        self.broadcast_due = None;
        self.refutation = None;
        self.next_announcement = Instant::FAR_FUTURE;
    }

    fn link_up(&mut self, now: Instant, peer: NodeKey, out: &mut Outputs) {
        if self.links.len() >= self.config.limits.connections || peer == self.config.me {
            return;
        }
        let is_new = self.links.insert(peer);
        if is_new && !self.store.up().contains_key(&peer) && !self.left {
            self.open_sync(now, peer, false, out);
        }
    }

    /// A new announcement of this node's entry, dated now, of its next incarnation where it is to
    /// refute suspicions of the last.
    fn announce(&mut self, now: Instant, says: Says) -> Option<Announcement> {
        let wall = self.wall(now);
        let own = self.own()?;
        let (peer, version, digest) = (own.record.peer, own.record.version, own.record.digest);
        let issued = UnixMillis(wall.0.max(own.latest.issued.0 + 1));
        let incarnation = match says {
            Says::Alive => own.latest.incarnation,
            // It counts this node's own refutations, a few a second, and nothing that others say.
            Says::Refuted => own.latest.incarnation + 1,
        };
        let network = &self.config.network;
        let text = Announcement::statement(network, &peer, version, &digest, issued, incarnation);
        let signature = self.authority.sign(&text);
        let announcement = Announcement {
            peer,
            version,
            digest,
            issued,
            incarnation,
            signature,
        };
        let refreshed = self.store.refresh(&peer, Latest::of(&announcement));
        assert_eq!(
            refreshed,
            Ok(Merged::Refreshed),
            "an own announcement is the newest"
        );
        Some(announcement)
    }

    fn schedule_announcement(&mut self, now: Instant) {
        let fair = Duration::from_secs_f64(self.len() as f64 / ANNOUNCEMENTS_PER_S);
        let stretched = fair.min(self.config.purge_after / 4);
        let interval = self.config.announce_interval.max(stretched);
        let jitter = f64::from(self.config.announce_jitter);
        self.next_announcement = now + self.prng.jittered(interval, jitter);
    }

    /// Broadcasts this node's entry, or its announcement where the entry does not fit.
    fn broadcast_own(&mut self, now: Instant, out: &mut Outputs) {
        let Some(own) = self.own() else { return };
        let entry = Gossip::Entry(own.record.bytes.clone());
        let gossip = if self.config.fits_gossip(own.record.bytes.len()) {
            Some(entry)
        } else {
            self.announce(now, Says::Alive).map(Gossip::Announcement)
        };
        if let Some(gossip) = gossip {
            Self::broadcast(&gossip, out);
        }
    }

    /// This node is suspected: it says that it is here, though not more often than allowed.
    pub(super) fn refute(&mut self, now: Instant, from: Option<NodeKey>) {
        if self.left {
            return;
        }
        let earliest = self.last_refutation.map_or(now, |last| last + REFUTE_EVERY);
        let refutation = self.refutation.get_or_insert_with(|| Refutation {
            due: earliest.max(now),
            to: BTreeSet::new(),
        });
        if refutation.to.len() < REFUTATIONS {
            refutation.to.extend(from);
        }
    }

    /// A suspect that just gave a sign of life is told what is said of it.
    pub(super) fn tell_suspect(&mut self, peer: NodeKey, out: &mut Outputs) {
        if let Some(report) = self.detector.untold(&peer) {
            self.send(peer, &Message::Direct(Gossip::Suspicion(report)), out);
        }
    }

    fn set_down(&mut self, now: Instant, peer: &NodeKey, departure: Departure, out: &mut Outputs) {
        if *peer == self.config.me {
            return;
        }
        if let Some(version) = self.store.set_down(self.wall(now), peer) {
            self.departed(*peer, version, departure, out);
        }
    }

    pub(super) fn departed(
        &mut self,
        peer: NodeKey,
        version: Version,
        departure: Departure,
        out: &mut Outputs,
    ) {
        self.counters.departed += 1;
        self.counters.down += u64::from(departure == Departure::Down);
        self.detector.forget(&peer);
        self.detector.rings.remove(peer);
        self.detector.members_changed = true;
        out.push_back(Output::Event(Event::Departed {
            peer,
            version,
            departure,
        }));
    }

    /// Signs a report that this peer does not answer.
    pub(super) fn suspicion_of(&self, slot: &Slot) -> Suspicion {
        let (peer, version) = (slot.record.peer, slot.record.version);
        let (incarnation, reporter) = (slot.latest.incarnation, self.config.me);
        let network = &self.config.network;
        let text = Suspicion::statement(network, &peer, version, incarnation, &reporter);
        Suspicion {
            peer,
            version,
            incarnation,
            reporter,
            signature: self.authority.sign(&text),
        }
    }

    fn run_due(&mut self, now: Instant, out: &mut Outputs) {
        if self.broadcast_due.is_some_and(|due| due <= now) {
            self.broadcast_due = None;
            self.last_broadcast = Some(now);
            self.broadcast_own(now, out);
        }
        if let Some(refutation) = self.refutation.take_if(|refutation| refutation.due <= now) {
            self.last_refutation = Some(now);
            self.counters.refutations += 1;
            if let Some(announcement) = self.announce(now, Says::Refuted) {
                let gossip = Gossip::Announcement(announcement);
                Self::broadcast(&gossip, out);
                self.flood(None, &self.config.me, &gossip, out);
                for peer in refutation.to {
                    self.send(peer, &Message::Direct(gossip.clone()), out);
                }
            }
        }
        if self.next_announcement <= now {
            self.announce(now, Says::Alive);
            self.schedule_announcement(now);
        }
        while let Some((peer, visible)) = self.store.purge_one(self.wall(now)) {
            if let Some(version) = visible {
                self.departed(peer, version, Departure::Silent, out);
            }
        }
        if !self.left {
            self.run_detector(now, out);
            self.run_syncs(now, out);
        }
        for from in self.unproven.expired(now) {
            self.refuse(from, Refusal::Unannounced, out);
        }
        for (source, requests) in self.pulls.ready(self.running(now)) {
            self.send(source, &Message::Pull(requests), out);
        }
    }

    fn run_detector(&mut self, now: Instant, out: &mut Outputs) {
        let running = self.running(now);
        if self.detector.members_changed {
            let targets = self.detector.rings.monitored_by(self.config.me);
            self.detector
                .retarget(running, &targets, &self.links, &mut self.prng);
        }
        for (peer, nonce) in self.detector.probe(running, &mut self.prng) {
            out.push_back(Output::Probe { peer, nonce });
        }
        for peer in self.detector.silent(running) {
            let Some(slot) = self.store.up().get(&peer) else {
                continue;
            };
            let suspicion = self.suspicion_of(slot);
            let crowd = self.detector.reporters(&peer) >= 3;
            self.detector.suspect(running, &suspicion);
            self.counters.suspicions += 1;
            if !crowd {
                Self::broadcast(&Gossip::Suspicion(suspicion), out);
                self.flood(None, &peer, &Gossip::Suspicion(suspicion), out);
                self.send(peer, &Message::Direct(Gossip::Suspicion(suspicion)), out);
            }
        }
        // One that goes down may leave too few to wait for a second report about another.
        loop {
            let decided = self.detector.decided(running);
            if decided.is_empty() {
                break;
            }
            for peer in decided {
                self.set_down(now, &peer, Departure::Down, out);
            }
        }
    }

    fn plan(&self, now: Instant) -> Instant {
        let epoch = self.epoch;
        let purge = self.store.next_purge().map_or(Instant::FAR_FUTURE, |wall| {
            Instant::ZERO + Duration::from_millis(wall.0.saturating_sub(epoch.0))
        });
        let active = if self.left {
            Instant::FAR_FUTURE
        } else {
            let detection = self.detector.next_deadline();
            // The detector's clock is behind by the time this node was stalled, as the pulls' is.
            (detection + self.stalled).min(self.syncs.next_deadline())
        };
        [
            purge,
            active,
            self.next_announcement,
            self.pulls.next_deadline(self.running(now)) + self.stalled,
            self.unproven.next_deadline(),
            self.broadcast_due.unwrap_or(Instant::FAR_FUTURE),
            self.refutation
                .as_ref()
                .map_or(Instant::FAR_FUTURE, |refutation| refutation.due),
        ]
        .into_iter()
        .min()
        .expect("there are deadlines")
    }
}
