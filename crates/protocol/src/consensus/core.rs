//! The member: its parts, its entry point, and its clockwork.

use {
    super::{
        config::{Config, ConfigError},
        election::{Candidate, Following},
        entry::{Entry, EntryBody},
        fetches::Fetches,
        formation::Fresh,
        ids::{Index, LogIndex, Member, PeerKey, Position},
        input::{Event, Input, NotDone, Outcome, Output, Outputs},
        leader::{Cx, Leader},
        log::{Log, Mark},
        membership::Preference,
        merge::Foreign,
        message::Body,
        mutants::mutant,
        proposals::Proposals,
        reads::Reads,
        resubmit::Retired,
        state::{HardState, SnapshotMeta},
        storing::Storing,
    },
    core::time::Duration,
    mosaik_primitives::{
        prng::Prng,
        time::{Instant, UnixMillis},
    },
    std::collections::{BTreeMap, BTreeSet, VecDeque},
};

/// What a member does at the moment.
#[derive(Debug)]
pub(super) enum Role {
    /// Belongs to no lineage.
    Fresh(Box<Fresh>),
    Follower,
    Candidate(Candidate),
    Leader(Box<Leader>),
    /// Its lineage gave way; it hands over what was committed there.
    Retired(Box<Retired>),
    /// Has left, or its store has failed.
    Stopped,
}

/// What the store holds of a member when it starts.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// The latest hard state; `None` for a member that never ran.
    pub hard_state: Option<HardState>,
    /// The meta of the latest snapshot, whose data the state machine starts from.
    pub snapshot: Option<SnapshotMeta>,
    /// The entries of the log, in order and without gaps, following the snapshot or overlapping
    /// it. Entries that cannot follow are left over from a crash and dropped.
    pub entries: Vec<Entry>,
}

/// A member of a group.
///
/// See [`Input`] for the contract with its driver.
#[derive(Debug)]
pub struct Core {
    pub(super) config: Config,
    pub(super) now: Instant,
    pub(super) started: Instant,
    pub(super) rng: Prng,
    pub(super) clock: Option<(Instant, UnixMillis)>,
    pub(super) storing: Storing,
    pub(super) log: Log,
    /// Known committed up to here.
    pub(super) commit: LogIndex,
    /// Handed out up to here.
    pub(super) emitted: LogIndex,
    /// Commands handed out.
    pub(super) emitted_commands: Index,
    /// Reported applied up to here.
    pub(super) applied: LogIndex,
    /// What is handed out and not reported applied: the commands up to there, and its size.
    pub(super) unapplied: VecDeque<(LogIndex, Index, usize)>,
    pub(super) unapplied_bytes: usize,
    pub(super) role: Role,
    pub(super) following: Following,
    pub(super) proposals: Proposals,
    pub(super) reads: Reads,
    pub(super) links: BTreeSet<PeerKey>,
    pub(super) discovered: BTreeSet<PeerKey>,
    /// Members of other lineages, by peer.
    pub(super) foreign: BTreeMap<PeerKey, Foreign>,
    pub(super) fetches: Fetches,
    /// The latest snapshot that is stored.
    pub(super) snapshot: Option<Box<SnapshotMeta>>,
    /// The snapshot being fetched.
    pub(super) installing: Option<Box<SnapshotMeta>>,
    /// Elections stood for in vain since a leader was heard.
    pub(super) stood: u32,
    pub(super) leaving: bool,
    /// When to ask again to be let in or out.
    pub(super) ask_at: Instant,
}

/// The hard state of one more start.
fn start_again(config: &Config, found: Option<HardState>) -> Result<HardState, StartError> {
    let mut hard = found.unwrap_or(HardState {
        member: Member::new(config.peer, config.incarnation),
        ..HardState::default()
    });
    if hard.member.peer != config.peer {
        return Err(StartError::OtherPeer(hard.member.peer));
    }
    hard.starts += 1;
    if mutant!("vote-forgotten-on-restart") {
        hard.vote = None;
    }
    Ok(hard)
}

