//! Anti-entropy: comparisons with linked peers, range by range.
//!
//! The opener sends a fingerprint of everything. A range whose fingerprints differ comes back
//! split in parts, or item by item when it is small; entries that one side lacks are sent at once
//! when small, else offered. Both sides keep no state about each other but the opener's session,
//! which exists to know when a comparison has ended.

use {
    super::{
        compare::ITEMS,
        io::{Output, Outputs},
        machine::Catalog,
        message::{AgeWindow, Gossip, Item, Message, Range, RangeContent},
        pulls::Word,
        receive::Route,
        transfer::age,
        types::{Authority, NodeKey},
    },
    bytes::Bytes,
    core::time::Duration,
    mosaik_primitives::{prng::Prng, time::Instant},
    std::collections::{BTreeMap, BTreeSet, VecDeque},
};

/// Announcements compared in one comparison, and so sent in one message.
pub(super) const WINDOW: usize = 2_048;
/// Time between comparisons while they still bring news.
const PACE_MIN: Duration = Duration::from_millis(250);
/// One of so many comparisons is with a linked peer that may not be on the rings.
const LINKED_EVERY: usize = 8;
/// How long a partner has to answer.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Comparisons that the program asked for, running and waiting.
const REQUESTED: usize = 8;
const WAITING: usize = 1_024;
/// Times a comparison with one partner is repeated because there was more.
const REPEATS: u16 = 256;

pub(super) const LOWEST: NodeKey = NodeKey([0; 32]);

#[derive(Debug)]
pub(super) struct Session {
    pub(super) peer: NodeKey,
    pub(super) deadline: Instant,
    /// The program asked for it and is told of its end.
    requested: bool,
    /// The partner has nothing more to say.
    pub(super) ended: bool,
    /// Entries asked of the partner.
    pub(super) awaiting: BTreeSet<NodeKey>,
    /// It is repeated when it has ended, as if it had been opened now.
    again: bool,
    repeats: u16,
}

/// The comparisons this node opened, and when it opens the next.
#[derive(Debug)]
pub(super) struct Syncs {
    pub(super) sessions: BTreeMap<u32, Session>,
    waiting: VecDeque<NodeKey>,
    next: Instant,
    pace: Duration,
}

impl Syncs {
    pub(super) fn new(now: Instant, prng: &mut Prng) -> Self {
        let next = now + prng.jittered(PACE_MIN, 0.5);
        Self {
            sessions: BTreeMap::new(),
            waiting: VecDeque::new(),
            next,
            pace: PACE_MIN,
        }
    }

    pub(super) fn next_deadline(&self) -> Instant {
        let sessions = self.sessions.values().map(|session| session.deadline);
        sessions
            .chain([self.next])
            .min()
            .expect("there is a next comparison")
    }

    /// News came by a comparison, so there may be more.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.pace = PACE_MIN;
        self.next = self.next.min(now + PACE_MIN);
    }

    fn requested(&self) -> usize {
        self.sessions
            .values()
            .filter(|session| session.requested)
            .count()
    }
}

impl<A: Authority> Catalog<A> {
    pub(super) fn request_sync(&mut self, now: Instant, peer: NodeKey, out: &mut Outputs) {
        let running = self.syncs.sessions.values_mut();
        if let Some(session) = running.into_iter().find(|session| session.peer == peer) {
            // Two comparisons at once would bring the same things twice. What the partner has
            // learned since this one began is found by repeating it.
            session.requested = true;
            session.again = true;
        } else if peer == self.config.me || self.syncs.waiting.len() >= WAITING {
            out.push_back(Output::SyncFailed(peer));
        } else if self.syncs.requested() < REQUESTED {
            self.open_sync(now, peer, true, out);
        } else {
            self.syncs.waiting.push_back(peer);
        }
    }

