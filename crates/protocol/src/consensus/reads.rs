//! Strong reads by `ReadIndex` (dissertation §6.4): a leader that has committed in its term notes
//! its commit index, proves with one round of heartbeats that it still leads, and may then read
//! there. One round serves all reads that wait. Followers ask the leader and read locally; where
//! asker and leader are a majority, the question itself is the round.

use {
    super::{
        config::limits,
        core::{Core, Role},
        ids::{LogIndex, Member, Term},
        input::{Output, Outputs, ReadId, ReadOutcome},
        leader::electorate,
        message::Body,
        mutants::mutant,
        proposals::SEQUENCES_BITS,
    },
    mosaik_primitives::time::Instant,
    std::collections::VecDeque,
};

/// Rounds of one leader, or questions of one follower, on their way at one time. More reads wait
/// for the next.
const IN_FLIGHT: usize = 4;

#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    id: ReadId,
    deadline: Instant,
}

/// Strong reads of this member's callers.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Not asked for yet.
    queue: VecDeque<Waiting>,
    /// Asked for at the leader, by question.
    asked: VecDeque<(u64, Vec<Waiting>, Instant)>,
    /// Allowed, once the log is handed out up to there.
    ready: VecDeque<(LogIndex, Waiting)>,
    seq: u64,
}

/// Reads that a leader has noted an index for, by the round that confirms them.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    pending: VecDeque<Round>,
    /// Questions of followers that wait for a round.
    questions: Vec<(Member, u64)>,
}

#[derive(Debug)]
struct Round {
    number: u64,
    index: LogIndex,
    own: Vec<Waiting>,
    questions: Vec<(Member, u64)>,
}

impl Rounds {
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.questions.is_empty()
    }

    /// Takes this member's own reads out.
    pub(super) fn drain(&mut self) -> Vec<Waiting> {
        self.questions.clear();
        self.pending.drain(..).flat_map(|round| round.own).collect()
    }
}

impl Reads {
    /// No reads. Questions are numbered on from where no earlier start of this member can have
    /// come: an answer to one of its questions may arrive late.
    pub(super) fn new(starts: u64) -> Self {
        Self {
            seq: starts << SEQUENCES_BITS,
            ..Self::default()
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.asked.is_empty() && self.ready.is_empty()
    }

    /// When something is due. Asking again is due only while there is somebody to ask.
    pub(super) fn deadline(&self, can_ask: bool) -> Option<Instant> {
        let queue = self.queue.front().map(|waiting| waiting.deadline);
        let asked = self.asked.front().and_then(|(_, waiting, retry)| {
            let expiry = waiting.first().map(|waiting| waiting.deadline);
            let retry = can_ask.then_some(*retry);
            expiry.into_iter().chain(retry).min()
        });
        let ready = self.ready.front().map(|(_, waiting)| waiting.deadline);
        [queue, asked, ready].into_iter().flatten().min()
    }

    /// Questions have to be asked again, of whoever leads now.
    pub(super) fn requeue(&mut self) {
        for (_, waiting, _) in self.asked.drain(..).rev() {
            for waiting in waiting.into_iter().rev() {
                self.queue.push_front(waiting);
            }
        }
    }

    pub(super) fn take_back(&mut self, reads: Vec<Waiting>) {
        for waiting in reads.into_iter().rev() {
            self.queue.push_front(waiting);
        }
    }

    pub(super) fn expire(&mut self, now: Instant, out: &mut Outputs) {
        let mut offline = |waiting: &Waiting| {
            let live = waiting.deadline > now;
            if !live {
                out.push(Output::Read(waiting.id, ReadOutcome::Offline));
            }
            live
        };
        if self
            .queue
            .front()
            .is_some_and(|waiting| waiting.deadline <= now)
        {
            self.queue.retain(&mut offline);
        }
        if self
            .ready
            .front()
            .is_some_and(|(_, waiting)| waiting.deadline <= now)
        {
            self.ready.retain(|(_, waiting)| offline(waiting));
        }
        for (_, waiting, _) in &mut self.asked {
            if waiting
                .first()
                .is_some_and(|waiting| waiting.deadline <= now)
            {
                waiting.retain(&mut offline);
            }
        }
        self.asked.retain(|(_, waiting, _)| !waiting.is_empty());
    }

    pub(super) fn fail(&mut self, out: &mut Outputs) {
        self.requeue();
        let ready = self.ready.drain(..).map(|(_, waiting)| waiting);
        for waiting in self.queue.drain(..).chain(ready) {
            out.push(Output::Read(waiting.id, ReadOutcome::Offline));
        }
    }

    /// Lets go what the log handed out so far allows.
    pub(super) fn release(&mut self, emitted: LogIndex, out: &mut Outputs) {
        while let Some((index, waiting)) = self.ready.pop_front_if(|(at, _)| *at <= emitted) {
            out.push(Output::Read(waiting.id, ReadOutcome::Ready(index)));
        }
    }

    fn allow(&mut self, index: LogIndex, reads: Vec<Waiting>) {
        let index = index.max(
            self.ready
                .back()
                .map_or(LogIndex::ZERO, |(index, _)| *index),
        );
        self.ready
            .extend(reads.into_iter().map(|waiting| (index, waiting)));
    }

    fn len(&self) -> usize {
        let asked: usize = self.asked.iter().map(|(_, waiting, _)| waiting.len()).sum();
        self.queue.len() + self.ready.len() + asked
    }
}

impl Core {
    pub(super) fn read(&mut self, id: ReadId, out: &mut Outputs) {
        if self.reads.len() >= limits::PENDING_READS {
            out.push(Output::Read(id, ReadOutcome::Overloaded));
            return;
        }
        let deadline = self.now + self.config.query_timeout;
        self.reads.queue.push_back(Waiting { id, deadline });
        self.wake();
        self.rouse(out);
        self.ask_to_read(out);
    }

