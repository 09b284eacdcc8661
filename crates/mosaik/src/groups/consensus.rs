//! [`ConsensusConfig`]: timing and sizes of one group.
//!
//! The meaning of each is the consensus core's; here are the forms that programs set and share.

use {
    core::{num::NonZero, time::Duration},
    mosaik_primitives::Digest,
    mosaik_protocol::consensus as core_types,
    serde::{Deserialize, Serialize},
};

/// What happens when this side of a group that had formed twice, out of each other's sight, has
/// to give way to the other side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum MergePolicy {
    /// What was committed here is proposed to the other side, once.
    #[default]
    Resubmit,
    /// What was committed here is forgotten.
    Discard,
    /// This side never gives way. The two stay apart.
    Refuse,
}

/// What happens at a command whose application panics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PanicPolicy {
    /// The group stops on the node, which says why: [`Halted`](super::Halted). As every member
    /// applies the same, it stops on all of them, until the machine is mended.
    #[default]
    Halt,
    /// The command is quarantined: it counts as applied, and the next one is. What it had
    /// changed before it panicked stays changed, which is the same on all members where the
    /// machine is deterministic. Commands are applied one at a time then, not in batches.
    Skip,
}

impl From<MergePolicy> for core_types::MergePolicy {
    fn from(policy: MergePolicy) -> Self {
        match policy {
            MergePolicy::Resubmit => Self::Resubmit,
            MergePolicy::Discard => Self::Discard,
            MergePolicy::Refuse => Self::Refuse,
        }
    }
}

/// Timing and sizes of one group.
///
/// The heartbeat settings, the numbers of voters and the panic policy are part of the group's id: members must
/// agree on them. All else is each member's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConsensusConfig {
    /// Time between the signs of life of a leader that has work. 500 ms.
    pub heartbeat_interval: Duration,
    /// Added to a heartbeat's due time, at random, up to this much. 150 ms.
    pub heartbeat_jitter: Duration,
    /// A voter silent for this many heartbeats is taken for dead: whoever stands by replaces it,
    /// and it is taken out where fewer votes are enough then. 10.
    pub max_missed_heartbeats: u32,
    /// Silence of a leader after which a follower may stand for election. Must exceed a
    /// heartbeat with its jitter. 2 s.
    pub election_timeout: Duration,
    /// Added to the election timeout, at random, up to this much. 500 ms.
    pub election_timeout_jitter: Duration,
    /// How long fresh members wait for others before they found the group. 3 s.
    pub bootstrap_delay: Duration,
    /// How long a command may wait for its outcome; what is not known then ends as unknown. 2 s.
    pub forward_timeout: Duration,
    /// How long a strong query may wait for its answer. 2 s.
    pub query_timeout: Duration,
    /// Voters that founding the group takes: at least so many are named, and have agreed to it before
    /// anybody leads. Each node agrees to one founding, so that with more than half of all nodes
    /// that can ever start the group cannot form twice. Not promised where nodes forget what they
    /// agreed to (in memory: when they restart), or once the group has fewer members than that.
    /// A named node that is gone before it has agreed is waited for; it may come back with or
    /// without its memory. 1.
    #[serde(default = "min_voters")]
    pub min_voters: u32,
    /// Voters there are at most; further members stand by. 5.
    #[serde(default = "max_voters")]
    pub max_voters: u32,
    /// What to do when another side of the group wins. [`MergePolicy::Resubmit`].
    #[serde(default)]
    pub merge_policy: MergePolicy,
    /// What to do at a command whose application panics; members must agree on it.
    /// [`PanicPolicy::Halt`].
    #[serde(default)]
    pub panic_policy: PanicPolicy,
    /// Commands between two comparisons of this member's state with the others', for finding
    /// state machines that do not do the same everywhere. Each costs a
    /// [`StateMachine::digest`](super::StateMachine::digest) and a short message to every member;
    /// what differs is an [`Event::Diverged`](super::Event::Diverged). None: nothing is compared.
    #[serde(default)]
    pub digest_interval: Option<NonZero<u64>>,
}

const fn min_voters() -> u32 {
    1
}

const fn max_voters() -> u32 {
    5
}

/// The longest of any duration that can be set.
const MAX_DURATION: Duration = Duration::from_hours(24);

impl Default for ConsensusConfig {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_millis(500),
            heartbeat_jitter: Duration::from_millis(150),
            max_missed_heartbeats: 10,
            election_timeout: Duration::from_secs(2),
            election_timeout_jitter: Duration::from_millis(500),
            bootstrap_delay: Duration::from_secs(3),
            forward_timeout: Duration::from_secs(2),
            query_timeout: Duration::from_secs(2),
            min_voters: min_voters(),
            max_voters: max_voters(),
            merge_policy: MergePolicy::Resubmit,
            panic_policy: PanicPolicy::Halt,
            digest_interval: None,
        }
    }
}

impl ConsensusConfig {
    /// The defaults, to be changed.
    pub fn builder() -> ConsensusConfigBuilder {
        ConsensusConfigBuilder::default()
    }

