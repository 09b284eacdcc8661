//! What happens next: events, and what each does.

use {
    super::World,
    crate::{
        failure::Failure,
        node::{Confirms, Process},
        queue::Nanos,
    },
    bytes::Bytes,
    mosaik_protocol::consensus::{Input, LogIndex, Member, Message, SnapshotMeta},
};

/// Something that is going to happen.
#[derive(Clone, Debug)]
pub enum Event {
    /// A message arrives.
    Deliver {
        /// Sender.
        from: usize,
        /// Receiver.
        to: usize,
        /// The encoded message.
        bytes: Bytes,
    },
    /// A node's deadline has come.
    Wake {
        /// The node.
        node: usize,
        /// The start of its process that asked.
        life: u32,
    },
    /// A sync ends.
    Synced {
        /// The node.
        node: usize,
        /// The start of its process that asked.
        life: u32,
    },
    /// The driver has something for the core.
    Tell {
        /// The node.
        node: usize,
        /// The start of its process.
        life: u32,
        /// What.
        input: Box<Input>,
    },
    /// A snapshot's data arrives, or does not.
    SnapshotArrives {
        /// The node that asked.
        node: usize,
        /// The start of its process that asked.
        life: u32,
        /// What it asked for.
        meta: Box<SnapshotMeta>,
        /// From whom, first of all.
        source: Member,
    },
    /// A node learns that a link is up or lost.
    Link {
        /// Who learns it.
        node: usize,
        /// About whom.
        peer: usize,
        /// Up, or lost.
        up: bool,
        /// Outdated by any later change.
        serial: u64,
    },
    /// Discovery shows a node its peers.
    Discover {
        /// The node.
        node: usize,
    },
    /// A pause ends.
    Resume {
        /// The node.
        node: usize,
        /// The start of its process.
        life: u32,
    },
    /// A node starts.
    Start {
        /// The node.
        node: usize,
    },
    /// An alarm of whoever drives the world.
    Alarm(u64),
}

/// Why the world stopped going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The time has come.
    Time,
    /// An alarm that was set.
    Alarm(u64),
    /// A node acted as a leader, and somebody watches for that.
    Acted(usize),
}

impl World {
    /// Lets the world go on until something concerns whoever drives it, or until `until`.
    pub fn go_on(&mut self, until: Nanos) -> Result<Halt, Failure> {
        loop {
            if let Some(node) = self.acted.pop() {
                self.acted.clear();
                if self.watch_leaders {
                    return Ok(Halt::Acted(node));
                }
            }
            match self.queue.next(until) {
                None => return Ok(Halt::Time),
                Some(Event::Alarm(number)) => return Ok(Halt::Alarm(number)),
                Some(event) => self.happen(event)?,
            }
        }
    }

    fn happen(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Deliver { from, to, bytes } => self.deliver(from, to, bytes),
            Event::Wake { node, life } => {
                let now = self.now();
                let state = &mut self.nodes[node];
                if state.life != life || state.wake_at != Some(now) {
                    return Ok(());
                }
                state.wake_at = None;
                self.input(node, Input::Tick)
            }
            Event::Synced { node, life } => self.synced(node, life),
            Event::Tell { node, life, input } => {
                if self.nodes[node].life != life {
                    return Ok(());
                }
                self.input(node, *input)
            }
            Event::SnapshotArrives {
                node,
                life,
                meta,
                source,
            } => self.snapshot_arrives(node, life, &meta, source),
            Event::Link {
                node,
                peer,
                up,
                serial,
            } => self.link_news(node, peer, up, serial),
            Event::Discover { node } => self.discover(node),
            Event::Start { node } => self.start(node),
            Event::Resume { node, life } => {
                if self.nodes[node].life == life {
                    self.resume(node)
                } else {
                    Ok(())
                }
            }
            Event::Alarm(_) => Ok(()),
        }
    }

    fn deliver(&mut self, from: usize, to: usize, bytes: Bytes) -> Result<(), Failure> {
        if !self.nodes[to].is_up() || !self.network.passes(from, to) {
            return Ok(());
        }
        let message = Message::decode(bytes)
            .map_err(|error| self.failure("messages decode", error.to_string()))?;
        self.input(to, Input::Receive(message))
    }

    /// A sync of a stalled disk waits; otherwise what it covers is durable now.
    fn synced(&mut self, node: usize, life: u32) -> Result<(), Failure> {
        let state = &mut self.nodes[node];
        if state.life != life || !state.is_up() {
            return Ok(());
        }
        if state.sync_time.is_none() || state.process == Process::Paused {
            state.overdue += 1;
            return Ok(());
        }
        let Some(sync) = state.syncing.pop_front() else {
            return Ok(());
        };
        self.make_durable(node, sync.record)?;
        match sync.confirms {
            Confirms::Writes(token) => self.input(node, Input::Persisted(token)),
            Confirms::Taken(meta, upto) => {
                self.nodes[node].snapshotting = false;
                if self.nodes[node].lineage != self.nodes[node].subject().lineage {
                    return Ok(());
                }
                self.input(node, Input::SnapshotTaken { meta: *meta, upto })
            }
            Confirms::Installed(snapshot) => self.installed(node, *snapshot),
        }
    }

    /// Schedules a core's inputs that come a little later.
    pub(crate) fn tell_later(&mut self, node: usize, after: Nanos, input: Input) {
        let life = self.nodes[node].life;
        let at = self.now() + after;
        self.queue.schedule(
            at,
            Event::Tell {
                node,
                life,
                input: Box::new(input),
            },
        );
    }

    /// Ends a pause and hands over what has piled up.
    pub fn resume(&mut self, node: usize) -> Result<(), Failure> {
        if self.nodes[node].process != Process::Paused {
            return Ok(());
        }
        self.nodes[node].process = Process::Running;
        self.tell(20 + node as u64, || {
            format!("{} goes on", crate::invariants::node_name(node))
        });
        let sync_time = self.nodes[node].sync_time;
        self.set_sync_time(node, sync_time);
        for input in core::mem::take(&mut self.nodes[node].backlog) {
            self.input(node, input)?;
        }
        self.input(node, Input::Tick)
    }

    /// The applied index, told to the core with the lag that applying takes.
    pub(crate) fn applied_later(&mut self, node: usize, index: LogIndex) {
        let lag = self.habits.apply_lag;
        let after = if lag == 0 { 0 } else { self.rng.below(lag) };
        self.tell_later(node, after, Input::Applied(index));
    }
}
