//! [`Replica`]: a group's state on this node, and what brings it up to date.
//!
//! The program's code runs here: its machine, its store of commands, and its state
//! synchronisation. A panic in any of it is caught and ends the group on this node, or skips a
//! command where the members have agreed to. Queues and tasks are the applier's.

mod catching_up;
mod digests;
mod parts;
mod saving;
#[cfg(test)]
mod tests;

use {
    super::{
        config::{Durability, GroupConfig},
        consensus::PanicPolicy,
        context::{ApplyContext, Applying, Committed},
        cursor::Cursor,
        error::{Halted, QueryError},
        event::Event,
        index::{Index, Term},
        log_store::{InMemoryLogStore, Storage},
        machine::{Command, StateMachine},
        query::QueryResultAt,
        sync::{LogReplaySync, Provider, StateSync, StateSyncProvider},
    },
    crate::{NetworkId, primitives::Datum},
    catching_up::CatchingUp,
    core::{
        any::{Any, TypeId},
        panic::AssertUnwindSafe,
    },
    digests::Digests,
    mosaik_protocol::consensus::{CommittedEntry, EntryBody},
    parts::Parts,
    saving::Initial,
    std::panic::catch_unwind,
};
pub(super) use {catching_up::CaughtUp, parts::Outlet};

/// A group's state on this node.
pub(super) struct Replica<M: StateMachine> {
    parts: Parts<M>,
    sync: M::StateSync,
    provider: Provider<M::StateSync>,
    catching_up: Option<CatchingUp<M>>,
    /// Whether a session has begun to change the state, and none has come to its end since.
    is_partial: bool,
    policy: PanicPolicy,
    durability: Durability,
    /// Whether the store of commands is filled.
    keeps_commands: bool,
    /// Where states are compared.
    digests: Option<Digests>,
    /// The state before the first command.
    initial: Initial,
}

impl<M: StateMachine> Replica<M> {
    pub(super) fn new<S: Storage<M::Command>>(
        machine: M,
        log: S,
        network: NetworkId,
        config: &GroupConfig,
        outlet: Outlet,
    ) -> Self {
        let sync = machine.state_sync();
        let parts = Parts {
            machine,
            log: Box::new(log),
            applying: Applying::new(network, *config.group_id(), Cursor::zero()),
            source: outlet.local,
            touched: false,
            outlet,
        };
        Self {
            initial: Initial::default(),
            provider: sync.create_provider(&parts),
            sync,
            parts,
            catching_up: None,
            is_partial: false,
            policy: config.consensus().panic_policy,
            durability: config.durability(),
            keeps_commands: is_looked_into::<M, S>(),
            digests: config.consensus().digest_interval.map(Digests::new),
        }
    }

    /// The last command whose effect the state holds.
    pub(super) fn committed(&self) -> Cursor {
        self.parts.applying.committed()
    }

    /// Applies entries; says how many bytes they were. What a session has applied already is
    /// passed over.
    pub(super) fn apply(&mut self, entries: &[CommittedEntry]) -> Result<usize, Halted> {
        let mut commands = Vec::new();
        let mut bytes = 0;
        let mut undecodable = None;
        let applied = self.committed().index();
        for committed in entries {
            bytes += committed.entry.body.len();
            if committed.count == 0 {
                continue;
            }
            let Ok(EntryBody::Commands(encoded)) = committed.entry.decode() else {
                let why = "an entry that was checked cannot be read";
                return Err(Halted::Other(why.into()));
            };
            let (term, time) = (committed.entry.term.into(), encoded.time);
            let numbered = encoded
                .iter()
                .zip(Index::from(committed.before).as_u64() + 1..);
            let wanted = numbered.filter(|(_, index)| applied < *index);
            // The program's code: those before the one at which it panics are applied all the same.
            let decoded = catch_unwind(AssertUnwindSafe(|| {
                for (command, _) in wanted {
                    let command = M::Command::decode(&command).map_err(|why| why.to_string())?;
                    commands.push(Committed {
                        command,
                        term,
                        time,
                    });
                }
                Ok::<(), String>(())
            }));
            let decoded = decoded
                .unwrap_or_else(|panic| Err(format!("decoding panicked: {}", panic_text(&*panic))));
            if let Err(why) = decoded {
                undecodable = Some(why);
                break;
            }
        }
        self.check_gapless(entries, commands.is_empty())?;
        self.keep(&commands)?;
        while let Some(digests) = &self.digests {
            let room = digests.room(self.committed().index());
            if commands.len() < room {
                break;
            }
            let rest = commands.split_off(room);
            self.run_all(core::mem::replace(&mut commands, rest))?;
            self.tell_digest()?;
        }
        self.run_all(commands)?;
        self.tell_provider()?;
        match undecodable {
            None => Ok(bytes),
            Some(message) => Err(Halted::Undecodable {
                index: self.committed().index().next(),
                message: message.into(),
            }),
        }
    }

    /// Whether commands are missing between the state and the entries that are to be applied.
    fn check_gapless(&self, entries: &[CommittedEntry], is_known: bool) -> Result<(), Halted> {
        let applied = self.committed().index();
        let first = entries.first().map(|first| Index::from(first.before));
        if is_known || first.is_none_or(|before| before <= applied) {
            return Ok(());
        }
        let why =
            format!("commands are missing after {applied}: the state is not what it should be");
        Err(Halted::Other(why.into()))
    }

