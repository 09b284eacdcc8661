//! [`Plan`]: who is asked for which commands.
//!
//! Pure: it is told the time, and it neither sends nor holds commands.

use {
    crate::{
        PeerId,
        groups::index::{Index, IndexRange},
    },
    core::time::Duration,
    std::{
        collections::{BTreeMap, BTreeSet},
        time::Instant,
    },
};

/// Ranges one member is asked for at one time.
const IN_FLIGHT: usize = 2;
/// Ranges that may be under way or waiting for an earlier one, beyond the next to be applied.
const WINDOW: u64 = 16;

/// A member that may have what is wanted.
#[derive(Debug)]
struct Source {
    held: IndexRange,
    in_flight: usize,
    /// Requests it has left unanswered.
    unanswered: u32,
}

/// A range that a member was asked for.
#[derive(Debug)]
struct Fetch {
    peer: PeerId,
    last: Index,
    since: Instant,
}

/// Which commands are wanted still, who holds them, and who was asked.
#[derive(Debug)]
pub(super) struct Plan {
    batch: u64,
    timeout: Duration,
    /// The last command wanted.
    last: Index,
    /// The first command that was never asked for.
    unasked: Index,
    /// Ranges that were asked for in vain, by their first.
    again: BTreeMap<Index, Index>,
    fetches: BTreeMap<Index, Fetch>,
    sources: BTreeMap<PeerId, Source>,
    /// Members that answered with something else than what was asked for.
    distrusted: BTreeSet<PeerId>,
}

impl Plan {
    /// To fetch the commands of `wanted`, `batch` at a time.
    pub(super) fn new(wanted: &IndexRange, batch: u64, timeout: Duration) -> Self {
        Self {
            batch,
            timeout,
            last: *wanted.end(),
            unasked: *wanted.start(),
            again: BTreeMap::new(),
            fetches: BTreeMap::new(),
            sources: BTreeMap::new(),
            distrusted: BTreeSet::new(),
        }
    }

    /// A member says what it holds.
    pub(super) fn available(&mut self, peer: PeerId, held: IndexRange) {
        if self.distrusted.contains(&peer) {
            return;
        }
        self.sources
            .entry(peer)
            .and_modify(|source| source.held = held.clone())
            .or_insert(Source {
                held,
                in_flight: 0,
                unanswered: 0,
            });
    }

    /// Only these members can be asked; what was asked of others is to be asked again.
    pub(super) fn keep(&mut self, peers: &BTreeSet<PeerId>) {
        let lost: Vec<_> = self.sources.keys().copied().collect();
        for peer in lost.into_iter().filter(|peer| !peers.contains(peer)) {
            self.forget(peer);
        }
    }

    /// A member is not to be asked any more, or listened to.
    pub(super) fn distrust(&mut self, peer: PeerId) {
        self.forget(peer);
        self.distrusted.insert(peer);
    }

    /// Gives up what was asked of members too long ago.
    pub(super) fn expire(&mut self, now: Instant) {
        let timeout = self.timeout;
        let late = |fetch: &Fetch| now.saturating_duration_since(fetch.since) >= timeout;
        let expired: Vec<_> = self
            .fetches
            .extract_if(.., |_, fetch| late(fetch))
            .collect();
        for (first, fetch) in expired {
            self.again.insert(first, fetch.last);
            if let Some(source) = self.sources.get_mut(&fetch.peer) {
                source.in_flight -= 1;
                source.unanswered += 1;
            }
        }
    }

