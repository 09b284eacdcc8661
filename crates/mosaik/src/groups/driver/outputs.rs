//! What a core asks for.

use {
    super::{
        inbox::Command,
        io::{Io, peer_key},
        member::{Member, Over},
        timers::Timer,
    },
    crate::{
        PeerId,
        groups::{
            error::Halted,
            event::Event,
            lanes::Frame,
            status::peer_id,
            store::{self, Store},
        },
        network::close::ProtocolViolation,
    },
    bytes::Bytes,
    mosaik_primitives::{Digest, time::Instant},
    mosaik_protocol::consensus::{
        self, Body, CommittedEntry, Input, LogIndex, Message, Outcome, Output, Outputs, ProposalId,
        ReadId, ReadOutcome, Token, Write,
    },
    std::sync::Arc,
};

impl Member {
    /// Carries out what the core asks for, in order. The core is told nothing meanwhile.
    pub(super) fn carry_out(&mut self, outputs: &mut Outputs, io: &mut Io) {
        for output in outputs.drain(..) {
            match output {
                Output::Send(message) => self.send(&message, io.now),
                Output::Persist { token, writes } => {
                    self.persist(token, writes, io);
                }
                Output::Apply(entries) => self.apply(entries, io.now),
                Output::Fetch {
                    from,
                    upto,
                    max_bytes,
                } => {
                    self.fetch((from, upto), max_bytes, io);
                }
                Output::FetchSnapshot { meta, source } => {
                    self.cutting.want(meta.clone());
                    self.machine.synchronise(*meta, source);
                }
                Output::Proposal(id, outcome) => self.resolve(id, outcome, io),
                Output::Read(id, outcome) => self.answer(id, outcome),
                Output::Event(event) => self.on_event(&event, io),
                other => unreachable!("the driver knows every output: {other:?}"),
            }
        }
    }

    /// Queues a message. What finds no room or no bond is lost, which the core makes good.
    fn send(&mut self, message: &Message, now: Instant) {
        let up = self
            .bonds
            .get(&message.to.peer)
            .and_then(|bond| bond.up.as_ref());
        let Some(up) = up else {
            return;
        };
        if matches!(message.body, Body::Snapshot(_)) {
            self.cutting.note_offer(now);
        }
        self.pacing.note_sent(message);
        let message = message.encode();
        let len = message.len() as u64;
        let slot = up.slot;
        let metrics = &self.shared.metrics;
        if up.lane.send(Frame::Core { slot, message }).is_ok() {
            metrics.messages_sent.increment(1);
            metrics.bytes_sent.increment(len);
        } else {
            metrics.messages_dropped.increment(1);
        }
    }

    fn persist(&mut self, token: Token, writes: Vec<Write>, io: &mut Io) {
        match (&mut self.store, &mut io.disk) {
            (Store::Memory(log), _) => {
                log.persist(writes);
                self.confirm = self.confirm.max(Some(token));
            }
            (Store::Disk(log), Some(disk)) => disk.persist(log, token, writes, io.now),
            (Store::Disk(_), None) => unreachable!("a member on disk has a disk"),
        }
    }

    /// Reads entries back; from a disk in a thread that may wait for it.
    fn fetch(&mut self, range: (LogIndex, LogIndex), max_bytes: usize, io: &Io) {
        let from = range.0;
        match (&self.store, &io.disk) {
            (Store::Memory(log), _) => {
                let entries = log.fetch(from, range.1, max_bytes);
                self.inputs.push_back(Input::Fetched { from, entries });
            }
            (Store::Disk(log), Some(disk)) => {
                let (mut reader, group, slot) = (disk.reader(), log.group(), self.slot);
                let inbox = Arc::clone(&io.inbox);
                io.spawn_blocking(move || {
                    let entries = store::fetch(&mut reader, group, range, max_bytes);
                    // Before the news of it: the last handle to go closes the store.
                    drop(reader);
                    inbox.tell(Command::Fetched {
                        slot,
                        from,
                        entries,
                    });
                });
            }
            (Store::Disk(_), None) => unreachable!("a member on disk has a disk"),
        }
    }

