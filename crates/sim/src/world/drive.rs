//! The driver of a member: hands inputs to its core and carries out what it asks for.

use {
    super::{World, events::Event},
    crate::{
        disk::{Record, Snapshot},
        failure::Failure,
        invariants::{Fact, node_name},
        machine::{Command, Machine},
        nemesis::Unsynced,
        node::{Confirms, Process, Sync},
        queue::MILLI,
        rng::splitmix64,
        story,
    },
    mosaik_protocol::consensus::{
        CommittedEntry, EntryBody, Event as News, HardState, Input, Lineage, LogIndex, Member,
        Message, Output, SnapshotMeta, Token, Write,
    },
};

/// Inputs that a paused process lets pile up.
const BACKLOG: usize = 20_000;

impl World {
    /// Hands an input to a node's core, or puts it aside while the node is paused.
    pub fn input(&mut self, node: usize, input: Input) -> Result<(), Failure> {
        let state = &mut self.nodes[node];
        match state.process {
            Process::Absent | Process::Down => return Ok(()),
            Process::Paused => {
                if state.backlog.len() < BACKLOG {
                    state.backlog.push(input);
                }
                return Ok(());
            }
            Process::Running => {}
        }
        let Some(core) = state.core.as_mut() else {
            return Ok(());
        };
        let now = state.clock.shown(self.queue.now());
        let mut outputs = core::mem::take(&mut self.outputs);
        core.handle(now, input, &mut outputs);
        state.look();
        self.carry_out(node, &mut outputs)?;
        outputs.clear();
        self.outputs = outputs;
        self.after_step(node)
    }

