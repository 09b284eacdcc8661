//! What a catalog is made of: keys, versions, records and the three signed statements.

use {
    super::io::EntryFault,
    bytes::Bytes,
    core::fmt,
    mosaik_primitives::{Digest, time::UnixMillis},
    serde::{Deserialize, Serialize},
};

/// A node's public key: its identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeKey(pub [u8; 32]);

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..5]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A signature made by a node's key.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature([u8; 32], [u8; 32]);

impl Signature {
    /// Takes the 64 bytes as they are.
    pub fn from_bytes(bytes: [u8; 64]) -> Self {
        let mut halves = ([0; 32], [0; 32]);
        halves.0.copy_from_slice(&bytes[..32]);
        halves.1.copy_from_slice(&bytes[32..]);
        Self(halves.0, halves.1)
    }

    /// The 64 bytes.
    pub fn to_bytes(self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.0);
        bytes[32..].copy_from_slice(&self.1);
        bytes
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(..)")
    }
}

/// Which of two entries of a peer is newer: the later start first, then the later sequence.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Version {
    /// When the node started, milliseconds since the Unix epoch by its own clock.
    pub start: u64,
    /// Counts the entry's changes since the start.
    pub seq: u64,
}

/// What [`Authority::inspect`] reads in an entry's signed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Who signed the entry.
    pub peer: NodeKey,
    /// The entry's version.
    pub version: Version,
    /// When it was signed, by the signer's wall clock. Must be covered by the signature.
    pub issued: UnixMillis,
}

/// One entry of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose entry this is.
    pub peer: NodeKey,
    /// Its version.
    pub version: Version,
    /// blake3 of `bytes`.
    pub digest: Digest,
    /// When the entry itself was signed, by the signer's wall clock.
    pub issued: UnixMillis,
    /// The signed entry, as it travels.
    pub bytes: Bytes,
}

impl Record {
    /// The entry in `bytes`, of which `head` was read.
    pub fn new(head: Head, bytes: Bytes) -> Self {
        let Head {
            peer,
            version,
            issued,
        } = head;
        Self {
            peer,
            version,
            digest: Digest::hash(&bytes),
            issued,
            bytes,
        }
    }
}

/// The keys and entry formats that the catalog does not know.
///
/// Every method is a function of its arguments and of what the value was built with: no clock,
/// no entropy (Ed25519 signatures are deterministic). The driver implements it.
pub trait Authority {
    /// Signs `statement` with this node's key.
    fn sign(&self, statement: &[u8]) -> Signature;

    /// Whether `peer` signed `statement`.
    fn verify(&self, peer: &NodeKey, statement: &[u8], signature: &Signature) -> bool;

    /// Decodes an entry that some peer sent, and checks its signature and its network. Called
    /// with at most `Limits::entry_bytes`; must not panic on any bytes.
    fn inspect(&self, entry: &[u8]) -> Result<Head, EntryFault>;
}

/// A heartbeat: the peer was there at `issued`, and its entry was this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Who announces itself.
    pub peer: NodeKey,
    /// The version of its entry.
    pub version: Version,
    /// The digest of its entry.
    pub digest: Digest,
    /// When it was signed, by the signer's wall clock.
    pub issued: UnixMillis,
    /// How many suspicions of this version the peer has refuted.
    pub incarnation: u64,
    /// Of [`Announcement::statement`], by `peer`.
    pub signature: Signature,
}

/// A peer says that it leaves: no entry of this or an earlier version is of use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Farewell {
    /// Who leaves.
    pub peer: NodeKey,
    /// The version of its last entry.
    pub version: Version,
    /// When it was signed, by the signer's wall clock.
    pub issued: UnixMillis,
    /// Of [`Farewell::statement`], by `peer`.
    pub signature: Signature,
}

/// `reporter` gets no answer from `peer`.
///
/// Two reporters or enough time make it a departure; an announcement of a newer version or
/// incarnation refutes it (SWIM, section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicion {
    /// Who does not answer.
    pub peer: NodeKey,
    /// The version of its entry that the reporter holds.
    pub version: Version,
    /// The newest incarnation of that version that the reporter knows.
    pub incarnation: u64,
    /// Who reports it.
    pub reporter: NodeKey,
    /// Of [`Suspicion::statement`], by `reporter`.
    pub signature: Signature,
}

/// Concatenates a statement's parts behind its context, each part of fixed length.
fn statement(context: &[u8], network: &Digest, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(192);
    bytes.extend_from_slice(context);
    bytes.extend_from_slice(network.as_bytes());
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

impl Announcement {
    /// The bytes that are signed.
    pub fn statement(
        network: &Digest,
        peer: &NodeKey,
        version: Version,
        digest: &Digest,
        issued: UnixMillis,
        incarnation: u64,
    ) -> Vec<u8> {
        statement(
            b"mosaik/catalog/announcement/1\0",
            network,
            &[
                &peer.0,
                &version.start.to_le_bytes(),
                &version.seq.to_le_bytes(),
                digest.as_bytes(),
                &issued.0.to_le_bytes(),
                &incarnation.to_le_bytes(),
            ],
        )
    }

    /// Whether the signature is the announced peer's.
    pub fn verify(&self, network: &Digest, authority: &impl Authority) -> bool {
        let Self {
            peer,
            version,
            digest,
            issued,
            incarnation,
            signature,
        } = self;
        let text = Self::statement(network, peer, *version, digest, *issued, *incarnation);
        authority.verify(peer, &text, signature)
    }
}

impl Farewell {
    /// The bytes that are signed.
    pub fn statement(
        network: &Digest,
        peer: &NodeKey,
        version: Version,
        issued: UnixMillis,
    ) -> Vec<u8> {
        statement(
            b"mosaik/catalog/farewell/1\0",
            network,
            &[
                &peer.0,
                &version.start.to_le_bytes(),
                &version.seq.to_le_bytes(),
                &issued.0.to_le_bytes(),
            ],
        )
    }

    /// Whether the signature is the leaving peer's.
    pub fn verify(&self, network: &Digest, authority: &impl Authority) -> bool {
        let text = Self::statement(network, &self.peer, self.version, self.issued);
        authority.verify(&self.peer, &text, &self.signature)
    }
}

impl Suspicion {
    /// The bytes that are signed.
    pub fn statement(
        network: &Digest,
        peer: &NodeKey,
        version: Version,
        incarnation: u64,
        reporter: &NodeKey,
    ) -> Vec<u8> {
        statement(
            b"mosaik/catalog/suspicion/1\0",
            network,
            &[
                &peer.0,
                &version.start.to_le_bytes(),
                &version.seq.to_le_bytes(),
                &incarnation.to_le_bytes(),
                &reporter.0,
            ],
        )
    }

    /// Whether the signature is the reporter's.
    pub fn verify(&self, network: &Digest, authority: &impl Authority) -> bool {
        let Self {
            peer,
            version,
            incarnation,
            reporter,
            signature,
        } = self;
        let text = Self::statement(network, peer, *version, *incarnation, reporter);
        authority.verify(reporter, &text, signature)
    }
}
