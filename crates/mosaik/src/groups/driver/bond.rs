//! Bonds: a group's handshake with each peer, and what ends it.

use {
    super::{
        handshake::Handshake,
        inbox::{Command, Inbox, Slot, Wish},
        io::{Io, backoff, peer_key, random},
        member::Member,
        timers::Timer,
    },
    crate::{
        PeerId,
        discovery::PeerInfo,
        groups::{
            bond::{BondControl, BondState},
            event::{Event, Side},
            lanes::{Frame, Hello, LaneSender},
        },
        network::{
            close::{self, ProtocolViolation, Reason, UnexpectedClose, groups as reasons},
            links::Links,
        },
        tickets::Expiration,
    },
    bytes::Bytes,
    core::time::Duration,
    iroh::endpoint::ApplicationClose,
    mosaik_primitives::{Digest, time::Instant},
    mosaik_protocol::consensus::{Input, PeerKey},
    std::sync::Arc,
};

/// A bond that is up.
pub(super) struct Up {
    /// The peer's name for the group.
    pub(super) slot: Slot,
    pub(super) lane: Arc<LaneSender>,
    state: Arc<BondState>,
}

/// A group's relation to one peer.
pub(super) struct Bond {
    pub(super) peer: PeerId,
    handshake: Handshake,
    pub(super) up: Option<Up>,
    /// The end of the handshake's patience, the next attempt, or the end of the peer's ticket.
    timer: Option<Instant>,
    /// The last attempt has failed, and the timer says when the next one is due.
    waits: bool,
    failures: u32,
}

impl Bond {
    fn new(peer: PeerId) -> Self {
        Self {
            peer,
            handshake: Handshake::default(),
            up: None,
            timer: None,
            waits: false,
            failures: 0,
        }
    }
}

/// What a program can do with a bond.
struct Control {
    slot: Slot,
    peer: PeerId,
    inbox: Arc<Inbox>,
    links: Links,
}

impl BondControl for Control {
    fn close(&self, reason: ApplicationClose) {
        let code = u32::try_from(reason.error_code.into_inner()).unwrap_or(u32::MAX);
        self.inbox.tell(Command::Wish {
            slot: self.slot,
            wish: Wish::CloseBond {
                peer: self.peer,
                code,
            },
        });
    }

    fn rtt(&self) -> Option<Duration> {
        self.links.rtt(&self.peer)
    }
}

/// A reason as programs see it; those of their own have no text here.
fn application_close(code: u32) -> ApplicationClose {
    close::find(u64::from(code)).map_or_else(
        || ApplicationClose {
            error_code: code.into(),
            reason: Bytes::new(),
        },
        Into::into,
    )
}

impl Member {
    /// Sees to it that there will be a bond with a peer.
    pub(super) fn want(&mut self, peer: PeerId, io: &mut Io) {
        if self.leaving.is_some() {
            return;
        }
        let key = peer_key(&peer);
        if self.bonds.contains_key(&key) {
            return;
        }
        self.bonds.insert(key, Bond::new(peer));
        io.peers.join(peer, self.slot);
        self.introduce(key, io);
    }

    /// Discovery shows the peer in the group no more. A bond that works stays.
    pub(super) fn unwant(&mut self, key: PeerKey, io: &mut Io) {
        if self.bonds.get(&key).is_some_and(|bond| bond.up.is_none()) {
            self.forget(key, io);
        }
    }

    fn forget(&mut self, key: PeerKey, io: &mut Io) {
        if let Some(mut bond) = self.bonds.remove(&key) {
            io.timers
                .set(Timer::Bond(self.slot, key), &mut bond.timer, None);
            io.peers.part(&bond.peer, self.slot, &mut io.timers);
        }
    }

    /// Says hello, if there is a lane to say it on.
    pub(super) fn introduce(&mut self, key: PeerKey, io: &mut Io) {
        let Some(bond) = self.bonds.get_mut(&key) else {
            return;
        };
        let Some((lane, link)) = io.peers.main(&bond.peer) else {
            return;
        };
        let id = *self.config.group_id();
        let (nonce, heard) = bond.handshake.say(random());
        let hello = Frame::Hello(Hello {
            group: id,
            slot: self.slot,
            nonce,
            heard,
            proof: self
                .config
                .key()
                .generate_proof(link, io.links.local_id(), id),
        });
        let full = lane.send(hello).is_err();
        if bond.up.is_none() {
            let patience = io.now + io.config.handshake_timeout;
            let timer = Timer::Bond(self.slot, key);
            io.timers.set(timer, &mut bond.timer, Some(patience));
        }
        if full {
            io.peers.cut(&bond.peer, ProtocolViolation::REASON.code);
        }
    }

