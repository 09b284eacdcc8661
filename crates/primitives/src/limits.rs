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
    /// Connections held at one time, all peers together: links, and what peers have opened for
    /// protocols that keep connections of their own. 4,096.
    pub connections: usize,
    /// Connections held with one peer, links and others each: two when both dialled at once, one
    /// otherwise. 4, and not less than 2.
    pub connections_per_peer: usize,
    /// Sub-streams one peer may have open towards us at one time. 4,096.
    pub substreams_per_peer: u32,
    /// Header and greeting of a sub-stream, bytes. 64 KiB.
    pub greeting_bytes: usize,
    /// What the acceptor of a sub-stream says first, bytes; a whole discovery entry must fit. 2 MiB.
    pub reply_bytes: usize,
    /// Bytes a sub-stream may have in flight that our side has not read. 640 KiB, and not more:
    /// the transport ends the whole connection when one stream's unread data lies in more than
    /// 1,024 pieces, each at most a packet's payload, of 1,200 bytes at least.
    pub substream_window_bytes: u32,
    /// One frame on any sub-stream, and so one encoded datum, bytes. 64 MiB.
    pub frame_bytes: usize,
    /// One discovery entry, encoded and signed, bytes. 1 MiB, and not more than 16 MiB.
    pub entry_bytes: usize,
    /// Entries in the catalog. 65,536.
    pub catalog_entries: usize,
    /// All entries of the catalog together, bytes; one must fit. 256 MiB.
    pub catalog_bytes: usize,
    /// One gossip message, bytes; what is larger is announced by hash and pulled. 3,072, and not
    /// less than 512: statements must fit.
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

    /// Checks that a node can work within these limits, and that they bound what they should.
    pub fn validate(&self) -> Result<(), LimitsError> {
        if self.handshake_timeout < Duration::from_millis(1) {
            return Err(LimitsError::HandshakeTimeout(self.handshake_timeout));
        }
        let (substreams, window) = (self.substreams_per_peer, self.substream_window_bytes);
        for (name, value, min, max) in [
            ("pending_handshakes", self.pending_handshakes, 1, MAX_COUNT),
            ("connections", self.connections, 1, MAX_COUNT),
            (
                "connections_per_peer",
                self.connections_per_peer,
                2,
                MAX_COUNT,
            ),
            ("substreams_per_peer", substreams as usize, 1, MAX_COUNT),
            ("greeting_bytes", self.greeting_bytes, 1, MAX_UNIT_BYTES),
            ("entry_bytes", self.entry_bytes, 1, MAX_ENTRY_BYTES),
            (
                "reply_bytes",
                self.reply_bytes,
                self.entry_bytes,
                MAX_UNIT_BYTES,
            ),
            (
                "substream_window_bytes",
                window as usize,
                1,
                MAX_WINDOW_BYTES,
            ),
            ("frame_bytes", self.frame_bytes, 1, MAX_UNIT_BYTES),
            ("catalog_entries", self.catalog_entries, 1, MAX_COUNT),
            (
                "catalog_bytes",
                self.catalog_bytes,
                self.entry_bytes,
                usize::MAX,
            ),
            (
                "gossip_bytes",
                self.gossip_bytes,
                MIN_GOSSIP_BYTES,
                MAX_ENTRY_BYTES,
            ),
            ("consumer_items", self.consumer_items, 1, usize::MAX),
            ("consumer_bytes", self.consumer_bytes, 1, usize::MAX),
            ("producer_bytes", self.producer_bytes, 1, usize::MAX),
            ("criteria_nodes", self.criteria_nodes, 1, MAX_COUNT),
        ] {
            if !(min..=max).contains(&value) {
                return Err(LimitsError::OutOfRange {
                    name,
                    value,
                    min,
                    max,
                });
            }
        }
        Ok(())
    }
}

