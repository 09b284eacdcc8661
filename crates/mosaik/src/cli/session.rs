//! What the commands share: logs, joining a network, signals, and telling who comes and goes.

use {
    super::{
        args::{NetworkArgs, Peer},
        failure::Failure,
    },
    core::str::FromStr,
    iroh::EndpointAddr,
    mosaik::{
        Network,
        discovery::{self, Event},
        iroh,
        network::{NetworkBuilder, Preset},
    },
    std::io::IsTerminal,
    tokio::{
        signal::unix::{SignalKind, signal},
        sync::broadcast::error::RecvError,
    },
    tracing_subscriber::EnvFilter,
};

/// Starts logging to standard error. While a command draws on the terminal, logs that would end
/// up on it are left out.
pub(crate) fn start_logging(draws: bool) {
    let is_terminal = std::io::stderr().is_terminal();
    if draws && is_terminal {
        return;
    }
    // Gossip warns of each peer that closed before it did, which is how every process ends.
    let filter = std::env::var(EnvFilter::DEFAULT_ENV)
        .unwrap_or_else(|_| "warn,iroh_gossip=error".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::builder().parse_lossy(filter))
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal)
        .init();
}

/// Something the user of a command wants to know while it runs.
macro_rules! say {
    ($($format:tt)*) => {
        eprintln!("mosaik: {}", format_args!($($format)*))
    };
}
pub(crate) use say;

impl NetworkArgs {
    /// The settings of a network that these arguments ask for.
    pub(crate) fn builder(&self) -> Result<NetworkBuilder, Failure> {
        let preset = match (self.preset, std::env::var(Preset::ENV)) {
            (Some(preset), _) => preset,
            (None, Ok(name)) => {
                Preset::from_str(&name).map_err(|error| Failure::usage(error.to_string()))?
            }
            (None, Err(_)) => Preset::Local,
        };
        let builder = Network::builder(self.network.as_str())
            .with_preset(preset)
            .with_discovery(self.discovery());
        Ok(match &self.secret {
            Some(secret) => builder.with_secret_key(secret.0.clone()),
            None => builder,
        })
    }

    /// Discovery that starts with the given peers.
    pub(crate) fn discovery(&self) -> discovery::ConfigBuilder {
        let peers: Vec<EndpointAddr> = self.peers.iter().map(Peer::addr).collect();
        discovery::Config::builder().with_bootstrap(peers)
    }

    /// Joins the network.
    pub(crate) async fn join(&self) -> Result<Network, Failure> {
        Ok(self.builder()?.build().await?)
    }
}

impl Peer {
    fn addr(&self) -> EndpointAddr {
        let addr = EndpointAddr::new(self.id);
        match self.address {
            Some(address) => addr.with_ip_addr(address),
            None => addr,
        }
    }
}

/// Resolves when the user or the system asks the process to end.
pub(crate) async fn interrupted() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        // Without a handler the signal ends the process, which is what it asks for.
        return std::future::pending().await;
    };
    tokio::select! {
        Ok(()) = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// Says on standard error who comes and goes, for as long as it is polled.
pub(crate) async fn tell_peers(network: &Network) {
    let mut events = network.discovery().events();
    let known = network.discovery().catalog();
    for peer in known.peers() {
        say!("peer {} is there", peer.id());
    }
    loop {
        match events.recv().await {
            Ok(Event::PeerDiscovered(peer)) => say!("peer {} is there", peer.id()),
            Ok(Event::PeerDeparted(peer)) => say!("peer {peer} is gone"),
            Ok(Event::PeerUpdated(_)) => {}
            Err(RecvError::Lagged(missed)) => say!("{missed} changes of peers went by unseen"),
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}
