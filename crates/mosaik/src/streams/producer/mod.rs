//! Producers: one queue a stream, a writer a subscription.

mod absence;
mod admission;
mod builder;
mod error;
mod fanout;
mod handle;
mod keeper;
pub(super) mod server;
mod shared;
mod writer;

#[cfg(test)]
mod model_tests;

pub(super) use {
    admission::expired,
    builder::{OnlineWhen, Require},
    shared::Registered,
};
pub use {
    builder::{Builder, ProducerConfig},
    error::{BuilderError, Error},
    handle::Producer,
};