/// What is counted, at most: as many as 32 bits tell apart.
const MAX_COUNT: usize = u32::MAX as usize;
/// What is read as one piece, bytes, at most: its length is written in 32 bits, with room to spare.
const MAX_UNIT_BYTES: usize = 1 << 30;
/// An entry, bytes, at most: a message with one must fit the buffers of discovery.
const MAX_ENTRY_BYTES: usize = 16 << 20;
/// See [`Limits::substream_window_bytes`].
const MAX_WINDOW_BYTES: usize = 640 << 10;
/// See [`Limits::gossip_bytes`].
const MIN_GOSSIP_BYTES: usize = 512;

/// Why a node cannot work within given limits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// A limit that is too low for anything to work, or too high to bound anything.
    #[error("{name} must be {min} to {max}, is {value}")]
    OutOfRange {
        /// The field of [`Limits`].
        name: &'static str,
        /// Its value.
        value: usize,
        /// The lowest value that works, given the other limits.
        min: usize,
        /// The highest.
        max: usize,
    },
    /// No handshake could be as quick.
    #[error("handshake_timeout must be at least one millisecond, is {0:?}")]
    HandshakeTimeout(Duration),
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The defaults, changed, and the name of what is wrong then.
    fn refused(change: impl FnOnce(&mut Limits)) -> String {
        let mut limits = Limits::DEFAULT;
        change(&mut limits);
        let problem = limits.validate().unwrap_err().to_string();
        problem.split(' ').next().unwrap().to_owned()
    }

    #[test]
    fn limits_within_which_nothing_works_are_refused_by_name() {
        assert_eq!(Limits::DEFAULT.validate(), Ok(()));
        let zero = Duration::ZERO;
        assert_eq!(refused(|l| l.handshake_timeout = zero), "handshake_timeout");
        assert_eq!(refused(|l| l.pending_handshakes = 0), "pending_handshakes");
        assert_eq!(refused(|l| l.connections = 0), "connections");
        // Two that dial at once would each close the other's connection.
        let name = refused(|l| l.connections_per_peer = 1);
        assert_eq!(name, "connections_per_peer");
        let name = refused(|l| l.substreams_per_peer = 0);
        assert_eq!(name, "substreams_per_peer");
        assert_eq!(refused(|l| l.greeting_bytes = 0), "greeting_bytes");
        let name = refused(|l| l.reply_bytes = l.entry_bytes - 1);
        assert_eq!(name, "reply_bytes");
        let name = refused(|l| l.substream_window_bytes = 0);
        assert_eq!(name, "substream_window_bytes");
        assert_eq!(refused(|l| l.frame_bytes = 0), "frame_bytes");
        assert_eq!(refused(|l| l.entry_bytes = 0), "entry_bytes");
        assert_eq!(refused(|l| l.catalog_entries = 0), "catalog_entries");
        let name = refused(|l| l.catalog_bytes = l.entry_bytes - 1);
        assert_eq!(name, "catalog_bytes");
        assert_eq!(refused(|l| l.gossip_bytes = 0), "gossip_bytes");
        assert_eq!(refused(|l| l.consumer_items = 0), "consumer_items");
        assert_eq!(refused(|l| l.consumer_bytes = 0), "consumer_bytes");
        assert_eq!(refused(|l| l.producer_bytes = 0), "producer_bytes");
        assert_eq!(refused(|l| l.criteria_nodes = 0), "criteria_nodes");
    }

    #[test]
    fn limits_that_bound_nothing_are_refused_by_name() {
        let max = usize::MAX;
        assert_eq!(
            refused(|l| l.pending_handshakes = max),
            "pending_handshakes"
        );
        assert_eq!(refused(|l| l.greeting_bytes = max), "greeting_bytes");
        assert_eq!(refused(|l| l.reply_bytes = max), "reply_bytes");
        assert_eq!(refused(|l| l.frame_bytes = max), "frame_bytes");
        assert_eq!(refused(|l| l.entry_bytes = max), "entry_bytes");
        // The transport would end whole connections.
        let name = refused(|l| l.substream_window_bytes += 1);
        assert_eq!(name, "substream_window_bytes");
    }
}
