//! What goes into a catalog and what comes out of it.

use {
    super::types::{NodeKey, Record, Version},
    bytes::Bytes,
    core::time::Duration,
    mosaik_primitives::{Digest, Limits, time::UnixMillis},
    std::collections::VecDeque,
};

/// How a catalog behaves. Durations must not be zero unless said otherwise.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub me: NodeKey,
    /// The network; part of every signed statement.
    pub network: Digest,
    /// Seeds the jitter and the choice of partners. Differs between nodes and starts.
    pub seed: u64,
    /// The wall clock's time at the driver's `Instant::ZERO`.
    pub epoch: UnixMillis,
    /// Bounds on entries, catalog and gossip messages.
    pub limits: Limits,
    /// Time between two announcements, before jitter. In networks of more than some 650 nodes
    /// it stretches (up to a quarter of `purge_after`) so that the network as a whole makes
    /// about 14 announcements a second. 45 s.
    pub announce_interval: Duration,
    /// Part of the interval by which it varies, to both sides, in `0.0..=1.0`. 0.5.
    pub announce_jitter: f32,
    /// An entry whose peer's last announcement is older leaves the catalog. 5 min.
    pub purge_after: Duration,
    /// What is dated further ahead than this is refused. 50 s.
    pub max_time_drift: Duration,
    /// Time between two comparisons with linked peers when nothing differs. 5 s.
    pub sync_interval: Duration,
    /// Time between probes of a monitored peer. Twice as long above 128 peers. 500 ms.
    pub probe_interval: Duration,
    /// Silence after which an unanswered peer is suspected. 1 s.
    pub suspect_after: Duration,
    /// Time a suspect has to refute two reporters; two and a half times as much against one.
    /// 1.1 s.
    pub refute_within: Duration,
    /// Departures remembered so that older entries do not come back. 8,192.
    pub tombstones: usize,
    /// Entries being pulled or waiting to be, each on the word of one source: what one source
    /// offers is at most a quarter of them, less where more sources offer much. 4,096.
    pub pulls: usize,
}

impl Config {
    /// The defaults, as listed at each field.
    pub fn new(me: NodeKey, network: Digest, seed: u64, epoch: UnixMillis) -> Self {
        Self {
            me,
            network,
            seed,
            epoch,
            limits: Limits::DEFAULT,
            announce_interval: Duration::from_secs(45),
            announce_jitter: 0.5,
            purge_after: Duration::from_mins(5),
            max_time_drift: Duration::from_secs(50),
            sync_interval: Duration::from_secs(5),
            probe_interval: Duration::from_millis(500),
            suspect_after: Duration::from_secs(1),
            refute_within: Duration::from_millis(1_100),
            tombstones: 8_192,
            pulls: 4_096,
        }
    }

    /// A larger broadcast is refused. Statements, which have no parts of variable length, always fit.
    pub(super) fn max_gossip_bytes(&self) -> usize {
        self.limits.gossip_bytes.max(512)
    }

    pub(super) fn fits_gossip(&self, entry_bytes: usize) -> bool {
        // Version, variant and length in front of the entry.
        entry_bytes + 16 <= self.max_gossip_bytes()
    }

    pub(super) const fn max_message_bytes(&self) -> usize {
        self.limits.entry_bytes + (256 << 10)
    }

    /// Checks that the configuration can work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let durations = [
            ("announce_interval", self.announce_interval),
            ("purge_after", self.purge_after),
            ("sync_interval", self.sync_interval),
            ("probe_interval", self.probe_interval),
            ("suspect_after", self.suspect_after),
            ("refute_within", self.refute_within),
        ];
        for (name, duration) in durations {
            if duration < Duration::from_millis(1) {
                return Err(ConfigError::TooShort(name));
            }
        }
        if !(0.0..=1.0).contains(&self.announce_jitter) {
            return Err(ConfigError::Jitter(self.announce_jitter));
        }
        let counts = [
            ("tombstones", self.tombstones),
            ("pulls", self.pulls),
            ("limits.catalog_entries", self.limits.catalog_entries),
            ("limits.entry_bytes", self.limits.entry_bytes),
        ];
        match counts.into_iter().find(|(_, count)| *count == 0) {
            Some((name, _)) => Err(ConfigError::Zero(name)),
            None => Ok(()),
        }
    }
}