    /// Carries out what a core asked for, in order.
    pub(crate) fn carry_out(
        &mut self,
        node: usize,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Failure> {
        let life = self.nodes[node].life;
        for output in outputs.drain(..) {
            match output {
                Output::Send(message) => self.send(node, &message)?,
                Output::Persist { token, writes } => self.persist(node, token, writes)?,
                Output::Apply(entries) => self.apply(node, entries)?,
                Output::Fetch {
                    from,
                    upto,
                    max_bytes,
                } => self.fetch(node, from, upto, max_bytes),
                Output::FetchSnapshot { meta, source } => {
                    let at = self.now() + self.rng.between(MILLI, 60 * MILLI);
                    self.queue.schedule(
                        at,
                        Event::SnapshotArrives {
                            node,
                            life,
                            meta,
                            source,
                        },
                    );
                }
                Output::Proposal(id, outcome) => self.proposal_ended(node, id, outcome)?,
                Output::Read(id, outcome) => self.read_ended(node, id, outcome)?,
                Output::Event(news) => self.news(node, &news)?,
                other => {
                    return Err(self.failure("the driver knows every output", format!("{other:?}")));
                }
            }
        }
        Ok(())
    }

    /// What follows from any step: a new deadline, a new leader, a snapshot that is due.
    pub(crate) fn after_step(&mut self, node: usize) -> Result<(), Failure> {
        let state = &self.nodes[node];
        let member = state.member;
        let leads = state
            .leads()
            .then_some((state.view.lineage, state.view.term));
        if let Some((lineage, term)) = leads
            && state.led != leads
        {
            self.tell(term.0, || {
                format!("{} LEADS term {term} of {lineage}", node_name(node))
            });
            self.fact(node, &Fact::Leads)?;
            self.chronicle.leaders.insert((lineage, term), member);
            self.nodes[node].led = leads;
            self.acted.push(node);
        }
        if let Some(every) = self.habits.snapshot_every
            && self.nodes[node].since_snapshot >= every
        {
            self.take_snapshot(node);
        }
        self.schedule_wake(node)
    }

    /// Sees to it that the core gets its tick. A deadline that has passed already is due at the
    /// next instant; a core that sets nothing but such deadlines keeps its driver spinning.
    pub(crate) fn schedule_wake(&mut self, node: usize) -> Result<(), Failure> {
        const HASTE: u32 = 500;
        let now = self.queue.now();
        let state = &mut self.nodes[node];
        let Some(core) = &state.core else {
            return Ok(());
        };
        let deadline = core.next_deadline().map(|at| state.clock.true_time(at));
        let wanted = deadline.map(|at| at.max(now + 1));
        if wanted == state.wake_at {
            return Ok(());
        }
        state.wake_at = wanted;
        if wanted == Some(now + 1) {
            let millisecond = now / MILLI;
            let (at, times) = state.haste;
            state.haste = (millisecond, if at == millisecond { times + 1 } else { 0 });
            if times > HASTE {
                let role = core.role();
                let facts = format!(
                    "{} as {role:?} is due at once all the time",
                    node_name(node)
                );
                return Err(self.failure("deadlines move on", facts));
            }
        }
        let life = state.life;
        if let Some(at) = wanted.filter(|at| *at < u64::MAX) {
            self.queue.schedule(at, Event::Wake { node, life });
        }
        Ok(())
    }

    fn send(&mut self, node: usize, message: &Message) -> Result<(), Failure> {
        self.fact(node, &Fact::Sends(message))?;
        let to = crate::node::Node::of_key(message.to.peer);
        if to >= self.nodes.len() || to == node {
            return Err(self.failure("messages go to peers", format!("{message:?}")));
        }
        let bytes = message.encode();
        self.trace.mix_bytes(&bytes);
        if self.trace.is_read() {
            let text = story::tell(message);
            let key = to as u64;
            self.tell(key, || {
                format!("{} -> {} {text}", node_name(node), node_name(to))
            });
        }
        if !self.links.is_up(node, to) {
            return Ok(());
        }
        self.transmit(node, to, story::kind(&message.body), bytes);
        Ok(())
    }

    fn persist(&mut self, node: usize, token: Token, writes: Vec<Write>) -> Result<(), Failure> {
        let mut lineage = self.nodes[node].disk.written().hard.lineage;
        for write in &writes {
            if let Write::HardState(bytes) = write {
                lineage = HardState::decode(bytes.clone())
                    .map_err(|error| self.failure("hard state decodes", error.to_string()))?
                    .lineage;
            }
        }
        let mut record = 0;
        let mut leads = false;
        for write in writes {
            self.fact(
                node,
                &Fact::Writes {
                    lineage,
                    write: &write,
                },
            )?;
            leads |= matches!(write, Write::Append(_)) && self.nodes[node].leads();
            if self.trace.is_read() {
                let text = describe(&write);
                self.tell(token.0, || format!("{} writes {text}", node_name(node)));
            }
            record = self.nodes[node].disk.write(Record::Core(write));
        }
        if leads {
            self.acted.push(node);
        }
        self.sync_later(
            node,
            Sync {
                record,
                confirms: Confirms::Writes(token),
            },
        )
    }

    /// Asks the disk to make writes durable; a memory-only member's are so at once.
    fn sync_later(&mut self, node: usize, sync: Sync) -> Result<(), Failure> {
        if !self.nodes[node].durable {
            self.make_durable(node, sync.record)?;
        }
        let now = self.queue.now();
        let state = &mut self.nodes[node];
        let takes = if state.durable {
            state.sync_time.unwrap_or_default()
        } else {
            0
        };
        let takes = if takes == 0 {
            0
        } else {
            self.disk_rng.between(takes / 2, takes)
        };
        let at = state.next_sync(now, takes);
        let life = state.life;
        state.syncing.push_back(sync);
        self.queue.schedule(at, Event::Synced { node, life });
        Ok(())
    }

    pub(crate) fn make_durable(&mut self, node: usize, record: u64) -> Result<(), Failure> {
        let disk = &self.nodes[node].disk;
        let (old, new) = (disk.durable().hard.member, disk.written().hard.member);
        if old != new {
            // The node goes on as another member; what the old one promised it had kept.
            self.bury(disk.durable().clone());
        }
        self.nodes[node].disk.sync(record);
        self.fact(node, &Fact::Synced)?;
        self.note_vote(node);
        Ok(())
    }

    pub(crate) fn note_vote(&mut self, node: usize) {
        let hard = &self.nodes[node].disk.durable().hard;
        if let Some(vote) = hard.vote {
            self.chronicle
                .votes
                .insert((hard.member, hard.lineage, hard.term), vote);
        }
    }

    fn apply(&mut self, node: usize, entries: Vec<CommittedEntry>) -> Result<(), Failure> {
        // The step may have led the core out of the lineage that these entries are of.
        let lineage = self.nodes[node].lineage;
        let after = core::mem::replace(&mut self.nodes[node].view.lineage, lineage);
        let mut last = self.nodes[node].applied;
        for applied in entries {
            self.fact(node, &Fact::Applies(&applied))?;
            let term = self.nodes[node].view.term.max(applied.entry.term);
            self.chronicle.note(lineage, &applied, term);
            last = applied.entry.index;
            if let Ok(EntryBody::Commands(commands)) = applied.entry.decode() {
                for bytes in commands.iter() {
                    self.apply_command(node, &Command::decode(bytes));
                }
            }
            let state = &mut self.nodes[node];
            state.applied = last;
            state.since_snapshot += 1;
            let digest = state.machine.digest;
            self.tell(digest, || {
                let body = applied.entry.decode().ok();
                let what = body.map_or_else(String::new, |body| brief(&body));
                format!(
                    "{} applies {} {what}",
                    node_name(node),
                    applied.entry.position()
                )
            });
        }
        self.nodes[node].view.lineage = after;
        self.applied_later(node, last);
        Ok(())
    }

    fn apply_command(&mut self, node: usize, command: &Command) {
        let state = &mut self.nodes[node];
        let reply = state.machine.apply(command);
        let waiting = state.waiting.values_mut().flatten();
        for waiting in waiting.filter(|waiting| waiting.tag == command.tag) {
            waiting.reply = Some(reply);
        }
    }

    /// The machine starts anew: its lineage has changed.
    fn new_machine(&mut self, node: usize, lineage: Lineage) -> Result<(), Failure> {
        let state = &mut self.nodes[node];
        state.machine = Machine::default();
        state.applied = LogIndex::ZERO;
        state.lineage = lineage;
        state.since_snapshot = 0;
        self.fact(node, &Fact::Begins)
    }

    fn fetch(&mut self, node: usize, from: LogIndex, upto: LogIndex, max_bytes: usize) {
        let image = self.nodes[node].disk.written();
        let mut bytes = 0;
        let mut entries = Vec::new();
        let mut index = from;
        while index <= upto
            && let Some(entry) = image.entry(index)
        {
            bytes += entry.body.len();
            if !entries.is_empty() && bytes > max_bytes {
                break;
            }
            entries.push(entry.clone());
            index = index.next();
        }
        // A disk that stalls answers late, with what was there when it was asked.
        let slowest = if self.rng.chance(self.habits.stalled_reads) {
            3_000 * MILLI
        } else {
            3 * MILLI
        };
        let after = self.rng.below(slowest);
        self.tell_later(node, after, Input::Fetched { from, entries });
    }

    /// Stores a snapshot of a node's machine, if its core can describe one.
    pub fn take_snapshot(&mut self, node: usize) {
        let keep = self.habits.keep_entries;
        let state = &mut self.nodes[node];
        let Some(core) = state.core.as_ref() else {
            return;
        };
        if state.snapshotting || state.lineage != state.view.lineage || state.applied.is_zero() {
            return;
        }
        let Some(meta) = core.snapshot_meta(state.applied) else {
            return;
        };
        let newer = state
            .disk
            .written()
            .snapshot
            .as_ref()
            .is_none_or(|snapshot| {
                snapshot.lineage != state.lineage || snapshot.meta.last.index < meta.last.index
            });
        if meta.last.index != state.applied || !newer {
            return;
        }
        state.snapshotting = true;
        state.since_snapshot = 0;
        let upto = LogIndex(meta.last.index.0.saturating_sub(keep));
        let (lineage, machine) = (state.lineage, state.machine.clone());
        let snapshot = Box::new(Snapshot {
            lineage,
            meta: meta.clone(),
            machine,
        });
        let record = state.disk.write(Record::Snapshot(snapshot));
        let confirms = Confirms::Taken(Box::new(meta), upto);
        self.tell(upto.0, || format!("{} takes a snapshot", node_name(node)));
        self.sync_later(node, Sync { record, confirms })
            .expect("a snapshot changes nothing that an invariant looks at");
    }

    /// The data of a snapshot comes from `source`, or whoever has it and can be reached.
    pub(crate) fn snapshot_arrives(
        &mut self,
        node: usize,
        life: u32,
        meta: &SnapshotMeta,
        source: Member,
    ) -> Result<(), Failure> {
        if self.nodes[node].life != life || !self.nodes[node].is_up() {
            return Ok(());
        }
        let lineage = self.nodes[node].subject().lineage;
        let mut donors: Vec<usize> = (0..self.nodes.len())
            .filter(|donor| *donor != node && self.nodes[*donor].is_up())
            .filter(|donor| self.network.connected(*donor, node))
            .collect();
        donors.sort_by_key(|donor| self.nodes[*donor].member != source);
        let found = donors.iter().find_map(|donor| {
            let snapshot = self.nodes[*donor].disk.written().snapshot.as_ref()?;
            let fits = snapshot.lineage == lineage && snapshot.meta.last == meta.last;
            fits.then(|| snapshot.clone())
        });
        let state = &mut self.nodes[node];
        let wanted = state
            .core
            .as_ref()
            .is_some_and(|core| core.wants_snapshot(meta.last));
        let Some(snapshot) = found.filter(|_| wanted) else {
            return self.input(node, Input::SnapshotFailed(meta.last));
        };
        let record = state.disk.write(Record::Snapshot(snapshot.clone()));
        self.sync_later(
            node,
            Sync {
                record,
                confirms: Confirms::Installed(snapshot),
            },
        )
    }

    /// A snapshot of another member is stored: it is the machine's state now, unless the log has
    /// led beyond it meanwhile.
    pub(crate) fn installed(&mut self, node: usize, snapshot: Snapshot) -> Result<(), Failure> {
        let last = snapshot.meta.last;
        let lineage = self.nodes[node].subject().lineage;
        let state = &mut self.nodes[node];
        let wanted = state
            .core
            .as_ref()
            .is_some_and(|core| core.wants_snapshot(last));
        if lineage != snapshot.lineage || !wanted {
            return self.input(node, Input::SnapshotFailed(last));
        }
        state.machine = snapshot.machine;
        state.applied = last.index;
        state.lineage = lineage;
        state.since_snapshot = 0;
        self.tell(last.index.0, || {
            format!("{} installs a snapshot to {last}", node_name(node))
        });
        self.fact(node, &Fact::Installs(last.index))?;
        self.input(node, Input::SnapshotInstalled(last))
    }

    fn news(&mut self, node: usize, news: &News) -> Result<(), Failure> {
        let text = format!("{news:?}");
        let key = text
            .bytes()
            .fold(0, |hash, byte| splitmix64(hash ^ u64::from(byte)));
        self.tell(key, || format!("{}: {text}", node_name(node)));
        match news {
            News::Continued { from, into } => {
                self.nodes[node].lineage = *into;
                let (from, applied) = (*from, self.nodes[node].applied);
                self.chronicle.go_on(from, *into, applied);
                self.fact(node, &Fact::Continues { from, applied })?;
            }
            News::Lineage(lineage) if self.nodes[node].lineage == *lineage => {}
            News::Lineage(lineage) => self.new_machine(node, *lineage)?,
            News::Merged { dropped, .. } => {
                self.dropped += dropped;
                self.new_machine(node, Lineage::NONE)?;
            }
            News::Left => {
                self.end_process(node, Process::Absent);
                self.crash_disk(node, Unsynced::Kept);
                // Some drivers delete what is stored, some forget to.
                if self.rng.chance(500) {
                    self.lose_disk(node);
                }
            }
            News::Stopped(why) if self.nodes[node].process == Process::Running => {
                if self.nodes[node].disk_failed {
                    self.end_process(node, Process::Down);
                } else {
                    return Err(self.failure("members do not stop by themselves", *why));
                }
            }
            News::Violation { peer, what } => {
                let facts = format!("{} of {peer}: {what}", node_name(node));
                return Err(self.failure("correct members accuse nobody", facts));
            }
            _ => {}
        }
        Ok(())
    }
}

fn describe(write: &Write) -> String {
    match write {
        Write::HardState(bytes) => match HardState::decode(bytes.clone()) {
            Ok(hard) => format!(
                "lineage {} term {} vote {:?} commit {}",
                hard.lineage, hard.term, hard.vote, hard.commit
            ),
            Err(error) => error.to_string(),
        },
        Write::Append(entries) => {
            let each = entries.iter().map(|entry| {
                let body = entry
                    .decode()
                    .map_or_else(|e| e.to_string(), |body| brief(&body));
                format!("{} {body}", entry.position())
            });
            format!("entries {}", each.collect::<Vec<_>>().join(", "))
        }
        other => format!("{other:?}"),
    }
}

fn brief(body: &EntryBody) -> String {
    match body {
        EntryBody::Commands(commands) => {
            let each = commands
                .iter()
                .zip(commands.ops())
                .map(|(bytes, (_, seq))| {
                    let command = Command::decode(bytes);
                    format!(
                        "#{}/{seq} {:?} of {}",
                        command.tag, command.call, command.key
                    )
                });
            each.collect::<Vec<_>>().join("; ")
        }
        EntryBody::Membership(membership) => format!(
            "members {:?} learners {:?}",
            membership.voters(),
            membership.learners()
        ),
        other => format!("{other:?}"),
    }
}
