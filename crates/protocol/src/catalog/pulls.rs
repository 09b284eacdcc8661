//! Entries that are known to exist and are not here yet: whom to ask for them, and when.
//!
//! That somebody has an entry is said without proof. So each source has a share of the room and
//! of what is asked for at one time, sources take turns, and whoever does not deliver what it
//! offered has offered nothing: no source's word keeps out what another offers.
//!
//! Times here are on the clock that stops while this node does not get to run, as the detector's.

use {
    super::{
        message::Request,
        types::{NodeKey, Version},
    },
    core::time::Duration,
    mosaik_primitives::time::Instant,
    std::collections::{BTreeMap, BTreeSet},
};

/// Asked for at one time.
const IN_FLIGHT: usize = 64;
/// Of these, on the word of one source.
const IN_FLIGHT_PER_SOURCE: usize = IN_FLIGHT / 2;
/// One source takes one of so many parts of the room.
const PARTS: usize = 4;
/// Times an entry is asked for before it is given up; anti-entropy finds it again.
const ATTEMPTS: u8 = 8;
/// How long a source has to answer, or to go on answering.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// A source that lacks the entry is probably pulling it itself.
const RETRY_AFTER: Duration = Duration::from_millis(150);

/// What a source has said about an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Word {
    /// That it holds it.
    Offered,
    /// What the entry's peer has signed. The source handed that on, and may be pulling it too.
    Announced,
}

#[derive(Debug)]
struct Pull {
    version: Version,
    asked: Option<NodeKey>,
    /// When the answer is overdue, or when to ask again.
    due: Instant,
    attempts: u8,
}

impl Pull {
    /// The source; of what `peer` announced, every third time the peer itself.
    const fn next_asked(&self, peer: NodeKey, (source, word): Account) -> NodeKey {
        match word {
            Word::Announced if self.attempts % 3 == 2 => peer,
            _ => source,
        }
    }

    fn is_overdue(&self, now: Instant) -> bool {
        self.asked.is_some() && self.due <= now
    }
}

type Account = (NodeKey, Word);

/// What is pulled on one source's word; never empty.
#[derive(Debug)]
struct Share {
    pulls: BTreeMap<NodeKey, Pull>,
    /// Whose turn it is: the lowest.
    served: u64,
}

impl Share {
    fn in_flight(&self) -> impl Iterator<Item = (NodeKey, Version)> {
        let asked = self.pulls.iter().filter(|(_, pull)| pull.asked.is_some());
        asked.map(|(peer, pull)| (*peer, pull.version))
    }

    /// One to ask for that nobody else is asked for at this time.
    fn next(&self, now: Instant, asked: &BTreeSet<(NodeKey, Version)>) -> Option<NodeKey> {
        let mut due = self.pulls.iter().filter(|(_, pull)| pull.due <= now);
        let next = due.find(|(peer, pull)| !asked.contains(&(**peer, pull.version)));
        next.map(|(peer, _)| *peer)
    }

    /// Removes one that is best missed.
    fn give_up_one(&mut self) {
        let waiting = self
            .pulls
            .iter()
            .rev()
            .find(|(_, pull)| pull.asked.is_none());
        let chosen = waiting.or_else(|| self.pulls.last_key_value());
        if let Some(peer) = chosen.map(|(peer, _)| *peer) {
            self.pulls.remove(&peer);
        }
    }
}

#[derive(Debug)]
pub(super) struct Pulls {
    max: usize,
    shares: BTreeMap<Account, Share>,
    turns: u64,
    pub(super) asked: u64,
    pub(super) dropped: u64,
}

impl Pulls {
    pub(super) const fn new(max: usize) -> Self {
        Self {
            max,
            shares: BTreeMap::new(),
            turns: 0,
            asked: 0,
            dropped: 0,
        }
    }

    /// Notes that `source` knows of an entry. False if there is no room to note it.
    pub(super) fn add(
        &mut self,
        now: Instant,
        peer: NodeKey,
        version: Version,
        source: NodeKey,
        word: Word,
    ) -> bool {
        let account = (source, word);
        let known = self.shares.get(&account).and_then(|s| s.pulls.get(&peer));
        if known.is_some_and(|pull| pull.version >= version) {
            return true;
        }
        if known.is_none() && !self.make_room(&account) {
            self.dropped += 1;
            return false;
        }
        let share = self.shares.entry(account).or_insert_with(|| Share {
            pulls: BTreeMap::new(),
            served: self.turns,
        });
        let pull = Pull {
            version,
            asked: None,
            due: now,
            attempts: 0,
        };
        share.pulls.insert(peer, pull);
        true
    }