    /// When [`Plan::expire`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let since = self.fetches.values().map(|fetch| fetch.since).min()?;
        since.checked_add(self.timeout)
    }

    /// What to ask whom for, now that `applied` is the last command applied.
    pub(super) fn requests(&mut self, applied: Index, now: Instant) -> Vec<(PeerId, IndexRange)> {
        let mut requests = Vec::new();
        while let Some((first, upto)) = self.next_range(applied) {
            let Some((peer, source)) = pick(&mut self.sources, first) else {
                break;
            };
            let last = upto.min(*source.held.end());
            source.in_flight += 1;
            self.again.remove(&first);
            if last < upto {
                self.again.insert(last.next(), upto);
            }
            self.unasked = self.unasked.max(upto.next());
            let fetch = Fetch {
                peer,
                last,
                since: now,
            };
            self.fetches.insert(first, fetch);
            requests.push((peer, first..=last));
        }
        requests
    }

    /// The next range to ask for, if there is one within the window that somebody may take.
    fn next_range(&self, applied: Index) -> Option<(Index, Index)> {
        let again = self.again.iter().map(|(first, last)| (*first, *last));
        let fresh = (self.unasked <= self.last).then(|| {
            let last = self.unasked + (self.batch - 1);
            (self.unasked, last.min(self.last))
        });
        let window = applied + WINDOW.saturating_mul(self.batch);
        again
            .chain(fresh)
            .filter(|(first, _)| *first <= window)
            .find(|(first, _)| self.sources.values().any(|source| source.takes(*first)))
    }

    /// A member has answered with commands `first` to `last`, or with none. Says whether that is
    /// what it was asked for; if so, what is missing of it will be asked for again.
    pub(super) fn answered(&mut self, peer: PeerId, first: Index, last: Option<Index>) -> bool {
        let expected = self.fetches.get(&first).is_some_and(|fetch| {
            fetch.peer == peer && last.is_none_or(|last| first <= last && last <= fetch.last)
        });
        if !expected {
            return false;
        }
        let fetch = self.fetches.remove(&first).expect("it was just found");
        let rest = last.map_or(first, |last| last.next());
        if rest <= fetch.last {
            self.again.insert(rest, fetch.last);
        }
        if let Some(source) = self.sources.get_mut(&peer) {
            source.in_flight -= 1;
            source.unanswered = 0;
            if last.is_none() {
                // It does not hold what it said it holds; it is asked again what it does.
                self.forget(peer);
            }
        }
        true
    }

    /// Whether a member has been asked for this range; late answers were not.
    pub(super) fn is_late(&self, peer: PeerId, first: Index) -> bool {
        self.fetches
            .get(&first)
            .is_none_or(|fetch| fetch.peer != peer)
    }

    /// Commands of this range came, but cannot be used.
    pub(super) fn refuse(&mut self, first: Index, last: Index) {
        self.again.insert(first, last);
    }

    /// Whether nothing can be asked for with what is known of who holds what.
    pub(super) fn is_stuck(&self) -> bool {
        self.fetches.is_empty() && (!self.again.is_empty() || self.unasked <= self.last)
    }

    /// Listens to everyone again, if these are all there are and none is listened to.
    pub(super) fn forgive(&mut self, peers: &BTreeSet<PeerId>) {
        if self.distrusted.is_superset(peers) {
            self.distrusted.clear();
        }
    }

    /// Whether what this member holds is known.
    pub(super) fn knows(&self, peer: &PeerId) -> bool {
        self.sources.contains_key(peer) || self.distrusted.contains(peer)
    }

    fn forget(&mut self, peer: PeerId) {
        self.sources.remove(&peer);
        let asked = |fetch: &Fetch| fetch.peer == peer;
        let lost: Vec<_> = self
            .fetches
            .extract_if(.., |_, fetch| asked(fetch))
            .collect();
        let lost = lost.into_iter().map(|(first, fetch)| (first, fetch.last));
        self.again.extend(lost);
    }
}

impl Source {
    fn takes(&self, first: Index) -> bool {
        self.in_flight < IN_FLIGHT && self.held.contains(&first)
    }
}

/// The least burdened, most answering member that holds `first`.
fn pick(sources: &mut BTreeMap<PeerId, Source>, first: Index) -> Option<(PeerId, &mut Source)> {
    sources
        .iter_mut()
        .filter(|(_, source)| source.takes(first))
        .min_by_key(|(_, source)| (source.unanswered, source.in_flight))
        .map(|(peer, source)| (*peer, source))
}
