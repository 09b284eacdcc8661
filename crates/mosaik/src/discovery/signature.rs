//! What the local key signs besides the catalog's own statements.
//!
//! Every signature covers a domain string, the network and the peer, so that none can be taken
//! for another statement, another network's or another program's.

use {
    super::PeerEntryVersion,
    crate::network::{NetworkId, PeerId},
    iroh::{SecretKey, Signature},
    mosaik_primitives::Digest,
};

/// The kinds of statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Statement {
    /// "The content of this digest is my entry at this version."
    Entry,
    /// "The content of this digest is my note in the rendezvous directory."
    Note,
}

impl Statement {
    const fn domain(self) -> &'static [u8; 24] {
        match self {
            Self::Entry => b"mosaik/discovery/entry/1",
            Self::Note => b"mosaik/discovery/note/1\0",
        }
    }

    fn message(
        self,
        network: &NetworkId,
        peer: &PeerId,
        version: PeerEntryVersion,
        digest: &Digest,
    ) -> [u8; 136] {
        let mut message = [0; 136];
        message[..24].copy_from_slice(self.domain());
        message[24..56].copy_from_slice(network.as_bytes());
        message[56..88].copy_from_slice(peer.as_bytes());
        message[88..120].copy_from_slice(digest.as_bytes());
        message[120..128].copy_from_slice(&version.started_ms().to_be_bytes());
        message[128..].copy_from_slice(&version.updated_us().to_be_bytes());
        message
    }

    pub(super) fn sign(
        self,
        secret: &SecretKey,
        network: &NetworkId,
        version: PeerEntryVersion,
        digest: &Digest,
    ) -> Signature {
        secret.sign(&self.message(network, &secret.public(), version, digest))
    }

    pub(super) fn verify(
        self,
        signature: &Signature,
        network: &NetworkId,
        peer: &PeerId,
        version: PeerEntryVersion,
        digest: &Digest,
    ) -> bool {
        peer.verify(&self.message(network, peer, version, digest), signature)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_one_statement_only() {
        let secret = SecretKey::from_bytes(&[7; 32]);
        let network = NetworkId::from("net");
        let digest = Digest::from("entry");
        let version = PeerEntryVersion::from_parts(1, 2);
        let peer = secret.public();
        let entry = Statement::Entry.sign(&secret, &network, version, &digest);
        let check =
            |statement: Statement, network: &NetworkId, peer: &PeerId, version, digest: &Digest| {
                statement.verify(&entry, network, peer, version, digest)
            };
        assert!(check(Statement::Entry, &network, &peer, version, &digest));
        assert!(!check(Statement::Note, &network, &peer, version, &digest));
        assert!(!check(
            Statement::Entry,
            &NetworkId::from("other"),
            &peer,
            version,
            &digest
        ));
        assert!(!check(
            Statement::Entry,
            &network,
            &peer,
            version.next(),
            &digest
        ));
        assert!(!check(
            Statement::Entry,
            &network,
            &peer,
            version,
            &digest.hashed()
        ));
        let stranger = SecretKey::from_bytes(&[8; 32]).public();
        assert!(!check(
            Statement::Entry,
            &network,
            &stranger,
            version,
            &digest
        ));
    }
}
