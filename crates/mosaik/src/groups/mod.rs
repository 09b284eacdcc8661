//! Groups: members that replicate one log of commands into the same state.
//!
//! Nodes that hold a [`GroupKey`] and run the same [`StateMachine`] find each other, elect a
//! leader among themselves, and apply the same commands in the same order. What a majority has
//! stored stays; a minority can neither commit nor answer a strong query.

mod bond;
mod config;
mod consensus;
mod context;
mod cursor;
mod error;
mod index;
mod key;
mod link;
mod log_store;
mod machine;
mod query;
mod sync;
mod watcher;
mod when;

pub use {
    bond::{Bond, Bonds},
    config::{Config, ConfigBuilder, ConfigBuilderError, Durability, GroupConfig},
    consensus::{
        ConsensusConfig, ConsensusConfigBuilder, ConsensusConfigBuilderError, MergePolicy,
    },
    context::ApplyContext,
    cursor::Cursor,
    error::{CommandError, Error, Halted, QueryError},
    index::{Index, IndexRange, Term},
    key::{GroupId, GroupKey},
    link::Link,
    log_store::{InMemoryLogStore, Storage},
    machine::{
        Command, LeadershipPreference, NoOp, Query, QueryResult, StateMachine, StateMachineMessage,
    },
    query::{Consistency, QueryResultAt},
    sync::{
        LogReplayProvider, LogReplaySession, LogReplaySync, LogReplaySyncMessage, Machine, Message,
        Provider, Session, StateSync, StateSyncMessage, StateSyncProvider, StateSyncSession,
        SyncContext, SyncProviderContext, SyncSessionContext,
    },
    watcher::{CursorWatcher, IndexOrRange},
    when::When,
};