/// Why a configuration cannot work.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A duration below one millisecond.
    #[error("{0} must be at least one millisecond")]
    TooShort(&'static str),
    /// A bound of zero.
    #[error("{0} must not be zero")]
    Zero(&'static str),
    /// A jitter outside `0.0..=1.0`.
    #[error("announce_jitter must be between 0 and 1, got {0}")]
    Jitter(f32),
}

/// What the driver tells the catalog.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Input {
    /// Time passed; due at `Catalog::next_deadline`.
    Tick,
    /// What the wall clock shows now. Needed only after the clock was set.
    WallClock(UnixMillis),
    /// This node's own entry, signed, in a newer version than before.
    Publish(Bytes),
    /// This node leaves: a farewell is broadcast and sent to the peers that monitor it.
    Leave,
    /// A signed entry that the program got by another way.
    Feed(Bytes),
    /// The program wants a peer out of the catalog; it is back at its next announcement.
    Remove(NodeKey),
    /// The program or the bootstrap wants the catalog compared with this peer's now. Answered
    /// by [`Output::Synced`] or [`Output::SyncFailed`].
    SyncWith(NodeKey),
    /// A broadcast arrived, handed on by `from`.
    Gossip {
        /// The neighbour it came from (not its author).
        from: NodeKey,
        /// A [`super::Gossip`], encoded.
        bytes: Bytes,
    },
    /// A message of a peer arrived; `from` is authenticated.
    Message {
        /// The sender.
        from: NodeKey,
        /// A [`super::Message`], encoded.
        bytes: Bytes,
    },
    /// A message or a probe could not be sent to this peer.
    Unreachable(NodeKey),
    /// There is a connection to this peer now: it is a cheap partner for comparisons. Gossip
    /// neighbours count.
    LinkUp(NodeKey),
    /// The last connection to this peer is gone. A hint: it causes a probe, not a departure.
    LinkDown {
        /// The peer.
        peer: NodeKey,
        /// How it ended.
        loss: LinkLoss,
    },
    /// The peer answered a probe. Its round trip is measured from the [`Output::Probe`].
    ProbeAck {
        /// Who answered.
        peer: NodeKey,
        /// The nonce of the probe.
        nonce: u64,
    },
    /// Anything else arrived from this peer just now: it lives. Optional.
    Heard(NodeKey),
    /// A round trip that the driver measured by other means.
    RttSample {
        /// The peer.
        peer: NodeKey,
        /// The round trip.
        rtt: Duration,
    },
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLoss {
    /// One side closed it on purpose.
    Closed,
    /// It timed out or was reset.
    Lost,
}

/// What the catalog wants the driver to do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Output {
    /// Broadcast these bytes (a [`super::Gossip`]) to the whole network.
    Broadcast(Bytes),
    /// Deliver these bytes (a [`super::Message`], at most `Catalog::max_message_bytes`) to a
    /// peer, over an existing connection if there is one. May fail: [`Input::Unreachable`].
    Send {
        /// To whom.
        peer: NodeKey,
        /// The message.
        bytes: Bytes,
    },
    /// Ask the peer for a sign of life; its driver answers at once, without its catalog.
    Probe {
        /// Whom.
        peer: NodeKey,
        /// Echoed in the answer.
        nonce: u64,
    },
    /// Something changed in the visible catalog.
    Event(Event),
    /// The comparison asked for by [`Input::SyncWith`] has ended: whatever the peer had and
    /// this node lacked has been merged.
    Synced(NodeKey),
    /// The peer did not answer the comparison in time or is unreachable.
    SyncFailed(NodeKey),
    /// Something was turned away (and counted).
    Refused {
        /// Who handed it to us, if anybody.
        from: Option<NodeKey>,
        /// Why.
        reason: Refusal,
    },
    /// The network knows an entry or a farewell that this node has signed and that is not older
    /// than its own: publish with a version above this one. Never caused by what is not signed,
    /// nor by what is dated so far ahead that nobody takes it.
    Superseded(Version),
}

/// The queue that `Catalog::handle` appends to and the driver drains, in order.
pub type Outputs = VecDeque<Output>;

