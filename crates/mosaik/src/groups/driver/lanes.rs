//! What arrives on lanes, and their comings and goings.

use {
    super::{
        inbox::{Command, Inbox, LaneId, LaneNews, Slot},
        io::{Io, peer_key},
        member::Member,
        peers::Change,
        run::Driver,
    },
    crate::{
        PeerId,
        groups::lanes::{self, Frame, Greeting, LaneKind, Read, Reader, ReaderError},
        network::{
            close::{ProtocolViolation, groups as reasons},
            links::{Incoming, Links, Protocol},
        },
    },
    core::time::Duration,
    mosaik_primitives::codec::Versioned,
    mosaik_protocol::consensus::PeerKey,
    parking_lot::Mutex,
    std::{
        collections::HashMap,
        sync::{
            Arc, Weak,
            atomic::{AtomicBool, AtomicU64, Ordering},
        },
    },
    tokio::sync::{Semaphore, oneshot},
};

/// What a peer's lanes of one kind may have arriving at the driver and not dealt with, KiB. A
/// larger frame takes it all.
const ARRIVING_KIB: usize = 4 << 10;
/// A lane of a peer that has proven no key is closed when nothing has come on it for so many times
/// the handshake's timeout. Longer than members that were refused wait before they try again, with
/// the default timeout: nothing but another lane depends on it.
const SILENCE: u32 = 8;
/// What a greeting may measure.
const GREETING_BYTES: usize = 64;

/// What is arriving from each peer, on its lanes of each kind: opening many gives no more room.
#[derive(Default)]
struct Rooms(Mutex<HashMap<(PeerId, LaneKind), Weak<Semaphore>>>);

impl Rooms {
    fn of(&self, peer: PeerId, kind: LaneKind) -> Arc<Semaphore> {
        let mut rooms = self.0.lock();
        if let Some(room) = rooms.get(&(peer, kind)).and_then(Weak::upgrade) {
            return room;
        }
        rooms.retain(|_, room| room.strong_count() > 0);
        let room = Arc::new(Semaphore::new(ARRIVING_KIB));
        rooms.insert((peer, kind), Arc::downgrade(&room));
        room
    }
}

/// Serves the lanes that peers open.
pub(super) fn serve(
    links: &Links,
    inbox: &Arc<Inbox>,
    names: &Arc<AtomicU64>,
    handshake_timeout: Duration,
) {
    let (inbox, names) = (Arc::clone(inbox), Arc::clone(names));
    let rooms = Arc::new(Rooms::default());
    let silence = handshake_timeout * SILENCE;
    links.serve(Protocol::Groups, move |incoming| {
        let (inbox, rooms) = (Arc::clone(&inbox), Arc::clone(&rooms));
        let lane = names.fetch_add(1, Ordering::Relaxed);
        async move { accept(incoming, lane, &inbox, &rooms, silence).await }
    });
}

async fn accept(incoming: Incoming, lane: LaneId, inbox: &Inbox, rooms: &Rooms, silence: Duration) {
    let Ok(greeting) = Greeting::from_versioned(&incoming.greeting, GREETING_BYTES) else {
        incoming.refuse(ProtocolViolation).await;
        return;
    };
    let Some((reader, link)) = lanes::serve(incoming).await else {
        return;
    };
    let (alive, replaced) = oneshot::channel();
    let proven = Arc::new(AtomicBool::new(false));
    let (peer, kind) = (link.remote_id(), greeting.kind);
    let tell = |news| {
        inbox.tell(Command::Lane {
            peer,
            lane,
            kind,
            news,
        })
    };
    let accepted = LaneNews::Accepted {
        link,
        alive,
        proven: Arc::clone(&proven),
    };
    if !tell(accepted) {
        return;
    }
    let mut reading = Reading {
        reader,
        room: rooms.of(peer, kind),
        proven,
        silence,
    };
    let violation = tokio::select! {
        biased;
        violation = reading.run(tell) => violation,
        // Replaced, or cut.
        _ = replaced => None,
    };
    reading.reader.stop(ProtocolViolation::REASON.code);
    tell(LaneNews::InEnded { violation });
}

/// A lane that is read.
struct Reading {
    reader: Reader,
    room: Arc<Semaphore>,
    proven: Arc<AtomicBool>,
    /// How long a peer that has proven nothing may say nothing.
    silence: Duration,
}

impl Reading {
    fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Acquire)
    }

    /// Reads until the lane ends; answers what was wrong with it, if anything.
    async fn run(&mut self, tell: impl Fn(LaneNews) -> bool) -> Option<String> {
        loop {
            let mut frames = Vec::new();
            match self.read(&mut frames).await {
                Some(Ok(Read::Frames)) => {
                    let bytes: usize = frames.iter().map(Frame::len).sum();
                    let wanted = (bytes >> 10).clamp(1, ARRIVING_KIB) as u32;
                    let room = Arc::clone(&self.room);
                    let permit = room.acquire_many_owned(wanted).await.ok()?;
                    if !tell(LaneNews::Frames { frames, permit }) {
                        return None;
                    }
                }
                Some(Ok(Read::NeedsProof)) => {
                    // Once the driver has dealt with all that came before, it is decided.
                    drop(self.room.acquire_many(ARRIVING_KIB as u32).await.ok()?);
                    if !self.is_proven() {
                        return Some("a large frame before any proof of a key".to_owned());
                    }
                }
                Some(Err(error)) => return error.violation(),
                // Silence is no offence: who had nothing to say opens another lane when it has.
                Some(Ok(Read::Finished)) | None => return None,
            }
        }
    }

    /// Reads; `None` when nothing has come for too long from a peer that has proven nothing.
    async fn read(&mut self, frames: &mut Vec<Frame>) -> Option<Result<Read, ReaderError>> {
        loop {
            if self.is_proven() {
                return Some(self.reader.read(frames, true).await);
            }
            let reading = self.reader.read(frames, false);
            match tokio::time::timeout(self.silence, reading).await {
                Ok(read) => return Some(read),
                // It may be proven by what another lane has said.
                Err(_) if self.is_proven() => {}
                Err(_) => return None,
            }
        }
    }
}

