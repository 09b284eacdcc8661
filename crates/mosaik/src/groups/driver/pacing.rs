//! [`Pacing`]: how fast members that do not vote catch up while others work.
//!
//! A member that lags takes what it lacks as fast as it can, and all that it costs the leader, the
//! network and, on a shared machine, everybody else is taken from commits. Nothing waits for it: it
//! does not vote. So while the group commits, its acknowledgements reach the core no faster than a
//! steady rate allows, and with them the next entries leave. Where nobody works, or where voters lag,
//! there is no rate.
//!
//! The rate is a floor and twice what is committed meanwhile: whatever is written, a member that
//! catches up gets there, and one that has caught up is never held back.

use {
    core::time::Duration,
    mosaik_primitives::time::Instant,
    mosaik_protocol::consensus::{Body, LogIndex, Message, PeerKey},
    std::collections::{BTreeMap, VecDeque},
};

/// Bytes a second that are caught up at least.
const FLOOR: f64 = (12 << 20) as f64;
/// Bytes caught up for each byte that is committed.
const FOR_EACH_COMMITTED: f64 = 2.0;
/// What is saved up for a burst, seconds of the floor.
const BURST_S: f64 = 0.05;
/// The group works when it committed something within this time.
const WORKS: Duration = Duration::from_millis(100);
/// Messages kept of one member. Its core has fewer appends under way, so this is a member that does not
/// behave: it is not paced.
const HELD: usize = 256;
/// Bytes of them. What takes room is what it forwards, which waits for no acknowledgement.
const HELD_BYTES: usize = 16 << 20;
/// Appends of which it is remembered how large they were.
const SENT: usize = 256;

/// What is kept of one member that is paced.
#[derive(Debug, Default)]
struct Paced {
    /// Appends under way: the last entry, and the bytes of all.
    sent: VecDeque<(LogIndex, usize)>,
    /// Messages, and their bytes.
    held: VecDeque<(Message, usize)>,
    held_bytes: usize,
    /// It votes now, or is no member any more: what is held goes on at once.
    is_over: bool,
}

/// Holds acknowledgements back.
#[derive(Debug)]
pub(super) struct Pacing {
    peers: BTreeMap<PeerKey, Paced>,
    /// Bytes that may be acknowledged now; negative where it was more.
    allowed: f64,
    refilled: Instant,
    worked: Option<Instant>,
    /// When the driver looks again.
    pub(super) timer: Option<Instant>,
}

impl Pacing {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            peers: BTreeMap::new(),
            allowed: 0.0,
            refilled: now,
            worked: None,
            timer: None,
        }
    }

    /// These members do not vote, and no others are paced.
    pub(super) fn pace(&mut self, peers: impl Iterator<Item = PeerKey>) {
        for paced in self.peers.values_mut() {
            paced.is_over = true;
        }
        for peer in peers {
            self.peers.entry(peer).or_default().is_over = false;
        }
        self.peers
            .retain(|_, paced| !paced.is_over || !paced.held.is_empty());
    }

    /// The bond with a member has ended: what it said counts no more.
    pub(super) fn forget(&mut self, peer: &PeerKey) {
        if let Some(paced) = self.peers.get_mut(peer) {
            *paced = Paced::default();
        }
    }

    /// An append is on its way.
    pub(super) fn note_sent(&mut self, message: &Message) {
        let Body::Append { entries, .. } = &message.body else {
            return;
        };
        let (Some(paced), Some(last)) = (self.peers.get_mut(&message.to.peer), entries.last())
        else {
            return;
        };
        // After a loss the same is sent again.
        paced.sent.retain(|(sent, _)| *sent < last.index);
        if paced.sent.len() < SENT {
            let bytes = entries.iter().map(|entry| entry.body.len()).sum();
            paced.sent.push_back((last.index, bytes));
        }
    }

    /// So many bytes were committed.
    pub(super) fn note_committed(&mut self, bytes: usize, now: Instant) {
        self.worked = Some(now);
        self.refill(now);
        if !self.peers.is_empty() {
            self.allowed += FOR_EACH_COMMITTED * bytes as f64;
        }
    }

    /// A message of so many bytes has come. `None` where it is held back, to be asked for by
    /// [`Pacing::next`].
    pub(super) fn take(&mut self, message: Message, bytes: usize, now: Instant) -> Option<Message> {
        let Some(paced) = self.peers.get_mut(&message.from.peer) else {
            return Some(message);
        };
        paced.held.push_back((message, bytes));
        paced.held_bytes += bytes;
        self.next(now)
    }

    /// The next message that may go on; sets the time to ask again where there are others.
    pub(super) fn next(&mut self, now: Instant) -> Option<Message> {
        self.refill(now);
        let free = self.worked.is_none_or(|at| now.since(at) > WORKS);
        for paced in self.peers.values_mut() {
            let Some((message, bytes)) = paced.held.front() else {
                continue;
            };
            let cost = paced.cost(message);
            let fits = paced.held.len() <= HELD && paced.held_bytes <= HELD_BYTES;
            let is_paced = !free && !paced.is_over && fits;
            if is_paced && cost > 0 && self.allowed < 0.0 {
                continue;
            }
            if let Some(upto) = acknowledged(message) {
                paced.sent.retain(|(sent, _)| *sent > upto);
            }
            self.allowed -= cost as f64;
            paced.held_bytes -= bytes;
            return paced.held.pop_front().map(|(message, _)| message);
        }
        None
    }

    /// When there is something to ask for again.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let holds = self.peers.values().any(|paced| !paced.held.is_empty());
        let wait = Duration::from_secs_f64((-self.allowed).max(0.0) / FLOOR);
        holds.then(|| now + wait.min(WORKS) + Duration::from_millis(1))
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.since(self.refilled).as_secs_f64();
        self.refilled = now;
        self.allowed = elapsed.mul_add(FLOOR, self.allowed).min(BURST_S * FLOOR);
    }
}

