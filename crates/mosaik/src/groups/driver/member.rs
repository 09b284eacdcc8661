//! [`Member`]: one group's core and what the driver keeps for it.

use {
    super::{
        bond::Bond,
        cutting::Cutting,
        holding::{Batch, Holding},
        inbox::{Propose, Question, Reply, Slot, Wish},
        io::{Io, peer_key, wall_clock},
        pacing::Pacing,
        probe::Probing,
        timers::Timer,
    },
    crate::{
        PeerId,
        groups::{
            config::{Durability, GroupConfig},
            cursor::Cursor,
            error::Halted,
            event::Event,
            setup::{Driven, Join, Machine, StoredState},
            status::{self, GroupStatus},
            store::{Done, Purpose, Store},
            when::Leadership,
        },
        network::close::{Cancelled, groups as reasons},
    },
    core::time::Duration,
    mosaik_primitives::{Digest, time::Instant},
    mosaik_protocol::consensus::{
        self, Core, Entry, Input, Lineage, LogIndex, NotDone, Outcome, Outputs, PeerKey, Proposal,
        Restored, RoleName, Standing, StartError, Status, Token,
    },
    mosaik_storage::StoreError,
    slab::Slab,
    std::{
        collections::{BTreeMap, BTreeSet, VecDeque},
        sync::Arc,
    },
};

/// How often a core that works is told the wall clock.
const CLOCK_EVERY: Duration = Duration::from_secs(1);

/// A proposal whose caller waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) reply: Reply,
    pub(super) since: Instant,
}

/// A departure under way.
#[derive(Debug)]
pub(super) struct Leaving {
    /// Only leadership is handed over; the member will be back.
    keeps_place: bool,
}

/// A group that could not start.
pub(super) struct NotStarted {
    pub(super) join: Box<Join>,
    pub(super) error: StartError,
}

/// One group of the driver's.
pub(super) struct Member {
    pub(super) slot: Slot,
    pub(super) config: Arc<GroupConfig>,
    pub(super) core: Core,
    pub(super) store: Store,
    pub(super) machine: Arc<dyn Machine>,
    pub(super) shared: Driven,
    pub(super) bonds: BTreeMap<PeerKey, Bond>,
    /// Peers that discovery shows in the group.
    pub(super) listed: BTreeSet<PeerKey>,
    pub(super) proposals: Slab<Waiting>,
    pub(super) reads: Slab<Question>,
    /// To be proposed at the end of the round.
    batch: Vec<Proposal>,
    pub(super) holding: Holding,
    /// Stored, and to be said to the core at the end of the round.
    pub(super) confirm: Option<Token>,
    /// Answers of the store and others, to be handed over at the end of the round.
    pub(super) inputs: VecDeque<Input>,
    /// The last entry handed out to be applied.
    pub(super) handed_out: LogIndex,
    pub(super) applied: LogIndex,
    /// How often the machine was told to start over.
    pub(super) epoch: u64,
    pub(super) cutting: Cutting,
    /// Whether the core was told something in this round.
    touched: bool,
    /// What has happened in it, told once what is shown shows it.
    pub(super) news: Vec<Event>,
    timer: Option<Instant>,
    clock_at: Option<Instant>,
    pub(super) leaving: Option<Leaving>,
    leave_timer: Option<Instant>,
    /// The last leader, and its id.
    leader: Option<(consensus::Member, PeerId)>,
    pub(super) probing: Probing,
    pub(super) pacing: Pacing,
    /// The membership that pacing goes by.
    paced_as: Option<(Lineage, LogIndex)>,
    /// To be dropped at the end of the round.
    pub(super) over: Option<Over>,
}

/// How a group ends on this node.
#[derive(Clone, Debug)]
pub(super) enum Over {
    Left,
    Halted(Halted),
}

