//! [`NetworkBuilder`]: everything that can be set before a network starts.

use {
    super::{
        NetworkId, error::Error, handle::Network, identity, preset::Preset, store::DamagedData,
    },
    crate::{discovery, groups, streams},
    iroh::{RelayMode, SecretKey},
    mosaik_primitives::Limits,
    std::{collections::BTreeSet, net::SocketAddr, path::PathBuf},
};

/// What a network runs with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NetworkConfig {
    /// The network to be part of.
    pub network_id: NetworkId,
    /// How far it reaches.
    pub preset: Preset,
    /// Relays; what the preset says where it is `None`.
    pub relay_mode: Option<RelayMode>,
    /// Addresses to bind; what the preset says where it is empty.
    pub addresses: BTreeSet<SocketAddr>,
    /// The node's identity.
    pub secret_key: SecretKey,
    /// Discovery's configuration.
    pub discovery: discovery::ConfigBuilder,
    /// The streams' configuration.
    pub streams: streams::ConfigBuilder,
    /// The groups' configuration.
    pub groups: groups::ConfigBuilder,
    /// Where the node keeps what outlives its process.
    pub data_dir: Option<PathBuf>,
    /// What becomes of it where it is damaged.
    pub damaged_data: DamagedData,
    /// What peers can make this node hold.
    pub limits: Limits,
    /// Where metrics are served over HTTP.
    #[cfg(feature = "prometheus")]
    pub prometheus_addr: Option<SocketAddr>,
}

/// Builds a [`Network`]. Only the network id is required.
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct NetworkBuilder {
    network_id: Option<NetworkId>,
    preset: Option<Preset>,
    relay_mode: Option<RelayMode>,
    addresses: BTreeSet<SocketAddr>,
    secret_key: Option<SecretKey>,
    discovery: discovery::ConfigBuilder,
    streams: streams::ConfigBuilder,
    groups: groups::ConfigBuilder,
    data_dir: Option<PathBuf>,
    damaged_data: DamagedData,
    limits: Limits,
    #[cfg(feature = "prometheus")]
    prometheus_addr: Option<SocketAddr>,
}

impl NetworkBuilder {
    /// The network to be part of. Required.
    pub fn with_network_id<VALUE: Into<NetworkId>>(mut self, value: VALUE) -> Self {
        self.network_id = Some(value.into());
        self
    }

    /// How far the network reaches. Default: [`Preset::from_env`].
    pub const fn with_preset(mut self, value: Preset) -> Self {
        self.preset = Some(value);
        self
    }

    /// Which relays to use. Default: the preset's.
    pub fn with_relay_mode(mut self, value: RelayMode) -> Self {
        self.relay_mode = Some(value);
        self
    }

    /// The addresses to bind, and no others. Default: the preset's, with a free port.
    pub fn with_addresses<VALUE: Into<BTreeSet<SocketAddr>>>(mut self, value: VALUE) -> Self {
        self.addresses = value.into();
        self
    }

    /// The node's identity. Default: the one kept in the data directory, or a new random key.
    pub fn with_secret_key<VALUE: Into<SecretKey>>(mut self, value: VALUE) -> Self {
        self.secret_key = Some(value.into());
        self
    }

    /// Discovery's configuration.
    pub fn with_discovery(mut self, value: discovery::ConfigBuilder) -> Self {
        self.discovery = value;
        self
    }

    /// The streams' configuration.
    pub fn with_streams(mut self, value: streams::ConfigBuilder) -> Self {
        self.streams = value;
        self
    }

    /// The groups' configuration.
    pub fn with_groups(mut self, value: groups::ConfigBuilder) -> Self {
        self.groups = value;
        self
    }

    /// A directory in which the node keeps what outlives its process: its groups' logs, and its
    /// identity where none is given. Created where it is missing; one process at a time may use
    /// it.
    ///
    /// Groups are durable then: what a member acknowledged is on its disk first, and a node that
    /// starts again goes on as the member it was. What is damaged is never used and never
    /// reset: see [`with_damaged_data`](Self::with_damaged_data). Default: none, everything is in
    /// memory.
    pub fn with_data_dir<VALUE: Into<PathBuf>>(mut self, value: VALUE) -> Self {
        self.data_dir = Some(value.into());
        self
    }

    /// What becomes of a data directory whose store is damaged. Default:
    /// [`DamagedData::Refuse`], the network does not start and nothing is changed.
    pub const fn with_damaged_data(mut self, value: DamagedData) -> Self {
        self.damaged_data = value;
        self
    }

    /// What peers can make this node hold. Default: [`Limits::DEFAULT`].
    pub fn with_limits(mut self, value: Limits) -> Self {
        self.limits = value;
        self
    }

    /// Serves the process' metrics over HTTP, in Prometheus' text format, at `GET /metrics`.
    ///
    /// Metrics are the process': each network that asks for it serves those of all, at an address
    /// of its own, until it is closed. What carries no label `network` of its own has that of the
    /// first such network. An address that cannot be bound, and a process whose program has
    /// installed another recorder, are an [`Error::Prometheus`].
    #[cfg(feature = "prometheus")]
    pub fn with_prometheus_addr<VALUE: Into<Option<SocketAddr>>>(mut self, value: VALUE) -> Self {
        self.prometheus_addr = value.into();
        self
    }

    /// The configuration, checked.
    fn config(self) -> Result<NetworkConfig, Error> {
        self.limits.validate()?;
        Ok(NetworkConfig {
            network_id: self.network_id.ok_or(Error::MissingNetworkId)?,
            preset: self.preset.map_or_else(Preset::from_env, Ok)?,
            relay_mode: self.relay_mode,
            addresses: self.addresses,
            secret_key: match (self.secret_key, &self.data_dir) {
                (Some(key), _) => key,
                (None, Some(directory)) => identity::load(directory).map_err(Error::DataDir)?,
                (None, None) => SecretKey::generate(),
            },
            discovery: self.discovery,
            streams: self.streams,
            groups: self.groups,
            data_dir: self.data_dir,
            damaged_data: self.damaged_data,
            limits: self.limits,
            #[cfg(feature = "prometheus")]
            prometheus_addr: self.prometheus_addr,
        })
    }

    /// Starts the network.
    ///
    /// Returns when the socket is bound and the protocols are served; it waits for nothing
    /// outside the process, neither relay nor DNS nor peers.
    pub async fn build(self) -> Result<Network, Error> {
        Network::start(self.config()?).await
    }
}
