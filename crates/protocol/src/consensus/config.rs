//! What a member is told at its start, and the limits nobody can pass.

use {
    super::{
        ids::{GroupKeyId, PeerKey},
        membership::Preference,
    },
    core::time::Duration,
};

/// Bounds on everything a peer can make a member hold or send.
pub mod limits {
    /// Members of one group, voters, learners and observers together.
    pub const MEMBERS: usize = 1_024;
    /// Voters a configuration may ask for.
    pub const VOTERS: u32 = 31;
    /// Commands in one entry.
    pub const ENTRY_COMMANDS: usize = 65_536;
    /// Bytes of one encoded entry body.
    pub const ENTRY_BYTES: usize = 32 << 20;
    /// Runs of operation ids in one entry.
    pub const ENTRY_RUNS: usize = 4_096;
    /// Entries in one append message.
    pub const APPEND_ENTRIES: usize = 1_024;
    /// Bytes of one encoded message.
    pub const MESSAGE_BYTES: usize = 48 << 20;
    /// Origins the window of applied operations remembers.
    pub const WINDOW_ORIGINS: usize = 1_024;
    /// Runs of applied operations remembered for each origin. A run grows while its operations are
    /// neighbours both in their origin's numbering and in the log, so one lonely writer needs one.
    pub const WINDOW_RUNS: usize = 32;
    /// Bytes of entries in a leader's log that are not committed, from which on it takes no more
    /// commands; the last entry taken may exceed this, so one is always taken.
    pub const BACKLOG_BYTES: usize = 64 << 20;
    /// Messages that wait for the store at one time. More are dropped as if the network had.
    pub const HELD_MESSAGES: usize = 4_096;
    /// Fresh members a fresh member keeps track of.
    pub const FRESH_MEMBERS: usize = 1_024;
    /// Strong reads that wait at one time, all callers together.
    pub const PENDING_READS: usize = 65_536;
    /// Proposals that wait at one time.
    pub const PENDING_PROPOSALS: usize = 65_536;
}

/// What to do when this lineage has to give way to another one of the same group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MergePolicy {
    /// Give way, and propose to the other side, once, what was committed here.
    #[default]
    Resubmit,
    /// Give way and forget what was committed here.
    Discard,
    /// Never give way. The two lineages stay apart.
    Refuse,
}

/// Configuration of one member of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The group. Members of other groups are not talked to.
    pub group: GroupKeyId,
    /// This node.
    pub peer: PeerKey,
    /// Incarnation to take when the store knows none. Must be higher than any that this node
    /// ever had without a store that remembers it; the wall clock at the start will do.
    pub incarnation: u64,
    /// What this member wants to be.
    pub preference: Preference,
    /// Seed of this member's randomness: jitter of timers and the lineage of a genesis. Two
    /// members should not share one.
    pub seed: u64,
    /// Time between heartbeats. 500 ms.
    pub heartbeat_interval: Duration,
    /// Added to a heartbeat's due time, at random, up to this much. 150 ms.
    pub heartbeat_jitter: Duration,
    /// A voter silent for this many heartbeats is taken for dead: whoever stands by replaces it,
    /// and it is taken out where fewer votes are enough then. 10.
    pub max_missed_heartbeats: u32,
    /// Silence of a leader after which a follower may stand for election. 2 s.
    pub election_timeout: Duration,
    /// Added to the election timeout, at random, up to this much. 500 ms.
    pub election_timeout_jitter: Duration,
    /// How long fresh members wait for others before they found. 3 s.
    pub bootstrap_delay: Duration,
    /// How long all discovered members must have been connected to found earlier. 200 ms.
    pub settle_delay: Duration,
    /// After this long without an outcome a proposal ends as unknown. 2 s.
    pub forward_timeout: Duration,
    /// After this long without an answer a strong read fails. 2 s.
    pub query_timeout: Duration,
    /// Voters a genesis names at least, and that have to take it before anybody leads; part of the
    /// group's identity. 1.
    pub min_voters: u32,
    /// Voters there are at most; further members stand by. Part of the group's identity. 5.
    pub max_voters: u32,
    /// What to do when another lineage of the group wins. Resubmit.
    pub merge: MergePolicy,
    /// Whether an idle group goes silent and leans on the driver to tell when a link is lost.
    pub quiesce: bool,
    /// Bytes of commands the core puts into one entry at most, unless one proposal alone is
    /// larger. 256 KiB.
    pub batch_bytes: usize,
    /// Bytes of commands in one proposal at most. 16 MiB.
    pub proposal_bytes: usize,
    /// Bytes of entries in one append message at most, unless one entry alone is larger. 1 MiB.
    pub append_bytes: usize,
    /// Unacknowledged bytes on the way to one member. 8 MiB.
    pub inflight_bytes: usize,
    /// Unacknowledged append messages on the way to one member. 64.
    pub inflight_appends: usize,
    /// Bytes of proposals waiting at this member, not yet in the log. 64 MiB.
    pub pending_bytes: usize,
    /// Bytes of stored and applied entries kept in memory for members that lag a little. 1 MiB.
    pub cache_bytes: usize,
    /// Bytes of committed entries handed out to be applied and not yet reported applied. 16 MiB.
    pub apply_bytes: usize,
}

