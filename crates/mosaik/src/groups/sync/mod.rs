//! State synchronisation: how a member whose log the others have cut catches up.
//!
//! A [`StateSync`] makes, on each member, one [`StateSyncProvider`] that answers the others, and
//! on a member that is behind a [`StateSyncSession`] that asks them. Which messages they exchange
//! is theirs; carrying them, and deciding who is behind, is the group's.
//!
//! Not here: replication itself. A member that lags by what the leader's log still holds is fed
//! from it without any of this.

mod context;
mod replay;
mod traits;

pub(crate) use context::Sealed;
pub use {
    context::{SyncContext, SyncProviderContext, SyncSessionContext},
    replay::{LogReplayProvider, LogReplaySession, LogReplaySync, LogReplaySyncMessage},
    traits::{
        Machine, Message, Provider, Session, StateSync, StateSyncMessage, StateSyncProvider,
        StateSyncSession,
    },
};
