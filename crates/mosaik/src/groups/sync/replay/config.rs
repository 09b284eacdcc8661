//! [`LogReplaySync`] itself: its settings and its two sides.

use {
    super::{LogReplayProvider, LogReplaySession, LogReplaySyncMessage},
    crate::groups::{
        cursor::Cursor,
        index::{Index, Term},
        machine::StateMachine,
        sync::{StateSync, SyncContext, SyncSessionContext},
    },
    core::{any::TypeId, fmt, marker::PhantomData, num::NonZero, time::Duration},
    mosaik_primitives::UniqueId,
};

/// Catches up by replaying commands that other members hold.
///
/// Groups of a machine that catches up this way keep their logs whole, so a member that lags is fed
/// from the leader's log by the group itself, as fast as it takes it, and no session is needed. The
/// settings count where a session of it runs: where a synchronisation of the program's own hands
/// over to one.
///
/// The settings are each member's own; members with different settings understand each other.
pub struct LogReplaySync<M: StateMachine> {
    pub(super) batch_size: NonZero<u64>,
    pub(super) fetch_timeout: Duration,
    machine: PhantomData<fn() -> M>,
}

impl<M: StateMachine> LogReplaySync<M> {
    /// Whether it is how members of the machine's groups catch up, so that their logs are kept
    /// whole.
    pub(crate) fn is_that_of_machine() -> bool {
        TypeId::of::<M::StateSync>() == TypeId::of::<Self>()
    }

    /// Commands asked of one member at one time; fewer are sent where they are large. Default:
    /// 2,000.
    #[must_use]
    pub const fn with_batch_size(mut self, batch_size: NonZero<u64>) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// After this long without an answer another member is asked. A member whose bond is lost is
    /// not waited for. Default: 25 s.
    #[must_use]
    pub const fn with_fetch_timeout(mut self, fetch_timeout: Duration) -> Self {
        self.fetch_timeout = fetch_timeout;
        self
    }
}

impl<M: StateMachine> Default for LogReplaySync<M> {
    fn default() -> Self {
        Self {
            batch_size: NonZero::new(2_000).expect("2,000 is not zero"),
            fetch_timeout: Duration::from_secs(25),
            machine: PhantomData,
        }
    }
}

impl<M: StateMachine> fmt::Debug for LogReplaySync<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReplaySync")
            .field("batch_size", &self.batch_size)
            .field("fetch_timeout", &self.fetch_timeout)
            .finish_non_exhaustive()
    }
}

impl<M: StateMachine> StateSync for LogReplaySync<M> {
    type Machine = M;
    type Message = LogReplaySyncMessage<M::Command>;
    type Provider = LogReplayProvider<M>;
    type Session = LogReplaySession<M>;

    fn signature(&self) -> UniqueId {
        UniqueId::from("mosaik_groups_log_replay_sync")
    }

    fn create_provider(&self, _: &dyn SyncContext<Self>) -> LogReplayProvider<M> {
        LogReplayProvider::new()
    }

    fn create_session(
        &self,
        cx: &mut dyn SyncSessionContext<Self>,
        position: Cursor,
        leader_commit: Index,
        entries: Vec<(M::Command, Term)>,
    ) -> LogReplaySession<M> {
        LogReplaySession::new(self, cx, position, leader_commit, entries)
    }
}