    /// Appends commands that are to be applied to the program's store. A store that outlives the
    /// process has some of them already, and maybe others that were never committed.
    fn keep(&mut self, commands: &[Committed<M::Command>]) -> Result<(), Halted> {
        if !self.keeps_commands {
            return Ok(());
        }
        let (log, committed) = (&mut *self.parts.log, self.parts.applying.committed());
        let appended = guarded("the store of commands", || {
            let mut last = log.last().index();
            if last < committed.index() {
                log.reset_to(committed);
                last = log.last().index();
            }
            for (committed, index) in commands.iter().zip(committed.index().as_u64() + 1..) {
                if last >= index {
                    let is_pruned = log.available().start() > &Index::from(index);
                    if is_pruned || is_same(log.get(index.into()), committed) {
                        continue;
                    }
                    log.truncate(index.into());
                }
                let Committed {
                    command,
                    term,
                    time,
                } = committed;
                last = log.append_at(command.clone(), *term, *time);
                if last != index {
                    return Err(last);
                }
            }
            Ok(())
        })?;
        appended.map_err(|last| {
            let why = format!("the store of commands is at {last}, where it cannot be");
            Halted::Storage(why.into())
        })
    }

    /// Applies commands, in the way that the members have agreed to.
    fn run_all(&mut self, commands: Vec<Committed<M::Command>>) -> Result<(), Halted> {
        match self.policy {
            PanicPolicy::Halt => self.run(commands)?,
            PanicPolicy::Skip => {
                for command in commands {
                    if let Err(panicked) = self.run([command]) {
                        self.quarantine(&panicked);
                    }
                }
            }
        }
        Ok(())
    }

    fn run(
        &mut self,
        commands: impl IntoIterator<Item = Committed<M::Command>>,
    ) -> Result<(), Halted> {
        let shared = &self.parts.outlet.shared;
        let log = shared.progress.borrow().log;
        let term = shared.leadership.borrow().term;
        self.parts.applying.set_member(log, term);
        let (machine, applying) = (&mut self.parts.machine, &self.parts.applying);
        // After a panic the machine is not used again, or used as it is on every member.
        catch_unwind(AssertUnwindSafe(|| applying.apply(machine, commands))).map_err(|panic| {
            Halted::Panicked {
                index: self.committed().index(),
                message: panic_text(&*panic).into(),
            }
        })
    }

    /// A command is passed over.
    fn quarantine(&self, panicked: &Halted) {
        let Halted::Panicked { index, message } = panicked else {
            return;
        };
        tracing::error!(%index, %message, "state machine panicked: the command is skipped");
        let shared = &self.parts.outlet.shared;
        shared.metrics.quarantines.increment(1);
        shared.tell(Event::Quarantined {
            index: *index,
            message: message.to_string(),
        });
    }

    /// Tells the provider how far the state is.
    fn tell_provider(&mut self) -> Result<(), Halted> {
        let (provider, parts) = (&mut self.provider, &mut self.parts);
        let committed = parts.applying.committed();
        guarded("state synchronisation", || {
            provider.committed(committed, parts);
        })
    }

    /// Makes the state what it was before the first command, if it can be.
    pub(super) fn start_over(&mut self) -> Result<(), Halted> {
        let was_torn = self.is_torn() || self.is_partial && self.parts.touched;
        self.catching_up = None;
        self.is_partial = false;
        self.parts.touched = false;
        if let Some(digests) = &mut self.digests {
            digests.start_over(None);
        }
        if self.committed().is_zero() && !was_torn {
            return Ok(());
        }
        let applying = &self.parts.applying;
        let (network, group) = (*applying.network_id(), *applying.group_id());
        self.parts.applying = Applying::new(network, group, Cursor::zero());
        let (machine, log) = (&mut self.parts.machine, &mut *self.parts.log);
        let initial = &self.initial;
        let started = guarded("state machine", || {
            let started = machine.start_over() || initial.restore(machine);
            log.reset_to(Cursor::zero());
            started && log.last().is_zero()
        })?;
        if started {
            return Ok(());
        }
        let why = "the group merged with another side of it, and the state machine or its store \
                   cannot start over; restart this node";
        Err(Halted::Other(why.into()))
    }

    /// Answers a query from the state as it is.
    pub(super) fn query(&self, query: M::Query) -> Result<QueryResultAt<M>, QueryError<M>> {
        let at_position = self.committed().index();
        let machine = &self.parts.machine;
        catch_unwind(AssertUnwindSafe(|| machine.query(query)))
            .map(|result| QueryResultAt {
                result,
                at_position,
            })
            .map_err(|panic| QueryError::Panicked(panic_text(&*panic).into()))
    }
}

/// Whether a store of commands that outlives the process holds the one that is to be applied.
/// Terms alone do not tell: each side of a group that forms, or forms anew, counts them from one.
fn is_same<C: Command>(held: Option<(C, Term)>, committed: &Committed<C>) -> bool {
    held.is_some_and(|(command, term)| {
        term == committed.term
            && match (command.encode(), committed.command.encode()) {
                (Ok(held), Ok(applied)) => held == applied,
                _ => false,
            }
    })
}

/// Whether anybody ever looks into a store of type `S`.
///
/// Members that lag are fed from the group's own log, which is not cut where members replay it.
/// Nobody would look into a copy of it in memory, which would cost as much again.
fn is_looked_into<M: StateMachine, S: Storage<M::Command>>() -> bool {
    let is_own = TypeId::of::<S>() != TypeId::of::<InMemoryLogStore<M::Command>>();
    is_own || !LogReplaySync::<M>::is_that_of_machine()
}

/// What the program's code returns, or the end of the group on this node when it panics.
fn guarded<T>(what: &str, code: impl FnOnce() -> T) -> Result<T, Halted> {
    // Nothing of what the code could have left half done is used after that.
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| {
        let why = format!("{what} panicked: {}", panic_text(&*panic));
        Halted::Other(why.into())
    })
}

/// What a panic said.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without text".to_owned())
}
