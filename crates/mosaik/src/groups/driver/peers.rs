//! [`Peers`]: the lanes to and from each peer.

use {
    super::{
        inbox::{Command, Inbox, LaneId, LaneNews, Slot},
        io::backoff,
        timers::{Timer, Timers},
    },
    crate::{
        PeerId,
        discovery::{Discovery, SignedPeerEntry},
        groups::{
            bond::PeerCell,
            lanes::{self, Flushes, Frame, LaneKind, LaneSender},
            link::Link,
        },
        network::links::{LinkError, Links},
    },
    core::time::Duration,
    iroh::EndpointAddr,
    mosaik_primitives::time::Instant,
    std::{
        collections::{BTreeSet, HashMap},
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicU64, Ordering},
        },
    },
    tokio::sync::oneshot,
};

/// A lane that lasted this long was a success: losing it is the first failure.
const LASTED: Duration = Duration::from_secs(2);
/// Probes of one peer that are looked at in [`PROBES_IN`].
const PROBES: u32 = 64;
const PROBES_IN: Duration = Duration::from_secs(1);
/// Refusals kept for a peer while the lane to it is being opened.
const STASHED: usize = 16;

/// A lane that this node writes.
#[derive(Debug, Default)]
pub(super) enum Out {
    /// Not wanted.
    #[default]
    None,
    Opening(LaneId),
    /// Not to be had; the next attempt is timed.
    Waiting,
    Open {
        lane: LaneId,
        sender: Arc<LaneSender>,
        link: Link,
    },
}

/// A lane that the peer writes.
#[derive(Debug)]
pub(super) struct In {
    pub(super) lane: LaneId,
    pub(super) link: Link,
    proven: Arc<AtomicBool>,
    /// Its reader stops when this is dropped.
    _alive: oneshot::Sender<()>,
}

/// The lanes to and from one peer.
#[derive(Debug)]
pub(super) struct Peer {
    /// Groups that have, or want, a bond with it.
    slots: BTreeSet<Slot>,
    out: Out,
    bulk: Out,
    incoming: Option<In>,
    bulk_incoming: Option<In>,
    /// The peer's entry, for all bonds with it.
    cell: Option<Arc<PeerCell>>,
    failures: u32,
    opened_at: Option<Instant>,
    retry: Option<Instant>,
    stash: Vec<Frame>,
    /// Probes to be said, and whether they are answers.
    probes: BTreeSet<(Slot, bool)>,
    /// Since when probes of the peer are counted, and how many came.
    probed: (Instant, u32),
}

impl Peer {
    fn new() -> Self {
        Self {
            slots: BTreeSet::new(),
            out: Out::None,
            bulk: Out::None,
            incoming: None,
            bulk_incoming: None,
            cell: None,
            failures: 0,
            opened_at: None,
            retry: None,
            stash: Vec::new(),
            probes: BTreeSet::new(),
            probed: (Instant::ZERO, 0),
        }
    }

    fn out(&mut self, kind: LaneKind) -> &mut Out {
        match kind {
            LaneKind::Main => &mut self.out,
            LaneKind::Bulk => &mut self.bulk,
        }
    }

    fn incoming(&mut self, kind: LaneKind) -> &mut Option<In> {
        match kind {
            LaneKind::Main => &mut self.incoming,
            LaneKind::Bulk => &mut self.bulk_incoming,
        }
    }

    fn is_unused(&self) -> bool {
        self.slots.is_empty()
            && self.incoming.is_none()
            && self.bulk_incoming.is_none()
            && self.stash.is_empty()
            && self.probes.is_empty()
    }
}

/// What the end or the start of a lane means to the groups on it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// The main lane to the peer can be written.
    Opened,
    /// What was said on the main lanes is void.
    Lost,
}

/// The lanes to and from all peers.
#[derive(Debug)]
pub(super) struct Peers {
    table: HashMap<PeerId, Peer>,
    inbox: Arc<Inbox>,
    links: Links,
    discovery: Discovery,
    lanes: Arc<AtomicU64>,
    /// The lanes to be written at the end of the round.
    flushes: Flushes,
}

impl Peers {
    pub(super) fn new(inbox: Arc<Inbox>, links: Links, discovery: Discovery) -> Self {
        Self {
            table: HashMap::new(),
            inbox,
            links,
            discovery,
            lanes: Arc::default(),
            flushes: Flushes::default(),
        }
    }

