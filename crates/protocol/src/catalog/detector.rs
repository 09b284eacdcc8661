//! Failure detection: probes, silence, suspicions and their outcome. Signatures and messages are
//! the catalog's business.
//!
//! Times here are on a clock that stops while the node itself does not get to run: a node that
//! was starved of CPU must not take its own absence for the absence of others (the aim of
//! Lifeguard, Dadgar et al., DSN-W 2018, reached by other means).

use {
    super::{
        io::Config,
        rings::Rings,
        rtt::Rtt,
        types::{NodeKey, Suspicion, Version},
    },
    core::time::Duration,
    mosaik_primitives::{prng::Prng, time::Instant},
    std::collections::{BTreeMap, BTreeSet, VecDeque},
};

/// Bounds on the time before an unanswered probe is repeated.
const REPEAT_MIN: Duration = Duration::from_millis(100);
const REPEAT_MAX: Duration = Duration::from_millis(250);
/// A probe without an answer after this long counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(2);
/// Probes without an answer after which they are made as seldom as if there were answers.
const PATIENCE: u32 = 32;
/// A peer that refuted a suspicion, but does not answer here, is not suspected again for so long.
const TRUST: Duration = Duration::from_secs(5);
/// Probes remembered per peer.
const OUTSTANDING: usize = 32;
/// Unanswered probes, before the latest one, that make silence, at least and at most.
const MISSES: core::ops::RangeInclusive<u32> = 4..=16;
/// The chance of that many losses in a row, by which their number is chosen.
const FALSE_ALARM: f64 = 1e-6;
/// Reporters remembered per suspicion.
const REPORTERS: usize = 4;
/// Networks above this size probe half as often.
const LARGE: usize = 128;
/// A suspect is watched this long by those who do not watch it anyway.
const LOOK_AFTER: Duration = Duration::from_secs(3);
/// A probe that takes a new link waits this long after its target was chosen, and up to so much
/// longer for each node, to the given bound. While a network grows, nearly every newcomer takes
/// the place of another on somebody's rings: who is watched for good is known when it has grown,
/// and many who begin at once should not all dial at once.
const SETTLE: Duration = Duration::from_secs(1);
const SETTLE_PER_NODE: Duration = Duration::from_millis(20);
const SETTLE_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Watch {
    next_probe: Instant,
    /// When the first probe was sent of those since the last sign of life.
    silent_since: Option<Instant>,
    misses: u32,
    outstanding: VecDeque<(u64, Instant)>,
    /// Smoothed share of probes that are never answered.
    loss: f64,
    heard: Option<Instant>,
    /// Whether this silence has been reported.
    reported: bool,
    until: Option<Instant>,
}

#[derive(Debug)]
struct Suspect {
    /// The report with the newest version and incarnation.
    report: Suspicion,
    reporters: Vec<NodeKey>,
    started: Instant,
    /// Whether the suspect has been told, so that it can refute.
    told: bool,
}

#[derive(Debug)]
pub(super) struct Detector {
    probe_interval: Duration,
    suspect_after: Duration,
    refute_within: Duration,
    /// Granted to everyone, because this node itself is late.
    pub(super) grace: Duration,
    pub(super) rings: Rings,
    watches: BTreeMap<NodeKey, Watch>,
    suspects: BTreeMap<NodeKey, Suspect>,
    rtts: BTreeMap<NodeKey, Rtt>,
    max_rtts: usize,
    pub(super) members_changed: bool,
}

