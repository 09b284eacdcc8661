//! The consensus core, driven from outside.

/// Tests with their names.
#[cfg(mosaik_mutants)]
macro_rules! named {
    ($($test:ident),+ $(,)?) => {
        &[$((stringify!($test), $test)),+]
    };
}

mod basics;
mod changing;
mod chaos;
mod cluster;
mod disk;
mod earlier_lives;
mod encodings;
mod faults;
mod founding;
mod hostile;
mod limits;
mod merging;
#[cfg(mosaik_mutants)]
mod mutants;
mod rereading;
mod restoring;
mod traps;