impl Member {
    /// Starts the core.
    pub(super) fn start(
        mut join: Box<Join>,
        (store, restored, chunks): (Store, Restored, u32),
        io: &mut Io,
    ) -> Result<Self, NotStarted> {
        let commands = restored.snapshot.as_ref().map(|meta| meta.commands);
        if let Store::Disk(log) = &store {
            join.core.incarnation = log.incarnation();
        }
        let mut outputs = Outputs::new();
        let core = match Core::new(join.core.clone(), restored, io.now, &mut outputs) {
            Ok(core) => core,
            Err(error) => return Err(NotStarted { join, error }),
        };
        let Status { applied, base, .. } = core.status();
        let mut member = Self {
            slot: join.slot,
            config: join.config,
            core,
            store,
            machine: join.machine,
            shared: join.shared,
            bonds: BTreeMap::new(),
            listed: BTreeSet::new(),
            proposals: Slab::new(),
            reads: Slab::new(),
            batch: Vec::new(),
            holding: Holding::default(),
            confirm: None,
            inputs: VecDeque::new(),
            handed_out: applied,
            applied,
            epoch: 0,
            cutting: Cutting::start(applied, commands.unwrap_or_default(), base),
            touched: true,
            news: Vec::new(),
            timer: None,
            clock_at: None,
            leaving: None,
            leave_timer: None,
            leader: None,
            probing: Probing::default(),
            pacing: Pacing::new(io.now),
            paced_as: None,
            over: None,
        };
        member.shared.metrics.active.increment(1.0);
        if let (Store::Disk(log), Some(disk)) = (&member.store, &io.disk)
            && !applied.is_zero()
        {
            // Before anything is applied to it.
            let state = StoredState {
                store: disk.reader(),
                group: log.group(),
                chunks,
                last: applied,
            };
            member.machine.restore(state);
        }
        member.carry_out(&mut outputs, io);
        Ok(member)
    }

    /// Tells the core something and carries out what it asks for.
    pub(super) fn handle(&mut self, input: Input, io: &mut Io) {
        self.touched = true;
        let Some(input) = self.cutting.defer(input) else {
            return;
        };
        let mut outputs = std::mem::take(&mut io.outputs);
        self.core.handle(io.now, input, &mut outputs);
        self.carry_out(&mut outputs, io);
        io.outputs = outputs;
    }

    /// Takes a proposal, to be proposed with all others of the round.
    pub(super) fn propose(&mut self, propose: Propose, now: Instant) {
        let id = self.proposals.insert(Waiting {
            reply: propose.reply,
            since: now,
        });
        self.batch.push(Proposal {
            id: id as u64,
            commands: propose.commands,
        });
    }

    /// Takes a strong read.
    pub(super) fn read(&mut self, question: Question, io: &mut Io) {
        let id = self.reads.insert(question);
        self.handle(Input::Read(id as u64), io);
    }

    /// Does what the program wants.
    pub(super) fn on_wish(&mut self, wish: Wish, io: &mut Io) {
        match wish {
            Wish::Transfer(to) => {
                let member = to.map(|peer| self.member_of(&peer));
                // To one that is no member, nothing is handed over.
                if member != Some(None) {
                    self.handle(Input::Transfer(member.flatten()), io);
                }
            }
            Wish::Recover => self.handle(Input::Recover, io),
            Wish::Leave { for_good } => self.leave(for_good, io),
            Wish::CloseBond { peer, code } => self.say_bye(peer_key(&peer), code, io),
        }
    }

    fn member_of(&self, peer: &PeerId) -> Option<consensus::Member> {
        let key = peer_key(peer);
        let status = self.core.status();
        let mut members = status.membership.members();
        members
            .find(|(member, _)| member.peer == key)
            .map(|(member, _)| *member)
    }

    /// Starts to leave. A member that keeps its log keeps its place too, unless told otherwise:
    /// it only hands over leadership.
    pub(super) fn leave(&mut self, for_good: bool, io: &mut Io) {
        if self.leaving.is_some() {
            return;
        }
        if !self.batch.is_empty() {
            // It was asked for before, and may be waiting for more to come.
            self.propose_batch(io);
        }
        let keeps_place = !for_good && self.config.durability() == Durability::Disk;
        let until = io.now + io.departure_window();
        self.leaving = Some(Leaving { keeps_place });
        io.timers
            .set(Timer::Leave(self.slot), &mut self.leave_timer, Some(until));
        io.unlist(*self.config.group_id());
        if keeps_place {
            self.handle(Input::Transfer(None), io);
        } else {
            self.handle(Input::Leave, io);
        }
        self.check_left();
    }

    /// A member that keeps its place has left once another leads.
    fn check_left(&mut self) {
        let Some(leaving) = &self.leaving else {
            return;
        };
        let alone = self.bonds.values().all(|bond| bond.up.is_none());
        if alone || leaving.keeps_place && !self.core.is_leader() {
            self.over.get_or_insert(Over::Left);
        }
    }

    /// The departure has taken long enough.
    pub(super) fn on_leave_timer(&mut self) {
        self.leave_timer = None;
        self.over.get_or_insert(Over::Left);
    }

    /// The end of what was to be stored.
    pub(super) fn on_stored(&mut self, done: Done, io: &mut Io) {
        if done.result.is_ok() {
            self.shared.metrics.store_time.record(done.took);
            self.holding.note_stored(done.took);
        }
        match (done.purpose, done.result) {
            (Purpose::Install(name), result) => self.on_installed(name, result, io),
            (Purpose::Step(token), Ok(())) => self.confirm = self.confirm.max(token),
            (Purpose::Step(_), Err(error)) => {
                self.halt(Halted::Storage(error.to_string().into()));
            }
        }
    }