impl Core {
    /// A member that goes on from what its store holds, and its first outputs.
    ///
    /// Entries that cannot be decoded are refused: the store is damaged, and a member that went
    /// on without them could vote itself a history.
    pub fn new(
        config: Config,
        restored: Restored,
        now: Instant,
        out: &mut Outputs,
    ) -> Result<Self, StartError> {
        config.validate()?;
        let mut hard = start_again(&config, restored.hard_state)?;
        let (log, wipe) = if hard.lineage.is_none() {
            hard.commit = LogIndex::ZERO;
            (
                Log::default(),
                !restored.entries.is_empty() || restored.snapshot.is_some(),
            )
        } else {
            restore_log(restored.snapshot.as_ref(), restored.entries, hard.commit)?
        };
        let snapshot = restored.snapshot.filter(|_| !hard.lineage.is_none());
        let applied = snapshot
            .as_ref()
            .map_or(LogIndex::ZERO, |meta| meta.last.index);
        let commit = hard.commit.max(applied).min(log.last_index());
        hard.commit = commit;
        hard.term = hard.term.max(log.last().term);
        let fresh = hard.lineage.is_none();
        let mut core = Self {
            now,
            started: now,
            rng: Prng::new(config.seed),
            clock: None,
            commit,
            emitted: applied,
            emitted_commands: snapshot.as_ref().map_or(Index::ZERO, |meta| meta.commands),
            applied,
            unapplied: VecDeque::new(),
            unapplied_bytes: 0,
            role: Role::Follower,
            following: Following {
                heard: now,
                ..Following::default()
            },
            proposals: Proposals::new(hard.starts),
            reads: Reads::new(hard.starts),
            links: BTreeSet::new(),
            discovered: BTreeSet::new(),
            foreign: BTreeMap::new(),
            fetches: Fetches::default(),
            snapshot: snapshot.map(Box::new),
            installing: None,
            stood: 0,
            leaving: false,
            ask_at: now,
            storing: Storing::new(hard, log.last_index()),
            log,
            config,
        };
        // The number of starts is part of operation ids: stored before anything leaves.
        core.storing.change();
        if wipe {
            core.storing.reset(core.log.base().at);
        }
        core.append_recovery();
        core.reset_election_timer();
        core.forget_lost_genesis(out);
        if fresh {
            core.role = Role::Fresh(Box::new(Fresh::new(now)));
        }
        core.settle(out);
        Ok(core)
    }

