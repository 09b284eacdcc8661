//! [`Link`]: the shared connection to a peer, as a group's handshake sees it.
//!
//! What is said over it is the lanes' matter; here is only what ties a proof to this connection
//! and no other.

use {
    crate::{PeerId, network::links::LinkUse},
    mosaik_primitives::Digest,
};

/// Label of everything groups derive from a connection's secrets (RFC 5705, §4).
const EXPORTER_LABEL: &[u8] = b"EXPERIMENTAL mosaik groups";

/// An authenticated connection to a peer. Holding one keeps the connection open.
#[derive(Clone, Debug)]
pub struct Link(LinkUse);

impl Link {
    pub(crate) const fn new(link: LinkUse) -> Self {
        Self(link)
    }

    /// The peer at the other end.
    pub fn remote_id(&self) -> PeerId {
        self.0.peer()
    }

    /// A secret that the two ends of this connection share and nobody else has, different for
    /// each `label`: keying material exported from the connection's TLS session (RFC 8446, §7.5).
    pub fn shared_random(&self, label: impl AsRef<[u8]>) -> Digest {
        let mut bytes = [0; Digest::LEN];
        self.0
            .connection()
            .export_keying_material(&mut bytes, EXPORTER_LABEL, label.as_ref())
            .expect("a 32-byte export of an established session cannot fail");
        Digest::from_bytes(bytes)
    }
}