    /// What was to be read back.
    pub(super) fn on_fetched(&mut self, from: LogIndex, entries: Result<Vec<Entry>, StoreError>) {
        match entries {
            Ok(entries) => self.inputs.push_back(Input::Fetched { from, entries }),
            Err(error) => self.halt(Halted::Storage(error.to_string().into())),
        }
    }

    /// The core's deadline has come.
    pub(super) fn on_core_timer(&mut self, io: &mut Io) {
        self.timer = None;
        self.handle(Input::Tick, io);
    }

    /// The end of a round: proposes what has come together, confirms what is stored, and shows
    /// what has changed. Says whether the group goes on.
    pub(super) fn finish_round(&mut self, io: &mut Io) -> bool {
        if self.cutting.is_frozen() {
            return self.over.is_none();
        }
        self.tell_time(io);
        let applied = self.machine.applied(self.epoch);
        if applied > self.applied && applied <= self.handed_out {
            self.applied = applied;
            self.handle(Input::Applied(applied), io);
        }
        self.look_after_log(io);
        loop {
            if !self.batch.is_empty() && !self.holds_back(io.now) {
                self.propose_batch(io);
            } else if let Some(token) = self.confirm.take() {
                self.handle(Input::Persisted(token), io);
            } else if let Some(input) = self.inputs.pop_front() {
                self.handle(input, io);
            } else {
                break;
            }
        }
        if self.touched {
            self.touched = false;
            self.check_left();
            self.show();
        }
        let held = self.holding.until().filter(|_| !self.batch.is_empty());
        let next = self.core.next_deadline().into_iter().chain(held).min();
        io.timers.set(Timer::Core(self.slot), &mut self.timer, next);
        self.over.is_none()
    }

    /// Whether the batch waits a moment for more to come.
    fn holds_back(&mut self, now: Instant) -> bool {
        let commands = self.batch.iter().map(|one| one.commands.len());
        let batch = Batch {
            calls: self.batch.len(),
            commands: commands.sum(),
            under_way: self.proposals.len().saturating_sub(self.batch.len()),
        };
        self.leaving.is_none() && self.core.is_leader() && self.holding.holds(batch, now)
    }

    fn propose_batch(&mut self, io: &mut Io) {
        let batch = std::mem::take(&mut self.batch);
        let commands: usize = batch.iter().map(|one| one.commands.len()).sum();
        self.shared.metrics.batch_commands.record(commands as f64);
        self.handle(Input::Propose(batch), io);
    }

    /// Stamps are the leader's wall clock.
    fn tell_time(&mut self, io: &mut Io) {
        if !self.touched && self.batch.is_empty() {
            return;
        }
        let due = self
            .clock_at
            .is_none_or(|at| io.now.since(at) >= CLOCK_EVERY);
        if due {
            self.clock_at = Some(io.now);
            self.handle(Input::Clock(wall_clock()), io);
        }
    }

    /// Nothing of what was applied counts any more.
    pub(super) fn start_over(&mut self) {
        self.handed_out = LogIndex::ZERO;
        self.applied = LogIndex::ZERO;
        self.epoch += 1;
        self.cutting.start_over();
        self.machine.start_over();
    }

    /// Everything up to here counts as handed out and applied.
    pub(super) fn note_applied(&mut self, upto: LogIndex) {
        self.handed_out = self.handed_out.max(upto);
        self.applied = self.applied.max(upto);
    }

    /// The leader as programs see it. Making an id of a key costs much more than comparing one.
    fn leader_of(&mut self, status: &Status) -> Option<PeerId> {
        let leader = status.leader?;
        match self.leader {
            Some((known, peer)) if known == leader => Some(peer),
            _ => {
                let peer = status::peer_id(&leader)?;
                self.leader = Some((leader, peer));
                Some(peer)
            }
        }
    }

    /// Shows programs where the member stands.
    fn show(&mut self) {
        let status = self.core.status();
        let leader = self.leader_of(&status);
        let leadership = Leadership {
            leader,
            term: status.term.into(),
            online: is_online(&status),
        };
        let log = Cursor::new(status.last.term.into(), status.last_command.into());
        let membership = Some((status.lineage, status.membership_index));
        if std::mem::replace(&mut self.paced_as, membership) != membership {
            let others = status.membership.members();
            let others = others.filter(|(_, standing)| *standing != Standing::Voter);
            self.pacing.pace(others.map(|(member, _)| member.peer));
        }
        // Whoever is woken finds all of it.
        self.show_status(&status, leader);
        self.shared.leadership.send_if_modified(|shown| {
            // A member that falls behind for a moment is not offline for that.
            let stays = shown.online && leadership.leader == shown.leader && leader.is_some();
            let online = leadership.online || stays;
            let next = Leadership {
                online,
                ..leadership
            };
            std::mem::replace(shown, next) != next
        });
        self.shared.progress.send_if_modified(|shown| {
            let changed = shown.log != log;
            shown.log = log;
            changed
        });
        self.tell_news();
    }

