//! [`DiskStore`]: the groups of a node behind one writer thread, one fsync for all that waits.
//!
//! A commit is acknowledged when a journal of two files has it: one write in place, one fsync. From
//! there it goes into the tables, a redb file, which are made durable only when the journal wants
//! a file back. After a crash the journal repeats what the tables lack.
//!
//! redb keeps the tables' commits atomic. What it does not do is added here: group commit, typed
//! errors, a checksum over every record bound to its key, refusal instead of repair, and never
//! touching a file again whose fsync failed.

mod ahead;
mod applier;
mod database;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzing;
mod group;
mod journal;
mod lock;
mod medium;
mod pipeline;
mod queue;
mod read;
mod record;
mod shared;
mod store;
mod writer;

pub use {
    lock::OpenError,
    medium::{FileMedium, Media, Medium, SyncObserver},
    store::{DiskOptions, DiskStore},
};