    /// As follower: asks the leader where to read; repeats questions that seem lost.
    pub(super) fn ask_to_read(&mut self, out: &mut Outputs) {
        if !matches!(self.role, Role::Follower) {
            return;
        }
        let Some(leader) = self.following.leader else {
            return;
        };
        let retry = self.now + self.config.heartbeat_interval;
        let mut questions = Vec::new();
        for (seq, _, at) in &mut self.reads.asked {
            if *at <= self.now {
                *at = retry;
                questions.push(*seq);
            }
        }
        if !self.reads.queue.is_empty() && self.reads.asked.len() < IN_FLIGHT {
            self.reads.seq += 1;
            let waiting = self.reads.queue.drain(..).collect();
            self.reads.asked.push_back((self.reads.seq, waiting, retry));
            questions.push(self.reads.seq);
        }
        for seq in questions {
            self.send(leader, Body::ReadIndex { seq }, out);
        }
    }

    pub(super) fn on_read_index(&mut self, from: Member, term: Term, seq: u64, out: &mut Outputs) {
        let known = self.log.membership().standing(&from).is_some();
        self.wake();
        if self.is_vouched_for(from, term) {
            let index = Some(self.commit);
            self.send(from, Body::ReadIndexAnswer { seq, index }, out);
            return;
        }
        match &mut self.role {
            Role::Leader(leader)
                if known && leader.rounds.questions.len() < limits::PENDING_READS =>
            {
                leader.rounds.questions.push((from, seq));
            }
            _ => self.send(from, Body::ReadIndexAnswer { seq, index: None }, out),
        }
    }

    /// Whether this member leads and, by a question of this term, surely still did when the reads
    /// behind it began: the asker had voted for nobody later when it asked, this member has not
    /// by now, and the two are a majority. Then no round is needed. True of voters of groups of
    /// up to three.
    fn is_vouched_for(&self, from: Member, term: Term) -> bool {
        let Role::Leader(leader) = &self.role else {
            return false;
        };
        let me = self.me();
        let majority = electorate(self.log.membership(), &self.links)
            .is_quorum(|voter| *voter == me || *voter == from);
        term == self.storing.hard().term
            && leader.is_ready(self.commit)
            && (majority || mutant!("one-asker-suffices"))
    }

    pub(super) fn on_read_answer(&mut self, from: Member, seq: u64, index: Option<LogIndex>) {
        if self.following.leader != Some(from) {
            return;
        }
        let at = self
            .reads
            .asked
            .iter()
            .position(|(asked, _, _)| *asked == seq);
        if let (Some(at), Some(index)) = (at, index)
            && let Some((_, waiting, _)) = self.reads.asked.remove(at)
        {
            self.reads.allow(index, waiting);
        }
    }

    /// As leader: starts rounds for reads that wait, and lets go those that are confirmed.
    pub(super) fn serve_reads(&mut self, out: &mut Outputs) {
        self.start_round(out);
        self.finish_rounds(out);
    }

    fn start_round(&mut self, out: &mut Outputs) {
        let queue = &mut self.reads.queue;
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let nothing = queue.is_empty() && leader.rounds.questions.is_empty();
        let ready = leader.is_ready(self.commit) || mutant!("read-before-own-term");
        if nothing || !ready || leader.rounds.pending.len() >= IN_FLIGHT {
            return;
        }
        let own = queue.drain(..).collect();
        let questions = std::mem::take(&mut leader.rounds.questions);
        let index = self.commit;
        let number = leader.round + 1;
        leader.rounds.pending.push_back(Round {
            number,
            index,
            own,
            questions,
        });
        if let Some((leader, mut cx)) = self.leading() {
            leader.heartbeat(false, &mut cx, out);
        }
    }

    fn finish_rounds(&mut self, out: &mut Outputs) {
        loop {
            let Some((leader, cx)) = self.leading() else {
                return;
            };
            let Some(round) = leader.rounds.pending.front().map(|round| round.number) else {
                return;
            };
            let me = cx.me();
            let confirmed = electorate(cx.log.membership(), cx.links).is_quorum(|voter| {
                *voter == me
                    || leader
                        .peers
                        .get(voter)
                        .is_some_and(|p| p.acked_round >= round)
            });
            if !confirmed && !mutant!("stale-read") {
                return;
            }
            let Some(round) = leader.rounds.pending.pop_front() else {
                return;
            };
            let Round {
                index,
                own,
                questions,
                ..
            } = round;
            self.reads.allow(index, own);
            for (member, seq) in questions {
                let index = Some(index);
                self.send(member, Body::ReadIndexAnswer { seq, index }, out);
            }
            self.reads.release(self.emitted, out);
        }
    }
}
