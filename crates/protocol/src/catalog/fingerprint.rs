//! Fingerprints of sets of entries: equal sets have equal fingerprints.
//!
//! The hashes of the items are added lane by lane, so that an item is put in or taken out in
//! constant time, and the sum is hashed again together with the count.

use {
    super::types::{NodeKey, Version},
    mosaik_primitives::Digest,
};

/// The hash of one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ItemHash([u64; 4]);

impl ItemHash {
    pub(super) fn new(peer: &NodeKey, version: Version, digest: &Digest) -> Self {
        let mut bytes = [0; 80];
        bytes[..32].copy_from_slice(&peer.0);
        bytes[32..40].copy_from_slice(&version.start.to_le_bytes());
        bytes[40..48].copy_from_slice(&version.seq.to_le_bytes());
        bytes[48..].copy_from_slice(digest.as_bytes());
        let hash = Digest::hash(&bytes);
        let mut lanes = [0; 4];
        for (lane, chunk) in lanes.iter_mut().zip(hash.as_bytes().as_chunks::<8>().0) {
            *lane = u64::from_le_bytes(*chunk);
        }
        Self(lanes)
    }
}

/// The sum over a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    lanes: [u64; 4],
    count: u32,
}

impl Sum {
    pub(super) fn add(&mut self, item: &ItemHash) {
        for (lane, value) in self.lanes.iter_mut().zip(item.0) {
            *lane = lane.wrapping_add(value);
        }
        self.count += 1;
    }

    pub(super) fn subtract(&mut self, item: &ItemHash) {
        assert!(self.count > 0, "an item that is taken out was put in");
        for (lane, value) in self.lanes.iter_mut().zip(item.0) {
            *lane = lane.wrapping_sub(value);
        }
        self.count -= 1;
    }

    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn finish(&self) -> [u8; 16] {
        let mut bytes = [0; 36];
        for (chunk, lane) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.lanes) {
            *chunk = lane.to_le_bytes();
        }
        bytes[32..].copy_from_slice(&self.count.to_le_bytes());
        let mut out = [0; 16];
        out.copy_from_slice(&Digest::hash(&bytes).as_bytes()[..16]);
        out
    }
}
