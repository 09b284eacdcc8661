//! [`GroupBuilder`]: what a group can be given before it is joined.

use {
    super::{
        config::GroupConfig,
        consensus::ConsensusConfig,
        handle::Group,
        key::GroupKey,
        log_store::{InMemoryLogStore, Storage},
        machine::{NoOp, StateMachine},
        registry::Groups,
    },
    crate::tickets::TicketValidator,
    core::fmt,
    std::sync::Arc,
};

/// Sets a group up. What members must agree on is part of the group's id, see [`GroupConfig`].
#[must_use = "a group is joined with `join`"]
pub struct GroupBuilder<'g, S = (), M = ()> {
    groups: &'g Groups,
    key: GroupKey,
    consensus: ConsensusConfig,
    auth: Vec<Arc<dyn TicketValidator>>,
    storage: S,
    machine: M,
}

impl<S, M> fmt::Debug for GroupBuilder<'_, S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupBuilder")
            .field("key", &self.key)
            .field("consensus", &self.consensus)
            .finish_non_exhaustive()
    }
}

impl<'g> GroupBuilder<'g> {
    pub(super) fn new(groups: &'g Groups, key: GroupKey) -> Self {
        Self {
            groups,
            key,
            consensus: ConsensusConfig::default(),
            auth: Vec::new(),
            storage: (),
            machine: (),
        }
    }

    /// What the group replicates.
    pub fn with_state_machine<SM: StateMachine>(
        self,
        state_machine: SM,
    ) -> GroupBuilder<'g, InMemoryLogStore<SM::Command>, SM> {
        GroupBuilder {
            groups: self.groups,
            key: self.key,
            consensus: self.consensus,
            auth: self.auth,
            storage: InMemoryLogStore::default(),
            machine: state_machine,
        }
    }

    /// Joins a group that only elects a leader.
    pub fn join(self) -> Group<NoOp> {
        self.with_state_machine(NoOp).join()
    }
}

impl<'g, M: StateMachine> GroupBuilder<'g, InMemoryLogStore<M::Command>, M> {
    /// Where the committed commands are kept, in their order, as they are applied here: for the
    /// program to look into through a store of its own, and for its state synchronisation.
    ///
    /// Default: [`InMemoryLogStore`], which stays empty where nobody looks into it, as with
    /// [`LogReplaySync`](super::LogReplaySync): members that lag are fed from the group's own
    /// log.
    pub fn with_log_storage<S: Storage<M::Command>>(self, storage: S) -> GroupBuilder<'g, S, M> {
        GroupBuilder {
            groups: self.groups,
            key: self.key,
            consensus: self.consensus,
            auth: self.auth,
            storage,
            machine: self.machine,
        }
    }
}

impl<S, M> GroupBuilder<'_, S, M> {
    /// Timing and sizes. Default: [`ConsensusConfig::default`].
    pub const fn with_consensus_config(mut self, consensus: ConsensusConfig) -> Self {
        self.consensus = consensus;
        self
    }

    /// Lets in only peers with a ticket that `auth` accepts. Every validator that is added must
    /// accept one.
    pub fn require_ticket(mut self, auth: impl TicketValidator) -> Self {
        self.auth.push(Arc::new(auth));
        self
    }
}

impl<S, M> GroupBuilder<'_, S, M>
where
    S: Storage<M::Command>,
    M: StateMachine,
{
    /// Joins the group. Returns at once; [`When::online`](super::When::online) resolves when
    /// the group takes commands here.
    ///
    /// Where this node is in the group already, that is what is returned, and the state machine
    /// given here is dropped. A configuration that cannot work ends the group at once: see
    /// [`Group::ended`].
    pub fn join(self) -> Group<M> {
        let config = GroupConfig::new(self.key, self.consensus, &self.machine, self.auth);
        self.groups.join(config, self.machine, self.storage)
    }
}
