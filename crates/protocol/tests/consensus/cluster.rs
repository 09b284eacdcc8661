//! A handful of members in memory: messages with delays, links that can be cut, disks that
//! survive a crash. Small on purpose; the simulator hunts for what this one does not look for.

use {
    crate::disk::Disk,
    bytes::Bytes,
    core::time::Duration,
    mosaik_primitives::time::{Instant, UnixMillis},
    mosaik_protocol::consensus::{
        Config, Core, Entry, EntryBody, Event, GroupKeyId, Index, Input, Lineage, LogIndex, Member,
        Membership, Message, Outcome, Output, PeerKey, Proposal, ReadOutcome, Restored, RoleName,
        SnapshotMeta, Term, Write,
    },
    std::collections::{BTreeMap, BTreeSet, VecDeque},
};

pub(crate) type Id = u8;

pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) core: Option<Core>,
    pub(crate) disk: Disk,
    /// Whether writes are confirmed at once; otherwise when told to.
    pub(crate) slow_disk: bool,
    pub(crate) unconfirmed: Vec<(mosaik_protocol::consensus::Token, Vec<Write>)>,
    /// The state machine: every command applied, in order.
    pub(crate) machine: Vec<Bytes>,
    pub(crate) outcomes: BTreeMap<u64, Vec<Outcome>>,
    pub(crate) reads: BTreeMap<u64, (ReadOutcome, usize)>,
    pub(crate) events: Vec<Event>,
    pub(crate) delay: Duration,
    todo: VecDeque<Output>,
    working: bool,
}

/// Says whether a message gets through.
pub(crate) type Filter = Box<dyn FnMut(&Message) -> bool>;

pub(crate) struct Cluster {
    pub(crate) now: Instant,
    pub(crate) nodes: BTreeMap<Id, Node>,
    /// Pairs that cannot talk, in this direction.
    pub(crate) cut: BTreeSet<(Id, Id)>,
    flying: BTreeMap<(Instant, u64), Message>,
    sequence: u64,
    next_id: u64,
    /// Every leader seen.
    pub(crate) leaders: BTreeMap<(Lineage, Term), Member>,
    /// Every command seen applied, by lineage and number.
    applied: BTreeMap<(Lineage, u64), Bytes>,
    pub(crate) sent: u64,
    /// Sees, and may drop, what is sent.
    pub(crate) filter: Option<Filter>,
    pub(crate) encode: bool,
    /// Everything sent since this was set.
    pub(crate) recorded: Option<Vec<Message>>,
}

pub(crate) fn peer(id: Id) -> PeerKey {
    PeerKey([id; 32])
}

pub(crate) fn config(id: Id) -> Config {
    Config::new(GroupKeyId([9; 32]), peer(id), 1_000, u64::from(id) + 1)
}

impl Cluster {
    pub(crate) fn new(ids: impl IntoIterator<Item = Id>) -> Self {
        let mut cluster = Self {
            now: Instant::from_millis(1_000),
            nodes: BTreeMap::new(),
            cut: BTreeSet::new(),
            flying: BTreeMap::new(),
            sequence: 0,
            next_id: 0,
            leaders: BTreeMap::new(),
            applied: BTreeMap::new(),
            sent: 0,
            filter: None,
            encode: true,
            recorded: None,
        };
        for id in ids {
            cluster.add(config(id));
        }
        cluster
    }

    /// A cluster with a leader that has committed.
    pub(crate) fn formed(ids: impl IntoIterator<Item = Id>) -> Self {
        let ids: Vec<_> = ids.into_iter().collect();
        let mut cluster = Self::new(ids.iter().copied());
        let count = ids.len();
        cluster.until("the group forms", |c| {
            c.nodes
                .values()
                .all(|n| n.status().commit >= LogIndex(2) && n.status().leader.is_some())
                && c.nodes
                    .values()
                    .all(|n| n.status().membership.len() == count)
        });
        cluster
    }

