//! The consensus core, driven from outside.

mod basics;
mod cluster;
