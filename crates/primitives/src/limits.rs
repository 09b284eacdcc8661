//! [`Limits`]: how much a peer can make a node hold.

use core::time::Duration;

/// Every bound on what a peer can make this node hold, in one place.
///
/// Passing a bound is a typed error or a typed close reason, plus a metric; it is never an
/// unbounded buffer and never a panic. The defaults are [`Limits::DEFAULT`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// A connection that has not opened its first valid sub-stream by then is closed. 10 s.
    pub handshake_timeout: Duration,
    /// Connections that are being established by strangers at one time. 512.
    pub pending_handshakes: usize,
    /// Above this many pending handshakes, a source address must prove itself (QUIC Retry). 128.
    pub retry_above: usize,
    /// Connections held at one time, all peers together. 4,096.
    pub connections: usize,
    /// Connections held with one peer: two when both dialled at once, one otherwise. 4.
    pub connections_per_peer: usize,
    /// Sub-streams one peer may have open towards us at one time. 4,096.
    pub substreams_per_peer: u32,
    /// Header and greeting of a sub-stream, bytes. 64 KiB.
    pub greeting_bytes: usize,
    /// What the acceptor of a sub-stream says first, bytes; a whole discovery entry fits. 2 MiB.
    pub reply_bytes: usize,
    /// Bytes a sub-stream may have in flight that our side has not read. 640 KiB, and not more:
    /// the transport ends the whole connection when one stream's unread data lies in more than
    /// 1,024 pieces, each at most a packet's payload, of 1,200 bytes at least.
    pub substream_window_bytes: u32,
    /// One frame on any sub-stream, and so one encoded datum, bytes. 64 MiB.
    pub frame_bytes: usize,
    /// One discovery entry, encoded and signed, bytes. 1 MiB.
    pub entry_bytes: usize,
    /// Entries in the catalog. 65,536.
    pub catalog_entries: usize,
    /// All entries of the catalog together, bytes. 256 MiB.
    pub catalog_bytes: usize,
    /// One gossip message, bytes; what is larger is announced by hash and pulled. 3,072.
    pub gossip_bytes: usize,
    /// Items a consumer holds that its program has not taken. 1,024.
    pub consumer_items: usize,
    /// Encoded size of the items a consumer holds that its program has not taken, bytes. At
    /// least one item is held whatever its size. 8 MiB.
    pub consumer_bytes: usize,
    /// Encoded size of the items a producer holds, bytes. At least one item is held whatever
    /// its size. 8 MiB.
    pub producer_bytes: usize,
    /// Nodes in the selection expression of one subscription. 1,024.
    pub criteria_nodes: usize,
}

impl Limits {
    /// The defaults, as listed at each field.
    pub const DEFAULT: Self = Self {
        handshake_timeout: Duration::from_secs(10),
        pending_handshakes: 512,
        retry_above: 128,
        connections: 4_096,
        connections_per_peer: 4,
        substreams_per_peer: 4_096,
        greeting_bytes: 64 << 10,
        reply_bytes: 2 << 20,
        substream_window_bytes: 640 << 10,
        frame_bytes: 64 << 20,
        entry_bytes: 1 << 20,
        catalog_entries: 65_536,
        catalog_bytes: 256 << 20,
        gossip_bytes: 3_072,
        consumer_items: 1_024,
        consumer_bytes: 8 << 20,
        producer_bytes: 8 << 20,
        criteria_nodes: 1_024,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
