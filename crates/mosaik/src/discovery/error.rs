//! Why a discovery operation failed.

use {
    crate::network::{LinkError, NetworkId, PeerId},
    iroh_gossip::api::ApiError,
};

/// Why an operation of [`Discovery`](super::Discovery) failed. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An entry can only be signed with its own peer's key: expected peer, the key's peer.
    #[error("PeerId does not match the secret key, expected {0}, got {1}")]
    InvalidSecretKey(PeerId, PeerId),
    /// The other side belongs to another network.
    #[error("Peer is on a different network: our={local_network}, remote={remote_network}")]
    DifferentNetwork {
        /// This node's network.
        local_network: NetworkId,
        /// The network the other side named.
        remote_network: NetworkId,
    },
    /// The entry is not signed by the peer it describes.
    #[error("Signature is invalid")]
    InvalidSignature,
    /// The gossip layer refused the network's topic.
    #[error("Failed to join gossip topic: {0}")]
    GossipJoin(#[from] ApiError),
    /// An update would have changed whose entry it is: was, attempted.
    #[error("Invalid local PeerEntry update attempted: was {0}, attempted {1}")]
    PeerIdChanged(PeerId, PeerId),
    /// The other side could not be reached, or broke off.
    #[error("Link error: {0}")]
    Link(#[source] LinkError),
    /// Anything else.
    #[error("Other error: {0}")]
    Other(#[from] Box<dyn std::error::Error + Send + Sync>),
    /// The network closed meanwhile.
    #[error("Operation Cancelled")]
    Cancelled,
}
