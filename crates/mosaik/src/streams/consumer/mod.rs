//! Consumers: one worker a producer, merged fairly into one bounded queue.

mod builder;
mod coordinator;
mod event;
mod handle;
mod queue;
mod reader;
mod worker;

pub use {
    builder::{Builder, ConsumerConfig},
    event::{ConsumerEvent, Events},
    handle::Consumer,
};
