//! A replica's state as bytes: for the node's store, and to start over from.

use {
    super::{
        super::{
            context::{ApplyContext, Applying},
            error::Halted,
            index::Index,
            machine::StateMachine,
            setup::SaveError,
            store::{ChunkReader, ChunkWriter, Saved},
            sync::StateSyncProvider,
        },
        Replica, guarded,
    },
    mosaik_primitives::Digest,
    mosaik_storage::LogStore,
    std::io::{self, Write},
};

/// Bytes of the state before the first command that are kept to start over from.
const INITIAL_BYTES: usize = 64 << 10;

/// The state before the first command.
#[derive(Debug, Default)]
pub(super) struct Initial {
    can_save: bool,
    state: Option<Vec<u8>>,
}

impl Initial {
    /// Whether the machine can be saved at all.
    pub(super) const fn can_save(&self) -> bool {
        self.can_save
    }

    /// Makes this state the machine's; says whether that could be.
    pub(super) fn restore<M: StateMachine>(&self, machine: &mut M) -> bool {
        let Some(state) = &self.state else {
            return false;
        };
        machine.restore(&mut &state[..]).unwrap_or_else(|error| {
            tracing::error!(%error, "the state before the first command could not be restored");
            false
        })
    }
}

/// Keeps what is written as long as it is little.
#[derive(Default)]
struct Little {
    kept: Vec<u8>,
    is_more: bool,
}

impl Write for Little {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.is_more |= self.kept.len() + data.len() > INITIAL_BYTES;
        if self.is_more {
            self.kept = Vec::new();
        } else {
            self.kept.extend_from_slice(data);
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes on what is written until it is told to stop.
struct Stoppable<W, F> {
    to: W,
    is_over: F,
}

impl<W: Write, F: Fn() -> bool> Write for Stoppable<W, F> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if (self.is_over)() {
            return Err(io::Error::other("the group ends on this node"));
        }
        self.to.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl<M: StateMachine> Replica<M> {
    /// Finds out whether the machine can be saved, and keeps the state that it begins with.
    pub(in crate::groups) fn keep_initial(&mut self) -> Result<(), Halted> {
        let mut little = Little::default();
        let machine = &self.parts.machine;
        let saved = guarded("state machine", || machine.save(&mut little))?;
        // A machine that fails may do better another time.
        let can_save = saved.as_ref().map_or(true, |can| *can);
        let is_whole = saved.is_ok_and(|can| can) && !little.is_more;
        self.initial = Initial {
            can_save,
            state: is_whole.then_some(little.kept),
        };
        Ok(())
    }

    /// Puts the state into the staging area of its group in a store, unless it is over before that
    /// is done. May block.
    pub(in crate::groups) fn save(
        &self,
        store: &mut impl LogStore,
        group: Digest,
        is_over: impl Fn() -> bool,
    ) -> Result<Result<Saved, SaveError>, Halted> {
        if self.is_partial {
            return Ok(Err(SaveError::Ended));
        }
        let mut out = Stoppable {
            to: ChunkWriter::new(store, group, self.committed()),
            is_over,
        };
        let machine = &self.parts.machine;
        let saved = guarded("state machine", || machine.save(&mut out))?;
        let Stoppable { to: out, is_over } = out;
        if is_over() {
            return Ok(Err(SaveError::Ended));
        }
        Ok(match saved {
            Ok(true) => out
                .finish()
                .map_err(|error| SaveError::Failed(error.to_string())),
            Ok(false) => Err(SaveError::Cannot),
            Err(error) => {
                let why = out
                    .failure()
                    .map_or_else(|| error.to_string(), |why| why.to_string());
                Err(SaveError::Failed(why))
            }
        })
    }

    /// Makes the state the one in the store. May block.
    pub(in crate::groups) fn restore(
        &mut self,
        store: &mut impl LogStore,
        group: Digest,
        chunks: u32,
    ) -> Result<(), Halted> {
        let unreadable = |error: io::Error| {
            Halted::Storage(format!("the stored state cannot be restored: {error}").into())
        };
        let (mut from, position) = ChunkReader::new(store, group, chunks).map_err(unreadable)?;
        let machine = &mut self.parts.machine;
        let restored = guarded("state machine", || machine.restore(&mut from))?;
        if !restored.map_err(unreadable)? {
            let why = "the log was cut, and the state machine does not restore what was saved: \
                       implement `StateMachine::restore`";
            return Err(Halted::Storage(why.into()));
        }
        let (network, group) = {
            let applying = &self.parts.applying;
            (*applying.network_id(), *applying.group_id())
        };
        self.parts.applying = Applying::new(network, group, position);
        self.tell_provider()
    }

    /// Up to where the program's state synchronisation lets the log be cut.
    pub(in crate::groups) fn safe_to_cut(&mut self) -> Result<Option<Index>, Halted> {
        if self.is_partial {
            return Ok(None);
        }
        let applied = self.committed().index();
        let (provider, parts) = (&mut self.provider, &mut self.parts);
        let safe = guarded("state synchronisation", || {
            provider.safe_to_prune_prefix(parts)
        })?;
        Ok(safe
            .map(|safe| safe.min(applied))
            .filter(|safe| !safe.is_zero()))
    }

    /// The log was cut after this command: the program's store of commands is, too.
    pub(in crate::groups) fn cut(&mut self, upto: Index) -> Result<(), Halted> {
        if !self.keeps_commands {
            return Ok(());
        }
        let log = &mut *self.parts.log;
        guarded("the store of commands", || log.prune_prefix(upto))
    }
}