    /// A peer says hello; it is the one that the lane's connection authenticates.
    pub(super) fn on_hello(&mut self, peer: PeerId, hello: &Hello, io: &mut Io) {
        if let Err(reason) = self.admit(peer, hello, io) {
            io.peers.answer(
                peer,
                Frame::Refused {
                    group: hello.group,
                    nonce: hello.nonce,
                    code: reason.code,
                },
            );
            self.refused(peer, reason.into(), Side::Local);
            return;
        }
        let key = peer_key(&peer);
        let slot = self.slot;
        let bond = self.bonds.entry(key).or_insert_with(|| {
            io.peers.join(peer, slot);
            Bond::new(peer)
        });
        io.peers.set_proven(&peer);
        let heard = bond.handshake.hear(hello);
        if heard.renewed {
            self.take_down(key, UnexpectedClose.into(), io);
        }
        if heard.reply {
            self.introduce(key, io);
        }
        self.try_up(key, io);
    }

    /// Whether a peer that says hello is of the group.
    fn admit(&self, peer: PeerId, hello: &Hello, io: &Io) -> Result<(), Reason> {
        if self.leaving.is_some() {
            return Err(reasons::GroupNotFound::REASON);
        }
        let Some(link) = io.peers.incoming(&peer) else {
            return Err(reasons::InvalidHandshake::REASON);
        };
        if hello.nonce == 0 {
            return Err(reasons::InvalidHandshake::REASON);
        }
        let proven = self
            .config
            .key()
            .validate_proof(link, hello.proof, hello.group);
        if !proven {
            return Err(reasons::InvalidProof::REASON);
        }
        let info = io.discovery.entry(&peer);
        let Some(info) = info.filter(|info| info.as_signed().is_some()) else {
            self.resolve_peer(peer, io);
            return Err(close::UnknownPeer::REASON);
        };
        self.admitted_until(&info)
            .map(drop)
            .ok_or(reasons::NotAllowed::REASON)
    }

    /// Until when the peer's tickets let it in; `None` where they do not.
    fn admitted_until(&self, info: &PeerInfo) -> Option<Expiration> {
        let until = info.validate_tickets(self.config.auth()).ok()?;
        Some(until.unwrap_or(Expiration::Never))
    }

    /// Asks a peer that is not known yet for its entry, and then says hello to it.
    fn resolve_peer(&self, peer: PeerId, io: &Io) {
        let (discovery, inbox) = (io.discovery.clone(), Arc::clone(&io.inbox));
        let slot = self.slot;
        io.links.tasks().spawn(async move {
            if discovery.resolve(peer).await.is_some() {
                inbox.tell(Command::Resolved { peer, slot });
            }
        });
    }

    /// Brings a bond up once both sides have accepted each other.
    fn try_up(&mut self, key: PeerKey, io: &mut Io) {
        let Some(bond) = self.bonds.get_mut(&key) else {
            return;
        };
        let (Some(slot), true) = (bond.handshake.their_slot(), bond.handshake.is_up()) else {
            return;
        };
        if bond.up.is_some() {
            return;
        }
        let peer = bond.peer;
        let Some((lane, link)) = io.peers.main(&peer) else {
            return;
        };
        let lane = Arc::clone(lane);
        // Both sides name the connection of the same lane: the one that the lower id writes.
        let named = if io.local() < peer {
            Some(link)
        } else {
            io.peers.incoming(&peer)
        };
        let id = named.map_or_else(Digest::zero, |link| {
            link.shared_random("mosaik.group.bond.id")
        });
        let control = Control {
            slot: self.slot,
            peer,
            inbox: Arc::clone(&io.inbox),
            links: io.links.clone(),
        };
        let info = io.discovery.entry(&peer);
        let until = info.as_ref().and_then(|info| self.admitted_until(info));
        let entry = info.as_ref().and_then(PeerInfo::as_signed);
        let Some(cell) = entry.and_then(|entry| io.peers.cell(&peer, entry)) else {
            // It has left the catalog meanwhile; the handshake's patience ends it.
            return;
        };
        let state = BondState::new(id, cell, control);
        self.shared.bonds.insert(peer, Arc::clone(&state));
        let Some(bond) = self.bonds.get_mut(&key) else {
            return;
        };
        bond.up = Some(Up { slot, lane, state });
        bond.failures = 0;
        bond.waits = false;
        let at = until.and_then(|until| expires(until, io.now));
        io.timers
            .set(Timer::Bond(self.slot, key), &mut bond.timer, at);
        self.shared.metrics.bonds.increment(1.0);
        self.shared.tell(Event::Bonded(peer));
        self.handle(Input::LinkUp(key), io);
    }

    /// Ends a bond that is up, as far as this side is concerned.
    pub(super) fn take_down(&mut self, key: PeerKey, reason: ApplicationClose, io: &mut Io) {
        let Some(bond) = self.bonds.get_mut(&key) else {
            return;
        };
        let Some(up) = bond.up.take() else {
            return;
        };
        let peer = bond.peer;
        io.timers
            .set(Timer::Bond(self.slot, key), &mut bond.timer, None);
        self.pacing.forget(&key);
        self.shared.bonds.remove(&peer);
        up.state.set_closed(reason.clone());
        self.shared.metrics.bonds.decrement(1.0);
        self.shared.tell(Event::Unbonded { peer, reason });
        self.handle(Input::LinkDown(key), io);
    }

    /// A lane to the peer can be written.
    pub(super) fn on_lane_opened(&mut self, key: PeerKey, io: &mut Io) {
        if self.bonds.get(&key).is_some_and(|bond| !bond.waits) {
            self.introduce(key, io);
        }
    }