    pub(super) fn open_sync(
        &mut self,
        now: Instant,
        peer: NodeKey,
        requested: bool,
        out: &mut Outputs,
    ) {
        let id = self.prng.next() as u32;
        let session = Session {
            peer,
            deadline: now + ANSWER_WITHIN,
            requested,
            ended: false,
            awaiting: BTreeSet::new(),
            again: false,
            repeats: 0,
        };
        if self.syncs.sessions.contains_key(&id)
            || self.syncs.sessions.len() >= 2 * REQUESTED + usize::from(requested)
        {
            if requested {
                out.push_back(Output::SyncFailed(peer));
            }
            return;
        }
        self.syncs.sessions.insert(id, session);
        self.counters.syncs += 1;
        self.send_opening(id, peer, out);
    }

    fn send_opening(&mut self, session: u32, peer: NodeKey, out: &mut Outputs) {
        let sum = self.store.sum();
        let content = if sum.count() <= 1 {
            // A newcomer: saying what it has saves a round.
            RangeContent::Items(
                self.store
                    .range(LOWEST, None)
                    .map(super::store::Slot::item)
                    .collect(),
            )
        } else {
            RangeContent::Fingerprint {
                count: sum.count(),
                fingerprint: sum.finish(),
            }
        };
        let windows = self.store.up().len().div_ceil(WINDOW).max(1);
        let first = self.prng.below(windows) * WINDOW;
        let run = self.store.up().values().skip(first).take(WINDOW);
        let ages: Bytes = run.map(|slot| age(slot.latest.issued)).collect();
        let message = Message::Compare {
            session,
            opener: true,
            ranges: vec![Range { end: None, content }],
            ages: Some(AgeWindow {
                first: first as u32,
                ages,
            }),
        };
        self.send(peer, &message, out);
    }

    pub(super) fn sync_unreachable(&mut self, peer: &NodeKey, out: &mut Outputs) {
        self.syncs.sessions.retain(|_, session| {
            if session.peer == *peer && session.requested {
                out.push_back(Output::SyncFailed(*peer));
            }
            session.peer != *peer
        });
    }

    pub(super) fn run_syncs(&mut self, now: Instant, out: &mut Outputs) {
        self.syncs.sessions.retain(|_, session| {
            let live = session.deadline > now;
            if !live && session.requested {
                out.push_back(Output::SyncFailed(session.peer));
            }
            live
        });
        while self.syncs.requested() < REQUESTED
            && let Some(peer) = self.syncs.waiting.pop_front()
        {
            self.open_sync(now, peer, true, out);
        }
        if self.syncs.next > now {
            return;
        }
        if let Some(peer) = self.choose_partner()
            && self.syncs.sessions.values().all(|session| {
                let other = session.peer != peer;
                session.requested && other
            })
        {
            self.open_sync(now, peer, false, out);
        }
        self.look_for_down_peer(out);
        let interval = self.prng.jittered(self.syncs.pace, 0.25);
        self.syncs.next = now + interval;
        self.syncs.pace = (self.syncs.pace * 2).min(self.config.sync_interval);
    }

    /// A neighbour on the rings, where everyone has equally many; now and then, or without such
    /// neighbours, any linked peer. While there is news, linked peers only: the rings still
    /// change, and whoever is met over a link that exists costs no handshake.
    fn choose_partner(&mut self) -> Option<NodeKey> {
        let me = self.config.me;
        let growing = self.syncs.pace < self.config.sync_interval;
        let mut partners = self.detector.rings.monitored_by(me);
        partners.extend(self.detector.rings.monitors_of(me));
        let linked = growing || self.prng.below(LINKED_EVERY) == 0;
        if partners.is_empty() || (linked && !self.links.is_empty()) {
            partners.clone_from(&self.links);
        }
        if partners.is_empty() {
            return None;
        }
        let chosen = self.prng.below(partners.len());
        partners.into_iter().nth(chosen)
    }

