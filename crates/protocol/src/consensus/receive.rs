//! What a message has to get past before it means anything.

use super::{
    core::{Core, Role},
    ids::{Lineage, Member},
    input::Outputs,
    message::{Body, Hello, Message},
    mutants::mutant,
};

impl Core {
    pub(super) fn receive(&mut self, message: Message, out: &mut Outputs) {
        let me = self.me();
        let to_me = message.to == me
            || message.to.peer == me.peer
                && (is_for_any_incarnation(&message.body) || mutant!("incarnation-ignored"));
        if !to_me || message.from.peer == me.peer {
            return;
        }
        match message.body {
            Body::Hello(hello) => self.on_hello(message.from, message.lineage, &hello, out),
            Body::Genesis(entry) => self.on_genesis(message.from, message.lineage, entry, out),
            Body::Resubmit(resubmit) => {
                self.on_resubmit(message.from, message.lineage, &resubmit, out);
            }
            Body::ResubmitAnswer { lineage, .. } if lineage == self.lineage() => {
                self.on_resubmit_answer(message.from, message.lineage, &message.body, out);
            }
            Body::ResubmitAnswer { .. } => {}
            _ => self.receive_in_lineage(message, out),
        }
    }

    /// The lineage this member belongs to; [`Lineage::NONE`] for none.
    pub(super) fn lineage(&self) -> Lineage {
        self.storing.hard().lineage
    }

    fn receive_in_lineage(&mut self, message: Message, out: &mut Outputs) {
        if message.lineage.is_none() {
            return;
        }
        if self.lineage().is_none() {
            if !is_from_leader(&message.body) {
                return;
            }
            self.adopt_lineage(message.lineage, out);
        }
        if message.lineage != self.lineage() || matches!(self.role, Role::Retired(_)) {
            return;
        }
        let current = self.storing.hard().term;
        let deposes = matches!(
            message.body,
            Body::AppendAck { .. }
                | Body::AppendReject { .. }
                | Body::HeartbeatAck { .. }
                | Body::VoteAnswer { .. }
                | Body::GenesisAnswer { .. }
        );
        if deposes && message.term > current {
            self.become_follower(message.term, None, out);
        }
        if deposes && message.term != self.storing.hard().term {
            return;
        }
        if is_from_leader(&message.body) {
            if self.follow(message.from, message.term, out) {
                self.receive_from_leader(message, out);
            }
            return;
        }
        self.receive_from_member(message, out);
    }

    fn receive_from_leader(&mut self, message: Message, out: &mut Outputs) {
        let from = message.from;
        match message.body {
            Body::Append {
                prev,
                commit,
                entries,
            } => {
                self.on_append(from, prev, commit, entries, out);
            }
            Body::Heartbeat {
                commit,
                round,
                quiesce,
            } => {
                self.on_heartbeat(from, (commit, round), quiesce, out);
            }
            Body::Snapshot(meta) => self.on_snapshot(from, meta, out),
            _ => {}
        }
    }

    fn receive_from_member(&mut self, message: Message, out: &mut Outputs) {
        let from = message.from;
        match message.body {
            Body::GenesisAnswer { granted } => self.on_genesis_answer(from, granted, out),
            Body::Join { member, preference } => self.on_join(from, member, preference, out),
            Body::Leave { member } => self.on_leave_request(from, member, out),
            Body::Removed if message.term >= self.storing.hard().term => {
                self.on_removed(from, out);
            }
            Body::PreVote { last } => self.on_pre_vote(&message, last, out),
            Body::PreVoteAnswer { term, granted } => {
                self.on_pre_vote_answer(&message, term, granted, out);
            }
            Body::Vote { last, transfer } => self.on_vote(&message, last, transfer, out),
            Body::VoteAnswer { granted } => self.on_vote_answer(from, granted, out),
            Body::AppendAck { matched } => self.on_append_ack(from, matched, out),
            Body::AppendReject { prev, hint } => self.on_append_reject(from, prev, hint, out),
            Body::HeartbeatAck {
                round,
                matched,
                stored,
                quiesced,
            } => {
                self.on_heartbeat_ack(from, (round, matched, stored), quiesced, out);
            }
            Body::Forward(forward) => self.on_forward(from, &forward, out),
            Body::ForwardAnswer(answer) => self.on_forward_answer(from, &answer, out),
            Body::ReadIndex { seq } => self.on_read_index(from, message.term, seq, out),
            Body::ReadIndexAnswer { seq, index } => self.on_read_answer(from, seq, index),
            Body::TimeoutNow if message.term == self.storing.hard().term => {
                self.on_timeout_now(from, out);
            }
            Body::Ping => self.on_ping(from, out),
            Body::Pong if self.following.leader == Some(from) => self.heard_leader(),
            Body::Foreign {
                member,
                lineage,
                hello,
            } => {
                self.on_foreign(member, lineage, &hello, out);
            }
            _ => {}
        }
    }

    /// What this member says about itself.
    pub(super) fn hello(&self, answer: bool) -> Box<Hello> {
        let leader = match &self.role {
            Role::Leader(leader) => Some(self.me()).filter(|_| leader.is_ready(self.commit)),
            Role::Follower => self.following.leader,
            _ => None,
        };
        let voters = match &self.role {
            Role::Leader(leader) => leader.most_voters,
            _ => self.log.membership().voters().len() as u32,
        };
        let sees = match &self.role {
            Role::Fresh(fresh) => fresh.sees(),
            _ => Vec::new(),
        };
        Box::new(Hello {
            group: self.config.group,
            age_ms: self.now.since(self.started).as_millis() as u64,
            preference: self.config.preference,
            formed: !self.commit.is_zero(),
            leader,
            committed: self.committed_commands(),
            voters,
            sealed: self.seal_in_log().is_some() || matches!(self.role, Role::Retired(_)),
            cut: self.is_cut(),
            sees,
            answer,
        })
    }

    pub(super) fn say_hello(&mut self, to: Member, answer: bool, out: &mut Outputs) {
        let hello = self.hello(answer);
        self.send(to, Body::Hello(hello), out);
    }
}

/// A hello may come before its sender knows which incarnation it talks to.
fn is_for_any_incarnation(body: &Body) -> bool {
    matches!(body, Body::Hello(_))
}

fn is_from_leader(body: &Body) -> bool {
    matches!(
        body,
        Body::Append { .. } | Body::Heartbeat { .. } | Body::Snapshot(_)
    )
}