    /// What was said on the lanes is void. A bond that was up is made anew at once, where there
    /// is a lane; an attempt that was under way has failed.
    pub(super) fn on_lanes_lost(&mut self, key: PeerKey, io: &mut Io) {
        let Some(bond) = self.bonds.get(&key) else {
            return;
        };
        let (was_up, had_spoken) = (bond.up.is_some(), bond.handshake.has_spoken());
        self.take_down(key, UnexpectedClose.into(), io);
        if !self.is_listed(key) {
            self.forget(key, io);
        } else if was_up {
            if let Some(bond) = self.bonds.get_mut(&key) {
                bond.handshake.reset();
            }
            self.introduce(key, io);
        } else if had_spoken {
            self.try_later(key, io);
        }
    }

    /// A peer refuses a hello.
    pub(super) fn on_refused(&mut self, peer: PeerId, nonce: u64, code: u32, io: &mut Io) {
        let key = peer_key(&peer);
        let current = self
            .bonds
            .get(&key)
            .is_some_and(|bond| bond.up.is_none() && bond.handshake.nonce() == nonce);
        if current {
            self.refused(peer, application_close(code), Side::Peer);
            self.try_later(key, io);
        }
    }

    fn refused(&self, peer: PeerId, reason: ApplicationClose, by: Side) {
        tracing::debug!(
            group = ?self.config.group_id(), peer = %peer.fmt_short(), %reason, ?by, "no bond",
        );
        self.shared.metrics.refusals.increment(1);
        // One side does not know the other yet, and asks for its entry at once: nothing that
        // anybody could mend.
        if reason.error_code != close::UnknownPeer::REASON.code.into() {
            self.shared.tell(Event::Refused { peer, reason, by });
        }
    }

    /// A peer ends the bond.
    pub(super) fn on_bye(&mut self, peer: PeerId, code: u32, io: &mut Io) {
        let key = peer_key(&peer);
        self.take_down(key, application_close(code), io);
        self.try_later(key, io);
    }

    /// Ends a bond from this side.
    pub(super) fn say_bye(&mut self, key: PeerKey, code: u32, io: &mut Io) {
        let Some(bond) = self.bonds.get(&key) else {
            return;
        };
        if let Some(up) = &bond.up {
            let slot = up.slot;
            // A peer that reads nothing learns it from the end of the lane.
            let _ = up.lane.send(Frame::Bye { slot, code });
        }
        self.take_down(key, application_close(code), io);
        self.try_later(key, io);
    }

    /// Tries again after a while, if there is still a reason to.
    fn try_later(&mut self, key: PeerKey, io: &mut Io) {
        if !self.is_listed(key) || self.leaving.is_some() {
            self.forget(key, io);
            return;
        }
        let Some(bond) = self.bonds.get_mut(&key) else {
            return;
        };
        bond.handshake.reset();
        bond.waits = true;
        bond.failures += 1;
        let at = io.now + backoff(bond.failures);
        io.timers
            .set(Timer::Bond(self.slot, key), &mut bond.timer, Some(at));
    }

    /// A bond's timer has fired.
    pub(super) fn on_bond_timer(&mut self, key: PeerKey, io: &mut Io) {
        let Some(bond) = self.bonds.get_mut(&key) else {
            return;
        };
        bond.timer = None;
        bond.waits = false;
        let peer = bond.peer;
        if bond.up.is_some() {
            self.check_ticket(key, io);
        } else if bond.handshake.has_spoken() {
            let reason = reasons::Timeout::REASON.into();
            self.refused(peer, reason, Side::Local);
            self.try_later(key, io);
        } else {
            self.introduce(key, io);
        }
    }

    /// Whether the peer's tickets still let it in; called when they expire and when its entry
    /// changes.
    pub(super) fn check_ticket(&mut self, key: PeerKey, io: &mut Io) {
        let Some(bond) = self.bonds.get_mut(&key) else {
            return;
        };
        if bond.up.is_none() {
            return;
        }
        let Some(info) = io.discovery.entry(&bond.peer) else {
            // It has left the catalog, or died; its link will tell. What admitted it expires.
            return;
        };
        match self.admitted_until(&info) {
            Some(until) => {
                let at = expires(until, io.now);
                if let Some(bond) = self.bonds.get_mut(&key) {
                    io.timers
                        .set(Timer::Bond(self.slot, key), &mut bond.timer, at);
                }
            }
            None => self.say_bye(key, reasons::NotAllowed::REASON.code, io),
        }
    }

    /// Whether discovery shows the peer in the group.
    fn is_listed(&self, key: PeerKey) -> bool {
        self.listed.contains(&key)
    }
}

/// When an expiration has to be looked at. Wall clocks are set and machines sleep: long waits are
/// looked at again.
fn expires(until: Expiration, now: Instant) -> Option<Instant> {
    const LOOK_AGAIN: Duration = Duration::from_secs(2);
    let left = until.remaining()?.to_std().unwrap_or_default();
    Some(now + left.min(LOOK_AGAIN) + Duration::from_millis(1))
}