    pub(crate) fn add(&mut self, config: Config) {
        let id = config.peer.0[0];
        self.nodes.insert(
            id,
            Node {
                config,
                core: None,
                disk: Disk::default(),
                slow_disk: false,
                unconfirmed: Vec::new(),
                machine: Vec::new(),
                outcomes: BTreeMap::new(),
                reads: BTreeMap::new(),
                events: Vec::new(),
                delay: Duration::from_millis(1),
                todo: VecDeque::new(),
                working: false,
            },
        );
        self.start(id);
    }

    pub(crate) fn start(&mut self, id: Id) {
        let node = self.nodes.get_mut(&id).unwrap();
        let mut out = Vec::new();
        let restored = Restored {
            hard_state: node.disk.hard.clone(),
            snapshot: node.disk.snapshot.as_ref().map(|(meta, _)| meta.clone()),
            entries: node.disk.entries.values().cloned().collect(),
        };
        node.machine = node
            .disk
            .snapshot
            .as_ref()
            .map_or(Vec::new(), |(_, data)| data.clone());
        let core = Core::new(node.config.clone(), restored, self.now, &mut out).unwrap();
        node.core = Some(core);
        self.carry_out(id, out);
        self.input(id, Input::Clock(UnixMillis(self.now.as_millis())));
        self.relink(id);
    }

    pub(crate) fn others(&self, id: Id) -> Vec<Id> {
        self.nodes
            .keys()
            .copied()
            .filter(|other| *other != id)
            .collect()
    }

    fn linked(&self, a: Id, b: Id) -> bool {
        let alive = |id| self.nodes[&id].core.is_some();
        alive(a) && alive(b) && !self.cut.contains(&(a, b)) && !self.cut.contains(&(b, a))
    }

    fn relink(&mut self, id: Id) {
        for other in self.others(id) {
            for (a, b) in [(id, other), (other, id)] {
                if self.nodes[&a].core.is_some() {
                    let input = if self.linked(a, b) {
                        Input::LinkUp(peer(b))
                    } else {
                        Input::LinkDown(peer(b))
                    };
                    self.input(a, input);
                }
            }
        }
    }

