//! What providers and sessions can see of their group and do in it.

use {
    super::traits::{Machine, StateSync},
    crate::{
        NetworkId, PeerId,
        groups::{
            bond::Bonds, cursor::Cursor, key::GroupId, log_store::Storage, machine::StateMachine,
        },
        primitives::encoding::EncodeError,
    },
};

/// Contexts are the group's alone to implement.
pub trait Sealed {}

/// The group, as providers and sessions see it.
pub trait SyncContext<S: StateSync>: Sealed {
    /// The machine.
    fn state_machine(&self) -> &S::Machine;

    /// The machine, to be brought up to date.
    fn state_machine_mut(&mut self) -> &mut S::Machine;

    /// The committed commands that this member holds.
    fn log(&self) -> &dyn Storage<<Machine<S> as StateMachine>::Command>;

    /// The committed commands that this member holds, to be brought up to date.
    fn log_mut(&mut self) -> &mut dyn Storage<<Machine<S> as StateMachine>::Command>;

    /// The last command whose effect the machine holds.
    fn committed(&self) -> Cursor;

    /// This node.
    fn local_id(&self) -> PeerId;

    /// The group.
    fn group_id(&self) -> GroupId;

    /// The network.
    fn network_id(&self) -> NetworkId;

    /// Sends a message to the sessions and providers of a member. It is lost where there is no
    /// bond with it, and may be lost otherwise; it is not delivered twice.
    fn send_to(&mut self, peer: PeerId, message: S::Message) -> Result<(), EncodeError>;

    /// Sends a message to every member there is a bond with; says to whom.
    fn broadcast(&mut self, message: S::Message) -> Result<Vec<PeerId>, EncodeError>;

    /// The bonds, as they are now.
    fn bonds(&self) -> Bonds<S::Machine>;
}

/// The group, as a session sees it.
pub trait SyncSessionContext<S: StateSync>: SyncContext<S> {
    /// The leader that this member follows.
    fn leader(&self) -> PeerId;

    /// The machine now holds the effect of all commands up to `position`, and the log, where it
    /// holds any, holds none beyond what is committed.
    fn set_committed(&mut self, position: Cursor);
}

/// The group, as a provider sees it.
pub trait SyncProviderContext<S: StateSync>: SyncContext<S> {
    /// The leader that this member follows; itself when it leads.
    fn leader(&self) -> Option<PeerId>;

    /// Whether this member leads.
    fn is_leader(&self) -> bool {
        self.leader() == Some(self.local_id())
    }

    /// Proposes a command, as the program could. It is handed back when too much is waiting
    /// already; otherwise its outcome is not told.
    fn feed_command(
        &mut self,
        command: <Machine<S> as StateMachine>::Command,
    ) -> Result<(), <Machine<S> as StateMachine>::Command>;
}
