//! What clients ask of nodes, and how that ends.

use {
    super::World,
    crate::{
        failure::Failure,
        history::{Call, OperationId, Reply},
        invariants::{Fact, node_name},
        machine::Command,
        node::{Waiting, WaitingRead},
    },
    mosaik_protocol::consensus::{
        Input, Lineage, LogIndex, Outcome, Proposal, ProposalId, ReadId, ReadOutcome,
    },
};

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With an answer; none when the machine got the command's effect with a snapshot.
    Answered(Option<Reply>),
    /// Surely not done.
    Refused,
    /// Nobody knows.
    Unknown,
}

impl World {
    /// Proposes commands at a node, all or none; the operations.
    pub fn propose(
        &mut self,
        node: usize,
        calls: &[(u8, Call)],
        client: Option<usize>,
    ) -> Result<Vec<OperationId>, Failure> {
        let id = self.number();
        let now = self.now();
        let mut waiting = Vec::new();
        let mut commands = Vec::new();
        for (key, call) in calls {
            let tag = self.number();
            let operation = self.history.invoke(now, *key, *call);
            self.tags.insert(tag, operation);
            self.tell(tag, || {
                format!(
                    "client asks {} for #{tag} {call:?} of {key}",
                    node_name(node)
                )
            });
            waiting.push(Waiting {
                operation,
                tag,
                reply: None,
                client,
            });
            commands.push(
                Command {
                    tag,
                    key: *key,
                    call: *call,
                }
                .encode(),
            );
        }
        let operations = waiting.iter().map(|waiting| waiting.operation).collect();
        if !self.nodes[node].is_up() {
            self.end(&waiting, Ended::Refused);
            return Ok(operations);
        }
        self.nodes[node].waiting.insert(id, waiting);
        self.input(node, Input::Propose(vec![Proposal { id, commands }]))?;
        Ok(operations)
    }

    /// Starts a strong read at a node.
    pub fn read(
        &mut self,
        node: usize,
        key: u8,
        client: Option<usize>,
    ) -> Result<OperationId, Failure> {
        let id = self.number();
        let operation = self.history.invoke(self.now(), key, Call::Read);
        self.tell(id, || {
            format!("client asks {} to read {key}", node_name(node))
        });
        if !self.nodes[node].is_up() {
            self.ended.push((operation, client, Ended::Refused));
            return Ok(operation);
        }
        let lineage = self.nodes[node].subject().lineage;
        let floor = self
            .chronicle
            .line(lineage)
            .map_or(LogIndex::ZERO, crate::chronicle::Line::commit);
        let waiting = WaitingRead {
            operation,
            key,
            floor: (lineage, floor),
            client,
        };
        self.nodes[node].reads.insert(id, waiting);
        self.input(node, Input::Read(id))?;
        Ok(operation)
    }

    fn end(&mut self, waiting: &[Waiting], ended: Ended) {
        for waiting in waiting {
            let ended = match ended {
                Ended::Answered(_) => Ended::Answered(waiting.reply),
                other => other,
            };
            match ended {
                Ended::Answered(Some(reply)) => {
                    let now = self.now();
                    self.history.answer(waiting.operation, now, reply);
                }
                Ended::Refused => self.history.refuse(waiting.operation),
                Ended::Answered(None) | Ended::Unknown => {}
            }
            self.tell(waiting.tag, || format!("#{} ends {ended:?}", waiting.tag));
            self.ended.push((waiting.operation, waiting.client, ended));
        }
    }