impl Detector {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            probe_interval: config.probe_interval,
            suspect_after: config.suspect_after,
            refute_within: config.refute_within,
            grace: Duration::ZERO,
            rings: Rings::default(),
            watches: BTreeMap::new(),
            suspects: BTreeMap::new(),
            rtts: BTreeMap::new(),
            max_rtts: config.limits.catalog_entries,
            members_changed: false,
        }
    }

    pub(super) fn rtt(&self, peer: &NodeKey) -> Option<Rtt> {
        self.rtts.get(peer).copied()
    }

    pub(super) fn sample(&mut self, peer: NodeKey, rtt: Duration) {
        if self.rtts.len() < self.max_rtts || self.rtts.contains_key(&peer) {
            self.rtts.entry(peer).or_default().sample(rtt);
        }
    }

    /// The peer is of no interest any more.
    pub(super) fn forget(&mut self, peer: &NodeKey) {
        self.rtts.remove(peer);
        self.suspects.remove(peer);
        self.watches.remove(peer);
    }

    fn watch(&mut self, now: Instant, peer: NodeKey, first_probe: Instant) -> &mut Watch {
        debug_assert!(first_probe >= now);
        self.watches.entry(peer).or_insert(Watch {
            next_probe: first_probe,
            silent_since: None,
            misses: 0,
            outstanding: VecDeque::new(),
            loss: 0.0,
            heard: None,
            reported: false,
            until: None,
        })
    }

    /// Watches exactly `targets`, and the suspects being looked after.
    pub(super) fn retarget(
        &mut self,
        now: Instant,
        targets: &BTreeSet<NodeKey>,
        links: &BTreeSet<NodeKey>,
        prng: &mut Prng,
    ) {
        self.members_changed = false;
        self.watches.retain(|peer, watch| {
            targets.contains(peer) || watch.until.is_some_and(|until| until > now)
        });
        let nodes = u32::try_from(self.rings.len()).unwrap_or(u32::MAX);
        let spread = SETTLE_PER_NODE.saturating_mul(nodes).min(SETTLE_MAX);
        for peer in targets {
            let delay = if links.contains(peer) {
                self.probe_interval.mul_f64(prng.unit())
            } else {
                SETTLE + spread.mul_f64(prng.unit())
            };
            self.watch(now, *peer, now + delay).until = None;
        }
    }

    /// Probes this peer soon, watched or not; unwatched ones for a few seconds.
    pub(super) fn look_after(&mut self, now: Instant, peer: NodeKey) {
        let is_new = !self.watches.contains_key(&peer);
        let watch = self.watch(now, peer, now);
        watch.next_probe = now;
        if is_new {
            watch.until = Some(now + LOOK_AFTER);
        }
    }

    fn interval(&self) -> Duration {
        let large = self.rings.len() > LARGE;
        if large {
            self.probe_interval * 2
        } else {
            self.probe_interval
        }
    }

    /// The probes that are due.
    pub(super) fn probe(&mut self, now: Instant, prng: &mut Prng) -> Vec<(NodeKey, u64)> {
        let interval = self.interval();
        let rtts = &self.rtts;
        let mut probes = Vec::new();
        self.watches.retain(|peer, watch| {
            if watch.next_probe > now {
                return true;
            }
            if watch.until.is_some_and(|until| until <= now) {
                return false;
            }
            let nonce = prng.next();
            watch.silent_since.get_or_insert(now);
            watch.misses += 1;
            while watch
                .outstanding
                .front()
                .is_some_and(|(_, sent)| *sent + LOST_AFTER <= now)
                || watch.outstanding.len() >= OUTSTANDING
            {
                watch.outstanding.pop_front();
                watch.loss += (1.0 - watch.loss) / 32.0;
            }
            watch.outstanding.push_back((nonce, now));
            let rtt = rtts.get(peer).copied().unwrap_or_default();
            let patience = if watch.misses > PATIENCE {
                interval
            } else if watch.reported {
                REPEAT_MAX
            } else {
                rtt.timeout(REPEAT_MIN, REPEAT_MAX)
            };
            watch.next_probe = now + patience;
            probes.push((*peer, nonce));
            true
        });
        probes
    }

    /// An answer to a probe.
    pub(super) fn ack(&mut self, now: Instant, peer: NodeKey, nonce: u64, prng: &mut Prng) {
        let Some(watch) = self.watches.get_mut(&peer) else {
            return;
        };
        let Some(at) = watch.outstanding.iter().position(|(n, _)| *n == nonce) else {
            return;
        };
        let (_, sent) = watch
            .outstanding
            .remove(at)
            .expect("the position is within");
        watch.loss -= watch.loss / 32.0;
        self.sample(peer, now.since(sent));
        self.heard(now, peer, prng);
    }

    /// A sign of life.
    pub(super) fn heard(&mut self, now: Instant, peer: NodeKey, prng: &mut Prng) {
        let interval = prng.jittered(self.interval(), 0.1);
        if let Some(watch) = self.watches.get_mut(&peer) {
            watch.heard = Some(now);
            watch.silent_since = None;
            watch.misses = 0;
            watch.reported = false;
            watch.next_probe = now + interval;
        }
    }

    /// Whether this peer has been heard within the last `within`.
    pub(super) fn heard_within(&self, now: Instant, peer: &NodeKey, within: Duration) -> bool {
        let heard = self.watches.get(peer).and_then(|watch| watch.heard);
        heard.is_some_and(|heard| now.since(heard) <= within)
    }

    pub(super) fn is_watched(&self, peer: &NodeKey) -> bool {
        self.watches.contains_key(peer)
    }

    fn silence_of(&self, peer: &NodeKey) -> Duration {
        let rtt = self.rtts.get(peer).copied().unwrap_or_default();
        self.suspect_after
            .max(rtt.timeout(REPEAT_MIN, REPEAT_MAX.max(self.suspect_after)) * 3 / 2)
            + self.grace
    }

    /// The watched peers whose silence has lasted long enough and was not reported yet.
    pub(super) fn silent(&mut self, now: Instant) -> Vec<NodeKey> {
        let mut silent = Vec::new();
        for (peer, watch) in &self.watches {
            let Some(since) = watch.silent_since else {
                continue;
            };
            let needed = misses_needed(watch.loss);
            let long = now.since(since) >= self.silence_of(peer);
            if long && watch.misses > needed && !watch.reported {
                silent.push(*peer);
            }
        }
        for peer in &silent {
            self.watches
                .get_mut(peer)
                .expect("the peer is watched")
                .reported = true;
        }
        silent
    }

    /// Takes a report into account. Whether it changes when the suspect is given up.
    pub(super) fn suspect(&mut self, now: Instant, suspicion: &Suspicion) -> bool {
        let suspect = self.suspects.entry(suspicion.peer).or_insert(Suspect {
            report: *suspicion,
            reporters: Vec::new(),
            started: now,
            told: false,
        });
        let rank = |report: &Suspicion| (report.version, report.incarnation);
        if rank(suspicion) > rank(&suspect.report) {
            // The earlier reports are refuted by what this reporter knows.
            suspect.report = *suspicion;
            suspect.reporters.clear();
            suspect.started = now;
            suspect.told = false;
        }
        let is_new = !suspect.reporters.contains(&suspicion.reporter);
        if is_new && suspect.reporters.len() < REPORTERS {
            suspect.reporters.push(suspicion.reporter);
        }
        is_new && suspect.reporters.len() <= 2
    }

    /// The report that a suspect who lives should be told of, once.
    pub(super) fn untold(&mut self, peer: &NodeKey) -> Option<Suspicion> {
        let suspect = self
            .suspects
            .get_mut(peer)
            .filter(|suspect| !suspect.told)?;
        suspect.told = true;
        Some(suspect.report)
    }

    /// How many reporters a suspicion has, if the peer is suspected.
    pub(super) fn reporters(&self, peer: &NodeKey) -> usize {
        self.suspects
            .get(peer)
            .map_or(0, |suspect| suspect.reporters.len())
    }

    /// This is the newest known of the peer. Whether it answers a suspicion.
    pub(super) fn announced(
        &mut self,
        now: Instant,
        peer: &NodeKey,
        version: Version,
        incarnation: u64,
    ) -> bool {
        let refuted = self.suspects.get(peer).is_some_and(|suspect| {
            (version, incarnation) > (suspect.report.version, suspect.report.incarnation)
        });
        if refuted {
            self.suspects.remove(peer);
            if let Some(watch) = self.watches.get_mut(peer).filter(|watch| watch.reported) {
                watch.reported = false;
                watch.silent_since = Some(now + TRUST);
            }
        }
        refuted
    }

    fn decision_at(&self, suspect: &Suspect) -> Instant {
        // With two nodes left there is no second reporter to wait for.
        let others = self.rings.len().saturating_sub(1);
        let enough = suspect.reporters.len() >= 2.min(others);
        let wait = if enough {
            self.refute_within
        } else {
            self.refute_within * 5 / 2
        };
        suspect.started + wait + self.grace
    }

    /// The suspects whose time is up and of whom nothing was heard.
    pub(super) fn decided(&mut self, now: Instant) -> Vec<NodeKey> {
        let due: Vec<_> = self
            .suspects
            .iter()
            .filter(|(_, suspect)| self.decision_at(suspect) <= now)
            .map(|(peer, suspect)| (*peer, suspect.started))
            .collect();
        let mut down = Vec::new();
        for (peer, started) in due {
            self.suspects.remove(&peer);
            let heard = self.watches.get(&peer).and_then(|watch| watch.heard);
            if heard.is_none_or(|heard| heard < started) {
                down.push(peer);
            }
        }
        down
    }

    /// When something here is due next.
    pub(super) fn next_deadline(&self) -> Instant {
        let probes = self.watches.values().map(|watch| watch.next_probe);
        let silences = self
            .watches
            .iter()
            .filter(|(_, watch)| !watch.reported)
            .filter_map(|(peer, watch)| {
                let enough = watch.misses > misses_needed(watch.loss);
                watch
                    .silent_since
                    .filter(|_| enough)
                    .map(|since| since + self.silence_of(peer))
            });
        let decisions = self
            .suspects
            .values()
            .map(|suspect| self.decision_at(suspect));
        probes
            .chain(silences)
            .chain(decisions)
            .min()
            .unwrap_or(Instant::FAR_FUTURE)
    }
}

/// How many probes in a row must stay unanswered where each is lost with probability `loss`.
fn misses_needed(loss: f64) -> u32 {
    if loss <= 0.0 {
        return *MISSES.start();
    }
    let needed = (FALSE_ALARM.ln() / loss.min(0.99).ln()).ceil();
    (needed as u32).clamp(*MISSES.start(), *MISSES.end())
}
