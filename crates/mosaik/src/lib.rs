//! mosaik: processes that form a distributed system from a network name alone.
//!
//! A [`Network`] is one node's part in a network. Under it stand the subsystems: [`discovery`]
//! finds the other nodes, [`streams`] carry typed data between them, [`groups`] agree on one order of
//! commands and replicate what they do. [`tickets`] say who may take part.
//!
//! ```no_run
//! use futures::{SinkExt, StreamExt};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let network = mosaik::Network::new("weather").await?;
//! let mut readings = network.streams().produce::<f64>();
//! readings.send(21.5).await?;
//!
//! // In another process:
//! let network = mosaik::Network::new("weather").await?;
//! let mut readings = network.streams().consume::<f64>();
//! while let Some(celsius) = readings.next().await {
//!     println!("{celsius}");
//! }
//! # Ok(())
//! # }
//! ```

pub mod declare;
mod diagnostics;
pub mod discovery;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub mod groups;
pub mod network;
pub mod primitives;
pub mod streams;
pub mod tickets;

pub use {
    bytes::{Bytes, BytesMut},
    futures,
    groups::{
        Consistency,
        Consistency::{Strong, Weak},
        Group, GroupId, GroupKey,
    },
    iroh,
    iroh::{SecretKey, Signature},
    mosaik_macros::{__stream_impl, __unique_id_impl},
    network::{Network, NetworkId, PeerId},
    primitives::{Datum, Digest, Tag, UniqueId},
    streams::{ConsumerOf, Criteria, ProducerOf, StreamConsumer, StreamId, StreamProducer},
};