    /// Tells what is shown by now.
    fn tell_news(&mut self) {
        for event in self.news.drain(..) {
            self.shared.tell(event);
        }
    }

    fn show_status(&self, status: &Status, leader: Option<PeerId>) {
        let log_entries = status.last.index.distance(status.base);
        self.shared.metrics.log_entries.set(log_entries as f64);
        let mut shown = self.shared.status.lock();
        let members = if shown.membership_index == status.membership_index.0
            && shown.lineage.map(|id| *id.as_bytes()) == Some(status.lineage.0)
        {
            std::mem::take(&mut shown.members)
        } else {
            let metrics = &self.shared.metrics;
            let voters = status.membership.voters().len();
            metrics.voters.set(voters as f64);
            metrics.committee.set(status.membership.len() as f64);
            metrics
                .non_voters
                .set((status.membership.len() - voters) as f64);
            status::members(&status.membership)
        };
        *shown = GroupStatus {
            role: status.role.into(),
            incarnation: status.me.incarnation,
            lineage: (!status.lineage.is_none()).then(|| Digest::from_bytes(status.lineage.0)),
            term: status.term.into(),
            leader,
            last: status.last_command.into(),
            committed: status.committed.into(),
            log_entries,
            snapshot: self.cutting.snapshot().into(),
            members,
            membership_index: status.membership_index.0,
            quiet: status.quiet,
            halted: shown.halted.take(),
        };
    }

    /// The end of the group on this node: nobody who waits is left waiting.
    pub(super) fn end(mut self, over: &Over, io: &mut Io) {
        let keeps_place = self
            .leaving
            .as_ref()
            .is_none_or(|leaving| leaving.keeps_place);
        if let Over::Halted(why) = over {
            // Before those who wait are told: they say why.
            self.shared.status.lock().halted = Some(why.clone());
        }
        // Ends what waits, telling what surely is not done from what cannot be known. The core never
        // heard of what was held back.
        for held in std::mem::take(&mut self.batch) {
            if let Some(waiting) = self.proposals.try_remove(held.id as usize) {
                let outcome = Outcome::NotDone(NotDone::Stopped);
                self.machine.resolve(waiting.reply, outcome);
            }
        }
        drop(self.cutting.thaw());
        self.handle(Input::StorageFailed, io);
        let code = match over {
            Over::Left => reasons::GroupNotFound::REASON.code,
            Over::Halted(_) => Cancelled::REASON.code,
        };
        self.leaving.get_or_insert(Leaving { keeps_place: true });
        let keys: Vec<_> = self.bonds.keys().copied().collect();
        for key in keys {
            self.say_bye(key, code, io);
        }
        self.stop_probing(io);
        let pacing = Timer::Pacing(self.slot);
        io.timers.set(pacing, &mut self.pacing.timer, None);
        io.timers.set(Timer::Core(self.slot), &mut self.timer, None);
        io.timers
            .set(Timer::Leave(self.slot), &mut self.leave_timer, None);
        io.unlist(*self.config.group_id());
        for waiting in self.proposals.drain() {
            self.machine.resolve(waiting.reply, Outcome::Unknown);
        }
        self.shared.metrics.active.decrement(1.0);
        let why = match over {
            Over::Left => None,
            Over::Halted(why) => Some(why.clone()),
        };
        self.tell_news();
        self.shared.end(why);
        if let (Over::Left, false, Store::Disk(log), Some(disk)) =
            (over, keeps_place, &self.store, &mut io.disk)
        {
            disk.remove(log.group(), io.now);
        }
        self.machine.close();
    }

    /// The group cannot go on here.
    pub(super) fn halt(&mut self, why: Halted) {
        tracing::error!(group = ?self.config.group_id(), %why, "group has stopped on this node");
        self.over = Some(Over::Halted(why));
    }
}

/// Whether commands can be expected to be taken: there is a leader that counts this member, and
/// what it knows to be committed has been handed out.
fn is_online(status: &Status) -> bool {
    let works = matches!(status.role, RoleName::Leader | RoleName::Follower);
    works
        && status.leader.is_some()
        && status.membership.standing(&status.me).is_some()
        && !status.commit.is_zero()
        && status.emitted == status.commit
}
