//! The consensus core, driven from outside.

mod basics;
mod changing;
mod chaos;
mod cluster;
mod disk;
mod encodings;
mod faults;
mod merging;
#[cfg(mosaik_mutants)]
mod mutants;
mod restoring;
mod traps;
