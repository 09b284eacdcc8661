//! What groups are promised whose logs are cut: nothing is lost by it, in memory and on disk.

#![allow(unreachable_pub, reason = "modules of one test binary")]

mod durable;
#[path = "../support/hand_over.rs"]
mod hand_over;
mod kill;
mod ledger;
mod memory;
#[path = "../support/mod.rs"]
mod support;
