//! [`Event`]: what happens to a group on this node.

use {
    super::{error::Halted, index::Index, index::Term},
    crate::PeerId,
    iroh::endpoint::ApplicationClose,
    mosaik_primitives::Digest,
};

/// Who refused whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// This node refused the peer.
    Local,
    /// The peer refused this node.
    Peer,
}

/// What two holders of a group's key disagree on, so that they are in different groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mismatch {
    /// The settings of [`ConsensusConfig`](super::ConsensusConfig) that members share.
    Consensus,
    /// The state machine's signature.
    StateMachine,
    /// The state synchronisation's signature.
    StateSync,
    /// The ticket validators.
    TicketValidators,
}

/// What happens to a group on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A peer has proven that it is of the group, and so has this node to it.
    Bonded(PeerId),
    /// A bond has ended.
    Unbonded {
        /// With whom.
        peer: PeerId,
        /// Why.
        reason: ApplicationClose,
    },
    /// A bond could not be made. It is tried again, ever less often.
    Refused {
        /// With whom.
        peer: PeerId,
        /// Why.
        reason: ApplicationClose,
        /// Who refused.
        by: Side,
    },
    /// A peer has proven to hold the group's key but runs it differently: it is in another
    /// group, and will not be met in this one.
    Mismatch {
        /// Who.
        peer: PeerId,
        /// What differs.
        differs: Vec<Mismatch>,
    },
    /// Another leader, or none, or a new term.
    Leader {
        /// Who leads, as far as is known.
        leader: Option<PeerId>,
        /// In which term.
        term: Term,
    },
    /// The membership in force is another.
    Membership,
    /// This member belongs to this lineage from now on.
    Lineage(Digest),
    /// The group had formed twice, out of each other's sight, and this side gave way: its state
    /// starts anew from the other's.
    Merged {
        /// The lineage that was left.
        from: Digest,
        /// The one that goes on.
        into: Digest,
        /// Commands that had been committed in the one left.
        commands: Index,
        /// Of these, how many were proposed to the other.
        resubmitted: u64,
        /// Of these, how many are lost.
        dropped: u64,
    },
    /// This member goes on from its log in a lineage of its own: it was told to, or its side had
    /// given way to one that is not heard of any more. Its state stays as it is.
    Continued {
        /// The lineage that was left.
        from: Digest,
        /// The one that starts where the other ended here.
        into: Digest,
    },
    /// The group has formed twice and the two sides stay apart: the policy says so, or both have
    /// cut their logs, so that neither can hand over what it holds. Joining one side's nodes with
    /// [`MergePolicy::Discard`](super::MergePolicy::Discard) decides it.
    Apart(Digest),
    /// The other members have removed this one, which asks to be taken back.
    Removed,
    /// A peer sent what no correct member sends; it was cut off.
    Violation {
        /// Who.
        peer: PeerId,
        /// What it sent.
        what: String,
    },
    /// The state of a peer after this command was another than here: the state machine does not
    /// do the same everywhere. Told where [`ConsensusConfig::digest_interval`] is set.
    ///
    /// [`ConsensusConfig::digest_interval`]: super::ConsensusConfig::digest_interval
    Diverged {
        /// Who.
        peer: PeerId,
        /// The command.
        index: Index,
    },
    /// A command whose application panicked was skipped, here and on every member.
    Quarantined {
        /// The command.
        index: Index,
        /// What the panic said.
        message: String,
    },
    /// The group has stopped on this node.
    Halted(Halted),
    /// This node has left the group.
    Left,
}
