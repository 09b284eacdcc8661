//! The consensus core: Raft with pre-vote, check-quorum, learners, logged membership, `ReadIndex`
//! and leader transfer, for groups that form by themselves.
//!
//! Pure: [`Core::handle`] takes the time and one [`Input`] and puts
//! [`Output`]s; no I/O, no clock, no entropy but the seed in [`Config`]. Sources: Ongaro and
//! Ousterhout, "In Search of an Understandable Consensus Algorithm"; Ongaro's dissertation
//! (§3.10 transfer, §4 membership, §6.4 `ReadIndex`, §9.6 pre-vote).
//!
//! Absent on purpose: the state machine and its snapshots' data (the driver's), the transport,
//! proof of the group's key, and any use of connections in deciding what a quorum is.

mod abandon;
mod apply;
mod change;
pub mod codec;
pub mod config;
pub mod core;
mod election;
pub mod entry;
mod fetches;
mod follower;
mod formation;
mod forward;
pub mod ids;
pub mod input;
mod leader;
mod log;
pub mod membership;
mod merge;
pub mod message;
pub mod mutants;
mod progress;
mod proposals;
mod reads;
mod receive;
mod recovery;
mod replicate;
mod resubmit;
mod snapshots;
pub mod state;
pub mod status;
mod storing;
pub mod window;
pub mod wire;

pub use {
    config::{Config, ConfigError, MergePolicy, limits},
    core::{Core, Restored, StartError},
    entry::{Commands, Entry, EntryBody, Genesis, Recovery, Seal},
    ids::{
        GroupKeyId, Index, Lineage, LogIndex, Member, OpRun, Origin, PeerKey, Position, Term, Token,
    },
    input::{
        CommittedEntry, Event, Input, NotDone, Outcome, Output, Outputs, Proposal, ProposalId,
        ReadId, ReadOutcome, Write,
    },
    membership::{Membership, Preference, Standing},
    message::{Body, Message},
    state::{HardState, SnapshotMeta},
    status::{RoleName, Status},
    wire::WireError,
};
