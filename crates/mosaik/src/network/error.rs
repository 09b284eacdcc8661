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
    /// No node can work within the limits that were given.
    #[error("Limits error: {0}")]
    Limits(#[from] mosaik_primitives::LimitsError),
    /// The discovery configuration cannot work.
    #[error("Discovery config error: {0}")]
    DiscoveryConfig(#[from] discovery::ConfigBuilderError),
    /// The streams configuration cannot work.
    #[error("Streams config error: {0}")]
    StreamsConfig(#[from] streams::ConfigBuilderError),
    /// The groups' configuration cannot work.
    #[error("Groups config error: {0}")]
    GroupsConfig(#[from] groups::ConfigBuilderError),
    /// The data directory cannot be used: it is in use, its disk fails, a newer version has
    /// written it, or the identity in it is damaged or missing.
    #[error("Data directory error: {0}")]
    DataDir(#[source] std::io::Error),
    /// The store in the data directory is damaged. Nothing that is stored was changed.
    ///
    /// Put back a copy of the files, or let the node begin a new life without them, see
    /// [`DamagedData::SetAside`](crate::network::DamagedData::SetAside). Starting again changes nothing.
    #[error(
        "Data directory {} is damaged, and nothing in it was changed: {damage}. Put back a copy of it, or \
         start with DamagedData::SetAside while the other members keep their data",
        directory.display()
    )]
    DamagedData {
        /// The data directory.
        directory: std::path::PathBuf,
        /// Which file is damaged, where, and what does not fit there.
        damage: String,
    },
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
