//! The driver: one task that owns the consensus core of every group of its node.
//!
//! It takes everything that has happened since it last looked (requests, frames, timers), hands
//! it to the cores, and carries out what they ask for. Proposals that came together are proposed
//! together. It never waits for a peer, a disk or the program's code: lanes queue or drop, the
//! store works by itself, and state machines run in tasks of their own.
//!
//! Not here: typed commands and queries (the applier's), and what consensus is (the core's).

mod bond;
mod catalog;
mod cutting;
mod handshake;
mod holding;
mod inbox;
mod io;
mod lanes;
mod marks;
mod member;
mod outputs;
mod pacing;
mod peers;
mod probe;
mod run;
mod timers;

pub(super) use {
    inbox::{Command, Inbox, Propose, Question, Refusal, Reply, Settled, Slot, Wish},
    io::{random, wall_clock},
    run::Driver,
};
