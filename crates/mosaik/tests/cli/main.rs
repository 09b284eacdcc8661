//! The command-line tool as its users meet it: real processes on loopback.
#![cfg(all(feature = "cli", unix))]

mod demo;
mod failures;
mod lan;
#[path = "../support/namespace.rs"]
mod namespace;
mod pipes;
mod tool;
