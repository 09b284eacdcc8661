//! A deterministic world for the consensus core.
//!
//! Everything that is uncertain in a real network (time, delivery, disks, crashes, who sees whom)
//! is drawn from one seed here, so that a run can be repeated exactly, and what must never happen
//! is checked after every step.

pub mod campaign;
pub mod chronicle;
pub mod disk;
pub mod failure;
pub mod finale;
pub mod history;
pub mod invariants;
pub mod linearizability;
pub mod machine;
pub mod mutants;
pub mod nemesis;
pub mod network;
pub mod node;
pub mod open;
pub mod queue;
pub mod rng;
pub mod run;
pub mod scenario;
pub mod setup;
pub mod story;
pub mod trace;
pub mod world;