    /// Room for one more on this word, where need be at the cost of whoever takes more.
    fn make_room(&mut self, account: &Account) -> bool {
        let mine = self.shares.get(account).map_or(0, |s| s.pulls.len());
        if mine >= self.max.div_ceil(PARTS) {
            return false;
        }
        let taken: usize = self.shares.values().map(|share| share.pulls.len()).sum();
        if taken < self.max {
            return true;
        }
        let shares = self.shares.values_mut();
        let largest = shares.max_by_key(|share| share.pulls.len());
        let Some(largest) = largest.filter(|share| share.pulls.len() > mine + 1) else {
            return false;
        };
        largest.give_up_one();
        self.dropped += 1;
        true
    }

    /// The entry, or a newer one, has arrived, or is not wanted any more.
    pub(super) fn done(
        &mut self,
        now: Instant,
        peer: &NodeKey,
        version: Version,
        from: Option<NodeKey>,
    ) {
        self.shares.retain(|_, share| {
            if share
                .pulls
                .get(peer)
                .is_none_or(|pull| pull.version > version)
            {
                return true;
            }
            let asked = share.pulls.remove(peer).and_then(|pull| pull.asked);
            if let Some(source) = asked.filter(|_| asked == from) {
                // It delivers, if slowly.
                let pulls = share.pulls.values_mut();
                for pull in pulls.filter(|pull| pull.asked == Some(source)) {
                    pull.due = now + ANSWER_WITHIN;
                }
            }
            !share.pulls.is_empty()
        });
    }

    pub(super) fn is_waiting_for(&self, peer: &NodeKey) -> bool {
        self.shares
            .values()
            .any(|share| share.pulls.contains_key(peer))
    }

    /// The source does not have it (yet).
    pub(super) fn lacking(&mut self, now: Instant, source: &NodeKey, peer: &NodeKey) {
        let pulls = self
            .shares
            .values_mut()
            .filter_map(|s| s.pulls.get_mut(peer));
        for pull in pulls.filter(|pull| pull.asked.as_ref() == Some(source)) {
            pull.asked = None;
            pull.due = now + RETRY_AFTER;
        }
    }

    /// Nothing can be had from this source now.
    pub(super) fn unreachable(&mut self, now: Instant, source: &NodeKey) {
        if let Some(share) = self.shares.remove(&(*source, Word::Offered)) {
            self.dropped += share.pulls.len() as u64;
        }
        let pulls = self.shares.values_mut().flat_map(|s| s.pulls.values_mut());
        for pull in pulls.filter(|pull| pull.asked.as_ref() == Some(source)) {
            pull.asked = None;
            pull.due = now + RETRY_AFTER;
        }
    }

    /// What to ask of whom now.
    pub(super) fn ready(&mut self, now: Instant) -> BTreeMap<NodeKey, Vec<Request>> {
        self.give_up(now);
        let mut asked: BTreeSet<_> = self.shares.values().flat_map(Share::in_flight).collect();
        let mut in_flight: usize = self.shares.values().map(|s| s.in_flight().count()).sum();
        let served = |(account, share): (&Account, &Share)| (share.served, *account);
        let mut line: BTreeSet<_> = self.shares.iter().map(served).collect();
        let mut requests: BTreeMap<NodeKey, Vec<Request>> = BTreeMap::new();
        while in_flight < IN_FLIGHT
            && let Some((_, account)) = line.pop_first()
            && let Some(share) = self.shares.get_mut(&account)
        {
            if share.in_flight().count() >= IN_FLIGHT_PER_SOURCE {
                continue;
            }
            let Some(peer) = share.next(now, &asked) else {
                continue;
            };
            let Some(pull) = share.pulls.get_mut(&peer) else {
                continue;
            };
            let whom = pull.next_asked(peer, account);
            pull.attempts += 1;
            pull.asked = Some(whom);
            pull.due = now + ANSWER_WITHIN;
            let version = pull.version;
            asked.insert((peer, version));
            in_flight += 1;
            self.asked += 1;
            self.turns += 1;
            share.served = self.turns;
            line.insert((share.served, account));
            requests
                .entry(whom)
                .or_default()
                .push(Request { peer, version });
        }
        requests
    }

    /// Lets go of what was asked for too often, and of all that is offered by whoever did not
    /// deliver some of it.
    fn give_up(&mut self, now: Instant) {
        let dropped = &mut self.dropped;
        self.shares.retain(|(_, word), share| {
            let before = share.pulls.len();
            let broken = share.pulls.values().any(|pull| pull.is_overdue(now));
            if broken && *word == Word::Offered {
                share.pulls.clear();
            }
            share.pulls.retain(|_, pull| {
                if pull.is_overdue(now) {
                    pull.asked = None;
                }
                pull.due > now || pull.attempts < ATTEMPTS
            });
            *dropped += (before - share.pulls.len()) as u64;
            !share.pulls.is_empty()
        });
    }

