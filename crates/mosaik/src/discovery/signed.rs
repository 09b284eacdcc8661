//! [`SignedPeerEntry`]: an entry that its peer vouches for.

use {
    super::{Error, PeerEntry, signature::Statement},
    core::ops::Deref,
    iroh::{SecretKey, Signature},
    mosaik_primitives::codec,
    serde::{Deserialize, Deserializer, Serialize, de},
};

/// A [`PeerEntry`] signed by the peer it describes.
///
/// There is no other way to one than [`PeerEntry::sign`] and deserialisation, and
/// deserialisation verifies the signature: who holds one holds what the peer said. Whether it is
/// the latest the peer said, and whether the peer tells the truth, is not promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignedPeerEntry(PeerEntry, Signature);

impl SignedPeerEntry {
    pub(super) fn sign(entry: PeerEntry, secret: &SecretKey) -> Result<Self, Error> {
        if secret.public() != *entry.id() {
            return Err(Error::InvalidSecretKey(*entry.id(), secret.public()));
        }
        let digest = entry.entry_digest();
        let signature =
            Statement::Entry.sign(secret, entry.network_id(), entry.update_version(), &digest);
        Ok(Self(entry, signature))
    }

    /// Verifies the entry's signature.
    pub(super) fn verify(entry: PeerEntry, signature: Signature) -> Result<Self, Error> {
        let digest = entry.entry_digest();
        let valid = Statement::Entry.verify(
            &signature,
            entry.network_id(),
            entry.id(),
            entry.update_version(),
            &digest,
        );
        if valid {
            Ok(Self(entry, signature))
        } else {
            Err(Error::InvalidSignature)
        }
    }

    /// The entry alone.
    pub fn into_unsigned(self) -> PeerEntry {
        self.0
    }

    /// Entry and signature as they travel.
    pub(crate) fn encode(&self) -> bytes::Bytes {
        codec::try_serialize(self).expect("an entry in memory always encodes")
    }
}

impl<'de> Deserialize<'de> for SignedPeerEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (entry, signature) = Deserialize::deserialize(deserializer)?;
        Self::verify(entry, signature).map_err(de::Error::custom)
    }
}

impl Deref for SignedPeerEntry {
    type Target = PeerEntry;

    fn deref(&self) -> &PeerEntry {
        &self.0
    }
}

impl AsRef<PeerEntry> for SignedPeerEntry {
    fn as_ref(&self) -> &PeerEntry {
        &self.0
    }
}

impl AsRef<Signature> for SignedPeerEntry {
    fn as_ref(&self) -> &Signature {
        &self.1
    }
}

impl From<&Self> for SignedPeerEntry {
    fn from(entry: &Self) -> Self {
        entry.clone()
    }
}

impl From<SignedPeerEntry> for PeerEntry {
    fn from(entry: SignedPeerEntry) -> Self {
        entry.0
    }
}

impl From<&SignedPeerEntry> for PeerEntry {
    fn from(entry: &SignedPeerEntry) -> Self {
        entry.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use {super::*, crate::network::NetworkId, iroh::EndpointAddr};

    fn secret() -> SecretKey {
        SecretKey::from_bytes(&[1; 32])
    }

    fn entry() -> PeerEntry {
        let address = EndpointAddr::new(secret().public());
        PeerEntry::starting_now(NetworkId::from("net"), address)
    }

    #[test]
    fn only_the_peer_itself_can_sign() {
        assert!(entry().sign(&secret()).is_ok());
        let other = SecretKey::from_bytes(&[2; 32]);
        assert!(matches!(
            entry().sign(&other),
            Err(Error::InvalidSecretKey(_, _))
        ));
    }

    #[test]
    fn deserialisation_verifies() {
        let signed = entry().sign(&secret()).unwrap();
        let back: SignedPeerEntry = codec::deserialize(signed.encode()).unwrap();
        assert_eq!(back, signed);
        let text = serde_json::to_string(&signed).unwrap();
        assert_eq!(
            serde_json::from_str::<SignedPeerEntry>(&text).unwrap(),
            signed
        );

        let forged = SignedPeerEntry(entry().add_tags("forged"), signed.1);
        assert!(codec::deserialize::<SignedPeerEntry>(forged.encode()).is_err());
        let text = serde_json::to_string(&forged).unwrap();
        assert!(serde_json::from_str::<SignedPeerEntry>(&text).is_err());
    }

    #[test]
    fn no_byte_of_the_encoding_can_be_changed() {
        let signed = entry().add_tags("t").sign(&secret()).unwrap();
        let bytes = signed.encode();
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            let decoded = codec::deserialize::<SignedPeerEntry>(&changed);
            assert!(decoded.is_err(), "byte {at} is not covered");
        }
    }
}
