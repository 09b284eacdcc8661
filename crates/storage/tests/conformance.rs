//! Every store of this crate passes the suite, and random batches that a property test shrinks.

mod common;

use {
    common::{OnDisk, OnSimulatedDisk},
    mosaik_storage::{
        MemoryStore,
        conformance::{self, Fixture},
        faulty::{FaultPlan, FaultyStore},
    },
    proptest::prelude::*,
};

struct InMemory;

impl Fixture for InMemory {
    type Store = MemoryStore;

    fn fresh(&mut self) -> MemoryStore {
        MemoryStore::new()
    }

    fn reopen(&mut self, store: MemoryStore) -> MemoryStore {
        store
    }
}

/// Reopening is a crash: acknowledged batches survive it.
struct WithoutFaults;

impl Fixture for WithoutFaults {
    type Store = FaultyStore;

    fn fresh(&mut self) -> FaultyStore {
        FaultyStore::new(MemoryStore::new(), 1, FaultPlan::NONE)
    }

    fn reopen(&mut self, mut store: FaultyStore) -> FaultyStore {
        store.crash();
        store
    }
}

#[test]
fn memory() {
    conformance::run(&mut InMemory);
}

#[test]
fn faulty_without_faults() {
    conformance::run(&mut WithoutFaults);
}

#[test]
fn disk() {
    conformance::run(&mut OnDisk::new("conformance"));
}

#[test]
fn disk_that_loses_power_at_every_reopening() {
    conformance::run(&mut OnSimulatedDisk::new(1));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_equals_the_model(steps in prop::collection::vec(any::<[u8; 4]>(), 0..120)) {
        conformance::run_random(&mut InMemory, &steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_disk_equals_the_model(steps in prop::collection::vec(any::<[u8; 4]>(), 0..80)) {
        conformance::run_random(&mut OnSimulatedDisk::new(2), &steps);
    }
}