impl Config {
    /// The defaults, for `peer` in `group`, taking `incarnation` and `seed`.
    pub const fn new(group: GroupKeyId, peer: PeerKey, incarnation: u64, seed: u64) -> Self {
        Self {
            group,
            peer,
            incarnation,
            preference: Preference::Normal,
            seed,
            heartbeat_interval: Duration::from_millis(500),
            heartbeat_jitter: Duration::from_millis(150),
            max_missed_heartbeats: 10,
            election_timeout: Duration::from_secs(2),
            election_timeout_jitter: Duration::from_millis(500),
            bootstrap_delay: Duration::from_secs(3),
            settle_delay: Duration::from_millis(200),
            forward_timeout: Duration::from_secs(2),
            query_timeout: Duration::from_secs(2),
            min_voters: 1,
            max_voters: 5,
            merge: MergePolicy::Resubmit,
            quiesce: true,
            batch_bytes: 256 << 10,
            proposal_bytes: 16 << 20,
            append_bytes: 1 << 20,
            inflight_bytes: 8 << 20,
            inflight_appends: 64,
            pending_bytes: 64 << 20,
            cache_bytes: 1 << 20,
            apply_bytes: 16 << 20,
        }
    }

    /// Silence after which a member is taken for dead.
    pub fn death_timeout(&self) -> Duration {
        self.heartbeat_interval
            .saturating_mul(self.max_missed_heartbeats)
    }

    /// What is wrong with this configuration, if anything is.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = |holds, what| {
            if holds {
                Ok(())
            } else {
                Err(ConfigError(what))
            }
        };
        check(
            !self.heartbeat_interval.is_zero(),
            "heartbeat_interval must not be zero",
        )?;
        check(
            self.max_missed_heartbeats >= 1,
            "max_missed_heartbeats must be at least 1",
        )?;
        check(
            self.election_timeout > self.heartbeat_interval + self.heartbeat_jitter,
            "election_timeout must exceed heartbeat_interval and its jitter",
        )?;
        check(self.max_voters >= 1, "max_voters must be at least 1")?;
        check(
            self.max_voters <= limits::VOTERS,
            "max_voters exceeds the limit",
        )?;
        check(self.min_voters >= 1, "min_voters must be at least 1")?;
        check(
            self.min_voters <= self.max_voters,
            "min_voters must not exceed max_voters",
        )?;
        check(
            self.inflight_appends >= 1,
            "inflight_appends must be at least 1",
        )?;
        check(
            self.proposal_bytes <= limits::ENTRY_BYTES / 2,
            "proposal_bytes exceeds the limit",
        )?;
        check(
            self.batch_bytes <= limits::ENTRY_BYTES / 4,
            "batch_bytes exceeds the limit",
        )?;
        check(
            self.append_bytes <= limits::MESSAGE_BYTES / 4,
            "append_bytes exceeds the limit",
        )
    }
}

/// A configuration that makes no sense, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub &'static str);
