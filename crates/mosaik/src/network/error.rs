//! Why a network could not start, and the reasons for which connections end.

use {
    crate::{discovery, groups, network::preset::UnknownPreset, streams},
    iroh::endpoint::{BindError, InvalidSocketAddr},
};

pub use super::close::CloseReason;

/// Why a network could not start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No network id was given.
    #[error("Missing network ID")]
    MissingNetworkId,
    /// A socket could not be bound.
    #[error("Bind error: {0}")]
    Bind(#[from] BindError),
    /// An address cannot be bound.
    #[error("Invalid address: {0}")]
    InvalidAddress(#[from] InvalidSocketAddr),
    /// The discovery configuration cannot work.
    #[error("Discovery config error: {0}")]
    DiscoveryConfig(#[from] discovery::ConfigBuilderError),
    /// The streams configuration cannot work.
    #[error("Streams config error: {0}")]
    StreamsConfig(#[from] streams::ConfigBuilderError),
    /// The groups' configuration cannot work.
    #[error("Groups config error: {0}")]
    GroupsConfig(#[from] groups::ConfigBuilderError),
    /// The data directory cannot be used.
    #[error("Data directory error: {0}")]
    DataDir(#[source] std::io::Error),
    /// The metrics exporter could not start.
    #[cfg(feature = "prometheus")]
    #[error("Prometheus exporter error: {0}")]
    Prometheus(String),
    /// `MOSAIK_PRESET` names no preset.
    #[error("Invalid preset: {0}")]
    Preset(#[from] UnknownPreset),
    /// Discovery could not start.
    #[error("Discovery error: {0}")]
    Discovery(#[from] discovery::Error),
}
