//! Groups of real processes that are killed, paused, restarted and robbed of their data, under
//! load, on loopback.
//!
//! Every client writes down what it asked and what it was told. In the end all that was
//! acknowledged must be there, once, where it was said to be; every member must hold the same;
//! and some order of everything must explain every answer.
//!
//! Not here: faults of the network (all processes see each other), and of disks.

mod faults;
mod history;
mod member;
mod process;
