//! What a disk may do to a store, made repeatable by a seed.
//!
//! [`FaultyStore`] works on the level of batches and is what the simulator gives to a group: it decides
//! when a batch becomes durable, what a crash takes back, and which batch fails how.
//! [`SimulatedDisk`] works below [`DiskStore`](crate::DiskStore), on sectors: it tears and reorders
//! writes at a power cut, fails or lies at an fsync, runs full, and flips bits.

mod disk;
mod rng;
mod store;

pub use {
    disk::SimulatedDisk,
    rng::SplitMix,
    store::{Crash, Fault, FaultPlan, FaultyStore},
};
