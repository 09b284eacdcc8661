//! Groups: members that replicate one log of commands into the same state.
//!
//! Nodes that hold a [`GroupKey`] and run the same [`StateMachine`] find each other, elect a
//! leader among themselves, and apply the same commands in the same order. What a majority has
//! stored stays; a minority can neither commit nor answer a strong query.

mod applier;
mod bond;
mod builder;
mod config;
mod consensus;
mod context;
mod cursor;
pub(crate) mod descriptions;
mod driver;
mod error;
mod event;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod handle;
mod index;
mod key;
mod lanes;
mod link;
mod log_store;
mod machine;
mod metrics;
mod query;
mod registry;
mod replica;
mod setup;
mod status;
mod store;
mod sync;
mod watcher;
mod when;

pub use {
    bond::{Bond, Bonds},
    builder::GroupBuilder,
    config::{Config, ConfigBuilder, ConfigBuilderError, Durability, GroupConfig},
    consensus::{
        ConsensusConfig, ConsensusConfigBuilder, ConsensusConfigBuilderError, MergePolicy,
        PanicPolicy,
    },
    context::ApplyContext,
    cursor::Cursor,
    error::{CommandError, Error, Halted, QueryError},
    event::{Event, Mismatch, Side},
    handle::Group,
    index::{Index, IndexRange, Term},
    key::{GroupId, GroupKey},
    link::Link,
    log_store::{InMemoryLogStore, Storage},
    machine::{
        Command, LeadershipPreference, NoOp, Query, QueryResult, StateMachine, StateMachineMessage,
    },
    query::{Consistency, QueryResultAt},
    registry::Groups,
    status::{GroupMember, GroupStatus, Role, Standing},
    sync::{
        LogReplayProvider, LogReplaySession, LogReplaySync, LogReplaySyncMessage, Machine, Message,
        Provider, Session, StateSync, StateSyncMessage, StateSyncProvider, StateSyncSession,
        SyncContext, SyncProviderContext, SyncSessionContext,
    },
    watcher::{CursorWatcher, IndexOrRange},
    when::When,
};
