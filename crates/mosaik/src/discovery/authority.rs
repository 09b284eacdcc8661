//! [`Keys`]: what the pure catalog does not know, keys and the form of entries.

use {
    super::{PeerEntry, SignedPeerEntry},
    crate::network::{NetworkId, PeerId},
    iroh::{SecretKey, Signature as IrohSignature},
    mosaik_primitives::{Digest, codec, time::UnixMillis},
    mosaik_protocol::catalog::{Authority, EntryFault, Head, NodeKey, Signature},
    parking_lot::Mutex,
    std::{collections::VecDeque, sync::Arc},
};

/// Decoded entries kept between the catalog's check and the driver's use of them, which follows
/// at once; a comparison brings at most a few hundred.
const RECENT: usize = 512;

/// Entries by the digest of their bytes, in the order they were verified.
type Recent = VecDeque<(Digest, Arc<SignedPeerEntry>)>;

/// Signs with the local key, verifies with everybody's, and decodes entries.
#[derive(Debug)]
pub(super) struct Keys {
    secret: SecretKey,
    network: NetworkId,
    /// Entries verified last, by the digest of their bytes: the catalog reports an accepted
    /// entry as bytes, and decoding and verifying it twice would double the cost of joining.
    recent: Arc<Mutex<Recent>>,
}

/// Takes the entries that [`Keys`] verified.
#[derive(Clone, Debug)]
pub(super) struct Verified(Arc<Mutex<Recent>>);

impl Keys {
    pub(super) fn new(secret: SecretKey, network: NetworkId) -> (Self, Verified) {
        let recent = Arc::default();
        (
            Self {
                secret,
                network,
                recent: Arc::clone(&recent),
            },
            Verified(recent),
        )
    }

    fn check(&self, bytes: &[u8]) -> Result<SignedPeerEntry, EntryFault> {
        let (entry, signature): (PeerEntry, IrohSignature) =
            codec::decode_bounded(bytes, usize::MAX).map_err(|_| EntryFault::Malformed)?;
        if *entry.network_id() != self.network {
            return Err(EntryFault::DifferentNetwork);
        }
        let signed =
            SignedPeerEntry::verify(entry, signature).map_err(|_| EntryFault::Signature)?;
        // One entry has one encoding, or its copies would differ in their digests.
        if signed.encode() != bytes {
            return Err(EntryFault::Malformed);
        }
        Ok(signed)
    }
}

impl Authority for Keys {
    fn sign(&self, statement: &[u8]) -> Signature {
        Signature::from_bytes(self.secret.sign(statement).to_bytes())
    }

    fn verify(&self, peer: &NodeKey, statement: &[u8], signature: &Signature) -> bool {
        let signature = IrohSignature::from_bytes(&signature.to_bytes());
        peer_id(peer).is_some_and(|peer| peer.verify(statement, &signature).is_ok())
    }

    fn inspect(&self, entry: &[u8]) -> Result<Head, EntryFault> {
        let digest = Digest::hash(entry);
        if let Some(known) = find(&self.recent.lock(), &digest) {
            return Ok(head(known));
        }
        let signed = self.check(entry)?;
        let head = head(&signed);
        let mut recent = self.recent.lock();
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back((digest, Arc::new(signed)));
        Ok(head)
    }
}

impl Verified {
    /// The entry that these bytes are. They were verified when the catalog took them.
    pub(super) fn take(&self, digest: &Digest, bytes: &[u8]) -> Arc<SignedPeerEntry> {
        if let Some(entry) = find(&self.0.lock(), digest) {
            return Arc::clone(entry);
        }
        let entry = codec::deserialize(bytes).expect("the catalog holds only verified entries");
        Arc::new(entry)
    }

    /// Remembers an entry whose signature is known to be good.
    pub(super) fn remember(&self, digest: Digest, entry: Arc<SignedPeerEntry>) {
        let mut recent = self.0.lock();
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back((digest, entry));
    }

    /// Lets go of what is kept, once the driver has used it.
    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }
}

fn find<'a>(recent: &'a Recent, digest: &Digest) -> Option<&'a Arc<SignedPeerEntry>> {
    recent
        .iter()
        .rev()
        .find(|(known, _)| known == digest)
        .map(|(_, entry)| entry)
}

fn head(entry: &SignedPeerEntry) -> Head {
    let version = entry.update_version();
    Head {
        peer: node_key(entry.id()),
        version: version.into(),
        issued: UnixMillis(version.updated_us() / 1_000),
    }
}

/// The catalog's name for a peer.
pub(super) fn node_key(peer: &PeerId) -> NodeKey {
    NodeKey(*peer.as_bytes())
}

/// The peer of that name; `None` for bytes that are no public key.
pub(super) fn peer_id(key: &NodeKey) -> Option<PeerId> {
    PeerId::from_bytes(&key.0).ok()
}
