//! Entries that are known to exist and are not here yet: whom to ask for them, and when.

use {
    super::{
        message::Request,
        types::{NodeKey, Version},
    },
    core::time::Duration,
    mosaik_primitives::time::Instant,
    std::collections::BTreeMap,
};

/// Asked for at one time.
const IN_FLIGHT: usize = 64;
/// Sources remembered per entry, besides the peer itself.
const SOURCES: usize = 4;
/// Times an entry is asked for before it is given up; anti-entropy finds it again.
const ATTEMPTS: u8 = 8;
/// How long a source has to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// A source that lacks the entry is probably pulling it itself.
const RETRY_AFTER: Duration = Duration::from_millis(150);

#[derive(Debug)]
struct Pull {
    version: Version,
    sources: Vec<NodeKey>,
    asked: Option<NodeKey>,
    /// When the answer is overdue, or when to ask again.
    due: Instant,
    attempts: u8,
}

impl Pull {
    /// Every known source twice, then the peer itself once, and so on.
    fn next_source(&self, peer: NodeKey) -> NodeKey {
        let round = 2 * self.sources.len() + 1;
        let turn = usize::from(self.attempts) % round;
        self.sources.get(turn / 2).copied().unwrap_or(peer)
    }
}

#[derive(Debug)]
pub(super) struct Pulls {
    max: usize,
    entries: BTreeMap<NodeKey, Pull>,
    pub(super) asked: u64,
    pub(super) dropped: u64,
}

impl Pulls {
    pub(super) const fn new(max: usize) -> Self {
        Self {
            max,
            entries: BTreeMap::new(),
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
    ) -> bool {
        if self.entries.len() >= self.max && !self.entries.contains_key(&peer) {
            self.dropped += 1;
            return false;
        }
        let pull = self.entries.entry(peer).or_insert(Pull {
            version,
            sources: Vec::new(),
            asked: None,
            due: now,
            attempts: 0,
        });
        if version > pull.version {
            *pull = Pull {
                version,
                sources: Vec::new(),
                asked: None,
                due: now,
                attempts: 0,
            };
        }
        let is_new = source != peer && !pull.sources.contains(&source);
        if version == pull.version && is_new && pull.sources.len() < SOURCES {
            pull.sources.push(source);
        }
        true
    }

    /// The entry, or a newer one, has arrived, or is not wanted any more.
    pub(super) fn done(&mut self, peer: &NodeKey, version: Version) {
        if self
            .entries
            .get(peer)
            .is_some_and(|pull| pull.version <= version)
        {
            self.entries.remove(peer);
        }
    }

    pub(super) fn is_waiting_for(&self, peer: &NodeKey) -> bool {
        self.entries.contains_key(peer)
    }

    /// The source does not have it (yet).
    pub(super) fn lacking(&mut self, now: Instant, source: &NodeKey, peer: &NodeKey) {
        if let Some(pull) = self
            .entries
            .get_mut(peer)
            .filter(|p| p.asked.as_ref() == Some(source))
        {
            pull.asked = None;
            pull.due = now + RETRY_AFTER;
        }
    }

    /// Nothing can be had from this source now.
    pub(super) fn unreachable(&mut self, now: Instant, source: &NodeKey) {
        for pull in self
            .entries
            .values_mut()
            .filter(|p| p.asked.as_ref() == Some(source))
        {
            pull.asked = None;
            pull.due = now + RETRY_AFTER;
        }
    }

    /// What to ask of whom now.
    pub(super) fn ready(&mut self, now: Instant) -> BTreeMap<NodeKey, Vec<Request>> {
        let mut requests: BTreeMap<NodeKey, Vec<Request>> = BTreeMap::new();
        let before = self.entries.len();
        self.entries
            .retain(|_, pull| pull.due > now || pull.attempts < ATTEMPTS);
        self.dropped += (before - self.entries.len()) as u64;
        let waiting = |pull: &&mut Pull| pull.asked.is_some() && pull.due > now;
        let in_flight = self
            .entries
            .values_mut()
            .filter(|pull| waiting(pull))
            .count();
        let room = IN_FLIGHT.saturating_sub(in_flight);
        let due = self.entries.iter_mut().filter(|(_, pull)| pull.due <= now);
        for (peer, pull) in due.take(room) {
            let source = pull.next_source(*peer);
            pull.attempts += 1;
            pull.asked = Some(source);
            pull.due = now + ANSWER_WITHIN;
            self.asked += 1;
            let request = Request {
                peer: *peer,
                version: pull.version,
            };
            requests.entry(source).or_default().push(request);
        }
        requests
    }

    /// When [`Pulls::ready`] has something to do next.
    pub(super) fn next_deadline(&self, now: Instant) -> Instant {
        let asked = self
            .entries
            .values()
            .filter(|p| p.asked.is_some() && p.due > now)
            .count();
        let due = self
            .entries
            .values()
            .filter(|pull| asked < IN_FLIGHT || pull.due > now);
        due.map(|pull| pull.due)
            .min()
            .unwrap_or(Instant::FAR_FUTURE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn key(n: u8) -> NodeKey {
        NodeKey([n; 32])
    }

    #[test]
    fn sources_are_tried_in_turn_and_then_the_entry_is_given_up() {
        let mut pulls = Pulls::new(2);
        let mut now = Instant::ZERO;
        assert!(pulls.add(now, key(9), Version { start: 1, seq: 1 }, key(1)));
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
    fn the_number_of_pulls_is_bounded() {
        let mut pulls = Pulls::new(2);
        let version = Version { start: 1, seq: 1 };
        let added: Vec<_> = (0..4)
            .map(|n| pulls.add(Instant::ZERO, key(n), version, key(9)))
            .collect();
        assert_eq!(added, [true, true, false, false]);
        assert!(pulls.add(Instant::ZERO, key(0), version, key(8)));
    }
}
