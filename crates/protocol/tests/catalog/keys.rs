//! Keys and entries of simulated nodes.

use {
    bytes::Bytes,
    mosaik_primitives::{Digest, time::UnixMillis},
    mosaik_protocol::catalog::{Authority, EntryFault, Head, NodeKey, Signature, Version},
};

/// Signatures that anybody could forge, but that do not fit another statement or key.
pub(crate) struct Keys(pub NodeKey);

fn mark(peer: &NodeKey, statement: &[u8]) -> Signature {
    let hash = Digest::from_parts(&[&peer.0, statement]);
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(hash.as_bytes());
    Signature::from_bytes(bytes)
}

impl Authority for Keys {
    fn sign(&self, statement: &[u8]) -> Signature {
        mark(&self.0, statement)
    }

    fn verify(&self, peer: &NodeKey, statement: &[u8], signature: &Signature) -> bool {
        mark(peer, statement) == *signature
    }

    fn inspect(&self, entry: &[u8]) -> Result<Head, EntryFault> {
        let (signature, signed) = entry.split_first_chunk().ok_or(EntryFault::Malformed)?;
        let (peer, rest) = signed.split_first_chunk().ok_or(EntryFault::Malformed)?;
        let numbers = rest.as_chunks::<8>().0;
        let [start, seq, issued, ..] = numbers else {
            return Err(EntryFault::Malformed);
        };
        let peer = NodeKey(*peer);
        if mark(&peer, signed) != Signature::from_bytes(*signature) {
            return Err(EntryFault::Signature);
        }
        let version = Version {
            start: u64::from_le_bytes(*start),
            seq: u64::from_le_bytes(*seq),
        };
        Ok(Head {
            peer,
            version,
            issued: UnixMillis(u64::from_le_bytes(*issued)),
        })
    }
}

/// A signed entry of about `len` bytes.
pub(crate) fn entry(peer: NodeKey, version: Version, issued: UnixMillis, len: usize) -> Bytes {
    let mut signed = Vec::new();
    signed.extend_from_slice(&peer.0);
    for number in [version.start, version.seq, issued.0] {
        signed.extend_from_slice(&number.to_le_bytes());
    }
    signed.resize(signed.len().max(len.saturating_sub(64)), 0x5a);
    let mut bytes = mark(&peer, &signed).to_bytes().to_vec();
    bytes.extend_from_slice(&signed);
    bytes.into()
}

pub(crate) fn key(index: usize) -> NodeKey {
    NodeKey(*Digest::hash(&index.to_le_bytes()).as_bytes())
}
