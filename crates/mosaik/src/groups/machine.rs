//! [`StateMachine`]: what a group replicates, written by the program.

use {
    super::{
        context::ApplyContext,
        sync::{LogReplaySync, StateSync},
    },
    mosaik_primitives::{Datum, UniqueId},
    mosaik_protocol::consensus::Preference,
    serde::{Serialize, de::DeserializeOwned},
    std::io,
};

/// Anything that can be part of a machine's commands.
pub trait StateMachineMessage:
    Clone + Send + Sync + Serialize + DeserializeOwned + 'static
{
}

impl<T> StateMachineMessage for T where
    T: Clone + Send + Sync + Serialize + DeserializeOwned + 'static
{
}

/// Changes the state; replicated to every member.
pub trait Command: Datum + Sync + Clone {}

impl<T> Command for T where T: Datum + Sync + Clone {}

/// Asks about the state; never replicated.
pub trait Query: Datum + Sync + Clone {}

impl<T> Query for T where T: Datum + Sync + Clone {}

/// The answer to a query.
pub trait QueryResult: Datum + Sync + Clone {}

impl<T> QueryResult for T where T: Datum + Sync + Clone {}

/// What a member wants to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeadershipPreference {
    /// Stands for election like everyone.
    #[default]
    Normal,
    /// Votes, but waits longer before it stands for election.
    Reluctant {
        /// Multiplies the election timeout; 0 counts as 1.
        factor: u32,
    },
    /// Replicates and answers queries; never votes, never leads, never founds the group.
    Observer,
}

impl LeadershipPreference {
    /// Three times as long as everyone.
    pub const fn reluctant() -> Self {
        Self::Reluctant { factor: 3 }
    }
}

impl From<LeadershipPreference> for Preference {
    fn from(preference: LeadershipPreference) -> Self {
        match preference {
            LeadershipPreference::Normal => Self::Normal,
            LeadershipPreference::Reluctant { factor } => Self::Reluctant {
                factor: factor.max(1),
            },
            LeadershipPreference::Observer => Self::Observer,
        }
    }
}

/// A state and what commands do to it.
///
/// Every member applies the same commands in the same order, so [`StateMachine::apply`] must do
/// the same everywhere: no clock, no randomness, no I/O that feeds back, no iteration over maps
/// with a random order. For time there is [`ApplyContext::committed_time`].
///
/// A panic in `apply` stops the group on this node and nothing else.
pub trait StateMachine: Sized + Send + Sync + 'static {
    /// What changes the state.
    type Command: Command;
    /// What can be asked.
    type Query: Query;
    /// What is answered.
    type QueryResult: QueryResult;
    /// How members that lag behind catch up.
    type StateSync: StateSync<Machine = Self>;

    /// Identifies the machine's type and configuration: part of the group's id, so that members
    /// with different machines do not meet. Change it when `apply` changes its meaning.
    fn signature(&self) -> UniqueId;

    /// Applies a committed command.
    fn apply(&mut self, command: Self::Command, ctx: &dyn ApplyContext);

    /// Applies several committed commands, in order. The context follows the commands as they are
    /// taken, and their committed time is the same; what is not taken is passed over.
    fn apply_batch(
        &mut self,
        commands: impl IntoIterator<Item = Self::Command>,
        ctx: &dyn ApplyContext,
    ) {
        for command in commands {
            self.apply(command, ctx);
        }
    }

    /// Answers a query from the state.
    fn query(&self, query: Self::Query) -> Self::QueryResult;

    /// Makes the state what it was before the first command, and says whether it did.
    ///
    /// Asked for when a group had formed twice and this side gives way: what follows are the
    /// other side's commands, from the first. A machine that does not (the default) gets the
    /// state that it had when it joined by [`StateMachine::restore`], where
    /// [`StateMachine::save`] put that into at most 64 KiB; a machine that can do neither stops
    /// the group on this node then, until the node is started again.
    fn start_over(&mut self) -> bool {
        false
    }

    /// Writes the whole state, for [`StateMachine::restore`] to read back, and says whether it
    /// did. `Ok(false)` (the default), with nothing written: this machine cannot.
    ///
    /// Asked for when the member joins, and on members that keep their log on disk before the
    /// log is cut or a state that came from other members counts as held. A member on disk whose
    /// machine cannot be saved never cuts its log, and stops with
    /// [`Halted::CannotSave`](super::Halted::CannotSave) when the others have cut theirs beyond
    /// what it has.
    ///
    /// When the member joins it runs where commands are applied, and should be quick. Later it
    /// runs on a thread that may block, and the group applies and answers nothing on this node
    /// meanwhile; other groups go on. `out` is buffered, passes what is written on to the disk
    /// 1 MiB at a time and fails when the disk does, or when the network closes. Only this
    /// node reads what is written: it need not be the same on every member, but must be readable
    /// by later versions of the program.
    ///
    /// Fails for reasons of `out` or of the machine: the log is not cut then, and it is tried
    /// again later. A panic stops the group on this node.
    fn save(&self, out: &mut dyn io::Write) -> io::Result<bool> {
        let _ = out;
        Ok(false)
    }

    /// Makes the state the one that [`StateMachine::save`] wrote, and says whether it did.
    /// `Ok(false)` is the default.
    ///
    /// Asked for at the start of a member that keeps its log on disk, before any command is
    /// applied, and where [`StateMachine::start_over`] is not provided. The machine may be in
    /// any state. What is left unread is passed over. An error, a `false` or a panic stops the
    /// group on this node: its commands are not in the log any more.
    fn restore(&mut self, from: &mut dyn io::Read) -> io::Result<bool> {
        let _ = from;
        Ok(false)
    }

    /// A digest of the state, the same on every member that has applied the same commands. Asked
    /// for only where members compare their states, see
    /// [`ConsensusConfig::digest_interval`](super::ConsensusConfig::digest_interval); `None` (the
    /// default) takes no part.
    fn digest(&self) -> Option<UniqueId> {
        None
    }

    /// How members that lag behind catch up.
    fn state_sync(&self) -> Self::StateSync;

    /// What this member wants to be. Asked once, when it joins.
    fn leadership_preference(&self) -> LeadershipPreference {
        LeadershipPreference::Normal
    }
}

/// A machine without a state, for groups that only elect a leader.
#[derive(Debug, Default)]
pub struct NoOp;

impl StateMachine for NoOp {
    type Command = ();
    type Query = ();
    type QueryResult = ();
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        UniqueId::from("mosaik_groups_noop")
    }

    fn apply(&mut self, (): (), _: &dyn ApplyContext) {}

    fn query(&self, (): ()) {}

    fn start_over(&mut self) -> bool {
        true
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }
}
