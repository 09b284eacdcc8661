//! [`StateSync`] and its two sides.

use {
    super::context::{SyncContext, SyncProviderContext, SyncSessionContext},
    crate::{
        PeerId,
        groups::{
            cursor::Cursor,
            index::{Index, Term},
            machine::StateMachine,
        },
    },
    core::task::{Context, Poll},
    mosaik_primitives::UniqueId,
    serde::{Serialize, de::DeserializeOwned},
};

/// What sessions and providers say to each other.
pub trait StateSyncMessage: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T> StateSyncMessage for T where T: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {}

/// The machine that a [`StateSync`] synchronises.
pub type Machine<S> = <S as StateSync>::Machine;
/// The messages of a [`StateSync`].
pub type Message<S> = <S as StateSync>::Message;
/// The asking side of a [`StateSync`].
pub type Session<S> = <S as StateSync>::Session;
/// The answering side of a [`StateSync`].
pub type Provider<S> = <S as StateSync>::Provider;

/// How members of a group that are behind catch up.
///
/// A member that lacks a little is fed from the log of the others. The two sides of this meet where
/// the log does not reach back far enough: members cut their logs as far as their provider says
/// that others can be helped without what is before
/// ([`StateSyncProvider::safe_to_prune_prefix`]), and whoever lacks what was cut off gets a session.
/// A group whose provider never says so keeps all of its log; so do groups with
/// [`LogReplaySync`](super::LogReplaySync).
///
/// # When logs are cut
/// Each member cuts its own. It asks its provider when 8,192 entries or 4 MiB of them were
/// committed since it asked last (on disk: and as many bytes as the state had when it was saved
/// last), and leaves 1,024 entries or 256 KiB, whichever is less, for members that lag a little. A
/// leader does not cut while a member may be busy with a session, until 262,144 entries or 64 MiB
/// have come together. The program's [`Storage`](crate::groups::Storage) is pruned up to the same
/// command.
///
/// A member that keeps its log on disk saves the state first, see [`StateMachine::save`].
pub trait StateSync: Sized + Send + 'static {
    /// The machine synchronised.
    type Machine: StateMachine;
    /// What the two sides say to each other.
    type Message: StateSyncMessage;
    /// The side that answers.
    type Provider: StateSyncProvider<Owner = Self>;
    /// The side that asks.
    type Session: StateSyncSession<Owner = Self>;

    /// Identifies the protocol and whatever members must agree on to speak it; part of the
    /// group's id.
    fn signature(&self) -> UniqueId;

    /// The answering side, made once when the member joins.
    fn create_provider(&self, cx: &dyn SyncContext<Self>) -> Self::Provider;

    /// The asking side, made when the member has to catch up.
    ///
    /// `position` is the place that the group's log was at, beyond which this member will be fed
    /// again; `leader_commit` is how much was committed then. `entries` follow `position`; there
    /// are none where the group feeds all that follows, as groups of this project do.
    ///
    /// The machine may hold nothing, what this member had applied before, or what another session
    /// has left behind: one is dropped where the group offers a later position.
    fn create_session(
        &self,
        cx: &mut dyn SyncSessionContext<Self>,
        position: Cursor,
        leader_commit: Index,
        entries: Vec<(<Machine<Self> as StateMachine>::Command, Term)>,
    ) -> Self::Session;
}

/// The side that answers members that catch up. Lives as long as the member.
pub trait StateSyncProvider: Send + 'static {
    /// Whose side it is.
    type Owner: StateSync;

    /// Does what is due. Called after everything else that is called here, and when the task is
    /// woken. Ready says that nothing is left to do until then. Not called while a session of this
    /// member has begun to change the machine.
    fn poll(
        &mut self,
        _: &mut Context<'_>,
        _: &mut dyn SyncProviderContext<Self::Owner>,
    ) -> Poll<()> {
        Poll::Ready(())
    }

    /// Takes a message from a member; hands it back when it is not for a provider. Not called
    /// while a session of this member has begun to change the machine: what it holds then is of no
    /// use to others.
    fn receive(
        &mut self,
        message: Message<Self::Owner>,
        sender: PeerId,
        cx: &mut dyn SyncProviderContext<Self::Owner>,
    ) -> Result<(), Message<Self::Owner>>;

    /// Up to which command the log may be cut, because members that are behind will be helped
    /// without what is before. `None`: not at all. Asked now and then, see [`StateSync`].
    ///
    /// It binds all members alike: a session here may ask any of them, and each must be able to
    /// bring it to the place that it was made for, which no member asked is behind for long.
    fn safe_to_prune_prefix(&self, _: &mut dyn SyncProviderContext<Self::Owner>) -> Option<Index> {
        None
    }

    /// Commands up to this one are committed and applied here.
    fn committed(&mut self, _: Cursor, _: &mut dyn SyncProviderContext<Self::Owner>) {}
}

/// The side that asks, on a member that catches up. Lives until it is done, or not wanted any
/// more.
///
/// From the moment at which it first takes
/// [`state_machine_mut`](SyncContext::state_machine_mut), [`log_mut`](SyncContext::log_mut) or
/// [`set_committed`](SyncSessionContext::set_committed), the state counts as half changed: until
/// the session is done, nothing is applied, weak queries are refused and strong ones wait. A session
/// that collects everything first and changes the state in the end keeps that short, and may be
/// dropped before if the log turns out to reach back far enough. One that has begun to change the
/// state must go on until it succeeds, asking whoever there is.
pub trait StateSyncSession: Send + 'static {
    /// Whose side it is.
    type Owner: StateSync;

    /// Does what is due. Ready, with the place reached, says that the member is as if it had
    /// applied the group's log up to there; the place may be beyond the one that it was made for,
    /// and what the group feeds of it again is passed over. A place before that one is a failure:
    /// there will be another session, after a while. Called after everything else that is called here,
    /// and when the task is woken.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        driver: &mut dyn SyncSessionContext<Self::Owner>,
    ) -> Poll<Cursor>;

    /// Takes a message from a member.
    fn receive(
        &mut self,
        message: Message<Self::Owner>,
        sender: PeerId,
        cx: &mut dyn SyncSessionContext<Self::Owner>,
    );

    /// Commands that were replicated meanwhile and follow `position`.
    fn buffer(
        &mut self,
        position: Cursor,
        entries: Vec<(<Machine<Self::Owner> as StateMachine>::Command, Term)>,
        cx: &mut dyn SyncSessionContext<Self::Owner>,
    );
}
