//! From discovery's catalog to bonds: whom each group should know.

use {
    super::{
        inbox::Slot,
        io::{Io, peer_key},
        member::Member,
        run::Driver,
    },
    crate::{PeerId, discovery::PeerEntryVersion},
    mosaik_primitives::Digest,
    mosaik_protocol::consensus::{Input, PeerKey},
    std::collections::{BTreeSet, HashMap},
};

/// What was read from the catalog last.
#[derive(Debug, Default)]
pub(super) struct Seen(HashMap<PeerId, PeerEntryVersion>);

impl Driver {
    /// Reads the catalog anew.
    pub(super) fn read_catalog(&mut self) {
        let mut listed: HashMap<Slot, BTreeSet<PeerKey>> = HashMap::new();
        let mut changed = Vec::new();
        let mut seen = HashMap::new();
        for info in self.io.discovery.infos() {
            let peer = *info.id();
            let version = info.update_version();
            if self.seen.0.get(&peer) != Some(&version) {
                changed.push(peer_key(&peer));
                if let Some(entry) = info.as_signed() {
                    self.io.peers.set_entry(&peer, entry);
                }
            }
            seen.insert(peer, version);
            if !self.io.discovery.is_eligible(&info) {
                continue;
            }
            for group in info.groups() {
                if let Some(slot) = self.by_id.get(group) {
                    listed.entry(*slot).or_default().insert(peer_key(&peer));
                }
            }
        }
        self.seen = Seen(seen);
        let slots: Vec<_> = self.members.keys().copied().collect();
        for slot in slots {
            let peers = listed.remove(&slot).unwrap_or_default();
            let Some(member) = self.members.get_mut(&slot) else {
                continue;
            };
            if member.listed != peers {
                member.set_listed(peers, &mut self.io);
                self.dirty.insert(slot);
            }
            if !member.config.auth().is_empty() {
                for key in &changed {
                    member.check_ticket(*key, &mut self.io);
                }
            }
        }
    }
}

impl Driver {
    /// Reads from the catalog who is in a group that was just joined.
    pub(super) fn read_catalog_for(&mut self, slot: Slot, group: &Digest) {
        let infos = self.io.discovery.infos().into_iter();
        let peers = infos
            .filter(|info| info.groups().contains(group) && self.io.discovery.is_eligible(info))
            .map(|info| peer_key(info.id()))
            .collect();
        self.with(slot, |member, io| member.set_listed(peers, io));
    }
}

impl Member {
    fn set_listed(&mut self, peers: BTreeSet<PeerKey>, io: &mut Io) {
        let before = std::mem::replace(&mut self.listed, peers);
        self.schedule_probe(io);
        self.handle(Input::Discovered(self.listed.iter().copied().collect()), io);
        let new: Vec<_> = self.listed.difference(&before).copied().collect();
        for key in new {
            if let Ok(peer) = PeerId::from_bytes(&key.0) {
                self.want(peer, io);
            }
        }
        let gone: Vec<_> = before.difference(&self.listed).copied().collect();
        for key in gone {
            self.unwant(key, io);
        }
    }
}