    /// Writes what was queued for the peers.
    pub(super) fn flush(&self) {
        self.flushes.flush();
    }

    /// Names for the lanes that peers open.
    pub(super) fn names(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lanes)
    }

    /// The main lane to a peer, if it can be written.
    pub(super) fn main(&self, peer: &PeerId) -> Option<(&Arc<LaneSender>, &Link)> {
        match &self.table.get(peer)?.out {
            Out::Open { sender, link, .. } => Some((sender, link)),
            _ => None,
        }
    }

    /// The connection of the main lane from a peer.
    pub(super) fn incoming(&self, peer: &PeerId) -> Option<&Link> {
        Some(&self.table.get(peer)?.incoming.as_ref()?.link)
    }

    /// Whether this is a lane that the peer writes, and not one that was replaced or cut.
    pub(super) fn is_current(&self, peer: &PeerId, lane: LaneId) -> bool {
        self.table.get(peer).is_some_and(|peer| {
            let mut incoming = peer.incoming.iter().chain(&peer.bulk_incoming);
            incoming.any(|one| one.lane == lane)
        })
    }

    /// The groups that have, or want, a bond with a peer.
    pub(super) fn slots(&self, peer: &PeerId) -> Vec<Slot> {
        self.table
            .get(peer)
            .map(|peer| peer.slots.iter().copied().collect())
            .unwrap_or_default()
    }

    /// A group wants a bond: sees to it that there is a lane.
    pub(super) fn join(&mut self, peer: PeerId, slot: Slot) {
        let entry = self.table.entry(peer).or_insert_with(Peer::new);
        entry.slots.insert(slot);
        if matches!(entry.out, Out::None) {
            self.open(peer, LaneKind::Main);
        }
    }

    /// A group wants no bond any more. The lane ends with the last one.
    pub(super) fn part(&mut self, peer: &PeerId, slot: Slot, timers: &mut Timers) {
        let Some(entry) = self.table.get_mut(peer) else {
            return;
        };
        entry.slots.remove(&slot);
        if entry.slots.is_empty() {
            entry.out = Out::None;
            entry.bulk = Out::None;
            entry.failures = 0;
            timers.set(Timer::Lane(*peer), &mut entry.retry, None);
        }
        self.forget_unused(peer);
    }

    fn forget_unused(&mut self, peer: &PeerId) {
        if self.table.get(peer).is_some_and(Peer::is_unused) {
            self.table.remove(peer);
        }
    }

    /// The peer has proven a key: it may send large frames.
    pub(super) fn set_proven(&self, peer: &PeerId) {
        let Some(peer) = self.table.get(peer) else {
            return;
        };
        for incoming in peer.incoming.iter().chain(&peer.bulk_incoming) {
            incoming.proven.store(true, Ordering::Release);
        }
    }

    /// Sends a frame that belongs to no bond, opening the lane if need be.
    pub(super) fn answer(&mut self, peer: PeerId, frame: Frame) {
        let Some(entry) = self.table.get_mut(&peer) else {
            return;
        };
        if let Out::Open { sender, .. } = &entry.out {
            // A peer that asks faster than it reads is not answered.
            let _ = sender.send(frame);
        } else if entry.stash.len() < STASHED {
            entry.stash.push(frame);
            if matches!(entry.out, Out::None) {
                self.open(peer, LaneKind::Main);
            }
        }
    }

    /// The peer's entry, for all bonds with it.
    pub(super) fn cell(
        &mut self,
        peer: &PeerId,
        entry: &Arc<SignedPeerEntry>,
    ) -> Option<Arc<PeerCell>> {
        let known = self.table.get_mut(peer)?;
        let cell = known
            .cell
            .get_or_insert_with(|| PeerCell::new(Arc::clone(entry)));
        Some(Arc::clone(cell))
    }

    /// The peer has a newer entry.
    pub(super) fn set_entry(&self, peer: &PeerId, entry: &Arc<SignedPeerEntry>) {
        if let Some(cell) = self.table.get(peer).and_then(|peer| peer.cell.as_ref()) {
            cell.set(Arc::clone(entry));
        }
    }

    /// A group asks whether the peer holds its key.
    pub(super) fn probe(&mut self, peer: PeerId, slot: Slot) {
        self.add_probe(peer, slot, false);
    }

    /// A group holds the key that the peer has asked for.
    pub(super) fn answer_probe(&mut self, peer: PeerId, slot: Slot) {
        self.add_probe(peer, slot, true);
    }

    fn add_probe(&mut self, peer: PeerId, slot: Slot, answer: bool) {
        let entry = self.table.entry(peer).or_insert_with(Peer::new);
        entry.probes.insert((slot, answer));
        if matches!(entry.out, Out::None) {
            self.open(peer, LaneKind::Main);
        }
    }

    /// The probes to be said to a peer, once the lane to it can be written.
    pub(super) fn take_probes(&mut self, peer: &PeerId) -> BTreeSet<(Slot, bool)> {
        match self.table.get_mut(peer) {
            Some(entry) if matches!(entry.out, Out::Open { .. }) => {
                std::mem::take(&mut entry.probes)
            }
            _ => BTreeSet::new(),
        }
    }

    /// Whether a peer has not asked too often.
    pub(super) fn may_probe(&mut self, peer: &PeerId, now: Instant) -> bool {
        let Some(entry) = self.table.get_mut(peer) else {
            return false;
        };
        let (since, count) = &mut entry.probed;
        if now.since(*since) >= PROBES_IN {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count <= PROBES
    }

    /// Finishes a lane that no group has a use for, once what was said is written.
    pub(super) fn close_unused(&mut self, peer: &PeerId) {
        if let Some(entry) = self.table.get_mut(peer)
            && entry.slots.is_empty()
            && matches!(entry.out, Out::Open { .. })
        {
            entry.out = Out::None;
            self.forget_unused(peer);
        }
    }

    /// Sends on the lane for large things, opening it if need be; `false` when the frame was
    /// not taken.
    pub(super) fn send_bulk(&mut self, peer: PeerId, frame: Frame) -> bool {
        let Some(entry) = self.table.get_mut(&peer) else {
            return false;
        };
        match &entry.bulk {
            Out::Open { sender, .. } => sender.send(frame).is_ok(),
            Out::None => {
                self.open(peer, LaneKind::Bulk);
                // Asked for again when nothing comes; until the lane is there the main one
                // serves, which has room for a question.
                self.main(&peer)
                    .is_some_and(|(sender, _)| sender.send(frame).is_ok())
            }
            _ => self
                .main(&peer)
                .is_some_and(|(sender, _)| sender.send(frame).is_ok()),
        }
    }

    /// Opens a lane in a task of its own, which then writes it.
    fn open(&mut self, peer: PeerId, kind: LaneKind) {
        let Some(entry) = self.table.get_mut(&peer) else {
            return;
        };
        let lane = self.lanes.fetch_add(1, Ordering::Relaxed);
        *entry.out(kind) = Out::Opening(lane);
        let (links, inbox) = (self.links.clone(), Arc::clone(&self.inbox));
        let flushes = self.flushes.clone();
        let known = self.discovery.entry(&peer);
        let address = known.map_or_else(|| EndpointAddr::from(peer), |info| info.address().clone());
        self.links.tasks().spawn(async move {
            let tell = |news| {
                inbox.tell(Command::Lane {
                    peer,
                    lane,
                    kind,
                    news,
                })
            };
            match lanes::open(&links, address, kind, &flushes).await {
                Ok(opened) => {
                    let link = opened.link.clone();
                    if tell(LaneNews::Opened(Ok((opened.sender, link)))) {
                        opened.writer.run(opened.send, opened.link).await;
                        tell(LaneNews::OutEnded);
                    }
                }
                Err(error) => {
                    tell(LaneNews::Opened(Err(error)));
                }
            }
        });
    }

    /// The time for another attempt has come.
    pub(super) fn on_timer(&mut self, peer: PeerId) {
        let Some(entry) = self.table.get_mut(&peer) else {
            return;
        };
        entry.retry = None;
        if matches!(entry.out, Out::Waiting) && !entry.slots.is_empty() {
            self.open(peer, LaneKind::Main);
        } else if matches!(entry.out, Out::Waiting) {
            entry.out = Out::None;
        }
    }

    /// A peer opened a lane, in place of the one before.
    pub(super) fn accepted(
        &mut self,
        kind: LaneKind,
        incoming: (LaneId, Link, Arc<AtomicBool>, oneshot::Sender<()>),
    ) -> Change {
        let (lane, link, proven, alive) = incoming;
        let entry = self.table.entry(link.remote_id()).or_insert_with(Peer::new);
        let known = entry
            .incoming
            .as_ref()
            .is_some_and(|main| main.proven.load(Ordering::Acquire));
        if kind == LaneKind::Bulk && known {
            proven.store(true, Ordering::Release);
        }
        let before = entry.incoming(kind).replace(In {
            lane,
            link,
            proven,
            _alive: alive,
        });
        match (kind, before) {
            (LaneKind::Main, Some(_)) => Change::Lost,
            _ => Change::None,
        }
    }

    /// A lane that a peer writes has ended, or is to be cut.
    pub(super) fn in_ended(&mut self, peer: &PeerId, lane: LaneId) -> Change {
        let Some(entry) = self.table.get_mut(peer) else {
            return Change::None;
        };
        for kind in [LaneKind::Main, LaneKind::Bulk] {
            let ended = entry
                .incoming(kind)
                .take_if(|incoming| incoming.lane == lane);
            if ended.is_some() {
                self.forget_unused(peer);
                return match kind {
                    LaneKind::Main => Change::Lost,
                    LaneKind::Bulk => Change::None,
                };
            }
        }
        Change::None
    }

    /// An attempt to open a lane has ended.
    pub(super) fn opened(
        &mut self,
        peer: PeerId,
        lane: LaneId,
        kind: LaneKind,
        result: Result<(LaneSender, Link), LinkError>,
        cx: (&mut Timers, Instant),
    ) -> Change {
        let Some(entry) = self.table.get_mut(&peer) else {
            return Change::None;
        };
        if !matches!(entry.out(kind), Out::Opening(opening) if *opening == lane) {
            return Change::None;
        }
        match (result, kind) {
            (Ok((sender, link)), _) => {
                let sender = Arc::new(sender);
                if kind == LaneKind::Main {
                    entry.opened_at = Some(cx.1);
                    for frame in entry.stash.drain(..) {
                        // A new lane has room for what little was kept.
                        let _ = sender.send(frame);
                    }
                }
                *entry.out(kind) = Out::Open { lane, sender, link };
                match kind {
                    LaneKind::Main => Change::Opened,
                    LaneKind::Bulk => Change::None,
                }
            }
            (Err(error), LaneKind::Bulk) => {
                tracing::debug!(peer = %peer.fmt_short(), %error, "no lane for large things");
                entry.bulk = Out::None;
                Change::None
            }
            (Err(error), LaneKind::Main) => {
                tracing::debug!(peer = %peer.fmt_short(), %error, "no lane");
                entry.stash.clear();
                entry.probes.clear();
                self.wait(peer, cx);
                Change::None
            }
        }
    }

    fn wait(&mut self, peer: PeerId, (timers, now): (&mut Timers, Instant)) {
        let Some(entry) = self.table.get_mut(&peer) else {
            return;
        };
        entry.failures += 1;
        entry.out = Out::Waiting;
        let at = now + backoff(entry.failures);
        timers.set(Timer::Lane(peer), &mut entry.retry, Some(at));
    }

    /// A lane that this node writes has ended.
    ///
    /// One that had lasted is made anew at once.
    pub(super) fn out_ended(
        &mut self,
        peer: PeerId,
        lane: LaneId,
        kind: LaneKind,
        cx: (&mut Timers, Instant),
    ) -> Change {
        let Some(entry) = self.table.get_mut(&peer) else {
            return Change::None;
        };
        let is_it = matches!(entry.out(kind), Out::Open { lane: open, .. } if *open == lane);
        if !is_it {
            return Change::None;
        }
        *entry.out(kind) = Out::None;
        if kind == LaneKind::Bulk {
            return Change::None;
        }
        if entry.slots.is_empty() {
            return Change::Lost;
        }
        let lasted = entry.opened_at.is_some_and(|at| cx.1.since(at) >= LASTED);
        if lasted {
            entry.failures = 0;
            self.open(peer, LaneKind::Main);
        } else {
            self.wait(peer, cx);
        }
        Change::Lost
    }

    /// Cuts the lane to a peer that does not read what it must be told.
    pub(super) fn cut(&mut self, peer: &PeerId, code: u32) {
        if let Some(Out::Open { sender, .. }) = self.table.get(peer).map(|peer| &peer.out) {
            tracing::debug!(peer = %peer.fmt_short(), "the peer does not read");
            sender.cut(code);
        }
    }
}
