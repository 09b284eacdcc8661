//! What comparisons move: entries, and announcements of entries that both sides hold.

use {
    super::{
        compare::ITEMS,
        io::{Outputs, Refusal},
        machine::Catalog,
        message::{AgeWindow, Carried, CompactAnnouncement, KeyPrefix, Message, Request},
        receive::Route,
        store::Merged,
        sync::{ANSWER_WITHIN, WINDOW},
        types::{Announcement, Authority, NodeKey},
    },
    mosaik_primitives::time::{Instant, UnixMillis},
};

/// Entries up to this size are sent unasked to a peer that lacks them, bytes.
const PUSH_ENTRY: usize = 8 << 10;
/// Entries sent in answer to one message at most, bytes.
const ANSWER_BYTES: usize = 4 << 20;
/// A message of entries is closed when it is larger than this, bytes.
const PIECE_BYTES: usize = 32 << 10;
/// Resolution of the comparison of announcements, milliseconds.
const AGE_UNIT_MS: u64 = 4_000;

/// The time of an announcement, in a byte.
pub(super) const fn age(issued: UnixMillis) -> u8 {
    (issued.0 / AGE_UNIT_MS % 256) as u8
}

impl<A: Authority> Catalog<A> {
    /// Sends the small ones of these entries and offers the others. Whether some were left out.
    pub(super) fn push_entries(&self, to: NodeKey, peers: &[NodeKey], out: &mut Outputs) -> bool {
        let mut offers = Vec::new();
        let mut pieces = Pieces::default();
        for slot in peers.iter().filter_map(|peer| self.store.up().get(peer)) {
            if slot.record.bytes.len() > PUSH_ENTRY {
                offers.push(slot.item());
            } else {
                pieces.add(slot.carried());
            }
        }
        let more = pieces.overflown || offers.len() > ITEMS;
        offers.truncate(ITEMS);
        if !offers.is_empty() {
            self.send(to, &Message::Offer(offers), out);
        }
        self.send_pieces(to, pieces, out);
        more
    }

    fn send_pieces(&self, to: NodeKey, pieces: Pieces, out: &mut Outputs) {
        for piece in pieces
            .closed
            .into_iter()
            .chain([pieces.open])
            .filter(|p| !p.is_empty())
        {
            self.send(to, &Message::Entries(piece), out);
        }
    }

    pub(super) fn answer_pull(&self, from: NodeKey, requests: &[Request], out: &mut Outputs) {
        let mut pieces = Pieces::default();
        let mut lacking = Vec::new();
        for request in requests.iter().take(ITEMS) {
            match self.store.up().get(&request.peer) {
                Some(slot) if slot.record.version >= request.version => {
                    // What is too much for one answer is asked for again.
                    if !pieces.add(slot.carried()) {
                        lacking.push(request.peer);
                    }
                }
                _ => lacking.push(request.peer),
            }
        }
        self.send_pieces(from, pieces, out);
        if !lacking.is_empty() {
            self.send(from, &Message::Lacking(lacking), out);
        }
    }

    pub(super) fn take_entries(
        &mut self,
        now: Instant,
        from: NodeKey,
        entries: &[Carried],
        out: &mut Outputs,
    ) {
        for carried in entries {
            match self.take_entry(now, Route::direct(from), carried, out) {
                Ok(Merged::Discovered | Merged::Updated) => self.syncs.hurry(now),
                Ok(Merged::Refreshed) => {}
                Err(reason) => self.refuse(Some(from), reason, out),
            }
        }
        let waiting: Vec<_> = self
            .syncs
            .sessions
            .values()
            .filter(|session| session.peer == from)
            .flat_map(|session| session.awaiting.iter().copied())
            .filter(|peer| !self.pulls.is_waiting_for(peer))
            .collect();
        for peer in waiting {
            self.no_longer_awaited(&from, &peer, out);
        }
        for session in self
            .syncs
            .sessions
            .values_mut()
            .filter(|session| session.peer == from)
        {
            session.deadline = now + ANSWER_WITHIN;
        }
    }

    /// Both hold the same entries: whose announcement is newer here, whose there?
    pub(super) fn compare_ages(&self, from: NodeKey, window: &AgeWindow, out: &mut Outputs) {
        let mut fresh = Vec::new();
        let mut wanted = Vec::new();
        let run = self.store.up().values().skip(window.first as usize);
        for (slot, theirs) in run.zip(window.ages.iter().take(WINDOW)) {
            let ahead = age(slot.latest.issued).wrapping_sub(*theirs).cast_signed();
            if ahead > 0 {
                fresh.extend(slot.compact());
            } else if ahead < 0 && slot.record.peer != self.config.me {
                wanted.push(slot.prefix());
            }
        }
        if !fresh.is_empty() || !wanted.is_empty() {
            self.send(from, &Message::Announcements { fresh, wanted }, out);
        }
    }

    pub(super) fn take_announcements(
        &mut self,
        now: Instant,
        from: NodeKey,
        fresh: &[CompactAnnouncement],
        wanted: &[KeyPrefix],
        out: &mut Outputs,
    ) {
        for compact in fresh.iter().take(WINDOW) {
            self.take_compact(now, from, compact, out);
        }
        let slots = wanted
            .iter()
            .take(WINDOW)
            .flat_map(|prefix| self.store.with_prefix(*prefix));
        let fresh: Vec<_> = slots
            .take(WINDOW)
            .filter_map(super::store::Slot::compact)
            .collect();
        if !fresh.is_empty() {
            self.send(
                from,
                &Message::Announcements {
                    fresh,
                    wanted: Vec::new(),
                },
                out,
            );
        }
    }

    fn take_compact(
        &mut self,
        now: Instant,
        from: NodeKey,
        compact: &CompactAnnouncement,
        out: &mut Outputs,
    ) {
        let candidates: Vec<_> = self
            .store
            .with_prefix(compact.prefix)
            .filter(|slot| slot.record.peer != self.config.me)
            .take(4)
            .map(|slot| Announcement {
                peer: slot.record.peer,
                version: slot.record.version,
                digest: slot.record.digest,
                issued: compact.issued,
                incarnation: compact.incarnation,
                signature: compact.signature,
            })
            .collect();
        // A signature that fits none is about an entry that has changed here meanwhile.
        let mut outcome = Err(Refusal::Superseded);
        for announcement in &candidates {
            outcome = self.take_announcement(now, Route::direct(from), announcement, out);
            if outcome != Err(Refusal::Signature) {
                break;
            }
        }
        if let Err(reason) = outcome {
            self.counters.count(reason);
        }
    }
}

/// Entries in messages of bearable size.
#[derive(Default)]
struct Pieces {
    closed: Vec<Vec<Carried>>,
    open: Vec<Carried>,
    open_bytes: usize,
    bytes: usize,
    overflown: bool,
}

impl Pieces {
    /// Whether there was room.
    fn add(&mut self, carried: Carried) -> bool {
        // One entry always goes, whatever its size.
        if self.bytes > 0 && self.bytes + carried.entry.len() > ANSWER_BYTES {
            self.overflown = true;
            return false;
        }
        self.bytes += carried.entry.len();
        if !self.open.is_empty() && self.open_bytes + carried.entry.len() > PIECE_BYTES {
            self.closed.push(core::mem::take(&mut self.open));
            self.open_bytes = 0;
        }
        self.open_bytes += carried.entry.len();
        self.open.push(carried);
        true
    }
}