    fn apply(&mut self, entries: Vec<CommittedEntry>, now: Instant) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return;
        };
        if first.entry.index <= self.handed_out {
            self.start_over();
        }
        self.handed_out = last.entry.index;
        self.cutting.marks.note(&entries);
        let bytes = entries.iter().map(|committed| committed.entry.body.len());
        self.pacing.note_committed(bytes.sum(), now);
        let handed_out = last.before.0 + u64::from(last.count);
        let applied = u64::from(self.shared.progress.borrow().committed);
        let metrics = &self.shared.metrics;
        metrics.committed.set(handed_out as f64);
        metrics
            .apply_lag
            .record(handed_out.saturating_sub(applied) as f64);
        self.machine.apply(entries);
    }

    fn resolve(&mut self, id: ProposalId, outcome: Outcome, io: &Io) {
        let id = id as usize;
        if let Outcome::Accepted { first, term } = outcome {
            if let Some(waiting) = self.proposals.get_mut(id) {
                waiting.reply.accept(term, first);
            }
            return;
        }
        let Some(waiting) = self.proposals.try_remove(id) else {
            return;
        };
        if matches!(outcome, Outcome::Committed { .. }) {
            self.holding.note_answered(io.now);
            let took = io.now.since(waiting.since);
            self.shared.metrics.commit_latency.record(took);
        }
        self.machine.resolve(waiting.reply, outcome);
    }

    fn answer(&mut self, id: ReadId, outcome: ReadOutcome) {
        let Some(question) = self.reads.try_remove(id as usize) else {
            return;
        };
        match outcome {
            ReadOutcome::Ready(_) => self.machine.answer(question),
            other => self.machine.refuse(question, other),
        }
    }

    fn on_event(&mut self, event: &consensus::Event, io: &mut Io) {
        use consensus::Event as News;
        let digest = |lineage: consensus::Lineage| Digest::from_bytes(lineage.0);
        let shown = match *event {
            News::Leader { leader, term } => {
                let leader = leader.as_ref().and_then(peer_id);
                self.count_leader(leader, io.local());
                let term = term.into();
                Event::Leader { leader, term }
            }
            News::Membership(_) => Event::Membership,
            News::Continued { from, into } => self.continue_as(digest(from), digest(into)),
            News::Lineage(lineage) => {
                self.machine.change_lineage(digest(lineage));
                Event::Lineage(digest(lineage))
            }
            News::Sealed {
                lineage,
                winner,
                commands,
            } => {
                tracing::warn!(
                    group = ?self.config.group_id(), %lineage, %winner, %commands,
                    "the group had formed twice: this side gives way",
                );
                return;
            }
            News::Merged {
                from,
                into,
                commands,
                resubmitted,
                dropped,
            } => {
                tracing::warn!(
                    group = ?self.config.group_id(), %from, %into, %commands, resubmitted, dropped,
                    "merged into the other side of the group",
                );
                self.shared.metrics.merges.increment(1);
                self.start_over();
                Event::Merged {
                    from: digest(from),
                    into: digest(into),
                    commands: commands.into(),
                    resubmitted,
                    dropped,
                }
            }
            News::Apart(lineage) => Event::Apart(digest(lineage)),
            News::Removed => Event::Removed,
            News::Left => {
                self.over.get_or_insert(Over::Left);
                return;
            }
            News::Violation { peer, what } => {
                self.on_violation(peer, what, io);
                return;
            }
            News::Stopped(why) => {
                if self.over.is_none() {
                    self.halt(Halted::Other(why.into()));
                }
                return;
            }
            _ => return,
        };
        self.news.push(shown);
    }

    /// The member goes on from its own log, with the state as it is.
    fn continue_as(&mut self, from: Digest, into: Digest) -> Event {
        tracing::warn!(
            group = ?self.config.group_id(), %from, %into,
            "goes on from its own log in a lineage of its own",
        );
        self.machine.continue_lineage(into);
        if let Some(position) = self.cutting.want_nothing() {
            // Of the lineage that was left.
            self.inputs.push_back(Input::SnapshotFailed(position));
        }
        Event::Continued { from, into }
    }

    fn count_leader(&self, leader: Option<PeerId>, local: PeerId) {
        let metrics = &self.shared.metrics;
        let before = self.shared.leadership.borrow().leader;
        if leader.is_some() && leader != before {
            metrics.leader_changes.increment(1);
        }
        if leader == Some(local) {
            metrics.elections.increment(1);
        }
    }

    /// A peer of the group sent what no correct member sends.
    fn on_violation(&mut self, key: consensus::PeerKey, what: &'static str, io: &Io) {
        let Ok(peer) = PeerId::from_bytes(&key.0) else {
            return;
        };
        self.report_violation(peer, what.to_owned());
        // Bonds are ended between the core's steps.
        io.close_bond(self.slot, peer, ProtocolViolation::REASON.code);
    }

    /// Tells programs of a peer that misbehaves.
    pub(super) fn report_violation(&self, peer: PeerId, what: String) {
        tracing::warn!(
            group = ?self.config.group_id(), peer = %peer.fmt_short(), what, "violation",
        );
        self.shared.metrics.violations.increment(1);
        self.shared.tell(Event::Violation { peer, what });
    }

    /// A message of the core arrived from a peer; says what is wrong with it.
    pub(super) fn on_message(
        &mut self,
        peer: PeerId,
        message: Bytes,
        io: &mut Io,
    ) -> Result<(), &'static str> {
        let key = peer_key(&peer);
        let bonded = self.bonds.get(&key).is_some_and(|bond| bond.up.is_some());
        if !bonded {
            // It was under way when the bond ended.
            return Ok(());
        }
        let metrics = &self.shared.metrics;
        metrics.messages_received.increment(1);
        metrics.bytes_received.increment(message.len() as u64);
        let bytes = message.len();
        if !self.cutting.takes(bytes) {
            metrics.messages_dropped.increment(1);
            return Ok(());
        }
        let message = Message::decode(message).map_err(|_| "a message that cannot be read")?;
        if message.from.peer != key {
            return Err("a message in another's name");
        }
        let next = self.pacing.take(message, bytes, io.now);
        self.receive(next, io);
        Ok(())
    }

    /// Hands messages to the core, this one and what was held back before.
    fn receive(&mut self, mut next: Option<Message>, io: &mut Io) {
        while let Some(message) = next {
            self.handle(Input::Receive(message), io);
            next = self.pacing.next(io.now);
        }
        let (timer, at) = (Timer::Pacing(self.slot), self.pacing.wake_at(io.now));
        io.timers.set(timer, &mut self.pacing.timer, at);
    }

    /// What was held back may go on.
    pub(super) fn on_pacing_timer(&mut self, io: &mut Io) {
        self.pacing.timer = None;
        let next = self.pacing.next(io.now);
        self.receive(next, io);
    }

    /// A message of a peer's state synchronisation.
    pub(super) fn on_sync(&self, peer: PeerId, message: Bytes) {
        let bond = self.bonds.get(&peer_key(&peer));
        if bond.is_some_and(|bond| bond.up.is_some()) {
            self.machine.receive(peer, message);
        }
    }

    /// Sends a message of this node's state synchronisation.
    pub(super) fn send_sync(&self, peer: PeerId, message: Bytes, io: &mut Io) {
        let bond = self.bonds.get(&peer_key(&peer));
        let Some(up) = bond.and_then(|bond| bond.up.as_ref()) else {
            return;
        };
        let frame = Frame::Sync {
            slot: up.slot,
            message,
        };
        if !io.peers.send_bulk(peer, frame) {
            self.shared.metrics.messages_dropped.increment(1);
        }
    }
}
