//! The consensus core, driven from outside.

mod basics;
mod chaos;
mod cluster;
mod disk;
mod encodings;
mod faults;
#[cfg(mosaik_mutants)]
mod mutants;
mod restoring;
mod traps;
