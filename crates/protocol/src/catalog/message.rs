//! What catalogs say to each other, and its encoding: a `u16` version, then postcard.

use {
    super::types::{Announcement, Farewell, NodeKey, Signature, Suspicion, Version},
    bytes::Bytes,
    mosaik_primitives::{Digest, codec::Versioned, time::UnixMillis},
    serde::{Deserialize, Serialize},
};

/// What is broadcast to the whole network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gossip {
    /// A whole signed entry, new or changed.
    Entry(Bytes),
    /// A new entry that does not fit, or the refutation of a suspicion.
    Announcement(Announcement),
    /// A peer leaves.
    Farewell(Farewell),
    /// A peer does not answer.
    Suspicion(Suspicion),
}

impl Versioned for Gossip {
    const VERSION: u16 = 1;
}

/// What is said to one peer. Every message stands alone; any may be lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// What is normally broadcast, for this peer in particular.
    Direct(Gossip),
    /// Opens or continues a comparison.
    Compare {
        /// Chosen by the opener, repeated in every answer to it.
        session: u32,
        /// Whether this comes from the peer that opened the comparison.
        opener: bool,
        /// Key ranges in ascending order, the first beginning at the lowest key.
        ranges: Vec<Range>,
        /// How fresh the opener's announcements are, when it sends a single fingerprint.
        ages: Option<AgeWindow>,
    },
    /// Nothing more will come in this comparison.
    End {
        /// The session of the comparison.
        session: u32,
        /// There was more to send than fits one answer: compare again.
        more: bool,
    },
    /// Announcements, and the peers whose announcements are asked for.
    Announcements {
        /// Newer than the receiver's.
        fresh: Vec<CompactAnnouncement>,
        /// Older than the receiver's.
        wanted: Vec<KeyPrefix>,
    },
    /// Whole entries that the receiver lacks or asked for.
    Entries(Vec<Carried>),
    /// Entries that the receiver lacks, too large to be sent unasked.
    Offer(Vec<Item>),
    /// Asks for entries.
    Pull(Vec<Request>),
    /// What was pulled and is not here.
    Lacking(Vec<NodeKey>),
}

impl Versioned for Message {
    const VERSION: u16 = 1;
}

/// A whole entry, and the newest announcement of its peer if that is newer than the entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The signed entry.
    pub entry: Bytes,
    /// What the [`Announcement`] says beyond the entry.
    pub latest: Option<Dated>,
}

/// The part of an [`Announcement`] that the entry it is about does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dated {
    /// When it was signed.
    pub issued: UnixMillis,
    /// The incarnation.
    pub incarnation: u64,
    /// Of the whole statement.
    pub signature: Signature,
}

/// One entry, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Whose entry.
    pub peer: NodeKey,
    /// Its version.
    pub version: Version,
    /// Its digest.
    pub digest: Digest,
    /// The newest announcement known of the peer.
    pub issued: UnixMillis,
}

/// An entry that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Whose entry.
    pub peer: NodeKey,
    /// At least this version.
    pub version: Version,
}

/// The entries whose keys are at or above the previous range's end and below this one's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The first key beyond the range; none for the end of the key space.
    pub end: Option<NodeKey>,
    /// What the sender has in it.
    pub content: RangeContent,
}

/// What a sender has in a range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RangeContent {
    /// Nothing to say about it.
    Skip,
    /// So many entries with this fingerprint.
    Fingerprint {
        /// How many entries.
        count: u32,
        /// Over peer, version and digest of all of them.
        fingerprint: [u8; 16],
    },
    /// Exactly these entries.
    Items(Vec<Item>),
}

/// The times of the announcements that a sender holds, for a run of its entries in key order.
///
/// Positions mean the same to both sides only if the fingerprints of all entries are equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgeWindow {
    /// Position of the first entry of the run.
    pub first: u32,
    /// `issued` in units of 4 s, modulo 256, a byte an entry. Compared as serial numbers (RFC 1982).
    pub ages: Bytes,
}

/// The first bytes of a key. Ambiguity is settled by the signature.
pub type KeyPrefix = [u8; 4];

/// An [`Announcement`] to a peer that holds the entry it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactAnnouncement {
    /// Whose announcement.
    pub prefix: KeyPrefix,
    /// When it was signed.
    pub issued: UnixMillis,
    /// The incarnation.
    pub incarnation: u64,
    /// Of the whole statement.
    pub signature: Signature,
}
