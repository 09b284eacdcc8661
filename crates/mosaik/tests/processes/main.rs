//! Groups of real processes that are killed, paused, restarted, robbed of their data and cut off
//! from each other, under load, on loopback or with a router of the test's own between them.
//!
//! Every client writes down what it asked and what it was told. In the end all that was
//! acknowledged must be there, once, where it was said to be; every member must hold the same;
//! and some order of everything must explain every answer.
//!
//! Not here: faults of disks.

mod faults;
#[path = "../support/hand_over.rs"]
mod hand_over;
mod history;
mod machine;
mod member;
#[path = "../support/namespace.rs"]
mod namespace;
mod process;
mod random;
mod router;
mod shapes;
