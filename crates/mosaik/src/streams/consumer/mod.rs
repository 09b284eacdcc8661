//! Consumers: one worker a producer, merged fairly into one bounded queue.

mod builder;
mod coordinator;
mod event;
mod handle;
mod nearness;
mod places;
mod queue;
mod reader;
mod waits;
mod worker;

#[cfg(fuzzing)]
pub(super) use reader::parse_all;
pub use {
    builder::{Builder, ConsumerConfig},
    event::{ConsumerEvent, Events},
    handle::Consumer,
};