    /// The process dies; what is unconfirmed may be lost and is.
    pub(crate) fn crash(&mut self, id: Id) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.core = None;
        node.unconfirmed.clear();
        self.relink(id);
    }

    /// Dies without anyone noticing.
    pub(crate) fn kill_silently(&mut self, id: Id) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.core = None;
        node.unconfirmed.clear();
    }

    pub(crate) fn wipe(&mut self, id: Id) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.disk = Disk::default();
        node.config.incarnation += 1_000;
    }

    /// Separates one set of members from the rest, noticed by the links.
    pub(crate) fn partition(&mut self, side: &[Id]) {
        self.cut_silently(side);
        for id in side {
            self.relink(*id);
        }
    }

    pub(crate) fn cut_silently(&mut self, side: &[Id]) {
        let ids: Vec<_> = self.nodes.keys().copied().collect();
        for a in side {
            for b in ids.iter().filter(|b| !side.contains(b)) {
                self.cut.insert((*a, *b));
                self.cut.insert((*b, *a));
            }
        }
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        let ids: Vec<_> = self.nodes.keys().copied().collect();
        for id in ids {
            if self.nodes[&id].core.is_some() {
                self.relink(id);
            }
        }
    }

    pub(crate) fn input(&mut self, id: Id, input: Input) {
        let now = self.now;
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(core) = &mut node.core else { return };
        let mut out = Vec::new();
        core.handle(now, input, &mut out);
        self.carry_out(id, out);
        self.check(id);
    }

    fn check(&mut self, id: Id) {
        let Some(core) = &self.nodes[&id].core else {
            return;
        };
        let status = core.status();
        if status.role == RoleName::Leader {
            let first = *self
                .leaders
                .entry((status.lineage, status.term))
                .or_insert(status.me);
            assert_eq!(
                first, status.me,
                "two leaders in term {} of {}",
                status.term, status.lineage
            );
            assert!(
                status
                    .membership
                    .standing(&status.me)
                    .is_none_or(|s| { s == mosaik_protocol::consensus::Standing::Voter })
            );
        }
    }

    /// Carries outputs out in their order; what comes of one comes after all before it.
    fn carry_out(&mut self, id: Id, outputs: Vec<Output>) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.todo.extend(outputs);
        if std::mem::replace(&mut node.working, true) {
            return;
        }
        while let Some(output) = self.nodes.get_mut(&id).unwrap().todo.pop_front() {
            match output {
                Output::Send(message) => self.post(message),
                Output::Persist { token, writes } => {
                    let node = self.nodes.get_mut(&id).unwrap();
                    node.unconfirmed.push((token, writes));
                    if !node.slow_disk {
                        self.confirm(id);
                    }
                }
                Output::Apply(entries) => {
                    let mut last = LogIndex::ZERO;
                    for entry in entries {
                        last = entry.entry.index;
                        self.apply(id, &entry.entry, entry.before, entry.count);
                    }
                    self.input(id, Input::Applied(last));
                }
                Output::Fetch {
                    from,
                    upto,
                    max_bytes,
                } => {
                    let disk = &self.nodes[&id].disk;
                    let entries = (from.0..=upto.0).map_while(|i| disk.entries.get(&i).cloned());
                    // Stores bound what they read by bytes, not by number.
                    let mut bytes = 0;
                    let fits = |entry: &Entry| {
                        let first = bytes == 0;
                        bytes += entry.body.len();
                        first || bytes <= max_bytes
                    };
                    let entries = entries.take_while(fits).collect();
                    self.input(id, Input::Fetched { from, entries });
                }
                Output::FetchSnapshot { meta, source } => self.fetch_snapshot(id, *meta, source),
                Output::Proposal(proposal, outcome) => {
                    let node = self.nodes.get_mut(&id).unwrap();
                    node.outcomes.entry(proposal).or_default().push(outcome);
                }
                Output::Read(read, outcome) => {
                    let node = self.nodes.get_mut(&id).unwrap();
                    let seen = node.machine.len();
                    assert!(node.reads.insert(read, (outcome, seen)).is_none());
                }
                Output::Event(event) => {
                    let node = self.nodes.get_mut(&id).unwrap();
                    assert!(!matches!(event, Event::Violation { .. }), "{event:?}");
                    if matches!(event, Event::Merged { .. }) {
                        node.machine.clear();
                    }
                    node.events.push(event);
                }
                other => panic!("unknown output {other:?}"),
            }
        }
        self.nodes.get_mut(&id).unwrap().working = false;
    }

    fn fetch_snapshot(&mut self, id: Id, meta: SnapshotMeta, source: Member) {
        let theirs = self.nodes[&source.peer.0[0]].disk.snapshot.clone();
        let position = meta.last;
        let data = theirs
            .filter(|(other, _)| other.last == position)
            .map(|(_, data)| data);
        let wants = self.nodes[&id]
            .core
            .as_ref()
            .is_some_and(|core| core.wants_snapshot(position));
        match data.filter(|_| wants) {
            Some(data) => {
                let node = self.nodes.get_mut(&id).unwrap();
                node.machine.clone_from(&data);
                node.disk.snapshot = Some((meta, data));
                self.input(id, Input::SnapshotInstalled(position));
            }
            None => self.input(id, Input::SnapshotFailed(position)),
        }
    }

    fn apply(&mut self, id: Id, entry: &Entry, before: Index, count: u32) {
        let lineage = self.nodes[&id].core.as_ref().unwrap().status().lineage;
        let node = self.nodes.get_mut(&id).unwrap();
        assert_eq!(
            node.machine.len() as u64,
            before.0,
            "public indices have gaps at {id}"
        );
        let EntryBody::Commands(commands) = entry.decode().unwrap() else {
            assert_eq!(count, 0);
            return;
        };
        assert_eq!(commands.count, count);
        for (command, number) in commands.iter().zip(before.0 + 1..) {
            node.machine.push(command.clone());
            let first = self
                .applied
                .entry((lineage, number))
                .or_insert_with(|| command.clone());
            assert_eq!(
                *first, command,
                "members disagree on command {number} of {lineage}"
            );
        }
    }

    /// Everything the member's store has been asked for is done.
    pub(crate) fn confirm(&mut self, id: Id) {
        let node = self.nodes.get_mut(&id).unwrap();
        let mut latest = None;
        for (token, writes) in std::mem::take(&mut node.unconfirmed) {
            for write in writes {
                node.disk.apply(write);
            }
            latest = Some(token);
        }
        if let Some(token) = latest {
            self.input(id, Input::Persisted(token));
        }
    }

    fn post(&mut self, message: Message) {
        self.sent += 1;
        if let Some(recorded) = &mut self.recorded {
            recorded.push(message.clone());
        }
        if self.filter.as_mut().is_some_and(|filter| !filter(&message)) {
            return;
        }
        let message = if self.encode {
            Message::decode(message.encode()).expect("what is sent can be read")
        } else {
            message
        };
        let (from, to) = (message.from.peer.0[0], message.to.peer.0[0]);
        if self.cut.contains(&(from, to)) || !self.nodes.contains_key(&to) {
            return;
        }
        let at = self.now + self.nodes[&from].delay;
        self.sequence += 1;
        self.flying.insert((at, self.sequence), message);
    }

    /// Goes on to the next thing that happens.
    fn step(&mut self, limit: Instant) -> bool {
        let message = self.flying.first_key_value().map(|((at, _), _)| *at);
        let timers = self
            .nodes
            .values()
            .filter_map(|node| node.core.as_ref()?.next_deadline());
        let timer = timers.min();
        let Some(next) = [message, timer]
            .into_iter()
            .flatten()
            .min()
            .filter(|at| *at <= limit)
        else {
            self.now = limit;
            return false;
        };
        self.now = self.now.max(next);
        if message.is_some_and(|at| at <= self.now) {
            let (_, message) = self.flying.pop_first().unwrap();
            let (from, to) = (message.from.peer.0[0], message.to.peer.0[0]);
            if !self.cut.contains(&(from, to)) {
                self.input(to, Input::Receive(message));
            }
        } else {
            let now = self.now;
            let due = |node: &Node| {
                let deadline = node.core.as_ref().and_then(Core::next_deadline);
                deadline.is_some_and(|at| at <= now)
            };
            let due: Vec<_> = self
                .nodes
                .iter()
                .filter(|(_, node)| due(node))
                .map(|(id, _)| *id)
                .collect();
            for id in due {
                // What a tick brings about may be due at once, but not for ever.
                let due = |c: &Self| c.nodes[&id].core.as_ref().and_then(Core::next_deadline);
                for _ in 0..5 {
                    self.input(id, Input::Tick);
                    if due(self).is_none_or(|at| at > now) {
                        break;
                    }
                }
                let stuck = due(self).is_some_and(|at| at <= now);
                assert!(
                    !stuck,
                    "{id} does not get past {now}: {:#?}",
                    self.nodes[&id].core
                );
            }
        }
        true
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let limit = self.now + time;
        while self.step(limit) {}
    }

    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) -> Duration {
        let start = self.now;
        let limit = start + Duration::from_mins(1);
        while !holds(self) {
            if !self.step(limit) {
                let view: Vec<_> = self
                    .nodes
                    .values()
                    .filter_map(|n| Some(n.core.as_ref()?.status()))
                    .collect();
                panic!("in vain waited until {what}: {view:#?}");
            }
        }
        self.now.since(start)
    }

    pub(crate) fn all_applied_by(&mut self, ids: &[Id], count: usize) {
        self.until("some have applied everything", |c| {
            ids.iter().all(|id| c.nodes[id].machine.len() == count)
        });
    }

    pub(crate) fn leader(&self) -> Option<Id> {
        let leads = |node: &&Node| node.core.as_ref().is_some_and(Core::is_leader);
        let leaders = self.nodes.values().filter(leads);
        leaders
            .max_by_key(|node| node.status().term)
            .map(|node| node.config.peer.0[0])
    }

    pub(crate) fn lead(&mut self) -> Id {
        self.until("someone leads", |c| c.leader().is_some());
        self.leader().unwrap()
    }

    pub(crate) fn propose(&mut self, id: Id, command: &str) -> u64 {
        self.propose_many(id, &[command])
    }

    pub(crate) fn propose_many(&mut self, id: Id, commands: &[&str]) -> u64 {
        self.next_id += 1;
        let commands = commands
            .iter()
            .map(|c| Bytes::copy_from_slice(c.as_bytes()))
            .collect();
        let proposal = Proposal {
            id: self.next_id,
            commands,
        };
        self.input(id, Input::Propose(vec![proposal]));
        self.next_id
    }

    /// Proposes and waits for the end.
    pub(crate) fn execute(&mut self, id: Id, command: &str) -> Outcome {
        let proposal = self.propose(id, command);
        self.outcome(id, proposal)
    }

    pub(crate) fn outcome(&mut self, id: Id, proposal: u64) -> Outcome {
        self.until("a proposal ends", |c| {
            c.nodes[&id].ended(proposal).is_some()
        });
        self.nodes[&id].ended(proposal).unwrap()
    }

    pub(crate) fn read(&mut self, id: Id) -> (ReadOutcome, usize) {
        self.next_id += 1;
        let read = self.next_id;
        self.input(id, Input::Read(read));
        self.until("a read ends", |c| c.nodes[&id].reads.contains_key(&read));
        self.nodes[&id].reads[&read]
    }

    pub(crate) fn snapshot(&mut self, id: Id) {
        let node = self.nodes.get_mut(&id).unwrap();
        let applied = node.status().applied;
        // None in a lineage that gives way.
        let Some(meta) = node.core.as_ref().unwrap().snapshot_meta(applied) else {
            return;
        };
        assert_eq!(meta.commands.0, node.machine.len() as u64);
        let decoded = SnapshotMeta::decode(meta.encode()).unwrap();
        assert_eq!(decoded, meta);
        node.disk.snapshot = Some((meta.clone(), node.machine.clone()));
        self.input(
            id,
            Input::SnapshotTaken {
                meta,
                upto: applied,
            },
        );
    }

    pub(crate) fn all_applied(&mut self, count: usize) {
        self.until("everyone has applied everything", |c| {
            c.nodes
                .values()
                .filter(|n| n.core.is_some())
                .all(|n| n.machine.len() == count)
        });
    }

    pub(crate) fn texts(&self, id: Id) -> Vec<String> {
        let text = |c: &Bytes| String::from_utf8(c.to_vec()).unwrap();
        self.nodes[&id].machine.iter().map(text).collect()
    }

    pub(crate) fn membership(&self, id: Id) -> Membership {
        self.nodes[&id].status().membership
    }
}

impl Node {
    pub(crate) fn status(&self) -> mosaik_protocol::consensus::Status {
        self.core.as_ref().expect("it runs").status()
    }

    pub(crate) fn ended(&self, proposal: u64) -> Option<Outcome> {
        let last = self.outcomes.get(&proposal)?.last()?;
        (!matches!(last, Outcome::Accepted { .. })).then_some(*last)
    }
}

pub(crate) fn committed(index: u64) -> Outcome {
    Outcome::Committed {
        first: Index(index),
    }
}