    /// When [`Pulls::ready`], which has just been called, has something to do next: what it could
    /// not ask for waits for something that it has asked for.
    pub(super) fn next_deadline(&self, now: Instant) -> Instant {
        let pulls = self.shares.values().flat_map(|share| share.pulls.values());
        let due = pulls.map(|pull| pull.due).filter(|due| *due > now);
        due.min().unwrap_or(Instant::FAR_FUTURE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: Version = Version { start: 1, seq: 1 };
    const MAX: usize = 400;

    fn key(n: u64) -> NodeKey {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        NodeKey(key)
    }

    /// How many of these peers `source` may offer.
    fn offer(pulls: &mut Pulls, now: Instant, source: u64, peers: core::ops::Range<u64>) -> usize {
        let added = peers.filter(|n| pulls.add(now, key(*n), VERSION, key(source), Word::Offered));
        added.count()
    }

    fn asked(requests: &BTreeMap<NodeKey, Vec<Request>>, source: u64) -> usize {
        requests.get(&key(source)).map_or(0, Vec::len)
    }

    #[test]
    fn who_handed_on_an_announcement_and_its_peer_are_asked_until_it_is_given_up() {
        let mut pulls = Pulls::new(MAX);
        let mut now = Instant::ZERO;
        assert!(pulls.add(now, key(9), VERSION, key(1), Word::Announced));
        let mut asked = Vec::new();
        while pulls.is_waiting_for(&key(9)) {
            asked.extend(pulls.ready(now).into_keys());
            now = pulls.next_deadline(now);
            if now == Instant::FAR_FUTURE {
                break;
            }
        }
        assert_eq!(asked, [1, 1, 9, 1, 1, 9, 1, 1].map(key));
        assert_eq!(pulls.dropped, 1);
    }

    #[test]
    fn one_source_takes_a_bounded_part_of_bounded_room() {
        let mut pulls = Pulls::new(MAX);
        let part = MAX / PARTS;
        for source in 0..4 {
            assert_eq!(offer(&mut pulls, Instant::ZERO, source, 0..1_000), part);
        }
        // The room is full, and still has as much for a fifth as for the others.
        let fifth = offer(&mut pulls, Instant::ZERO, 4, 0..1_000);
        assert_eq!(fifth, MAX / 5);
        let taken: usize = pulls.shares.values().map(|share| share.pulls.len()).sum();
        assert_eq!(taken, MAX);
        assert!(pulls.add(Instant::ZERO, key(0), VERSION, key(4), Word::Offered));
    }

    #[test]
    fn sources_take_turns_whatever_they_offer_and_when() {
        let mut pulls = Pulls::new(MAX);
        let now = Instant::ZERO;
        offer(&mut pulls, now, 1, 0..100);
        assert_eq!(asked(&pulls.ready(now), 1), IN_FLIGHT_PER_SOURCE);
        offer(&mut pulls, now, 2, 1_000..1_100);
        assert_eq!(asked(&pulls.ready(now), 2), IN_FLIGHT_PER_SOURCE);
        // Nobody else fits now; as soon as something does, a third is next.
        offer(&mut pulls, now, 3, 2_000..2_100);
        assert!(pulls.ready(now).is_empty());
        pulls.done(now, &key(1_000), VERSION, Some(key(2)));
        pulls.done(now, &key(1_001), VERSION, Some(key(2)));
        let next = pulls.ready(now);
        assert_eq!((asked(&next, 3), next.len()), (1, 2));
    }

    #[test]
    fn who_does_not_deliver_has_offered_nothing_and_who_does_so_slowly_has() {
        let mut pulls = Pulls::new(MAX);
        let mut now = Instant::ZERO;
        offer(&mut pulls, now, 1, 0..100);
        offer(&mut pulls, now, 2, 1_000..1_100);
        for n in 0..8 {
            pulls.ready(now);
            now += ANSWER_WITHIN / 4;
            pulls.done(now, &key(1_000 + n), VERSION, Some(key(2)));
        }
        assert!(!pulls.is_waiting_for(&key(99)), "it delivered nothing");
        assert!(pulls.is_waiting_for(&key(1_099)));
        assert_eq!(pulls.dropped, 100);
    }

    #[test]
    fn an_entry_is_asked_of_one_source_at_a_time_and_a_lie_about_it_keeps_nobody_away() {
        let mut pulls = Pulls::new(MAX);
        let now = Instant::ZERO;
        offer(&mut pulls, now, 1, 7..8);
        offer(&mut pulls, now, 2, 7..8);
        assert_eq!(pulls.ready(now).len(), 1);
        let invented = Version { start: 9, seq: 9 };
        assert!(pulls.add(now, key(8), invented, key(1), Word::Offered));
        offer(&mut pulls, now, 2, 8..9);
        assert_eq!(pulls.ready(now).len(), 2);
        pulls.done(now, &key(8), VERSION, Some(key(2)));
        // The first delivers neither, so the second is asked for the other as well.
        let next = pulls.ready(now + ANSWER_WITHIN);
        assert_eq!((asked(&next, 2), next.len()), (1, 1));
        assert!(!pulls.is_waiting_for(&key(8)));
    }
}