    pub(crate) fn proposal_ended(
        &mut self,
        node: usize,
        id: ProposalId,
        outcome: Outcome,
    ) -> Result<(), Failure> {
        if let Outcome::Accepted { .. } = outcome {
            return Ok(());
        }
        let Some(waiting) = self.nodes[node].waiting.remove(&id) else {
            if !self.nodes[node].is_up() {
                return Ok(());
            }
            return Err(self.failure("a proposal ends once", format!("{id}: {outcome:?}")));
        };
        match outcome {
            Outcome::Committed { first } => {
                let lineage = self.nodes[node].lineage;
                let line = self.chronicle.line(lineage);
                for (waiting, at) in waiting.iter().zip(first.0..) {
                    let command = line.and_then(|line| line.commands.get(at as usize - 1));
                    let tag = command.map(|(.., command)| command.tag);
                    if tag != Some(waiting.tag) {
                        let facts = format!(
                            "{} says #{} is command {at} of {lineage}, where #{tag:?} is",
                            node_name(node),
                            waiting.tag
                        );
                        return Err(self.failure("acknowledged where it stands", facts));
                    }
                    self.acknowledged.insert(waiting.tag, lineage);
                    self.answered_in.insert(waiting.operation, lineage);
                }
                self.end(&waiting, Ended::Answered(None));
            }
            Outcome::NotDone(_) => {
                for waiting in &waiting {
                    self.fact(node, &Fact::Refuses { tag: waiting.tag })?;
                }
                self.end(&waiting, Ended::Refused);
            }
            _ => self.end(&waiting, Ended::Unknown),
        }
        Ok(())
    }

    pub(crate) fn read_ended(
        &mut self,
        node: usize,
        id: ReadId,
        outcome: ReadOutcome,
    ) -> Result<(), Failure> {
        let Some(read) = self.nodes[node].reads.remove(&id) else {
            if !self.nodes[node].is_up() {
                return Ok(());
            }
            return Err(self.failure("a read ends once", format!("{id}: {outcome:?}")));
        };
        let ended = if let ReadOutcome::Ready(index) = outcome {
            if self.nodes[node].applied < index {
                let facts = format!("{index} after {}", self.nodes[node].applied);
                return Err(self.failure("what a read needs was handed out before", facts));
            }
            self.fact(
                node,
                &Fact::Reads {
                    floor: read.floor,
                    index,
                },
            )?;
            let reply = Reply::Value(self.nodes[node].machine.read(read.key));
            let now = self.now();
            self.history.answer(read.operation, now, reply);
            let commands = self.nodes[node].machine.commands;
            self.history.place_read(read.operation, commands);
            self.answered_in
                .insert(read.operation, self.nodes[node].lineage);
            Ended::Answered(Some(reply))
        } else {
            Ended::Refused
        };
        self.tell(id, || format!("read at {} ends {ended:?}", node_name(node)));
        self.ended.push((read.operation, read.client, ended));
        Ok(())
    }

    /// A process ended: nobody will answer those who wait there.
    pub(crate) fn abandon_clients(&mut self, node: usize) {
        let waiting: Vec<Waiting> = core::mem::take(&mut self.nodes[node].waiting)
            .into_values()
            .flatten()
            .collect();
        self.end(&waiting, Ended::Unknown);
        for read in core::mem::take(&mut self.nodes[node].reads).into_values() {
            self.ended
                .push((read.operation, read.client, Ended::Unknown));
        }
    }

    /// The histories to be checked, one a lineage: what it answered, and what it may have done
    /// without answering.
    pub fn histories(&self) -> Vec<(Lineage, crate::history::History)> {
        let lineages: std::collections::BTreeSet<Lineage> =
            self.answered_in.values().copied().collect();
        let of = |lineage: Lineage| {
            let answered = |id: OperationId| self.answered_in.get(&id) == Some(&lineage);
            let line = self.chronicle.line(lineage);
            let commands = line.into_iter().flat_map(|line| line.commands.iter());
            let held: std::collections::HashMap<OperationId, u64> = (1..)
                .zip(commands)
                .filter_map(|(number, (.., command))| {
                    self.tags
                        .get(&command.tag)
                        .map(|operation| (*operation, number))
                })
                .collect();
            self.history.restricted(&held, answered)
        };
        lineages
            .into_iter()
            .map(|lineage| (lineage, of(lineage)))
            .collect()
    }
}