    /// Probes one of the peers that are down: it may only have been out of reach. The chance is
    /// such that the whole network does so about once an interval for each of them.
    fn look_for_down_peer(&mut self, out: &mut Outputs) {
        let (down, up) = (self.store.down().len(), self.store.up().len().max(1));
        if down > 0 && self.prng.below(up) < down {
            let chosen = self.prng.below(down);
            let peer = *self
                .store
                .down()
                .keys()
                .nth(chosen)
                .expect("the position is within");
            out.push_back(Output::Probe {
                peer,
                nonce: self.prng.next(),
            });
        }
    }

    /// Somebody who is down here gave a sign of life: it is told, so that it can refute that. Not
    /// again while the comparison opened with it goes on.
    pub(super) fn tell_down_peer(&mut self, now: Instant, peer: NodeKey, out: &mut Outputs) {
        let Some(slot) = self.store.down().get(&peer) else {
            return;
        };
        if self
            .syncs
            .sessions
            .values()
            .any(|session| session.peer == peer)
        {
            return;
        }
        let suspicion = self.suspicion_of(slot);
        self.send(peer, &Message::Direct(Gossip::Suspicion(suspicion)), out);
        self.open_sync(now, peer, false, out);
    }

    pub(super) fn receive_message(
        &mut self,
        now: Instant,
        from: NodeKey,
        message: Message,
        out: &mut Outputs,
    ) {
        match message {
            Message::Direct(gossip) => self.receive(now, Route::direct(from), gossip, out),
            Message::Compare {
                session,
                opener,
                ranges,
                ages,
            } => {
                self.compare(now, from, session, opener, ranges, ages, out);
            }
            Message::End { session, more } => self.sync_ended(now, from, session, more, out),
            Message::Announcements { fresh, wanted } => {
                self.take_announcements(now, from, &fresh, &wanted, out);
            }
            Message::Entries(entries) => self.take_entries(now, from, &entries, out),
            Message::Offer(items) => self.take_offer(now, from, &items, out),
            Message::Pull(requests) => self.answer_pull(from, &requests, out),
            Message::Lacking(peers) => {
                let running = self.running(now);
                for peer in &peers {
                    self.pulls.lacking(running, &from, peer);
                    self.no_longer_awaited(&from, peer, out);
                }
            }
        }
    }

    fn take_offer(&mut self, now: Instant, from: NodeKey, items: &[Item], out: &mut Outputs) {
        let wall = self.wall(now);
        let mut own = None;
        for item in items.iter().take(ITEMS) {
            if !self.store.lacks(wall, item) {
                continue;
            }
            if item.peer == self.config.me {
                own = own.max(Some(item.version));
            } else {
                self.pull(now, item.peer, item.version, from, Word::Offered);
            }
        }
        if let Some(version) = own {
            self.pull_own(from, version, out);
        }
    }

    pub(super) fn no_longer_awaited(&mut self, from: &NodeKey, peer: &NodeKey, out: &mut Outputs) {
        let mut touched = Vec::new();
        for (id, session) in &mut self.syncs.sessions {
            if session.peer == *from && session.awaiting.remove(peer) {
                touched.push(*id);
            }
        }
        for id in touched {
            self.close_if_complete(id, out);
        }
    }

    fn sync_ended(&mut self, now: Instant, from: NodeKey, id: u32, more: bool, out: &mut Outputs) {
        let Some(session) = self.syncs.sessions.get_mut(&id) else {
            return;
        };
        if session.peer != from {
            return;
        }
        session.deadline = now + ANSWER_WITHIN;
        if more && session.repeats < REPEATS {
            session.repeats += 1;
            self.send_opening(id, from, out);
        } else {
            session.ended = true;
            self.close_if_complete(id, out);
        }
    }

    pub(super) fn close_if_complete(&mut self, id: u32, out: &mut Outputs) {
        let Some(session) = self.syncs.sessions.get_mut(&id) else {
            return;
        };
        if session.ended && session.awaiting.is_empty() {
            if core::mem::take(&mut session.again) {
                session.ended = false;
                let peer = session.peer;
                return self.send_opening(id, peer, out);
            }
            if session.requested {
                out.push_back(Output::Synced(session.peer));
            }
            self.syncs.sessions.remove(&id);
        }
    }
}