    /// Tells the member something. What it asks for is put at the end of `out`.
    ///
    /// `now` should never go back; it is taken as standing still when it does.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Outputs) {
        self.now = self.now.max(now);
        if matches!(self.role, Role::Stopped) {
            refuse(input, out);
            return;
        }
        self.take(input, out);
        self.tick(out);
        self.settle(out);
    }

    fn take(&mut self, input: Input, out: &mut Outputs) {
        match input {
            Input::Tick => {}
            Input::Clock(time) => self.clock = Some((self.now, time)),
            Input::Receive(message) => self.receive(message, out),
            Input::Persisted(token) => {
                if self.storing.confirm(token, out) {
                    self.tally(out);
                }
            }
            Input::StorageFailed => self.stop("the store has failed", out),
            Input::Propose(proposals) => self.propose(proposals, out),
            Input::Read(id) => self.read(id, out),
            Input::Applied(index) => self.on_applied(index),
            Input::Fetched { from, entries } => self.on_fetched(from, &entries, out),
            Input::SnapshotTaken { meta, upto } => self.on_snapshot_taken(meta, upto),
            Input::SnapshotInstalled(position) => self.on_snapshot_installed(position, out),
            Input::SnapshotFailed(position) => self.on_snapshot_failed(position),
            Input::LinkUp(peer) => self.on_link_up(peer, out),
            Input::LinkDown(peer) => self.on_link_down(peer),
            Input::Discovered(peers) => {
                let known = super::config::limits::FRESH_MEMBERS;
                self.discovered = peers.into_iter().take(known).collect();
            }
            Input::Transfer(to) => self.on_transfer(to),
            Input::Leave => self.on_leave(out),
            Input::Recover => self.recover(out),
        }
    }

    /// Does what is due by now.
    fn tick(&mut self, out: &mut Outputs) {
        match &self.role {
            Role::Fresh(_) => self.fresh_tick(out),
            Role::Follower => self.follower_tick(out),
            Role::Candidate(_) => self.candidate_tick(out),
            Role::Leader(_) => self.leader_tick(out),
            Role::Retired(_) => self.retired_tick(out),
            Role::Stopped => {}
        }
        self.fetches.again_at.take_if(|at| *at <= self.now);
        self.leave_tick(out);
        self.ask_to_read(out);
        self.proposals.expire(self.now, out);
        self.reads.expire(self.now, out);
    }

    /// Carries on with whatever has become possible, and puts the step's writes.
    pub(super) fn settle(&mut self, out: &mut Outputs) {
        self.lead(out);
        self.hand_out(out);
        self.forward(out);
        self.acknowledge(out);
        self.storing.flush(out);
    }

    /// When [`Input::Tick`] is due; `None`: not before something else happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        let role = match &self.role {
            Role::Fresh(fresh) => Some(fresh.deadline(self)),
            Role::Follower => self.follower_deadline(),
            Role::Candidate(candidate) => Some(candidate.retry_at),
            Role::Leader(leader) => leader.deadline(),
            Role::Retired(retired) => Some(retired.deadline()),
            Role::Stopped => return None,
        };
        let can_ask = matches!(self.role, Role::Follower) && self.following.leader.is_some();
        let asking = (self.leaving && !matches!(self.role, Role::Leader(_))).then_some(self.ask_at);
        [
            role,
            asking,
            self.fetches.again_at,
            self.proposals.deadline(),
            self.reads.deadline(can_ask),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// This member.
    pub fn me(&self) -> Member {
        self.storing.hard().member
    }

    pub(super) fn is_observer(&self) -> bool {
        self.config.preference == Preference::Observer
    }

    /// Whether the log in force says that this member is counted.
    pub(super) fn is_voter(&self) -> bool {
        let me = self.me();
        let membership = self.log.membership();
        membership.is_voter(&me)
            || (mutant!("count-learners") && membership.learners().contains(&me))
    }

    pub(super) fn send(&mut self, to: Member, body: Body, out: &mut Outputs) {
        self.storing.send(to, body, out);
    }

    /// The leader and what it works with, apart.
    pub(super) fn leading(&mut self) -> Option<(&mut Leader, Cx<'_>)> {
        let Role::Leader(leader) = &mut self.role else {
            return None;
        };
        let cx = Cx {
            config: &self.config,
            storing: &mut self.storing,
            log: &mut self.log,
            fetches: &mut self.fetches,
            snapshot: self.snapshot.as_deref(),
            links: &self.links,
            commit: self.commit,
            now: self.now,
        };
        Some((leader, cx))
    }

    pub(super) fn wall_clock(&self) -> UnixMillis {
        let (at, time) = self.clock.unwrap_or_default();
        UnixMillis(time.0 + self.now.since(at).as_millis() as u64)
    }

    pub(super) fn jittered_heartbeat(&mut self) -> Instant {
        let jitter = self.rng.upto(self.config.heartbeat_jitter);
        self.now + self.config.heartbeat_interval + jitter
    }

    /// Half a heartbeat: how long to wait for an answer before asking again.
    pub(super) fn patience(&self) -> Duration {
        self.config.heartbeat_interval / 2
    }

    pub(super) fn stop(&mut self, why: &'static str, out: &mut Outputs) {
        self.role = Role::Stopped;
        self.proposals.fail(out);
        self.reads.fail(out);
        out.push(Output::Event(Event::Stopped(why)));
    }
}