/// A change of the visible catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A peer that was not in the catalog is.
    Discovered(Record),
    /// A peer's entry was replaced by a newer one.
    Updated(Record),
    /// A peer is no longer in the catalog.
    Departed {
        /// Who.
        peer: NodeKey,
        /// The version of the entry that was removed.
        version: Version,
        /// Why.
        departure: Departure,
    },
}

/// Why a peer is no longer in the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Departure {
    /// It said so.
    Farewell,
    /// It answers no probes and did not refute the suspicion.
    Down,
    /// Its last announcement is older than `purge_after`.
    Silent,
    /// The program removed it.
    Removed,
}

/// What is wrong with an entry's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryFault {
    /// Not an entry.
    #[error("malformed entry")]
    Malformed,
    /// The signature is not the peer's.
    #[error("signature is invalid")]
    Signature,
    /// An entry of another network.
    #[error("entry of another network")]
    DifferentNetwork,
}

/// Why something was turned away. None of them changes the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A message that does not decode, or is larger than allowed.
    #[error("malformed or oversized message")]
    Message,
    /// An entry larger than `Limits::entry_bytes`.
    #[error("entry exceeds the size limit")]
    EntryTooLarge,
    /// An entry that the authority turned away.
    #[error(transparent)]
    Entry(#[from] EntryFault),
    /// A statement whose signature is not its author's.
    #[error("signature of a statement is invalid")]
    Signature,
    /// Dated further ahead than `max_time_drift`.
    #[error("dated in the future")]
    FutureDated,
    /// Older than `purge_after`.
    #[error("older than the purge time")]
    Stale,
    /// Not newer than what is known (a replay, or a gossip echo).
    #[error("not newer than what is known")]
    Superseded,
    /// The peer departed with this or a newer version.
    #[error("the peer has departed")]
    Departed,
    /// The catalog holds `Limits::catalog_entries` entries or `catalog_bytes` bytes.
    #[error("the catalog is full")]
    CatalogFull,
    /// A suspicion by somebody who is not in the catalog, or of somebody who is not.
    #[error("a suspicion among strangers")]
    Stranger,
    /// A suspicion of a version or incarnation that nobody has shown its suspect to have announced.
    #[error("a suspicion of what was never announced")]
    Unannounced,
    /// An own entry that is not newer than the last one, or not this node's.
    #[error("not a newer entry of this node")]
    NotMine,
}

/// What the catalog counted since it was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Peers that entered the catalog.
    pub discovered: u64,
    /// Entries replaced by newer ones.
    pub updated: u64,
    /// Peers that left the catalog, for any reason.
    pub departed: u64,
    /// Of these, by failure detection.
    pub down: u64,
    /// Comparisons started.
    pub syncs: u64,
    /// Comparisons, by either side, that found a difference.
    pub differences: u64,
    /// Entries asked for because they were announced or missing.
    pub pulls: u64,
    /// Pulls given up: the source did not have the entry or did not deliver, or too many were
    /// waiting.
    pub pulls_dropped: u64,
    /// Announcements of other peers that were newer than the known ones.
    pub announcements: u64,
    /// Suspicions this node reported.
    pub suspicions: u64,
    /// Suspicions of this node that it refuted.
    pub refutations: u64,
    /// Tombstones dropped because there were too many.
    pub tombstones_dropped: u64,
    /// Down peers whose entries were dropped to make room.
    pub evicted: u64,
    /// Malformed or oversized messages.
    pub refused_messages: u64,
    /// Entries or statements with an invalid signature, form or network, and suspicions that
    /// nothing known supports.
    pub refused_invalid: u64,
    /// Entries or statements dated in the future or too old.
    pub refused_time: u64,
    /// Entries for which there was no room, or that were too large.
    pub refused_room: u64,
    /// Replays, echoes, and entries of departed peers.
    pub refused_old: u64,
}

impl Counters {
    /// Counts a refusal.
    pub fn count(&mut self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::Message => &mut self.refused_messages,
            Refusal::Entry(_)
            | Refusal::Signature
            | Refusal::Stranger
            | Refusal::Unannounced
            | Refusal::NotMine => &mut self.refused_invalid,
            Refusal::FutureDated | Refusal::Stale => &mut self.refused_time,
            Refusal::EntryTooLarge | Refusal::CatalogFull => &mut self.refused_room,
            Refusal::Superseded | Refusal::Departed => &mut self.refused_old,
        };
        *counter += 1;
    }
}