impl Driver {
    pub(super) fn on_lane(&mut self, peer: PeerId, lane: LaneId, kind: LaneKind, news: LaneNews) {
        let change = match news {
            LaneNews::Accepted {
                link,
                alive,
                proven,
            } => self.io.peers.accepted(kind, (lane, link, proven, alive)),
            LaneNews::Frames { frames, permit } => {
                self.on_frames(peer, lane, frames);
                drop(permit);
                return;
            }
            LaneNews::InEnded { violation } => {
                let current = self.io.peers.is_current(&peer, lane);
                if let Some(what) = violation.filter(|_| current) {
                    self.report(peer, &what);
                }
                self.io.peers.in_ended(&peer, lane)
            }
            LaneNews::Opened(result) => {
                let cx = (&mut self.io.timers, self.io.now);
                self.io.peers.opened(peer, lane, kind, result, cx)
            }
            LaneNews::OutEnded => {
                let cx = (&mut self.io.timers, self.io.now);
                self.io.peers.out_ended(peer, lane, kind, cx)
            }
        };
        match change {
            Change::None => {}
            Change::Opened => {
                self.each_on(peer, Member::on_lane_opened);
                self.say_probes(peer);
            }
            Change::Lost => self.each_on(peer, Member::on_lanes_lost),
        }
    }

    fn on_frames(&mut self, peer: PeerId, lane: LaneId, frames: Vec<Frame>) {
        for frame in frames {
            // It may be cut for what came before.
            if !self.io.peers.is_current(&peer, lane) {
                return;
            }
            if let Err(what) = self.on_frame(peer, frame) {
                self.report(peer, what);
                if self.io.peers.in_ended(&peer, lane) == Change::Lost {
                    self.each_on(peer, Member::on_lanes_lost);
                }
            }
        }
    }

    fn on_frame(&mut self, peer: PeerId, frame: Frame) -> Result<(), &'static str> {
        match frame {
            Frame::Core { slot, message } => match self.member_at(slot)? {
                Some((member, io)) => member.on_message(peer, message, io),
                None => Ok(()),
            },
            Frame::Sync { slot, message } => {
                if let Some((member, _)) = self.member_at(slot)? {
                    member.on_sync(peer, message);
                }
                Ok(())
            }
            Frame::Hello(hello) => {
                let slot = self.by_id.get(&hello.group).copied();
                match slot.map(|slot| self.member_at(slot)).transpose()?.flatten() {
                    Some((member, io)) => member.on_hello(peer, &hello, io),
                    None => self.io.peers.answer(
                        peer,
                        Frame::Refused {
                            group: hello.group,
                            nonce: hello.nonce,
                            code: reasons::GroupNotFound::REASON.code,
                        },
                    ),
                }
                Ok(())
            }
            Frame::Refused { group, nonce, code } => {
                if let Some(slot) = self.by_id.get(&group).copied()
                    && let Some((member, io)) = self.member_at(slot)?
                {
                    member.on_refused(peer, nonce, code, io);
                }
                Ok(())
            }
            Frame::Probe(probe) => {
                self.on_probe(peer, &probe);
                Ok(())
            }
            Frame::Bye { slot, code } => {
                if let Some((member, io)) = self.member_at(slot)? {
                    member.on_bye(peer, code, io);
                }
                Ok(())
            }
        }
    }

    /// The group of a slot; `None` for one that has ended, an error for one that never was.
    fn member_at(&mut self, slot: Slot) -> Result<Option<(&mut Member, &mut Io)>, &'static str> {
        if slot >= self.slots.load(Ordering::Acquire) {
            return Err("a frame for a group that there never was");
        }
        self.dirty.insert(slot);
        let member = self.members.get_mut(&slot);
        Ok(member.map(|member| (member, &mut self.io)))
    }

    /// Does something for every group that has, or wants, a bond with a peer.
    fn each_on(&mut self, peer: PeerId, what: impl Fn(&mut Member, PeerKey, &mut Io)) {
        for slot in self.io.peers.slots(&peer) {
            if let Some(member) = self.members.get_mut(&slot) {
                what(member, peer_key(&peer), &mut self.io);
                self.dirty.insert(slot);
            }
        }
    }

    /// Tells the groups that a peer is bonded to of what it did.
    fn report(&self, peer: PeerId, what: &str) {
        tracing::warn!(peer = %peer.fmt_short(), what, "lane cut");
        for slot in self.io.peers.slots(&peer) {
            if let Some(member) = self.members.get(&slot) {
                member.report_violation(peer, what.to_owned());
            }
        }
    }
}