impl Paced {
    /// The bytes that a message acknowledges.
    fn cost(&self, message: &Message) -> usize {
        let Some(upto) = acknowledged(message) else {
            return 0;
        };
        let sent = self.sent.iter().take_while(|(last, _)| *last <= upto);
        sent.map(|(_, bytes)| bytes).sum()
    }
}

fn acknowledged(message: &Message) -> Option<LogIndex> {
    match message.body {
        Body::AppendAck { matched } => Some(matched),
        Body::HeartbeatAck { stored, .. } => Some(stored),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use {
        super::*,
        mosaik_protocol::consensus::{Entry, Lineage, Member, Position, Term},
    };

    const ENTRY: usize = 256 << 10;

    fn peer(id: u8) -> PeerKey {
        PeerKey([id; 32])
    }

    fn message(from: u8, to: u8, body: Body) -> Message {
        Message {
            lineage: Lineage::NONE,
            from: Member::new(peer(from), 1),
            to: Member::new(peer(to), 1),
            term: Term(1),
            body,
        }
    }

    fn append(to: u8, index: u64) -> Message {
        let body = Body::Append {
            prev: Position::default(),
            commit: LogIndex(0),
            entries: vec![Entry {
                index: LogIndex(index),
                term: Term(1),
                body: vec![0; ENTRY].into(),
            }],
        };
        message(0, to, body)
    }

    fn ack(from: u8, index: u64) -> Message {
        let matched = LogIndex(index);
        message(from, 0, Body::AppendAck { matched })
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(1_000 + millis)
    }

    /// Sends and acknowledges entries for a second, one a millisecond as long as less than eight are
    /// under way, while so much is committed every ten milliseconds; how many were acknowledged.
    fn second(id: u8, committed: Option<usize>) -> u64 {
        let mut pacing = Pacing::new(at(0));
        pacing.pace([peer(1)].into_iter());
        let (mut sent, mut acknowledged) = (0, 0);
        for millis in 0..1_000 {
            if let Some(bytes) = committed
                && millis % 10 == 0
            {
                pacing.note_committed(bytes, at(millis));
            }
            let mut out = None;
            if sent < acknowledged + 8 {
                sent += 1;
                pacing.note_sent(&append(id, sent));
                out = pacing.take(ack(id, sent), 20, at(millis));
            }
            while let Some(message) = out.or_else(|| pacing.next(at(millis))) {
                acknowledged = super::acknowledged(&message).expect("an acknowledgement").0;
                out = None;
            }
        }
        acknowledged
    }

    #[test]
    fn who_does_not_vote_catches_up_at_a_steady_rate_while_others_work() {
        let floor = FLOOR as u64 / ENTRY as u64;
        assert_eq!(second(1, None), 1_000, "nobody works");
        assert_eq!(second(2, Some(100)), 1_000, "it votes");
        let paced = second(1, Some(100));
        assert!((floor..floor + 6).contains(&paced), "{paced}, not {floor}");
        // Twice as fast as what is written, however much that is.
        let writing = second(1, Some(ENTRY));
        assert!(
            (floor + 190..floor + 210).contains(&writing),
            "{writing}, not {floor} and 200"
        );
    }

    #[test]
    fn what_is_held_goes_on_when_nobody_works_and_when_it_votes() {
        for votes in [false, true] {
            let mut pacing = Pacing::new(at(0));
            pacing.pace([peer(1)].into_iter());
            pacing.note_committed(1, at(0));
            let mut went = 0;
            for index in 1..=20 {
                pacing.note_sent(&append(1, index));
                went += u64::from(pacing.take(ack(1, index), 20, at(0)).is_some());
            }
            assert!(went < 10, "{went} went at once");
            assert!(pacing.next(at(1)).is_none());
            let wake_at = pacing
                .wake_at(at(1))
                .expect("there is something to wait for");
            assert!(wake_at > at(1) && wake_at <= at(102));
            if votes {
                pacing.pace([].into_iter());
            }
            let now = if votes { at(2) } else { at(102) };
            while let Some(message) = pacing.next(now) {
                went += 1;
                assert_eq!(
                    super::acknowledged(&message),
                    Some(LogIndex(went)),
                    "in order"
                );
            }
            assert_eq!(went, 20);
            assert_eq!(pacing.wake_at(now), None);
        }
    }

    #[test]
    fn a_member_that_says_more_than_it_can_is_not_kept_waiting_for() {
        let mut pacing = Pacing::new(at(0));
        pacing.pace([peer(1)].into_iter());
        pacing.note_committed(1, at(0));
        pacing.note_sent(&append(1, 1));
        pacing.allowed = -1e12;
        for _ in 0..10 * HELD {
            pacing.note_sent(&append(1, 1));
            pacing.take(ack(1, 1), 20, at(0));
        }
        assert!(pacing.peers[&peer(1)].held.len() <= HELD);
        for _ in 0..8 {
            pacing.take(ack(1, 1), HELD_BYTES / 4, at(0));
            while pacing.next(at(0)).is_some() {}
        }
        assert!(pacing.peers[&peer(1)].held_bytes <= HELD_BYTES);
    }
}
