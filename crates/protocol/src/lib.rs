//! The protocols of mosaik as pure state machines.
//!
//! Each takes `handle(now, input, out)`: time and randomness are passed in, everything the
//! machine wants done comes out as values. Absent on purpose: async, sockets, clocks, threads,
//! entropy, and any collection whose iteration order is not deterministic.

pub mod catalog;
pub mod consensus;
pub mod store;
pub mod subscription;
