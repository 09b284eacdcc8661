//! [`DiskStore`]: the groups of a node in one file, one writer thread, one fsync for all that waits.
//!
//! The file is a redb database: a copy-on-write tree whose commits are atomic. What redb does not
//! do is added here: group commit, typed errors, a checksum over every record bound to its key,
//! refusal instead of repair, and never touching a file again whose fsync failed.

mod database;
mod group;
mod lock;
mod medium;
mod queue;
mod read;
mod record;
mod shared;
mod store;
mod writer;

pub use {
    lock::OpenError,
    medium::{FileMedium, Medium},
    store::{DiskOptions, DiskStore},
};
