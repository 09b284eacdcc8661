//! Stores for the logs, hard states and snapshots of consensus groups.
//!
//! [`MemoryStore`] keeps nothing beyond the process, [`DiskStore`] keeps the groups of a node in one
//! directory and makes everything that waits durable with one fsync, [`FaultyStore`] loses and breaks
//! what a real disk may lose and break, as its seed says. [`conformance`] is what each of them, and
//! any store of a user, has to pass.
//!
//! The trait that they implement is [`LogStore`], in `mosaik_protocol::store`. Absent on purpose:
//! async, and any knowledge of what the stored bytes mean.

pub mod conformance;
mod disk;
pub mod faulty;
mod memory;

#[cfg(fuzzing)]
#[doc(hidden)]
pub use disk::fuzzing;
pub use {
    disk::{DiskOptions, DiskStore, FileMedium, Media, Medium, OpenError, SyncObserver},
    faulty::FaultyStore,
    memory::MemoryStore,
    mosaik_protocol::store::*,
};