    /// What is wrong with this configuration, if anything is.
    pub fn validate(&self) -> Result<(), ConsensusConfigBuilderError> {
        for (name, value) in [
            ("heartbeat_interval", self.heartbeat_interval),
            ("heartbeat_jitter", self.heartbeat_jitter),
            ("election_timeout", self.election_timeout),
            ("election_timeout_jitter", self.election_timeout_jitter),
            ("bootstrap_delay", self.bootstrap_delay),
            ("forward_timeout", self.forward_timeout),
            ("query_timeout", self.query_timeout),
        ] {
            if value > MAX_DURATION {
                return Err(
                    format!("{name} must be at most {MAX_DURATION:?}, is {value:?}").into(),
                );
            }
        }
        for (name, value) in [
            ("forward_timeout", self.forward_timeout),
            ("query_timeout", self.query_timeout),
        ] {
            if value.is_zero() {
                return Err(format!("{name} must not be zero").into());
            }
        }
        let mut core = core_types::Config::new(
            core_types::GroupKeyId::default(),
            core_types::PeerKey::default(),
            0,
            0,
        );
        self.configure(&mut core);
        core.validate().map_err(|error| error.to_string().into())
    }

    /// Puts these settings into a core's configuration.
    pub(crate) fn configure(&self, core: &mut core_types::Config) {
        core.heartbeat_interval = self.heartbeat_interval;
        core.heartbeat_jitter = self.heartbeat_jitter;
        core.max_missed_heartbeats = self.max_missed_heartbeats;
        core.election_timeout = self.election_timeout;
        core.election_timeout_jitter = self.election_timeout_jitter;
        core.bootstrap_delay = self.bootstrap_delay;
        core.forward_timeout = self.forward_timeout;
        core.query_timeout = self.query_timeout;
        core.min_voters = self.min_voters;
        core.max_voters = self.max_voters;
        core.merge = self.merge_policy.into();
    }

    /// What members must agree on, as one digest. Numbers of voters and the panic policy are in
    /// it only where they are not the default.
    pub fn digest(&self) -> Digest {
        let mut bytes = Vec::with_capacity(56);
        for value in [
            self.heartbeat_interval.as_millis(),
            self.heartbeat_jitter.as_millis(),
            u128::from(self.max_missed_heartbeats),
        ] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        if (self.min_voters, self.max_voters) != (min_voters(), max_voters()) {
            bytes.extend_from_slice(&self.min_voters.to_le_bytes());
            bytes.extend_from_slice(&self.max_voters.to_le_bytes());
        }
        if self.panic_policy == PanicPolicy::Skip {
            bytes.extend_from_slice(b"skip");
        }
        Digest::hash(&bytes)
    }
}

/// Builds a [`ConsensusConfig`].
#[doc(hidden)]
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct ConsensusConfigBuilder(ConsensusConfig);

/// Why a configuration cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsensusConfigBuilderError {
    /// A required setting is missing.
    #[error("`{0}` must be initialized")]
    UninitializedField(&'static str),
    /// A setting cannot work.
    #[error("{0}")]
    ValidationError(String),
}

impl From<String> for ConsensusConfigBuilderError {
    fn from(text: String) -> Self {
        Self::ValidationError(text)
    }
}

macro_rules! setters {
    ($($setter:ident: $field:ident: $type:ty),* $(,)?) => { $(
        #[doc = concat!("Sets [`ConsensusConfig::", stringify!($field), "`].")]
        pub const fn $setter(mut self, value: $type) -> Self {
            self.0.$field = value;
            self
        }
    )* };
}

impl ConsensusConfigBuilder {
    setters! {
        with_heartbeat_interval: heartbeat_interval: Duration,
        with_heartbeat_jitter: heartbeat_jitter: Duration,
        with_max_missed_heartbeats: max_missed_heartbeats: u32,
        with_election_timeout: election_timeout: Duration,
        with_election_timeout_jitter: election_timeout_jitter: Duration,
        with_bootstrap_delay: bootstrap_delay: Duration,
        with_forward_timeout: forward_timeout: Duration,
        with_query_timeout: query_timeout: Duration,
        with_min_voters: min_voters: u32,
        with_max_voters: max_voters: u32,
        with_merge_policy: merge_policy: MergePolicy,
        with_panic_policy: panic_policy: PanicPolicy,
        with_digest_interval: digest_interval: Option<NonZero<u64>>,
    }

    /// The configuration, checked with [`ConsensusConfig::validate`].
    pub fn build(self) -> Result<ConsensusConfig, ConsensusConfigBuilderError> {
        self.0.validate()?;
        Ok(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_core_s_own() {
        let mut core = core_types::Config::new(
            core_types::GroupKeyId::default(),
            core_types::PeerKey::default(),
            0,
            0,
        );
        let before = core.clone();
        ConsensusConfig::default().configure(&mut core);
        assert_eq!(core, before);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let base = ConsensusConfig::builder;
        assert!(base().build().is_ok());
        for broken in [
            base().with_heartbeat_interval(Duration::ZERO),
            base().with_heartbeat_interval(Duration::MAX),
            base().with_election_timeout(Duration::from_millis(100)),
            base().with_max_missed_heartbeats(0),
            base().with_min_voters(0),
            base().with_min_voters(6),
            base().with_max_voters(1_000),
            base().with_forward_timeout(Duration::ZERO),
            base().with_query_timeout(Duration::MAX),
        ] {
            assert!(broken.build().is_err());
        }
    }

    #[test]
    fn configurations_from_before_the_numbers_of_voters_can_be_read() {
        let mut json = serde_json::to_value(ConsensusConfig::default()).unwrap();
        let fields = json.as_object_mut().unwrap();
        for field in ["min_voters", "max_voters", "merge_policy", "panic_policy"] {
            fields.remove(field);
        }
        let read: ConsensusConfig = serde_json::from_value(json).unwrap();
        assert_eq!(read, ConsensusConfig::default());
    }
}
