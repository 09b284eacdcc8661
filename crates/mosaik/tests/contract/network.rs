//! `mosaik::network`: starting a node, and what it says of itself.

use {
    crate::support::within,
    mosaik::{
        SecretKey, discovery, groups,
        iroh::{
            Endpoint, EndpointAddr,
            endpoint::{ApplicationClose, BindError, InvalidSocketAddr},
        },
        network::{
            self, CloseReason, LocalNode, Network, NetworkBuilder, NetworkConfig,
            NetworkError::{self, MissingNetworkId},
            NetworkId, PeerId, Preset, RelayMode,
        },
        streams,
    },
    std::{
        collections::BTreeSet,
        error::Error,
        fmt::{Debug, Display},
        future::Future,
        net::{Ipv4Addr, SocketAddr},
    },
};

/// Names that programs import, from wherever they may.
mod paths {
    #![expect(unused_imports, reason = "compiling is the test")]
    use mosaik::{
        Network, NetworkId, PeerId, iroh,
        iroh::RelayMode,
        network::{
            Error, NetworkError,
            NetworkError::{Bind, DiscoveryConfig, GroupsConfig, InvalidAddress, StreamsConfig},
            error::{CloseReason, Error as ErrorOfModule},
        },
    };
}

/// The builder's setters, every one of them.
fn set_up(key: SecretKey) -> NetworkBuilder {
    let address: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    let builder: NetworkBuilder = NetworkBuilder::default();
    let builder = builder
        .with_preset(Preset::Isolated)
        .with_network_id("contract.network")
        .with_network_id(NetworkId::random())
        .with_relay_mode(RelayMode::Disabled)
        .with_addresses([address])
        .with_addresses(BTreeSet::from([address]))
        .with_secret_key(key)
        .with_discovery(discovery::Config::builder())
        .with_streams(streams::Config::builder())
        .with_groups(groups::Config::builder());
    #[cfg(feature = "prometheus")]
    let builder = builder
        .with_prometheus_addr(address)
        .with_prometheus_addr(Some(address))
        .with_prometheus_addr(None);
    builder
}

#[tokio::test]
async fn a_network_is_built_and_says_who_it_is() {
    let key = SecretKey::from_bytes(&[7; 32]);
    let built: Result<Network, network::Error> = set_up(key.clone()).build().await;
    let network = built.expect("a node starts on loopback");
    within("online at once", network.online()).await;
    let id: &NetworkId = network.network_id();
    let local: &LocalNode = network.local();
    within("online at once", local.online()).await;
    assert_eq!(local.network_id(), id);
    let (peer, address): (PeerId, EndpointAddr) = (local.id(), local.addr());
    let secret: &SecretKey = local.secret_key();
    let endpoint: &Endpoint = local.endpoint();
    assert_eq!((peer, peer), (secret.public(), endpoint.id()));
    assert_eq!((secret.to_bytes(), address.id), (key.to_bytes(), peer));
    assert!(local.to_string().contains(&peer.to_string()));
    let (same, discovery, _) = handles(&network);
    assert_eq!((same.id(), discovery.me().id()), (peer, &peer));
    let _: &groups::Groups = groups_of(&network);
    // Dropping it is enough to leave.
    drop(network);
}

#[tokio::test]
async fn only_the_network_id_is_required() {
    let missing = NetworkBuilder::default().build().await;
    assert!(matches!(missing, Err(MissingNetworkId)));
    let missing = NetworkBuilder::default().with_preset(Preset::Isolated);
    assert!(matches!(
        missing.build().await,
        Err(NetworkError::MissingNetworkId)
    ));
    let named = Network::builder("contract.network").with_preset(Preset::Isolated);
    let network = named.build().await.expect("a node starts on loopback");
    assert_eq!(*network.network_id(), NetworkId::from("contract.network"));
    network.close().await;
}

#[test]
fn types_have_the_traits_that_programs_use() {
    implements!(NetworkBuilder: Default + Send);
    implements!(NetworkConfig: Clone + Debug);
    implements!(LocalNode: Clone + Debug + Display + Send + Sync + 'static);
    implements!(Network: Send + Sync + 'static);
    implements!(NetworkError: Debug + Display + Error + Send + Sync + 'static);
    implements!(NetworkError: From<BindError> + From<InvalidSocketAddr>);
    implements!(NetworkError: From<discovery::ConfigBuilderError>);
    implements!(NetworkError: From<streams::ConfigBuilderError>);
    implements!(NetworkError: From<groups::ConfigBuilderError>);
    // One type under its names.
    fn same<T>(_: fn(T), _: fn(T)) {}
    same::<network::Error>(|_: NetworkError| {}, |_: network::error::Error| {});
}

/// What can be asked for in a constant expression.
const fn handles(network: &Network) -> (&LocalNode, &discovery::Discovery, &streams::Streams) {
    (network.local(), network.discovery(), network.streams())
}

const fn groups_of(network: &Network) -> &groups::Groups {
    network.groups()
}

/// `Network::new` is what programs begin with; nothing is started here.
#[test]
fn futures_of_a_network_go_anywhere() {
    fn starts<F: Future<Output = Result<Network, NetworkError>> + Send>(_: impl FnOnce() -> F) {}
    starts(|| Network::new("contract"));
    starts(|| Network::new(NetworkId::zero()));
    starts(|| Network::builder("contract").build());
    fn waits<F: Future<Output = ()> + Send>(_: impl FnOnce(&'static Network) -> F) {}
    waits(Network::online);
    waits(|network| network.local().online());
}

/// Fields that a program can read of a configuration.
#[expect(dead_code, reason = "compiling is the test")]
fn fields(config: NetworkConfig) {
    let _: (NetworkId, BTreeSet<SocketAddr>) = (config.network_id, config.addresses);
    let _: (SecretKey, discovery::ConfigBuilder) = (config.secret_key, config.discovery);
    let _: (streams::ConfigBuilder, groups::ConfigBuilder) = (config.streams, config.groups);
    #[cfg(feature = "prometheus")]
    let _: Option<SocketAddr> = config.prometheus_addr;
}

/// A reason for closing that a program made.
#[derive(Clone, Debug)]
struct Bored;

impl Display for Bored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("bored")
    }
}

impl Error for Bored {}

impl From<Bored> for ApplicationClose {
    fn from(_: Bored) -> Self {
        Self {
            error_code: 70_000u32.into(),
            reason: mosaik::Bytes::from_static(b"Bored"),
        }
    }
}

impl PartialEq<ApplicationClose> for Bored {
    fn eq(&self, other: &ApplicationClose) -> bool {
        other.error_code == 70_000u32.into()
    }
}

impl CloseReason for Bored {}

#[test]
fn programs_can_close_for_reasons_of_their_own() {
    fn needs<R>(reason: &R) -> ApplicationClose
    where
        R: CloseReason + Error + PartialEq<ApplicationClose> + Clone + Send + Sync + 'static,
    {
        let close: ApplicationClose = reason.clone().into();
        assert!(*reason == close);
        close
    }
    assert_eq!(&needs(&Bored).reason[..], b"Bored");
}
