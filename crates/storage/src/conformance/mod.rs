//! What every [`LogStore`] has to pass, ours and a user's.
//!
//! Write a [`Fixture`] that makes your store and opens it again, then call [`run`] in a test:
//!
//! ```
//! use mosaik_storage::{MemoryStore, conformance};
//!
//! struct InMemory;
//!
//! impl conformance::Fixture for InMemory {
//!     type Store = MemoryStore;
//!
//!     fn fresh(&mut self) -> MemoryStore {
//!         MemoryStore::new()
//!     }
//!
//!     // Never called: the store says that it is not durable.
//!     fn reopen(&mut self, store: MemoryStore) -> MemoryStore {
//!         store
//!     }
//! }
//!
//! conformance::run(&mut InMemory);
//! ```
//!
//! A broken promise is a panic that names it. [`run`] checks one promise after the other, then
//! compares the store with a model over random batches, [`run_random`] does only the latter, with
//! steps of your choice. Not checked here, because only the store's maker can cause it: loss of
//! power, failing disks, damaged files, two processes.

mod cases;
mod model;
mod random;
mod waiting;
mod workload;

pub use {
    cases::{Case, cases},
    random::{RawStep, random_steps, run_random},
    workload::Workload,
};

use mosaik_protocol::store::LogStore;

/// Makes the stores that are checked.
pub trait Fixture {
    /// The store.
    type Store: LogStore;

    /// An empty store, in a place of its own.
    fn fresh(&mut self) -> Self::Store;

    /// Ends the store and opens what it left, as a process does that starts again. Called for
    /// stores that are [`LogStore::is_durable`].
    fn reopen(&mut self, store: Self::Store) -> Self::Store;
}

/// Runs every case, then random batches of eight seeds.
///
/// # Panics
/// When the store breaks a promise.
pub fn run<F: Fixture>(fixture: &mut F) {
    for (promise, case) in cases() {
        // Seen only when the case fails: tests show the output of failures.
        println!("checking: {promise}");
        case(fixture);
    }
    for seed in 0..8 {
        println!("checking: random batches of seed {seed}");
        run_random(fixture, &random_steps(seed, 200));
    }
}
