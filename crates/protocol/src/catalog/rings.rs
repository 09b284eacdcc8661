//! Who monitors whom: each node its successor on each of three rings.
//!
//! A ring orders all nodes by a hash of their keys with the ring's number, so everyone computes
//! the same rings from the same catalog, every node has three monitors, and the union of the
//! rings is an expander (Suresh et al., "Stable and Consistent Membership at Scale with Rapid",
//! USENIX ATC 2018, section 4.1).

use {
    super::types::NodeKey,
    mosaik_primitives::Digest,
    std::{
        collections::BTreeSet,
        ops::Bound::{Excluded, Unbounded},
    },
};

/// Number of rings.
const RINGS: u8 = 3;
/// Up to so many others, everyone monitors everyone.
const ALL: usize = 2 * RINGS as usize;

#[derive(Debug, Default)]
pub(super) struct Rings {
    rings: [BTreeSet<(u64, NodeKey)>; RINGS as usize],
}

fn position(ring: u8, peer: &NodeKey) -> u64 {
    let mut bytes = [ring; 33];
    bytes[1..].copy_from_slice(&peer.0);
    let hash = Digest::hash(&bytes);
    u64::from_le_bytes(
        *hash
            .as_bytes()
            .first_chunk()
            .expect("a digest has 32 bytes"),
    )
}

impl Rings {
    pub(super) fn len(&self) -> usize {
        self.rings[0].len()
    }

    pub(super) fn insert(&mut self, peer: NodeKey) {
        for (ring, index) in self.rings.iter_mut().zip(0..) {
            ring.insert((position(index, &peer), peer));
        }
    }

    pub(super) fn remove(&mut self, peer: NodeKey) {
        for (ring, index) in self.rings.iter_mut().zip(0..) {
            ring.remove(&(position(index, &peer), peer));
        }
    }

    /// Whom `me` monitors: ascending, without `me` and without duplicates.
    pub(super) fn monitored_by(&self, me: NodeKey) -> BTreeSet<NodeKey> {
        self.beside(me, |ring, at| {
            ring.range((Excluded(at), Unbounded))
                .next()
                .or_else(|| ring.first())
                .copied()
        })
    }

    /// Who monitors `me`.
    pub(super) fn monitors_of(&self, me: NodeKey) -> BTreeSet<NodeKey> {
        self.beside(me, |ring, at| {
            ring.range(..at)
                .next_back()
                .or_else(|| ring.last())
                .copied()
        })
    }

    fn beside(
        &self,
        me: NodeKey,
        next: impl Fn(&BTreeSet<(u64, NodeKey)>, (u64, NodeKey)) -> Option<(u64, NodeKey)>,
    ) -> BTreeSet<NodeKey> {
        if self.rings[0].len() <= ALL + 1 {
            return self.rings[0]
                .iter()
                .map(|(_, peer)| *peer)
                .filter(|p| *p != me)
                .collect();
        }
        let neighbours = self.rings.iter().zip(0..).filter_map(|(ring, index)| {
            next(ring, (position(index, &me), me)).map(|(_, peer)| peer)
        });
        neighbours.filter(|peer| *peer != me).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u16) -> NodeKey {
        NodeKey(*Digest::from_u16(n).as_bytes())
    }

    #[test]
    fn monitoring_is_mutual_knowledge_and_everyone_has_monitors() {
        for size in [2, 5, 7, 8, 50] {
            let mut rings = Rings::default();
            (0..size).for_each(|n| rings.insert(key(n)));
            for n in 0..size {
                let monitored = rings.monitored_by(key(n));
                assert!(!monitored.is_empty() && !monitored.contains(&key(n)));
                assert!(
                    monitored
                        .iter()
                        .all(|peer| rings.monitors_of(*peer).contains(&key(n)))
                );
            }
            rings.remove(key(1));
            assert!((0..size).all(|n| !rings.monitored_by(key(n)).contains(&key(1))));
        }
    }
}
