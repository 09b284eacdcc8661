//! [`Network`]: the handle under which everything stands.

use {
    super::{
        NetworkId,
        address_book::Listing,
        builder::{NetworkBuilder, NetworkConfig},
        error::Error,
        links::Links,
        local::LocalNode,
        store,
        tasks::Tasks,
        transport,
    },
    crate::{diagnostics, discovery::Discovery, groups::Groups, streams::Streams},
    core::time::Duration,
    std::{
        net::SocketAddr,
        path::{Path, PathBuf},
        sync::Arc,
    },
};

/// How long closing waits for streams to hand over what they accepted.
const DRAIN: Duration = Duration::from_secs(5);

/// One node's part in a network.
///
/// Dropping it closes the network in the background; [`Network::close`] does the same and
/// resolves when nothing of it is left.
#[derive(Debug)]
pub struct Network {
    local: LocalNode,
    discovery: Discovery,
    streams: Streams,
    groups: Groups,
    set_aside: Option<PathBuf>,
    /// Taken by whoever closes.
    running: Option<Arc<Running>>,
}

/// What has to be ended.
#[derive(Debug)]
struct Running {
    links: Links,
    tasks: Tasks,
    discovery: Discovery,
    streams: Streams,
    groups: Groups,
    _listing: Listing,
}

impl Network {
    /// A builder for the given network.
    pub fn builder(network_id: impl Into<NetworkId>) -> NetworkBuilder {
        NetworkBuilder::default().with_network_id(network_id)
    }

    /// Starts with every setting at its default. See [`NetworkBuilder::build`].
    pub async fn new(network_id: impl Into<NetworkId>) -> Result<Self, Error> {
        Self::builder(network_id).build().await
    }

    pub(super) async fn start(config: NetworkConfig) -> Result<Self, Error> {
        let discovery_config = config.discovery.clone().build()?;
        let streams_config = config.streams.clone().build()?;
        let groups_config = config.groups.clone().build()?;
        let departure_window = discovery_config.graceful_departure_window;
        // The recorder comes before all that is counted.
        #[cfg(feature = "prometheus")]
        let exporter = match config.prometheus_addr {
            Some(address) => {
                let bound = diagnostics::Exporter::bind(address, &config.network_id).await;
                Some(bound.map_err(Error::Prometheus)?)
            }
            None => None,
        };
        diagnostics::describe();

        let (store, set_aside) = match config.data_dir.clone() {
            Some(directory) => {
                let opened = store::open(directory, config.damaged_data, config.network_id).await?;
                (Some(opened.store), opened.set_aside)
            }
            None => (None, None),
        };
        let endpoint = transport::bind(&config).await?;
        let listing = Listing::new(endpoint.addr());
        let tasks = Tasks::default();
        let links = Links::start(
            endpoint.clone(),
            config.network_id,
            config.limits.clone(),
            &tasks,
        );
        let discovery = match Discovery::start(&links, discovery_config, config.preset).await {
            Ok(discovery) => discovery,
            Err(error) => {
                tasks.cancel();
                endpoint.close().await;
                tasks.wait().await;
                return Err(error.into());
            }
        };
        #[cfg(feature = "prometheus")]
        if let Some(exporter) = exporter {
            exporter.serve(&tasks);
        }
        let streams = Streams::start(&links, &discovery, streams_config);
        let groups = Groups::start(&links, &discovery, groups_config, departure_window, store);
        let running = Running {
            links,
            tasks,
            discovery: discovery.clone(),
            streams: streams.clone(),
            groups: groups.clone(),
            _listing: listing,
        };
        Ok(Self {
            local: LocalNode::new(endpoint, config.network_id),
            discovery,
            streams,
            groups,
            set_aside,
            running: Some(Arc::new(running)),
        })
    }

    /// The network's id.
    pub const fn network_id(&self) -> &NetworkId {
        self.local.network_id()
    }

    /// This node.
    pub const fn local(&self) -> &LocalNode {
        &self.local
    }

    /// Resolves when the node can be used, which is so from the start.
    pub async fn online(&self) {
        self.local.online().await;
    }

    /// Resolves when a relay or an address outside loopback is known. See
    /// [`LocalNode::reachable`].
    pub async fn reachable(&self) {
        self.local.reachable().await;
    }

    /// Who is there.
    pub const fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// Typed data between nodes.
    pub const fn streams(&self) -> &Streams {
        &self.streams
    }

    /// State that several nodes agree on.
    pub const fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Where the damaged store is that this start has set aside, if it has.
    /// See [`DamagedData::SetAside`](super::DamagedData::SetAside).
    pub fn set_aside(&self) -> Option<&Path> {
        self.set_aside.as_deref()
    }

    /// Leaves the network.
    ///
    /// Consumers end at once. While what producers accepted is handed over, also by those that were
    /// dropped before (for at most 5 s), groups are left and the departure is announced; then every
    /// link is closed. Resolves when every task and socket of the network is gone.
    /// Handles that outlive it answer that they are closed.
    pub async fn close(mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        // What this handle holds of the transport goes first, or its socket would stay.
        drop(self);
        running.close().await;
    }
}

impl Running {
    async fn close(&self) {
        // Others learn of the departure while subscribers that are slow still take what they
        // are owed: no subscription ends because its producer has left the catalog.
        let drain = tokio::time::timeout(DRAIN, self.streams.close());
        let leave = async {
            self.groups.close().await;
            self.discovery.leave().await;
        };
        let (drained, ()) = tokio::join!(drain, leave);
        if drained.is_err() {
            tracing::warn!("closing with items that no consumer took in time");
        }
        self.discovery.close().await;
        let endpoint = self.links.close();
        self.tasks.cancel();
        self.tasks.wait().await;
        let Some(endpoint) = endpoint else {
            return;
        };
        let sockets = endpoint.bound_sockets();
        endpoint.close().await;
        drop(endpoint);
        released(&sockets).await;
    }
}

/// Resolves when the sockets are closed.
///
/// The transport closes them in a task of its own that it does not let one wait for; that the
/// addresses can be bound again is what tells. Gives up after half a second: another process may
/// have taken them.
async fn released(sockets: &[SocketAddr]) {
    const LOOK: Duration = Duration::from_millis(1);
    const GIVE_UP: Duration = Duration::from_millis(500);
    let free = |socket: &SocketAddr| std::net::UdpSocket::bind(socket).is_ok();
    let all_free = async {
        while !sockets.iter().all(free) {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(GIVE_UP, all_free).await.is_err() {
        tracing::debug!(?sockets, "sockets are still bound");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move { running.close().await });
            }
            // Without a runtime the network's tasks cannot run either; all that is left is to
            // tell them, should their runtime still exist.
            Err(_) => running.tasks.cancel(),
        }
    }
}
