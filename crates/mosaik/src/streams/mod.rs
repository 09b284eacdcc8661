//! Typed data from producers to consumers, in order, with backpressure.
//!
//! A producer has a bounded queue; each consumer that subscribes has its own place in it. What
//! happens when a consumer does not keep up is the producer's choice
//! ([`producer::Builder::disconnect_lagging`]): either the slowest consumer sets the pace and
//! nothing is lost, or the consumer is cut, reconnects, and is told how many items it missed.
//!
//! Producers and consumers may be created before or after their nodes know each other, in any
//! order. A consumer subscribes to every producer of its stream on other nodes; a node does not
//! subscribe to itself.
//!
//! Promised, per producer and consumer: order, no duplicates, and every loss announced with a
//! count. Not promised: delivery to consumers that are not connected.

mod config;
pub mod consumer;
mod definition;
mod frame;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod greeting;
mod handle;
pub mod producer;
mod report;
pub mod status;

pub use {
    config::{BackoffFactory, Config, ConfigBuilder, ConfigBuilderError, backoff},
    consumer::Consumer,
    definition::{
        ConsumerDef, ConsumerOf, ProducerDef, ProducerOf, StreamConsumer, StreamDef, StreamProducer,
    },
    handle::Streams,
    mosaik_protocol::subscription::{Criteria, CriteriaError, Field, Literal, ParseCriteriaError},
    producer::Producer,
};

/// Names a stream.
pub type StreamId = mosaik_primitives::Digest;
