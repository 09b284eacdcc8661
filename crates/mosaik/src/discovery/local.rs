//! [`LocalEntry`]: the local peer's own entry, between what the program changed and what was
//! signed.

use {
    super::{PeerEntry, PeerEntryVersion, SignedPeerEntry},
    iroh::SecretKey,
    std::sync::Arc,
};

/// The local peer's entry. Changes are cheap; signing happens when somebody looks.
#[derive(Debug)]
pub(super) struct LocalEntry {
    secret: SecretKey,
    /// Taken only while a change is made to it.
    entry: Option<PeerEntry>,
    signed: Arc<SignedPeerEntry>,
}

impl LocalEntry {
    pub(super) fn new(secret: SecretKey, entry: PeerEntry) -> Self {
        let signed = sign(&secret, &entry);
        Self {
            secret,
            entry: Some(entry),
            signed,
        }
    }

    /// Changes the entry; says whether that made a difference.
    ///
    /// # Panics
    /// When the change makes it another peer's or another network's entry.
    pub(super) fn update(&mut self, change: impl FnOnce(PeerEntry) -> PeerEntry) -> bool {
        let before = self
            .entry
            .take()
            .expect("the entry is only taken within a change");
        let (version, id, network) = (before.update_version(), *before.id(), *before.network_id());
        let after = change(before);
        assert!(
            *after.id() == id && *after.network_id() == network,
            "a change of the local entry leaves its peer and network alone"
        );
        let changed = after.update_version() != version;
        self.entry = Some(after);
        changed
    }

    /// Makes a version newer than `version`, which is that of something we signed. The catalog sees
    /// to it that this was not dated so far ahead that what follows it would be refused.
    pub(super) fn supersede(&mut self, version: PeerEntryVersion) {
        let entry = self
            .entry
            .take()
            .expect("the entry is only taken within a change");
        let newest = entry.update_version().max(version);
        self.entry = Some(entry.succeeding(newest));
    }

    /// The entry, signed.
    pub(super) fn signed(&mut self) -> &Arc<SignedPeerEntry> {
        let entry = self
            .entry
            .as_ref()
            .expect("the entry is only taken within a change");
        if entry.update_version() != self.signed.update_version() {
            self.signed = sign(&self.secret, entry);
        }
        &self.signed
    }
}

fn sign(secret: &SecretKey, entry: &PeerEntry) -> Arc<SignedPeerEntry> {
    let signed = entry
        .clone()
        .sign(secret)
        .expect("the local entry carries the local key's id");
    Arc::new(signed)
}

#[cfg(test)]
mod tests {
    use {
        super::*,
        crate::{discovery::version::unix_micros, network::NetworkId},
        iroh::EndpointAddr,
    };

    fn local() -> LocalEntry {
        let secret = SecretKey::from_bytes(&[1; 32]);
        let address = EndpointAddr::new(secret.public());
        LocalEntry::new(
            secret,
            PeerEntry::starting_now(NetworkId::from("net"), address),
        )
    }

    #[test]
    fn it_is_signed_anew_only_after_a_change() {
        let mut local = local();
        let first = Arc::clone(local.signed());
        assert!(!local.update(|entry| entry.remove_tags("absent")));
        assert!(Arc::ptr_eq(&first, local.signed()));
        assert!(local.update(|entry| entry.add_tags("tag")));
        let second = Arc::clone(local.signed());
        assert!(second.is_newer_than(&first) && second.tags().len() == 1);
    }

    #[test]
    fn it_gets_past_what_the_network_takes_for_its_own() {
        let mut local = local();
        let now_us = unix_micros();
        let ahead = PeerEntryVersion::from_parts(now_us / 1_000 + 20_000, now_us + 20_000_000);
        local.supersede(ahead);
        assert!(local.signed().update_version() > ahead);
        let current = local.signed().update_version();
        local.supersede(PeerEntryVersion::default());
        assert!(local.signed().update_version() > current);
    }
}
