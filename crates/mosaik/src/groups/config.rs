//! The groups' configuration, and what one group runs with.

use {
    super::{
        consensus::ConsensusConfig,
        key::{GroupId, GroupKey},
        machine::StateMachine,
        sync::StateSync,
    },
    crate::{
        discovery::SignedPeerEntry,
        tickets::{Expiration, InvalidTicket, TicketValidator},
    },
    core::{fmt, time::Duration},
    mosaik_primitives::{Digest, UniqueId},
    std::sync::Arc,
};

/// What all groups of a node have in common.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// A peer that has not finished the handshake of a group by then is refused. 2 s.
    pub handshake_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(2),
        }
    }
}

impl Config {
    /// The defaults, to be changed.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }
}

/// Builds a [`Config`].
#[doc(hidden)]
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct ConfigBuilder(Config);

/// Why a configuration cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigBuilderError {
    /// A required setting is missing.
    #[error("`{0}` must be initialized")]
    UninitializedField(&'static str),
    /// A setting cannot work.
    #[error("{0}")]
    ValidationError(String),
}

impl From<String> for ConfigBuilderError {
    fn from(text: String) -> Self {
        Self::ValidationError(text)
    }
}

impl ConfigBuilder {
    /// Sets [`Config::handshake_timeout`].
    pub const fn with_handshake_timeout(mut self, value: Duration) -> Self {
        self.0.handshake_timeout = value;
        self
    }

    /// The configuration, checked: a handshake must have between a millisecond and an hour.
    pub fn build(self) -> Result<Config, ConfigBuilderError> {
        let timeout = self.0.handshake_timeout;
        if timeout < Duration::from_millis(1) || timeout > Duration::from_hours(1) {
            let problem = format!("handshake_timeout must be between 1 ms and 1 h, is {timeout:?}");
            return Err(problem.into());
        }
        Ok(self.0)
    }
}

/// Whether a member still knows its log after its process has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// No: a member that starts again is a new one, and catches up from the others.
    #[default]
    Memory,
    /// Yes: what it acknowledged is on its disk first.
    Disk,
}

/// What one group runs with, and the identity that follows from it.
///
/// Members of a group agree on its key, on the timing of its heartbeats, on its numbers of
/// voters, on the signatures of its state machine and state synchronisation, and on its ticket
/// validators in their order: all of it makes up the group's id, so that nodes that disagree are
/// not in the same group.
#[derive(Clone)]
pub struct GroupConfig {
    key: GroupKey,
    id: GroupId,
    consensus: ConsensusConfig,
    machine: UniqueId,
    sync: UniqueId,
    auth: Vec<Arc<dyn TicketValidator>>,
    durability: Durability,
}

impl GroupConfig {
    /// The configuration of the group of `key` that runs `state_machine`.
    pub fn new<M: StateMachine>(
        key: GroupKey,
        consensus: ConsensusConfig,
        state_machine: &M,
        auth: Vec<Arc<dyn TicketValidator>>,
    ) -> Self {
        let machine = state_machine.signature();
        let sync = state_machine.state_sync().signature();
        let id = key
            .fingerprint()
            .derive(consensus.digest())
            .derive(machine)
            .derive(sync);
        Self {
            id: auth
                .iter()
                .fold(id, |id, validator| id.derive(validator.signature())),
            key,
            consensus,
            machine,
            sync,
            auth,
            durability: Durability::Memory,
        }
    }

    pub(crate) const fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The group's id.
    pub const fn group_id(&self) -> &GroupId {
        &self.id
    }

    /// The key that members prove to have.
    pub const fn key(&self) -> &GroupKey {
        &self.key
    }

    /// Timing and sizes.
    pub const fn consensus(&self) -> &ConsensusConfig {
        &self.consensus
    }

    /// Who decides about the tickets of members.
    pub fn auth(&self) -> &[Arc<dyn TicketValidator>] {
        &self.auth
    }

    /// Whether this node's member survives the end of its process.
    pub const fn durability(&self) -> Durability {
        self.durability
    }

    /// Signature of the state machine.
    pub const fn machine_signature(&self) -> &UniqueId {
        &self.machine
    }

    /// Signature of the state synchronisation.
    pub const fn sync_signature(&self) -> &UniqueId {
        &self.sync
    }

    /// Signatures of the ticket validators together, in their order.
    pub fn auth_signature(&self) -> UniqueId {
        let validators = self.auth.iter();
        validators.fold(Digest::zero(), |id, validator| {
            id.derive(validator.signature())
        })
    }

    /// Whether the tickets on a peer's entry let it in, and until when: every validator must
    /// accept one, and the earliest expiration binds. `None` where nothing is asked for.
    pub fn authorize_peer(
        &self,
        peer: &SignedPeerEntry,
    ) -> Result<Option<Expiration>, InvalidTicket> {
        peer.validate_tickets(&self.auth)
    }
}

impl fmt::Debug for GroupConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupConfig")
            .field("id", &self.id)
            .field("key", &self.key)
            .field("consensus", &self.consensus)
            .field("auth", &self.auth.len())
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use {
        super::*,
        crate::{discovery::PeerEntry, groups::NoOp, tickets::TicketClass},
    };

    struct Signed(&'static str);

    impl TicketValidator for Signed {
        fn class(&self) -> TicketClass {
            TicketClass::from("class")
        }

        fn signature(&self) -> UniqueId {
            UniqueId::from(self.0)
        }

        fn validate(&self, _: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
            Err(InvalidTicket)
        }
    }

    fn id(consensus: ConsensusConfig, auth: &[&'static str]) -> GroupId {
        let auth = auth.iter().map(|name| Arc::new(Signed(name)) as _);
        let config = GroupConfig::new(GroupKey::from("key"), consensus, &NoOp, auth.collect());
        *config.group_id()
    }

    #[test]
    fn the_id_is_derived_from_key_heartbeats_machine_sync_and_validators() {
        let mut timing = Vec::new();
        for value in [500u128, 150, 10] {
            timing.extend_from_slice(&value.to_le_bytes());
        }
        let expected = Digest::from("key")
            .hashed()
            .derive(Digest::hash(&timing))
            .derive(NoOp.signature())
            .derive(NoOp.state_sync().signature());
        assert_eq!(id(ConsensusConfig::default(), &[]), expected);
        let expected = expected
            .derive(UniqueId::from("one"))
            .derive(UniqueId::from("two"));
        assert_eq!(id(ConsensusConfig::default(), &["one", "two"]), expected);
    }

    #[test]
    fn only_what_members_must_agree_on_is_part_of_the_id() {
        let base = || ConsensusConfig::builder();
        let default = id(ConsensusConfig::default(), &[]);
        let local = base()
            .with_election_timeout(Duration::from_secs(9))
            .with_forward_timeout(Duration::from_secs(9));
        assert_eq!(id(local.build().unwrap(), &[]), default);
        let voters = base().with_min_voters(2).with_max_voters(7);
        for other in [voters, base().with_heartbeat_jitter(Duration::ZERO)] {
            assert_ne!(id(other.build().unwrap(), &[]), default);
        }
        let validators = |auth| id(ConsensusConfig::default(), auth);
        assert_ne!(validators(&["one", "two"]), validators(&["two", "one"]));
    }

    #[test]
    fn a_handshake_without_time_is_a_configuration_error() {
        let build = |timeout| {
            let builder = Config::builder().with_handshake_timeout(timeout);
            builder.build().is_ok()
        };
        assert!(Config::builder().build().is_ok() && build(Duration::from_millis(1)));
        assert!(!build(Duration::ZERO) && !build(Duration::MAX));
    }
}
