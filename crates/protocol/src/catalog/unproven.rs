//! Reports about a state of their suspect that this node does not know of (yet).
//!
//! A report counts only against what is known here: a state that nobody has proven may be one
//! that the suspect never announced, and so never could refute. Reporters who are really ahead
//! exist, so what they say waits a little for the suspect's own statement.

use {
    super::{
        receive::Route,
        types::{NodeKey, Suspicion, Version},
    },
    core::time::Duration,
    mosaik_primitives::time::Instant,
    std::collections::BTreeMap,
};

/// Reports that wait at one time.
const MAX: usize = 1_024;
/// Of these, reports by one reporter.
const PER_REPORTER: usize = 16;
/// How long one waits: as long as a suspect that is reported once has to refute, about.
const WAIT: Duration = Duration::from_secs(3);
/// Peers that handed one on and are asked for the proof.
const SOURCES: usize = 4;

#[derive(Debug)]
struct Waiting {
    suspicion: Suspicion,
    route: Route,
    until: Instant,
    asked: Vec<NodeKey>,
}

/// By reporter and suspect.
#[derive(Debug, Default)]
pub(super) struct Unproven(BTreeMap<(NodeKey, NodeKey), Waiting>);

/// What became of a report that was to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It waits, and was not here before.
    New,
    /// It waited already, and came from somebody else than before or names a newer state.
    Again,
    /// It waits, and there is nobody new to ask.
    Known,
    /// There is no room.
    Full,
}

impl Unproven {
    /// Keeps a report whose signature was checked.
    pub(super) fn keep(&mut self, now: Instant, route: Route, suspicion: &Suspicion) -> Kept {
        let key = (suspicion.reporter, suspicion.peer);
        if let Some(waiting) = self.0.get_mut(&key)
            && rank(&waiting.suspicion) >= rank(suspicion)
        {
            let new = route.from.filter(|from| !waiting.asked.contains(from));
            return match new {
                Some(from) if waiting.asked.len() < SOURCES => {
                    waiting.asked.push(from);
                    Kept::Again
                }
                _ => Kept::Known,
            };
        }
        let first = (suspicion.reporter, NodeKey([0; 32]));
        let last = (suspicion.reporter, NodeKey([0xff; 32]));
        let replaces = self.0.contains_key(&key);
        if !replaces && (self.0.len() >= MAX || self.0.range(first..=last).count() >= PER_REPORTER)
        {
            return Kept::Full;
        }
        // A reporter that names ever newer states does not gain time by it.
        let until = self.0.get(&key).map_or(now + WAIT, |waiting| waiting.until);
        let waiting = Waiting {
            suspicion: *suspicion,
            route,
            until,
            asked: route.from.into_iter().collect(),
        };
        self.0.insert(key, waiting);
        if replaces { Kept::Again } else { Kept::New }
    }

    /// Takes the reports about `peer` that the state now known of it proves, and drops those
    /// that it refutes.
    pub(super) fn proven(
        &mut self,
        peer: &NodeKey,
        known: (Version, u64),
    ) -> Vec<(Route, Suspicion)> {
        let mut proven = Vec::new();
        self.0.retain(|(_, suspect), waiting| {
            if suspect != peer || rank(&waiting.suspicion) > known {
                return true;
            }
            if rank(&waiting.suspicion) == known {
                proven.push((waiting.route, waiting.suspicion));
            }
            false
        });
        proven
    }

    /// Takes the reports that nothing has proven in time; who handed each on.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<Option<NodeKey>> {
        let mut expired = Vec::new();
        self.0.retain(|_, waiting| {
            if waiting.until <= now {
                expired.push(waiting.route.from);
            }
            waiting.until > now
        });
        expired
    }

    /// When [`Unproven::expired`] has something to take next.
    pub(super) fn next_deadline(&self) -> Instant {
        let deadlines = self.0.values().map(|waiting| waiting.until);
        deadlines.min().unwrap_or(Instant::FAR_FUTURE)
    }
}

const fn rank(suspicion: &Suspicion) -> (Version, u64) {
    (suspicion.version, suspicion.incarnation)
}

#[cfg(test)]
mod tests {
    use {super::*, crate::catalog::types::Signature};

    const fn key(n: u8) -> NodeKey {
        NodeKey([n; 32])
    }

    fn report(reporter: u8, peer: u8, incarnation: u64) -> Suspicion {
        Suspicion {
            peer: key(peer),
            version: Version { start: 1, seq: 1 },
            incarnation,
            reporter: key(reporter),
            signature: Signature::from_bytes([0; 64]),
        }
    }

    #[test]
    fn one_reporter_takes_a_bounded_part_of_bounded_room() {
        let mut unproven = Unproven::default();
        let mut keep = |reporter: u8, peer: u8| {
            let route = Route::direct(key(reporter));
            unproven.keep(Instant::ZERO, route, &report(reporter, peer, 1))
        };
        for peer in 0..PER_REPORTER as u8 {
            assert_eq!(keep(200, peer), Kept::New);
            assert_eq!(keep(200, peer), Kept::Known);
        }
        assert_eq!(keep(200, 99), Kept::Full);
        let taken = (0..200u8)
            .flat_map(|reporter| (0..PER_REPORTER as u8).map(move |peer| (reporter, peer)))
            .filter(|(reporter, peer)| keep(*reporter, *peer) == Kept::New);
        assert_eq!(taken.count(), MAX - PER_REPORTER);
    }

    #[test]
    fn ever_newer_claims_gain_no_time() {
        let mut unproven = Unproven::default();
        let route = Route::direct(key(1));
        for step in 0..4 {
            let now = Instant::from_millis(step * 500);
            unproven.keep(now, route, &report(1, 2, step));
        }
        assert_eq!(unproven.next_deadline(), Instant::ZERO + WAIT);
        assert_eq!(unproven.expired(Instant::ZERO + WAIT), [Some(key(1))]);
        assert_eq!(unproven.next_deadline(), Instant::FAR_FUTURE);
    }
}
