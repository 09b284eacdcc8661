//! The words of errors that programs match on, and the variants that they name.

use {
    crate::support::{isolated, network_id, node},
    mosaik::{
        NetworkId, PeerId, SecretKey, discovery,
        iroh::{
            Endpoint,
            endpoint::{InvalidSocketAddr, presets},
        },
        network::{LinkError, NetworkError},
        primitives::encoding::EncodeError,
        streams::{self, producer},
    },
    std::{
        collections::BTreeSet,
        error::Error,
        net::{Ipv4Addr, UdpSocket},
    },
};

fn invalid_address() -> InvalidSocketAddr {
    Endpoint::builder(presets::Minimal)
        .bind_addr("nowhere")
        .map(|_| ())
        .expect_err("not an address")
}

/// Every variant that programs name. Others may be added.
fn network_error(error: &NetworkError) -> Option<String> {
    Some(match error {
        NetworkError::MissingNetworkId => "Missing network ID".to_owned(),
        NetworkError::Bind(cause) => format!("Bind error: {cause}"),
        NetworkError::InvalidAddress(cause) => format!("Invalid address: {cause}"),
        NetworkError::DiscoveryConfig(cause) => format!("Discovery config error: {cause}"),
        NetworkError::StreamsConfig(cause) => format!("Streams config error: {cause}"),
        NetworkError::GroupsConfig(cause) => format!("Groups config error: {cause}"),
        #[cfg(feature = "prometheus")]
        NetworkError::Prometheus(cause) => {
            let cause: &String = cause;
            format!("Prometheus exporter error: {cause}")
        }
        _ => return None,
    })
}

#[tokio::test]
async fn a_network_that_cannot_start_says_why_in_the_documented_words() {
    let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    let address = taken.local_addr().expect("it is bound");
    let bind = isolated(network_id())
        .with_addresses(BTreeSet::from([address]))
        .build()
        .await;
    let Err(bind @ NetworkError::Bind(_)) = bind else {
        panic!("the address is taken: {:?}", bind.map(|_| ()));
    };
    let errors = [
        NetworkError::MissingNetworkId,
        bind,
        invalid_address().into(),
        discovery::ConfigBuilderError::from("why".to_owned()).into(),
        streams::ConfigBuilderError::from("why".to_owned()).into(),
        mosaik::groups::ConfigBuilderError::from("why".to_owned()).into(),
        #[cfg(feature = "prometheus")]
        NetworkError::Prometheus("why".into()),
    ];
    for error in errors {
        assert_eq!(Some(error.to_string()), network_error(&error));
    }
}

#[test]
fn configurations_say_what_is_missing_or_wrong() {
    let missing = discovery::ConfigBuilderError::UninitializedField("tags");
    let wrong = discovery::ConfigBuilderError::ValidationError("why".into());
    assert_eq!(missing.to_string(), "`tags` must be initialized");
    assert_eq!(wrong.to_string(), "why");
    let missing = streams::ConfigBuilderError::UninitializedField("backoff");
    let wrong = streams::ConfigBuilderError::ValidationError("why".into());
    assert_eq!(missing.to_string(), "`backoff` must be initialized");
    assert_eq!(wrong.to_string(), "why");
}

/// Every variant that programs name. Others may be added.
fn discovery_error(error: &discovery::Error) -> Option<String> {
    Some(match error {
        discovery::Error::InvalidSecretKey(expected, got) => {
            let _: (&PeerId, &PeerId) = (expected, got);
            format!("PeerId does not match the secret key, expected {expected}, got {got}")
        }
        discovery::Error::DifferentNetwork {
            local_network,
            remote_network,
        } => {
            let _: (&NetworkId, &NetworkId) = (local_network, remote_network);
            format!("Peer is on a different network: our={local_network}, remote={remote_network}")
        }
        discovery::Error::InvalidSignature => "Signature is invalid".to_owned(),
        discovery::Error::GossipJoin(cause) => format!("Failed to join gossip topic: {cause}"),
        discovery::Error::PeerIdChanged(was, attempted) => {
            format!("Invalid local PeerEntry update attempted: was {was}, attempted {attempted}")
        }
        discovery::Error::Link(cause) => format!("Link error: {cause}"),
        discovery::Error::Other(cause) => format!("Other error: {cause}"),
        discovery::Error::Cancelled => "Operation Cancelled".to_owned(),
        _ => return None,
    })
}

/// What the gossip layer answers once it is shut down.
async fn gossip_error() -> iroh_gossip::api::ApiError {
    let network = node(network_id()).await;
    let gossip = iroh_gossip::net::Gossip::builder().spawn(network.local().endpoint().clone());
    gossip.shutdown().await.expect("it ran");
    let refused = gossip.subscribe([1; 32].into(), vec![]).await;
    network.close().await;
    refused.map(|_| ()).expect_err("it is shut down")
}

#[tokio::test]
async fn discovery_fails_in_the_documented_words() {
    let peer = |n: u8| SecretKey::from_bytes(&[n; 32]).public();
    let other: Box<dyn Error + Send + Sync> = "why".into();
    let errors = [
        discovery::Error::InvalidSecretKey(peer(1), peer(2)),
        discovery::Error::DifferentNetwork {
            local_network: "one".into(),
            remote_network: "two".into(),
        },
        discovery::Error::InvalidSignature,
        discovery::Error::from(gossip_error().await),
        discovery::Error::PeerIdChanged(peer(1), peer(2)),
        discovery::Error::Link(LinkError::Timeout),
        discovery::Error::from(other),
        discovery::Error::Cancelled,
    ];
    for error in errors {
        assert_eq!(Some(error.to_string()), discovery_error(&error));
    }
}

#[tokio::test]
async fn a_key_of_another_peer_signs_nothing() {
    let network = node(network_id()).await;
    let entry = network.discovery().me().into_unsigned();
    let other = SecretKey::from_bytes(&[3; 32]);
    let error = entry.clone().sign(&other).expect_err("another's key");
    let discovery::Error::InvalidSecretKey(expected, got) = error else {
        panic!("{error}");
    };
    assert_eq!((expected, got), (network.local().id(), other.public()));
    let moved = entry.update_address(other.public().into());
    assert!(matches!(moved, Err(discovery::Error::PeerIdChanged(..))));
    network.close().await;
}

#[tokio::test]
async fn producers_fail_in_the_documented_words() {
    let words = [
        (producer::Error::Closed(Some(1u8)), "Producer is closed"),
        (producer::Error::Closed(None), "Producer is closed"),
        (producer::Error::Full(1), "Producer is busy"),
        (
            producer::Error::Offline(1),
            "Producer is temporarily offline",
        ),
        (
            producer::Error::Encoding(1, EncodeError::SerializeBufferFull),
            "Datum serialization error",
        ),
    ];
    for (error, text) in words {
        assert_eq!(error.to_string(), text);
    }
    let network = node(network_id()).await;
    let producer = network.streams().produce::<u8>();
    let again = network.streams().producer::<u8>().build();
    let error = again.expect_err("there is one");
    assert_eq!(
        error.to_string(),
        "Producer for this stream id already exists"
    );
    assert_eq!(producer.try_send(1), Err(producer::Error::Offline(1)));
    network.close().await;
    assert_eq!(producer.try_send(2), Err(producer::Error::Closed(Some(2))));
}