/// Reports what no correct member sends.
pub(super) fn violation(peer: PeerKey, what: &'static str, out: &mut Outputs) {
    out.push(Output::Event(Event::Violation { peer, what }));
}

fn refuse(input: Input, out: &mut Outputs) {
    match input {
        Input::Propose(proposals) => {
            let outcome = Outcome::NotDone(NotDone::Stopped);
            out.extend(
                proposals
                    .into_iter()
                    .map(|p| Output::Proposal(p.id, outcome)),
            );
        }
        Input::Read(id) => out.push(Output::Read(id, super::input::ReadOutcome::Offline)),
        _ => {}
    }
}

fn restore_log(
    snapshot: Option<&SnapshotMeta>,
    entries: Vec<Entry>,
    commit: LogIndex,
) -> Result<(Log, bool), StartError> {
    let mut log = snapshot.map_or_else(Log::default, Log::after);
    let cache = 1 << 20;
    // A snapshot installed over a log that does not lead to it leaves that log to be dropped,
    // an empty one too: the store would go on where that one ended.
    let covered = log.last();
    let falls_short = entries
        .last()
        .map_or(snapshot.is_some(), |last| last.index < covered.index);
    let diverges = falls_short
        || entries
            .iter()
            .any(|entry| entry.index == covered.index && entry.term != covered.term);
    if !diverges && let Some(base) = base_below(&log, &entries)? {
        log.reach_back(base);
    }
    for entry in entries {
        if diverges || entry.index <= covered.index {
            continue;
        }
        let index = entry.index;
        if index != log.last_index().next() || entry.term < log.last().term {
            return Err(StartError::Gap { index });
        }
        let body = entry
            .decode()
            .map_err(|error| StartError::Entry { index, error })?;
        log.append(entry, &body);
        log.evict(index.min(commit), cache);
        if index <= commit {
            // Nobody waits for what was committed before this start.
            log.forget_operations(log.end().commands);
        }
    }
    Ok((log, diverges))
}

/// Where the stored log begins, when it leads from before the snapshot that `log` starts after to
/// there. The first entry stands in for the one before it, whose term is not known any more.
fn base_below(log: &Log, entries: &[Entry]) -> Result<Option<Mark>, StartError> {
    let end = log.base();
    let count = entries.partition_point(|entry| entry.index <= end.at.index);
    let below = &entries[..count];
    let gapless = below
        .windows(2)
        .all(|pair| pair[1].index == pair[0].index.next());
    let Some(first) = below.first() else {
        return Ok(None);
    };
    if !gapless || below.last().map(Entry::position) != Some(end.at) {
        return Ok(None);
    }
    let whole = first.index == LogIndex(1);
    let mut commands = 0;
    for entry in &below[usize::from(!whole)..] {
        let body = entry.decode().map_err(|error| StartError::Entry {
            index: entry.index,
            error,
        })?;
        if let EntryBody::Commands(held) = body {
            commands += u64::from(held.count);
        }
    }
    Ok(Some(Mark {
        at: if whole {
            Position::ZERO
        } else {
            first.position()
        },
        commands: Index(end.commands.0.saturating_sub(commands)),
        time: UnixMillis::default(),
    }))
}

/// Why a member cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration makes no sense.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// The store belongs to another node.
    #[error("the store belongs to {0}")]
    OtherPeer(PeerKey),
    /// A stored entry cannot be read. The store is damaged; nothing was changed.
    #[error("stored entry {index}: {error}")]
    Entry {
        /// Which one.
        index: LogIndex,
        /// Why.
        error: super::wire::WireError,
    },
    /// The stored log does not go on at this entry. The store is damaged; nothing was changed.
    #[error("the stored log does not continue at entry {index}")]
    Gap {
        /// Which one.
        index: LogIndex,
    },
}
